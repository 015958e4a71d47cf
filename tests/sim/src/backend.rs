//! The memory backend, encoding its snapshots in slices that are as small as the world wants them.
//!
//! State in simulation is small: with the product's slices every snapshot would be encoded at once, and no
//! write would ever come between two slices.

use tidemill_core::batch::Dictionary;
use tidemill_core::column::{BytesColumn, OptionalColumn};
use tidemill_core::failure::Failure;
use tidemill_core::snapshot::Item;
use tidemill_core::state::memory::MemoryBackend;
use tidemill_core::state::{
    EncodeBudget, EncodeStep, ExpiresAt, Resolved, RestoreError, SlotRef, StateBackend, StateUsage,
};

/// A memory backend with small slices.
pub struct SlicedBackend {
    /// The backend.
    pub memory: MemoryBackend,
    /// Entries that a slice encodes.
    pub slice_entries: usize,
}

impl StateBackend for SlicedBackend {
    fn encode(&mut self, budget: EncodeBudget) -> EncodeStep {
        self.memory.encode(EncodeBudget { entries: self.slice_entries, ..budget })
    }

    fn resolve(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        self.memory.resolve(dictionary, key_of, resolved)
    }

    fn value_bytes(&self, slot: SlotRef) -> usize {
        self.memory.value_bytes(slot)
    }

    fn read_values(&self, state: usize, slots: &[SlotRef], now_ms: i64, out: &mut OptionalColumn) {
        self.memory.read_values(state, slots, now_ms, out);
    }

    fn write_value(
        &mut self,
        state: usize,
        slot: SlotRef,
        item: Option<&[u8]>,
        expires_at: ExpiresAt,
    ) {
        self.memory.write_value(state, slot, item, expires_at);
    }

    fn list_len(&self, state: usize, slot: SlotRef, now_ms: i64) -> u64 {
        self.memory.list_len(state, slot, now_ms)
    }

    fn read_list(
        &self,
        state: usize,
        slot: SlotRef,
        now_ms: i64,
        start: u64,
        each: &mut dyn FnMut(&[u8]) -> bool,
    ) {
        self.memory.read_list(state, slot, now_ms, start, each);
    }

    fn append_list(
        &mut self,
        state: usize,
        slot: SlotRef,
        items: &BytesColumn,
        expires_at: ExpiresAt,
    ) {
        self.memory.append_list(state, slot, items, expires_at);
    }

    fn clear_list(&mut self, state: usize, slot: SlotRef) {
        self.memory.clear_list(state, slot);
    }

    fn read_map(&self, state: usize, slot: SlotRef, key: &[u8], now_ms: i64) -> Option<&[u8]> {
        self.memory.read_map(state, slot, key, now_ms)
    }

    fn scan_map(
        &self,
        state: usize,
        slot: SlotRef,
        start: &[u8],
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        self.memory.scan_map(state, slot, start, now_ms, each);
    }

    fn write_map(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: ExpiresAt,
    ) {
        self.memory.write_map(state, slot, key, value, expires_at);
    }

    fn clear_map(&mut self, state: usize, slot: SlotRef) {
        self.memory.clear_map(state, slot);
    }

    fn refresh(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
    ) {
        self.memory.refresh(state, slot, key, now_ms, expires_at);
    }

    fn settle(&mut self, slots: &[SlotRef]) {
        self.memory.settle(slots);
    }

    fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        self.memory.expire(now_ms, budget)
    }

    fn usage(&self) -> StateUsage {
        self.memory.usage()
    }

    fn track(&mut self, continues: bool) {
        self.memory.track(continues);
    }

    fn mark_all_dirty(&mut self) {
        self.memory.mark_all_dirty();
    }

    fn freeze(&mut self, full: bool) -> bool {
        self.memory.freeze(full)
    }

    fn is_encoding(&self) -> bool {
        self.memory.is_encoding()
    }

    fn settle_snapshot(&mut self, completed: bool) {
        self.memory.settle_snapshot(completed);
    }

    fn restore(
        &mut self,
        state: usize,
        hash: u64,
        key: &[u8],
        item: Item<'_>,
    ) -> Result<(), RestoreError> {
        self.memory.restore(state, hash, key, item)
    }
}
