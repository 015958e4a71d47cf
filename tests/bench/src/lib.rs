//! Jobs of one operator on one lane, in Wasm or linked in natively: the same batches, routing, slots,
//! overlay and queues, so that the difference is what the sandbox costs. And keyed state by itself.

/// The allocator of the product: what memory costs is a part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod job;
pub mod native;
pub mod state;
