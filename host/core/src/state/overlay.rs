//! Writes held aside until the call returns ok.
//!
//! One overlay per state of the operator, addressed by the call's slot indices. Owns "reads see own
//! writes" and the order of writes; knows nothing of the backend's insides. Invariant: nothing here
//! outlives a call.

use std::collections::{BTreeMap, BTreeSet};

use super::{ExpiresAt, SlotRef, StateBackend};
use crate::column::{BytesColumn, Layout, OptionalColumn};

/// Room for so many reads is kept from call to call.
const READS_KEPT: usize = 1024;

/// What one slot's list was turned into during a call.
#[derive(Default)]
pub(super) struct ListWrites {
    /// The list of before the call is gone.
    pub(super) replaced: bool,
    /// Items appended since.
    pub(super) items: BytesColumn,
}

/// What one slot's map was turned into during a call.
#[derive(Default)]
pub(super) struct MapWrites {
    /// The map of before the call is gone.
    pub(super) cleared: bool,
    /// Entries written since; `None` is a removal.
    pub(super) entries: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
}

/// The writes of one call to one value state.
#[derive(Default)]
pub(super) struct ValueWrites {
    /// The slots written, in order.
    slots: Vec<u32>,
    /// The item for each of `slots`.
    values: OptionalColumn,
    /// For each slot of the call one more than the place of its newest write in `slots`, 0 for none.
    newest: Vec<u32>,
}

/// The writes and, where they renew a time to live, the reads of one call to one state.
#[derive(Default)]
pub(super) struct Overlay {
    pub(super) values: ValueWrites,
    pub(super) lists: BTreeMap<u32, ListWrites>,
    pub(super) maps: BTreeMap<u32, MapWrites>,
    /// Lists that get a new life because they were read.
    pub(super) read_lists: BTreeSet<u32>,
    /// Map entries that get a new life because they were read.
    pub(super) read_entries: Vec<(u32, Box<[u8]>)>,
    /// All slots of the call were read.
    pub(super) read_all: bool,
}

impl ValueWrites {
    /// Takes writes in; the columns were validated. Answers the first slot that occurs twice in
    /// `slots` or is out of range, taking nothing in then.
    pub(super) fn write(
        &mut self,
        layout: Layout,
        slots: Vec<u32>,
        values: OptionalColumn,
        slot_count: usize,
    ) -> Result<(), u32> {
        self.newest.resize(slot_count, 0);
        let base = self.slots.len() as u32;
        for (place, &slot) in slots.iter().enumerate() {
            match self.newest.get_mut(slot as usize) {
                Some(newest) if *newest <= base => *newest = base + place as u32 + 1,
                _ => return Err(slot),
            }
        }
        if self.slots.is_empty() {
            (self.slots, self.values) = (slots, values);
            return Ok(());
        }
        for (place, slot) in slots.into_iter().enumerate() {
            self.values.push(layout, self.slots.len(), values.item(layout, place));
            self.slots.push(slot);
        }
        Ok(())
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The newest write to a slot: `None` when there is none, `Some(None)` when it clears.
    pub(super) fn newest(&self, layout: Layout, slot: usize) -> Option<Option<&[u8]>> {
        let place = (*self.newest.get(slot)?).checked_sub(1)?;
        Some(self.values.item(layout, place as usize))
    }

    fn apply(
        &self,
        backend: &mut dyn StateBackend,
        state: usize,
        slots: &[SlotRef],
        expires_at: ExpiresAt,
    ) {
        if !self.slots.is_empty() {
            backend.write_values(state, slots, &self.slots, &self.values, expires_at);
        }
    }

    /// Gives back what may be large: a call may write to one of many states what the next ones do not write to.
    fn clear(&mut self) {
        (self.slots, self.values) = Default::default();
        self.newest.clear();
    }
}

impl Overlay {
    /// Moves all writes into the backend, then gives what was read its new life.
    pub(super) fn apply(
        &mut self,
        backend: &mut dyn StateBackend,
        state: usize,
        slots: &[SlotRef],
        now_ms: i64,
        expires_at: ExpiresAt,
    ) {
        self.values.apply(backend, state, slots, expires_at);
        for (slot, writes) in &self.lists {
            let slot = slots[*slot as usize];
            if writes.replaced {
                backend.clear_list(state, slot);
            }
            backend.append_list(state, slot, &writes.items, expires_at);
        }
        for (slot, writes) in &self.maps {
            let slot = slots[*slot as usize];
            if writes.cleared {
                backend.clear_map(state, slot);
            }
            for (key, value) in &writes.entries {
                backend.write_map(state, slot, key, value.as_deref(), expires_at);
            }
        }
        if self.read_all {
            slots.iter().for_each(|slot| backend.refresh(state, *slot, None, now_ms, expires_at));
        }
        for slot in &self.read_lists {
            backend.refresh(state, slots[*slot as usize], None, now_ms, expires_at);
        }
        for (slot, key) in &self.read_entries {
            backend.refresh(state, slots[*slot as usize], Some(key), now_ms, expires_at);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.lists.clear();
        self.maps.clear();
        self.read_lists.clear();
        self.read_entries.clear();
        self.read_entries.shrink_to(READS_KEPT);
        self.read_all = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_what_one_call_wrote_is_not_kept_for_the_next() {
        let mut writes = ValueWrites::default();
        for _ in 0..2 {
            let mut values = OptionalColumn::default();
            (0..9000).for_each(|slot| values.push(Layout::Fixed(1), slot, Some(&[7])));
            writes.write(Layout::Fixed(1), (0..9000).collect(), values, 9000).unwrap();
        }
        writes.clear();
        assert!(writes.is_empty() && writes.slots.capacity() == 0);
        let mut overlay = Overlay::default();
        overlay.read_entries.resize(50_000, Default::default());
        overlay.clear();
        assert!(overlay.read_entries.capacity() < 2 * READS_KEPT);
    }
}
