//! The memory backend as [`StateBackend`]: what calls, the sweep and checkpoints ask of it.
//!
//! Owns nothing; forwards to the column or table that does.

use super::MemoryBackend;
use super::column::StateColumn;
use crate::batch::Dictionary;
use crate::column::{BytesColumn, OptionalColumn};
use crate::failure::Failure;
use crate::snapshot::Item;
use crate::state::{
    EncodeBudget, EncodeStep, ExpiresAt, NEVER, Resolved, RestoreError, SlotRef, StateBackend,
    StateUsage,
};

/// Slots with nothing that a call frees beside its own, so that a call takes no longer for them.
const FREED_PER_CALL: usize = 64;

/// Room for so many slots that a call made bare is kept for the next.
const BARE_KEPT: usize = 16 * 1024;

impl StateBackend for MemoryBackend {
    fn resolve(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        self.end_restore();
        let Resolved { dictionary: distinct, slots, key_of: rewritten } = resolved;
        self.distinct.rewrite(dictionary, key_of, distinct, rewritten);
        self.find_slots(distinct, slots)
    }

    fn value_bytes(&self, slots: &[SlotRef]) -> usize {
        let Some(table) = self.tables.first() else {
            return 0;
        };
        let one = |column: &StateColumn| column.read_width();
        if let Some(width) = table.states.iter().map(one).sum::<Option<usize>>() {
            return width * slots.len();
        }
        let of_slot = |slot: &SlotRef| {
            let states = &self.tables[slot.group as usize].states;
            states.iter().map(|state| state.read_bytes(slot.slot as usize)).sum::<usize>()
        };
        slots.iter().map(of_slot).sum()
    }

    fn read_values(&self, state: usize, slots: &[SlotRef], now_ms: i64, out: &mut OptionalColumn) {
        let width = self.tables.first().and_then(|table| table.states[state].dense_width());
        match width {
            Some(width) => self.read_dense_values(state, slots, now_ms, width, out),
            None => {
                for (index, slot) in slots.iter().enumerate() {
                    let (column, at) = self.column(state, *slot);
                    out.push(column.layout(), index, column.value(at, now_ms));
                }
            }
        }
    }

    fn write_values(
        &mut self,
        state: usize,
        slots: &[SlotRef],
        places: &[u32],
        values: &OptionalColumn,
        expires_at: ExpiresAt,
    ) {
        for (index, &place) in places.iter().enumerate() {
            let slot = slots[place as usize];
            if self.overwrite(state, slot, values, index) {
                continue;
            }
            self.change(state, slot, |column, at, context| {
                column.write_value(at, values.item(column.layout(), index), expires_at, context);
                expires_at
            });
        }
    }

    fn list_len(&self, state: usize, slot: SlotRef, now_ms: i64) -> u64 {
        let (column, at) = self.column(state, slot);
        column.list(at).map_or(0, |list| list.len(now_ms))
    }

    fn read_list(
        &self,
        state: usize,
        slot: SlotRef,
        now_ms: i64,
        start: u64,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) {
        let (column, at) = self.column(state, slot);
        if let Some(list) = column.list(at) {
            list.read(now_ms, start, each);
        }
    }

    fn append_list(
        &mut self,
        state: usize,
        slot: SlotRef,
        items: &BytesColumn,
        expires_at: ExpiresAt,
    ) {
        self.change(state, slot, |column, at, context| {
            column.append_list(at, items, expires_at, context);
            expires_at
        });
    }

    fn clear_list(&mut self, state: usize, slot: SlotRef) {
        self.change(state, slot, |column, at, context| {
            column.clear(at, context);
            NEVER
        });
    }

    fn read_map(&self, state: usize, slot: SlotRef, key: &[u8], now_ms: i64) -> Option<&[u8]> {
        let (column, at) = self.column(state, slot);
        column.map(at)?.get(key, now_ms)
    }

    fn scan_map(
        &self,
        state: usize,
        slot: SlotRef,
        start: &[u8],
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let (column, at) = self.column(state, slot);
        if let Some(map) = column.map(at) {
            map.scan(start, now_ms, each);
        }
    }

    fn write_map(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: ExpiresAt,
    ) {
        self.change(state, slot, |column, at, context| {
            column.write_map(at, key, value, expires_at, context);
            expires_at
        });
    }

    fn clear_map(&mut self, state: usize, slot: SlotRef) {
        self.change(state, slot, |column, at, context| {
            column.clear(at, context);
            NEVER
        });
    }

    fn refresh(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
    ) {
        self.change(state, slot, |column, at, context| {
            column.refresh(at, key, now_ms, expires_at, context);
            expires_at
        });
    }

    fn settle(&mut self) {
        let mut may_be_bare = std::mem::take(&mut self.may_be_bare);
        may_be_bare.drain(..).for_each(|slot| self.free_if_bare(slot));
        may_be_bare.shrink_to(BARE_KEPT);
        self.may_be_bare = may_be_bare;
        self.free_settled(FREED_PER_CALL);
    }

    fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        self.end_restore();
        self.free_settled(budget);
        let next = self.sweep_expired(now_ms, budget);
        // It has freed what it made bare, and no call is open.
        self.may_be_bare.clear();
        next
    }

    fn usage(&self) -> StateUsage {
        self.usage
    }

    fn track(&mut self, continues: bool) {
        self.start_tracking(continues);
    }

    fn rebase(&mut self) {
        self.snapshots.needs_base = true;
    }

    fn freeze(&mut self, full: bool) -> bool {
        self.begin_snapshot(full)
    }

    fn is_encoding(&self) -> bool {
        self.snapshots.is_encoding()
    }

    fn encode(&mut self, budget: EncodeBudget) -> EncodeStep {
        self.free_settled(FREED_PER_CALL);
        self.encode_slice(budget)
    }

    fn settle_snapshot(&mut self, completed: bool) {
        self.end_snapshot(completed);
    }

    fn restore(
        &mut self,
        state: usize,
        hash: u64,
        key: &[u8],
        item: Item<'_>,
    ) -> Result<(), RestoreError> {
        self.restore_item(state, hash, key, item)
    }
}
