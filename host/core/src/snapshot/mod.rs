//! Snapshot files: one task's keyed state at a checkpoint, or what changed of it since the one before.
//!
//! Owns the format, writing, reading, merging and putting back. Knows the state backend only by its trait
//! and files only as [`DiskFile`](crate::disk::DiskFile); when to write, sync, merge or delete is decided
//! elsewhere. A file is
//!
//! ```text
//! magic | format | length | header (MessagePack, named fields) | CRC          what it is
//! block ...                                                                   sections of entries
//! index: (key group u16, offset u64) ...                                      where a key group begins
//! footer: index offset, length and CRC, entries, BLAKE3 of all before, CRC, magic
//! ```
//!
//! A block holds at most 64 KiB of entries (or one that is larger), LZ4-compressed where that helps, under
//! a CRC of its own, and can be read without those before it: it begins with the section (key group, state)
//! that its first entries belong to. Content is sorted by key group, state, hash, key, then map key or list
//! chunk: a key group is one range, so that a task that takes over some key groups reads those only, and
//! equal state makes equal bytes. Sorting by hash costs a restore nothing: tables are per key group and
//! small enough to be filled in any order. The hash itself is in no file: who writes or reads an entry works it
//! out from the key and the seed in the header.
//!
//! A chain is a base and the deltas that follow it; newer entries win. Tombstones, and marks that all older
//! entries of a map or list are gone, live in deltas only.
//!
//! Invariants: whatever the bytes of a file, reading it never panics and never allocates more than a bounded
//! amount; a changed or cut file is refused, not misread.

mod block;
mod buffer;
mod chain;
mod cursor;
mod dump;
mod entry;
mod error;
mod header;
mod migration;
mod reader;
mod restore;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use buffer::{Buffer, Buffers};
pub use chain::merge;
pub use dump::{DumpedItem, DumpedPlace, StateDump};
pub use entry::{ChunkBytes, ENTRY_BYTES_MAX, Item, put_chunk, put_entry, put_short_value};
pub use error::SnapshotError;
pub use header::{
    FORMAT, MAGIC, SnapshotHeader, StateDifference, StateMapping, StateMigration, compare_states,
};
pub use migration::{MigrateItems, MigrationError, Migrations};
pub use reader::{Expectations, SnapshotReader, verify};
pub use restore::Restore;
pub use writer::{SnapshotWriter, Written, make_durable};

/// Encoded entries of one state in one key group, in no order ([`put_entry`], [`put_chunk`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The key group.
    pub group: u16,
    /// The state, by its id.
    pub state: u16,
    /// Entries in `bytes`.
    pub entries: u32,
    /// The entries, one after the other.
    pub bytes: Buffer,
}

/// Which key group and state entries belong to, in the order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Section {
    group: u16,
    state: u16,
}
