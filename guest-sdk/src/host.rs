//! What the host offers during a call.
//!
//! In a component these are the imports of the contract; in a native build they go to the model
//! that the test harness has put in place for the calling thread.

#[cfg(target_family = "wasm")]
mod imports {
    pub(crate) use crate::bindings::tidemill::operator::clock::now;
    pub(crate) use crate::bindings::tidemill::operator::log::write as log;
    pub(crate) use crate::bindings::tidemill::operator::metrics::put;
    pub(crate) use crate::bindings::tidemill::operator::output::emit;
    pub(crate) use crate::bindings::tidemill::operator::random::bytes as random;
    pub(crate) use crate::bindings::tidemill::operator::state::{
        list_append, list_read, list_replace, map_clear, map_read, map_scan, map_write, value_read,
        value_write,
    };
}

#[cfg(not(target_family = "wasm"))]
use crate::testing::imports;

pub(crate) use imports::{
    emit, list_append, list_read, list_replace, log, map_clear, map_read, map_scan, map_write, now,
    put, random, value_read, value_write,
};
