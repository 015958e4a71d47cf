//! Stream operators for Tidemill, written per record and run per batch.
//!
//! An operator is a type that implements [`Operator`]: it says what it is, takes handles to its
//! state when it opens, and processes records. [`export!`] makes the crate a WebAssembly component.
//!
//! ```
//! use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result, ValueState};
//!
//! /// Counts, for each word, how often it came.
//! struct WordCount {
//!     seen: ValueState<u64>,
//! }
//!
//! impl Operator for WordCount {
//!     fn describe() -> Description {
//!         Description::new("word-count", env!("CARGO_PKG_VERSION"))
//!             .keyed_input("words")
//!             .output_of::<u64>("counts")
//!             .value_state::<u64>("seen")
//!     }
//!
//!     fn open(ctx: &mut OpenContext) -> Result<Self> {
//!         Ok(Self { seen: ctx.value_state("seen")? })
//!     }
//!
//!     fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
//!         let n = self.seen.update(ctx, |n| n.unwrap_or(0) + 1)?;
//!         ctx.emit_keyed(record.key(), &n)
//!     }
//! }
//!
//! tidemill_sdk::export!(WordCount);
//!
//! # fn main() -> Result<()> {
//! use tidemill_sdk::testing::Harness;
//!
//! let mut harness = Harness::<WordCount>::new().open()?;
//! harness.send("words", &[("tide", ""), ("tide", "")])?;
//! assert_eq!(
//!     harness.outputs_as::<String, u64>("counts")?,
//!     [("tide".into(), 1), ("tide".into(), 2)],
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # What happens underneath
//!
//! The host calls once per batch. A value state is read for all keys of the batch at its first
//! use, changed in guest memory, and written back once; appended list items, map entries, emitted
//! records and metrics are gathered likewise. A key that came with the record is passed on by its
//! index, never by its bytes.
//!
//! # Errors
//!
//! A record that cannot be processed is answered with [`Error::bad_record`]; the conversions of
//! codec and parse errors by `?` do the same. What it has already changed is taken back.
//! [`Error::fatal`] gives up on the job. A panic is neither: the host drops the whole sandbox, and
//! nothing of the batch at hand takes effect.
//!
//! ```
//! use tidemill_sdk::{Context, Error, Record, Result, ValueState};
//!
//! fn process(balance: &ValueState<i64>, record: Record<'_>, ctx: &mut Context) -> Result<()> {
//!     let amount: i64 = record.value_str()?.trim().parse()?;
//!     let balance = balance.update(ctx, |balance| balance.unwrap_or(0) + amount)?;
//!     if balance < 0 {
//!         return Err(Error::bad_record("the account would be overdrawn"));
//!     }
//!     ctx.emit(&balance)
//! }
//! ```
//!
//! # What to keep where
//!
//! Fields of the operator are a cache that may vanish between two calls. What must last is kept
//! in state, by key: [`ValueState`], [`ListState`], [`MapState`], and on top of the first
//! [`ReducingState`] and [`AggregatingState`]. Types are stored through [`Codec`]: numbers and
//! tuples of numbers as they lie, text and bytes as they are, anything of serde in [`MsgPack`].
//!
//! What belongs to no key, and is small, can stay in the fields of an operator that implements
//! [`Snapshot`].
//!
//! State outlives the version of the operator that wrote it. One whose items take another form goes on by
//! [`Migrate`].

#![deny(missing_docs)]

mod batch;
#[doc(hidden)]
pub mod bindings;
mod codec;
mod column;
mod component;
mod context;
mod description;
mod error;
mod host;
pub mod limits;
pub mod log;
mod metrics;
mod migrate;
#[cfg(feature = "msgpack")]
mod msgpack;
mod open;
mod operator;
mod output;
mod snapshot;
mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use batch::{BadRecord, Input, InputBatch, Record};
pub use codec::{Codec, CodecError, Encode, Fixed, Ordered};
pub use column::Column;
pub use context::{BatchContext, Context, Emission, OutputColumns, OutputKeys};
pub use description::{Description, StateOptions};
pub use error::{Error, Result, ResultExt};
pub use metrics::{Counter, Gauge, Histogram};
pub use migrate::{Migrate, Migrations};
#[cfg(feature = "msgpack")]
pub use msgpack::MsgPack;
pub use open::OpenContext;
pub use operator::Operator;
pub use output::Output;
pub use snapshot::Snapshot;
pub use state::{
    Aggregate, AggregatingState, ListCursor, ListState, MapCursor, MapState, ReducingState,
    ValueColumn, ValueState,
};

/// What [`export!`] expands to; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use crate::component::Component;
}
