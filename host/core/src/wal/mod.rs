//! The input WAL: where input that cannot be read again lies before it is processed.
//!
//! Owns the format of segments and records, what a log found on the disk is worth, and the order of
//! writes and syncs. Plain synchronous machines over [`Disk`](crate::disk::Disk): who calls them, on
//! which thread and when, is decided elsewhere. It must not know what is inside a logged body.
//!
//! | room | what happens there |
//! |---|---|
//! | `segment`, `record` | bytes of a segment's first page and of a record |
//! | `window`, `walk` | reading a segment in bounded memory, record after record |
//! | `seqs`, `sizes` | sequence numbers by partition; how large the parts of a log are |
//! | `recover` | what a log is worth: whole, ended by a torn tail, or damaged |
//! | `begin` | the first effect of an incarnation: a segment of its own |
//! | `open_segment`, `writer` | appending |
//! | `group` | group commit |
//! | `segments` | rotation, trimming, the quota |
//! | `reader` | replay |
//!
//! Invariants:
//! 1. A file under a segment's name had a whole first page, and what was copied into it, durable before it
//!    got the name. So a bad first page is damage, never a crash.
//! 2. Every segment but the newest ends in a seal that was durable before the next one was made.
//! 3. A record is written only where zeros have been made durable before, with room for one more header
//!    behind it. So a file that was cut short shows it, wherever it was cut.
//! 4. A record's `synced_upto` is true when it is written: what it promises can be missing only by damage.
//! 5. LSNs have no holes from the log's first record to its last, nor have the sequence numbers of a
//!    partition.
//!
//! A newest segment that vanishes as a whole is noticed only by what the manifest knows.

mod begin;
mod error;
mod group;
mod open_segment;
mod reader;
mod record;
mod recover;
mod segment;
mod segments;
mod seqs;
mod sizes;
#[cfg(test)]
pub(crate) mod tests;
mod walk;
mod window;
mod writer;

pub use error::{FullOf, WalError};
pub use group::{Append, Committed, GroupCommit, GroupEvents, Progress};
pub use reader::{LogView, Logged, WalReader};
pub use record::PAYLOAD_BYTES_MAX;
pub use recover::{Cut, KnownDurable, Recovered, recover};
pub use segment::{FORMAT, segment_name};
pub use segments::Trimmed;
pub use seqs::Seqs;
pub use sizes::{Sizes, Usage};
pub use writer::{Appended, LoggedPartition, WalCounters, WalWriter};
