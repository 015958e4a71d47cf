//! The memory state backend: a hash table per key group over dense slots, and a column per state.
//!
//! Owns slots, what is held in all, and the snapshot in flight. Shaped for snapshots by bitmap: everything
//! of a key lies at one dense slot index per key group, so "changed since" is one bit per (state, slot).
//! Tables are per key group, so that growing one never stops the lane for long and a key group can be taken
//! out whole.
//!
//! A freeze visits nothing (`marks`), encoding goes on in slices (`snapshots`), and what is about to change
//! before it was encoded is encoded or taken aside first (`changes`). So no pause of the lane for a checkpoint grows with
//! the state or with how much of it changed; what is dropped at once takes as long as it is large (a map that is cleared while no
//! snapshot needs it, marks of a map, the room of a table whose keys are all gone). Invariant: a slot that holds nothing keeps its key as long as
//! any state has a mark there, so that a tombstone can be written for it; then it is freed.

mod backend;
mod budget;
mod capture;
mod changes;
mod column;
mod distinct;
mod encode;
mod index;
mod keys;
mod list;
mod lookup;
mod map;
mod marks;
mod parts;
mod restores;
mod snapshots;
mod sweep;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use capture::Context;
use column::StateColumn;
use distinct::Distinct;
use keys::KeyTable;
use marks::Tracker;
use snapshots::Snapshots;
use sweep::Sweep;

use super::{ExpiresAt, SlotRef, StateUsage};
use crate::column::OptionalColumn;
use crate::describe::StateDescription;
use crate::ids::KeyGroup;
use crate::planted::{self, Bug};
use crate::snapshot::Buffers;

const UNOWNED: u32 = u32::MAX;
/// What a heap item costs beside its bytes: its pointer and the allocator's share.
pub(super) const ITEM_OVERHEAD_BYTES: u64 = 32;
/// What a list or map costs beside its items: the holder, its first chunk or node.
pub(super) const HOLDER_BYTES: u64 = 400;

/// Keyed state of one task, in memory.
pub struct MemoryBackend {
    groups: u32,
    /// For each key group of the job its index in `tables`, or `UNOWNED`.
    table_of: Vec<u32>,
    tables: Vec<GroupTable>,
    distinct: Distinct,
    /// Slots that were made or cleared since the last call was settled: no other holds nothing.
    may_be_bare: Vec<SlotRef>,
    sweep: Sweep,
    usage: StateUsage,
    tracker: Tracker,
    snapshots: Snapshots,
    /// For encoded entries.
    buffers: Buffers,
    /// Slots that held nothing but carried a mark, in the order of `since`.
    bare: VecDeque<Bare>,
    /// The table that an item was last put back into, or `UNOWNED`.
    restored: u32,
}

/// A slot to be freed once its marks are gone.
struct Bare {
    /// The number of its newest marks.
    since: u64,
    slot: SlotRef,
}

struct GroupTable {
    group: KeyGroup,
    keys: KeyTable,
    states: Vec<StateColumn>,
}

impl MemoryBackend {
    /// Bytes that so many key groups take before they hold anything, about.
    pub fn empty_bytes(states: &[StateDescription], groups: u32) -> u64 {
        let table =
            size_of::<GroupTable>() + size_of::<u32>() + states.len() * size_of::<StateColumn>();
        u64::from(groups) * table as u64
    }

    /// An empty backend for the key groups `owned` out of `groups`.
    pub fn new(
        states: &[StateDescription],
        groups: u32,
        owned: impl Iterator<Item = KeyGroup>,
    ) -> Self {
        let buffers = Buffers::default();
        let mut table_of = vec![UNOWNED; groups as usize];
        let mut tables = Vec::new();
        // Snapshots are written in this order.
        let mut owned: Vec<KeyGroup> = owned.collect();
        owned.sort_unstable();
        for group in owned {
            table_of[group.0 as usize] = tables.len() as u32;
            let column = |state| StateColumn::new(state, &buffers);
            let states: Vec<StateColumn> = states.iter().map(column).collect();
            let slot_bytes = states.iter().map(StateColumn::slot_bytes).sum();
            tables.push(GroupTable { group, keys: KeyTable::new(slot_bytes), states });
        }
        Self {
            groups,
            table_of,
            tables,
            distinct: Distinct::default(),
            may_be_bare: Vec::new(),
            sweep: Sweep::default(),
            usage: StateUsage::default(),
            tracker: Tracker::default(),
            snapshots: Snapshots::default(),
            buffers,
            bare: VecDeque::new(),
            restored: UNOWNED,
        }
    }

