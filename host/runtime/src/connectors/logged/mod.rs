//! Sources behind the input log: what they receive is durable before a lane sees it.
//!
//! Owns the way of a batch from whoever receives input to the lane, the bytes of what is logged, and replay.
//! Must not know sockets, nor when a log begins and ends: that is the job's (`job::input_log`).
//!
//! | file | what it owns |
//! |---|---|
//! | `former` | from received bytes to batches |
//! | `intake`, `lanes` | from a batch, through the log, to the lane; lives as long as the process |
//! | `replay` | what was logged and not processed, again |
//! | `reader` | the lane's end |
//! | `body`, `bytes` | what a record of the log holds |
//! | `clients`, `inner` | what positions hold |
//! | `relay` | a source that can be read again, logged all the same |

mod body;
mod bytes;
mod clients;
mod former;
mod inner;
mod intake;
mod lanes;
mod reader;
mod relay;
mod replay;
#[cfg(test)]
pub(in crate::connectors) mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use super::source::other_source;
pub(crate) use body::{Body, Marks};
pub(crate) use clients::{CLIENTS_MAX, ClientTable, FORGOTTEN_AFTER_MS, is_client_id};
pub(in crate::connectors) use former::Former;
pub(crate) use former::Forming;
pub(crate) use inner::{decode as inner_position, encode as inner_detail};
pub(crate) use intake::{DurableListener, Intake, Stop};
pub(crate) use reader::{Known, LoggedPart, LoggedReader};
pub(in crate::connectors) use relay::Relay;
pub(crate) use replay::{ReplayCounts, Replayed, scan, start as start_replay};

/// The time of day, in milliseconds since the Unix epoch.
pub(in crate::connectors) fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}
