//! The exports of a component, for an operator of any type.
//!
//! Knows one operator per sandbox, the one that was opened; a call before that is refused.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::bindings::exports::tidemill::operator::operator::{Context, Description, Guest};
use crate::bindings::tidemill::operator::types::{BadRecord, Failure, InputBatch};
use crate::operator::{Operator, Running};

/// Gives an operator the exports of a component; see [`export!`](crate::export).
#[doc(hidden)]
#[derive(Debug)]
pub struct Component<O>(PhantomData<O>);

/// An open operator whose type only the exports know.
trait Open {
    fn process(&mut self, input: u32, batch: InputBatch) -> Result<Vec<BadRecord>, Failure>;
    fn close(&mut self) -> Result<(), Failure>;
}

impl<O: Operator> Open for Running<O> {
    fn process(&mut self, input: u32, batch: InputBatch) -> Result<Vec<BadRecord>, Failure> {
        Self::process(self, input, batch)
    }

    fn close(&mut self) -> Result<(), Failure> {
        Self::close(self)
    }
}

thread_local! {
    static OPEN: RefCell<Option<Box<dyn Open>>> = const { RefCell::new(None) };
}

fn with_open<T>(call: impl FnOnce(&mut dyn Open) -> Result<T, Failure>) -> Result<T, Failure> {
    OPEN.with_borrow_mut(|open| match open {
        Some(open) => call(open.as_mut()),
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
        with_open(|open| open.process(input, batch))
    }

    fn close() -> Result<(), Failure> {
        with_open(|open| open.close())
    }
}

/// Makes a crate the component of this operator.
///
/// Outside of WebAssembly it does nothing, so that a crate of type `cdylib` and `rlib` is also a
/// library that native tests can use.
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
}
