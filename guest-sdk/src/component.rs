//! The exports of a component, for an operator of any type.
//!
//! Knows one operator per sandbox, the one that was opened; a call before that is refused.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;

use crate::bindings::exports::tidemill::operator::operator::{Context, Description, Guest};
use crate::bindings::migrating::exports::tidemill::operator::migrate;
use crate::bindings::stateful::exports::tidemill::operator::snapshot;
use crate::bindings::tidemill::operator::types::{BadRecord, BytesColumn, Failure, InputBatch};
use crate::migrate::Migrate;
use crate::operator::{Operator, Running};
use crate::snapshot::Snapshot;

/// Gives an operator the exports of a component; see [`export!`](crate::export).
#[doc(hidden)]
#[derive(Debug)]
pub struct Component<O>(PhantomData<O>);

thread_local! {
    /// The open operator, a `Running<O>` whose `O` only the exports know.
    static OPEN: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn with_open<O: Operator, T>(
    call: impl FnOnce(&mut Running<O>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    OPEN.with_borrow_mut(|open| match open.as_mut().and_then(|open| open.downcast_mut()) {
        Some(open) => call(open),
        None => Err(Failure::Fatal("the operator was not opened".to_owned())),
    })
}

impl<O: Operator> Guest for Component<O> {
    fn describe() -> Description {
        O::describe().raw
    }

    fn open(context: Context) -> Result<(), Failure> {
        let running = Running::<O>::open(context)?;
        OPEN.set(Some(Box::new(running)));
        Ok(())
    }

    fn process(input: u32, batch: InputBatch) -> Result<Vec<BadRecord>, Failure> {
        with_open(|open: &mut Running<O>| open.process(input, batch))
    }

    fn close() -> Result<(), Failure> {
        with_open(|open: &mut Running<O>| open.close())
    }
}

impl<O: Snapshot> snapshot::Guest for Component<O> {
    fn save() -> Result<Vec<u8>, Failure> {
        with_open(|open: &mut Running<O>| open.save())
    }

    fn restore(saved: Vec<u8>) -> Result<(), Failure> {
        with_open(|open: &mut Running<O>| open.restore(&saved))
    }
}

impl<O: Migrate> migrate::Guest for Component<O> {
    fn migrate(
        state: String,
        schema_version: u32,
        values: BytesColumn,
    ) -> Result<BytesColumn, Failure> {
        crate::migrate::migrate::<O>(&state, schema_version, &values)
    }
}

/// Makes a crate the component of this operator.
///
/// `export!(MyOperator)` for an [`Operator`](crate::Operator); `export!(MyOperator, snapshot)` for one
/// that keeps state in its own memory and implements [`Snapshot`](crate::Snapshot);
/// `export!(MyOperator, migrate)` for one that goes on with the state of its older versions and implements
/// [`Migrate`](crate::Migrate).
///
/// Outside of WebAssembly it does nothing, so that the crate can be tested natively.
#[macro_export]
macro_rules! export {
    ($operator:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Component<$operator>;
            $crate::__private::bindings::export!(
                Exported with_types_in $crate::__private::bindings
            );
        };
    };
    ($operator:ty, snapshot) => {
        $crate::export!($operator);
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Component<$operator>;
            $crate::__private::bindings::stateful::export!(
                Exported with_types_in $crate::__private::bindings::stateful
            );
        };
    };
    ($operator:ty, migrate) => {
        $crate::export!($operator);
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::__private::Component<$operator>;
            $crate::__private::bindings::migrating::export!(
                Exported with_types_in $crate::__private::bindings::migrating
            );
        };
    };
}
