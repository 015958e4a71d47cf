//! Sources behind the input log: what they receive is durable before a lane sees it.
//!
//! Owns the threads and the waiting on the way of a batch from whoever receives input to the lane. What is
//! decided on that way, the bytes of what is logged and of positions are the core's
//! ([`tidemill_core::input_log`]). Must not know sockets, nor when a log begins and ends: that is the job's
//! (`job::input_log`).
//!
//! | file | what it owns |
//! |---|---|
//! | `former` | from received bytes to batches |
//! | `intake` | from a batch, through the log, to the lane; lives as long as the process |
//! | `replay` | what was logged and not processed, again |
//! | `relay` | a source that can be read again, logged all the same |

mod former;
mod intake;
mod relay;
mod replay;
#[cfg(test)]
pub(in crate::connectors) mod tests;

pub(crate) use super::source::other_source;
pub(in crate::connectors) use former::Former;
pub(crate) use former::Forming;
pub(crate) use intake::{DurableListener, Intake, IntakeHandle, Stop};
pub(in crate::connectors) use relay::Relay;
pub(crate) use replay::{ReplayCounts, Replayed, start as start_replay};
