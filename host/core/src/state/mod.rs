//! Keyed state: the backend that holds it while a task runs, and the overlay that makes a call atomic.
//!
//! [`StateBackend`] is the seam: what a task's keyed state must be able to do, whatever holds it.
//! [`memory`] is the backend in this crate. [`TaskState`] puts the per-call overlay over a backend; it is
//! all that a call sees. Invariant: a backend holds exactly the writes of calls that returned ok.

pub mod memory;
mod overlay;
mod task_lists;
mod task_maps;
mod task_snapshots;
mod task_state;
#[cfg(test)]
mod tests;

pub use task_maps::MapPage;
pub use task_state::TaskState;

use crate::batch::Dictionary;
use crate::column::{BytesColumn, OptionalColumn};
use crate::failure::Failure;
use crate::snapshot::{Item, Segment};

/// Where one key's items live in a backend: valid from `resolve` to `settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRef {
    /// Index of the key group among the task's own.
    pub group: u32,
    /// Dense index within the key group.
    pub slot: u32,
}

/// The distinct keys of a batch, in order of first appearance, and where their items live.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The distinct keys and their hashes.
    pub dictionary: Dictionary,
    /// For each distinct key where its items live.
    pub slots: Vec<SlotRef>,
    /// For each record the index of its distinct key.
    pub key_of: Vec<u32>,
}

/// How much a backend holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateUsage {
    /// Keys with at least one item.
    pub keys: u64,
    /// Bytes of keys and items, with the overhead of holding them, estimated.
    pub bytes: u64,
}

/// Milliseconds since the Unix epoch at which an item expires; [`NEVER`] if it does not.
pub type ExpiresAt = i64;

/// An item with this expiry lives on.
pub const NEVER: ExpiresAt = i64::MAX;

/// What one slice of encoding may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeBudget {
    /// Entries, encoded or looked at.
    pub entries: usize,
    /// Bytes of keys and items; the entry that passes this is the last.
    pub bytes: usize,
}

impl Default for EncodeBudget {
    /// Takes some 200 us.
    fn default() -> Self {
        Self { entries: 4096, bytes: 64 * crate::limits::KIB }
    }
}

/// What one slice of encoding made.
#[derive(Debug, Default)]
pub struct EncodeStep {
    /// In the order in which they are to be written.
    pub segments: Vec<Segment>,
    /// Nothing of the snapshot is left to encode.
    pub done: bool,
}

/// Why an item of a snapshot cannot be put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Another task owns its key group.
    #[error("a key of key group {key_group}, which this task does not own")]
    NotOwned {
        /// The key group.
        key_group: u16,
    },
    /// It has another width than the state.
    #[error("an item of {found} bytes for a state of width {expected}")]
    Width {
        /// Bytes that the state's items have.
        expected: u32,
        /// Bytes that it has.
        found: usize,
    },
    /// It is of another kind than the state, or it is no item at all.
    #[error("an item of another kind than the state's")]
    Kind,
    /// It is a list chunk that is not behind those that came before it.
    #[error("list chunk {number} is out of order")]
    ChunkOrder {
        /// Its number.
        number: u64,
    },
}

/// Holds the keyed state of one task.
///
/// Guarantees: keys are resolved with the hash that routing computed, and only keys of the key groups
/// that the task owns resolve at all; an item whose expiry is not after `now_ms` is never returned;
/// expired items are removed by `expire` whether or not anybody asks for them; map entries come in
/// ascending order of key bytes. State ids and kinds are the caller's promise (checked by
/// [`TaskState`]); a backend may panic when they are wrong.
///
/// **Snapshots.** From `track` on, a backend knows what changed. `freeze` cuts: the snapshot holds what was
/// held then, whatever is written while `encode` hands it out in slices. `settle_snapshot` ends it; what an
/// aborted snapshot held is in the next one. No pause that any of these makes grows with the state.
pub trait StateBackend: Send {
    /// Finds or makes the slot of each key that a record of the batch has. `key_of` is as in a batch:
    /// empty means record `i` has key `i`.
    ///
    /// # Errors
    /// [`Failure::Host`] when a key belongs to a key group that this task does not own.
    fn resolve(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        resolved: &mut Resolved,
    ) -> Result<(), Failure>;

