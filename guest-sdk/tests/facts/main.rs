//! What the SDK promises, through the harness that operators are tested with.

mod codec;
mod emitting;
mod migrate;
mod model;
mod opening;
mod script;
mod snapshot;
mod state;
