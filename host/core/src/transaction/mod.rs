//! The transactions of file sinks: files that are prepared before a checkpoint and published after it.
//!
//! Owns the names of a sink's files, the order in which they are prepared, the commit of prepared ones, and what is
//! removed after a crash. Must not know records, compression, threads or how bytes become a file. Everything goes through
//! [`Disk`](crate::disk::Disk), rooted at the sink's directory, so that a simulation may lose, at any
//! operation, whatever was not synced.
//!
//! A file lives under two names of the same directory. Under its *in-progress* name it is written, made
//! durable and named by a manifest; nobody reads it. A commit gives it its *published* name, under which
//! it is complete and durable for every reader. Invariants: a commit may be repeated and may crash
//! anywhere; a published name is never overwritten; only in-progress names of this job and sink are
//! ever removed. Published files are moved by [`set_aside`] alone, for a rollback.

mod commit;
#[cfg(test)]
pub(crate) mod crash_disk;
mod files;
mod names;
mod set_aside;
#[cfg(test)]
mod tests;

pub use commit::{CommitError, CommitOutcome, clean_up, commit};
pub use files::{FileEffects, OutputFiles};
pub use names::{FileId, NameError, SinkNames};
pub use set_aside::set_aside;