    /// Bytes that reading all value states of the slots takes, to bound what a call may read at once.
    fn value_bytes(&self, slots: &[SlotRef]) -> usize;

    /// Makes `out`, which is empty, the items of the slots.
    fn read_values(&self, state: usize, slots: &[SlotRef], now_ms: i64, out: &mut OptionalColumn);

    /// Sets or, where `values` has none, clears the item of `slots[places[i]]` for each `i`, in order.
    fn write_values(
        &mut self,
        state: usize,
        slots: &[SlotRef],
        places: &[u32],
        values: &OptionalColumn,
        expires_at: ExpiresAt,
    );

    /// Number of items of the list of a slot.
    fn list_len(&self, state: usize, slot: SlotRef, now_ms: i64) -> u64;

    /// Calls `each` with the items of a list from index `start` on, in order, until it answers `false`.
    fn read_list(
        &self,
        state: usize,
        slot: SlotRef,
        now_ms: i64,
        start: u64,
        each: &mut dyn FnMut(&[u8]) -> bool,
    );

    /// Appends items to the list of a slot.
    fn append_list(
        &mut self,
        state: usize,
        slot: SlotRef,
        items: &BytesColumn,
        expires_at: ExpiresAt,
    );

    /// Removes the whole list of a slot.
    fn clear_list(&mut self, state: usize, slot: SlotRef);

    /// Entry `key` of the map of a slot.
    fn read_map(&self, state: usize, slot: SlotRef, key: &[u8], now_ms: i64) -> Option<&[u8]>;

    /// Calls `each` with the entries of a map from `start` (included) on, in ascending order of key
    /// bytes, until it answers `false`.
    fn scan_map(
        &self,
        state: usize,
        slot: SlotRef,
        start: &[u8],
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    );

    /// Sets or removes an entry of the map of a slot.
    fn write_map(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: ExpiresAt,
    );

    /// Removes the whole map of a slot.
    fn clear_map(&mut self, state: usize, slot: SlotRef);

    /// Gives the items of a slot (for a map: the entry `key`) a new expiry, but those that have
    /// expired: they stay dead.
    fn refresh(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
    );

    /// Ends a call: frees those of its slots that hold no item.
    fn settle(&mut self);

    /// Removes expired items, looking at no more than `budget` slots, and says when to come again
    /// (milliseconds since the Unix epoch; `None`: nothing expires).
    fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64>;

    /// How much is held.
    fn usage(&self) -> StateUsage;

    /// From now on notes what changes. `continues`: all that is held was put back by `restore` from this
    /// task's own chain of snapshots, and nothing was written since, so the next snapshot can be a delta.
    fn track(&mut self, continues: bool);

    /// Makes the next snapshot a base, whatever changed.
    fn rebase(&mut self);

    /// Freezes what is held for a snapshot: all of it when `full` or when there is nothing to continue,
    /// else what changed since the last completed snapshot. Answers whether it is all of it. A snapshot
    /// in flight is aborted.
    fn freeze(&mut self, full: bool) -> bool;

    /// Whether a frozen snapshot is not encoded to its end.
    fn is_encoding(&self) -> bool;

    /// Encodes a slice of the frozen snapshot.
    fn encode(&mut self, budget: EncodeBudget) -> EncodeStep;

    /// Ends the snapshot in flight, if any. `completed`: a durable file holds it, and the next delta goes
    /// on from there; it must be encoded to its end, else it counts as aborted. Otherwise the next snapshot
    /// holds again what this one held.
    fn settle_snapshot(&mut self, completed: bool);

    /// Puts back an item of a snapshot, with the hash that it was stored with, before the first call. Chunks
    /// of a list come in order.
    ///
    /// # Errors
    /// See [`RestoreError`]; the backend must not be used then.
    fn restore(
        &mut self,
        state: usize,
        hash: u64,
        key: &[u8],
        item: Item<'_>,
    ) -> Result<(), RestoreError>;
}
