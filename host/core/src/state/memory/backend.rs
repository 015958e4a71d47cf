//! The memory backend as [`StateBackend`]: what calls, the sweep and checkpoints ask of it.
//!
//! Owns nothing; forwards to the column or table that does.

use super::{MemoryBackend, UNOWNED};
use crate::batch::Dictionary;
use crate::column::{BytesColumn, OptionalColumn};
use crate::failure::Failure;
use crate::key_group::key_group;
use crate::snapshot::Item;
use crate::state::{
    EncodeBudget, EncodeStep, ExpiresAt, NEVER, Resolved, RestoreError, SlotRef, StateBackend,
    StateUsage,
};

const UNRESOLVED: u32 = u32::MAX;
/// Slots with nothing that a call frees beside its own, so that a call takes no longer for them.
const FREED_PER_CALL: usize = 64;

impl StateBackend for MemoryBackend {
    fn resolve(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        let call = self.begin_call();
        let keys = &dictionary.keys;
        let Resolved { dictionary: distinct, slots, key_of: rewritten } = resolved;
        let mut one = |key: usize| -> Result<u32, Failure> {
            let (hash, bytes) = (dictionary.hashes[key], keys.get(key));
            let group = self.table_of[key_group(hash, self.groups).0 as usize];
            if group == UNOWNED {
                return Err(Failure::Host(format!(
                    "a key of key group {} reached a lane that does not own it",
                    key_group(hash, self.groups).0
                )));
            }
            let table = &mut self.tables[group as usize];
            let fresh = slots.len() as u32;
            let before = table.keys.bytes();
            let (slot, index) = table.keys.resolve(hash, bytes, call, fresh);
            if index == fresh {
                self.usage.bytes = self.usage.bytes - before + table.keys.bytes();
                slots.push(SlotRef { group, slot });
                distinct.keys.push(bytes);
                distinct.hashes.push(hash);
            }
            Ok(index)
        };
        if key_of.is_empty() {
            for key in 0..keys.len() {
                rewritten.push(one(key)?);
            }
        } else {
            let mut memo = vec![UNRESOLVED; keys.len()];
            for &key in key_of {
                let known = &mut memo[key as usize];
                if *known == UNRESOLVED {
                    *known = one(key as usize)?;
                }
                rewritten.push(*known);
            }
        }
        Ok(())
    }

    fn value_bytes(&self, slot: SlotRef) -> usize {
        let states = &self.tables[slot.group as usize].states;
        states.iter().map(|state| state.value_bytes(slot.slot as usize)).sum()
    }

    fn read_values(&self, state: usize, slots: &[SlotRef], now_ms: i64, out: &mut OptionalColumn) {
        for (index, slot) in slots.iter().enumerate() {
            let (column, at) = self.column(state, *slot);
            out.push(column.layout(), index, column.value(at, now_ms));
        }
    }

    fn write_value(
        &mut self,
        state: usize,
        slot: SlotRef,
        item: Option<&[u8]>,
        expires_at: ExpiresAt,
    ) {
        self.change(state, slot, |column, at, context| {
            column.write_value(at, item, expires_at, context);
            expires_at
        });
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

    fn settle(&mut self, slots: &[SlotRef]) {
        for slot in slots {
            self.free_if_bare(*slot);
        }
        self.free_settled(FREED_PER_CALL);
    }

    fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        self.end_restore();
        self.free_settled(budget);
        self.sweep_expired(now_ms, budget)
    }

    fn usage(&self) -> StateUsage {
        self.usage
    }

    fn track(&mut self, continues: bool) {
        self.start_tracking(continues);
    }

    fn mark_all_dirty(&mut self) {
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