    fn column(&self, state: usize, slot: SlotRef) -> (&StateColumn, usize) {
        (&self.tables[slot.group as usize].states[state], slot.slot as usize)
    }

    /// Changes the items of a slot and keeps the books: how many states of the slot hold something, how
    /// much is held in all, and the earliest expiry, which `change` answers.
    #[inline]
    fn change(
        &mut self,
        state: usize,
        slot: SlotRef,
        change: impl FnOnce(&mut StateColumn, usize, &Context<'_>) -> ExpiresAt,
    ) {
        let GroupTable { keys, states, .. } = &mut self.tables[slot.group as usize];
        let column = &mut states[state];
        let index = slot.slot as usize;
        let (held, bytes) = (column.holds(index), column.bytes());
        let expires_at = change(column, index, &Context { tracker: &self.tracker, keys });
        let (keys_before, named_bytes) = (keys.held(), keys.named_bytes());
        let holds = column.holds(index);
        if held && !holds {
            self.may_be_bare.push(slot);
        }
        keys.note(slot.slot, held, holds);
        self.usage.bytes = self.usage.bytes - bytes + column.bytes();
        self.usage.bytes = self.usage.bytes - named_bytes + keys.named_bytes();
        self.usage.keys = self.usage.keys - keys_before + keys.held();
        self.sweep.note(expires_at);
    }

    /// Puts an item of `values` in the place of another, where that changes none of the books that
    /// [`change`](Self::change) keeps, as most writes do not; answers whether it did.
    #[inline]
    fn overwrite(
        &mut self,
        state: usize,
        slot: SlotRef,
        values: &OptionalColumn,
        index: usize,
    ) -> bool {
        let GroupTable { keys, states, .. } = &mut self.tables[slot.group as usize];
        let column = &mut states[state];
        let context = Context { tracker: &self.tracker, keys };
        match values.item(column.layout(), index) {
            Some(item) => column.overwrite(slot.slot as usize, item, &context),
            None => false,
        }
    }

    /// Frees a slot that holds nothing, now or when its marks are gone.
    #[inline]
    fn free_if_bare(&mut self, slot: SlotRef) {
        if self.tables[slot.group as usize].keys.is_bare(slot.slot) {
            self.free(slot);
        }
    }

    fn free(&mut self, slot: SlotRef) {
        let GroupTable { keys, states, .. } = &mut self.tables[slot.group as usize];
        let is_marked =
            states.iter().any(|column| column.is_marked(slot.slot as usize, &self.tracker));
        if is_marked && !planted::is(Bug::SlotReusedUnderSnapshot) {
            if keys.wait(slot.slot) {
                self.bare.push_back(Bare { since: self.tracker.now(), slot });
            }
            return;
        }
        let bytes = keys.bytes();
        keys.free(slot.slot);
        if keys.is_spent() {
            // No slot is in use, so none has a mark, and no snapshot looks for one.
            keys.reset();
            states.iter_mut().for_each(StateColumn::give_slots_back);
        }
        self.usage.bytes = self.usage.bytes - bytes + keys.bytes();
    }

    /// Frees slots whose marks have gone, `max` at most. There is no other search for them.
    fn free_settled(&mut self, max: usize) {
        for _ in 0..max {
            let is_settled = |bare: &Bare| !self.tracker.is_live(bare.since);
            if !self.bare.front().is_some_and(is_settled) {
                return;
            }
            let Some(Bare { slot, .. }) = self.bare.pop_front() else {
                return;
            };
            self.tables[slot.group as usize].keys.stop_waiting(slot.slot);
            self.free_if_bare(slot);
        }
    }
}

#[cfg(test)]
impl MemoryBackend {
    /// What `usage` must answer, summed up anew.
    fn recount(&self) -> StateUsage {
        let mut usage = StateUsage::default();
        for table in &self.tables {
            usage.keys += table.keys.held();
            usage.bytes += table.keys.bytes();
            usage.bytes += table.states.iter().map(StateColumn::bytes).sum::<u64>();
        }
        usage
    }

    fn slots_in_use(&self) -> usize {
        self.tables.iter().map(|table| table.keys.in_use()).sum()
    }
}
