//! Reads records from files.
//!
//! Owns how files are cut into partitions, how far each was read, and how a lane goes through its
//! own. Opening and reading is done by I/O threads of the storage crate; here bytes become records.
//! Must not know the job, its checkpoints or other sources. Invariants: partition ids depend on the
//! files and the split size only; the next partition is read ahead while the present one lasts; a
//! position that was answered stands behind every record that was handed out and before all others;
//! an error names the file and the byte.

mod detail;
mod open;
mod partition;
mod reader;
mod tail;
#[cfg(test)]
mod tests;

pub use partition::Listing;
pub(super) use partition::{FilePartition, Rest, list, resume};
pub(super) use reader::FileReader;
