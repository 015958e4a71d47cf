//! The way of input that cannot be read again: through the log, to the lanes.
//!
//! Owns what was received and is not processed, which lines of which clients are known, what of the log is
//! replayed and what is kept. Facts in, decisions out: threads, sockets and locks are the runtime's, the log's
//! format and its writing are [`wal`](crate::wal)'s.
//!
//! | file | what it owns |
//! |---|---|
//! | `body`, `bytes` | what a record of the log holds |
//! | `clients`, `inner` | what positions hold |
//! | `numbering` | which lines of which client were taken, and which are durable |
//! | `intake`, `lanes` | from a batch, through the log, to the lane; lives as long as the process |
//! | `reader` | the lane's end |
//! | `begin` | how the log of an incarnation begins, and replay |
//! | `retained` | from where it is replayed, and how far it may be trimmed |
//!
//! Order of a start: log recovered -> this incarnation's segment begun -> the log read to its end, for what is
//! known of clients -> intakes connected -> input received -> replay. After a checkpoint: manifest durable ->
//! committed -> trimmed, below what the oldest retained one needs.

mod begin;
mod body;
mod bytes;
mod clients;
mod inner;
mod intake;
mod lanes;
mod numbering;
mod reader;
mod retained;

pub use begin::{BegunLog, LoggedSource, begin, next_replayed, recover_log};
pub use body::{Body, Head, Marks};
pub use clients::{CLIENTS_MAX, ClientTable, FORGOTTEN_AFTER_MS, is_client_id};
pub use inner::{decode as inner_position, encode as inner_detail};
pub use intake::{End, Intake, Replaying};
pub use lanes::{LoggedBatch, Taken};
pub use numbering::{Numbering, Offer, Session};
pub use reader::{Known, LoggedPart, LoggedReader, Supply};
pub use retained::{Retained, checkpoints_kept, wal_start};
