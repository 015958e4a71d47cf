//! Jobs of one operator on one lane, in Wasm or linked in natively: the same batches, routing, slots,
//! overlay and queues, so that the difference is what the sandbox costs. And keyed state by itself.

pub mod job;
pub mod native;
pub mod state;
