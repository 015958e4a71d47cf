//! The memory state backend: a hash table per key group over dense slots, and a column per state.
//!
//! Shaped for snapshots by bitmap: everything of a key lies at one dense slot index per key group, so
//! "changed since" is one bit per (state, slot). Tables are per key group, so that growing one never
//! stops the lane for long and a key group can be taken out whole.

mod items;
mod keys;

use items::StateColumn;
use keys::KeyTable;

use super::{ExpiresAt, Resolved, SlotRef, StateBackend, StateUsage};
use crate::batch::Dictionary;
use crate::column::{BytesColumn, OptionalColumn};
use crate::describe::StateDescription;
use crate::failure::Failure;
use crate::ids::KeyGroup;
use crate::key_group::key_group;

const UNOWNED: u32 = u32::MAX;
const UNRESOLVED: u32 = u32::MAX;
/// Between two searches for expired items. An expired item is never returned in the meantime; this
/// only bounds how often all slots are looked at.
const SWEEP_PAUSE_MS: i64 = 1000;

/// Keyed state of one task, in memory.
pub struct MemoryBackend {
    groups: u32,
    /// For each key group of the job its index in `tables`, or `UNOWNED`.
    table_of: Vec<u32>,
    tables: Vec<GroupTable>,
    /// Number of the call at hand; stamps entries, so that a second key index finds the first.
    call: u32,
    sweep: Sweep,
}

struct GroupTable {
    keys: KeyTable,
    states: Vec<StateColumn>,
}

/// Where the search for expired items stands.
struct Sweep {
    table: usize,
    slot: u32,
    running: bool,
    /// No item expires before this.
    next_ms: ExpiresAt,
    /// Earliest expiry seen by the round at hand.
    seen_ms: ExpiresAt,
}

impl MemoryBackend {
    /// An empty backend for the key groups `owned` out of `groups`.
    pub fn new(
        states: &[StateDescription],
        groups: u32,
        owned: impl Iterator<Item = KeyGroup>,
    ) -> Self {
        let mut table_of = vec![UNOWNED; groups as usize];
        let mut tables = Vec::new();
        for group in owned {
            table_of[group.0 as usize] = tables.len() as u32;
            let states: Vec<StateColumn> = states.iter().map(StateColumn::new).collect();
            let slot_bytes = states.iter().map(StateColumn::slot_bytes).sum();
            tables.push(GroupTable { keys: KeyTable::new(slot_bytes), states });
        }
        let sweep = Sweep {
            table: 0,
            slot: 0,
            running: false,
            next_ms: super::NEVER,
            seen_ms: super::NEVER,
        };
        Self { groups, table_of, tables, call: 0, sweep }
    }

    fn begin_call(&mut self) -> u32 {
        if self.call == u32::MAX {
            self.tables.iter_mut().for_each(|table| table.keys.forget_stamps());
            self.call = 0;
        }
        self.call += 1;
        self.call
    }

    fn column(&self, state: usize, slot: SlotRef) -> (&StateColumn, usize) {
        (&self.tables[slot.group as usize].states[state], slot.slot as usize)
    }

    /// Changes the items of a slot and keeps the books: how many states of the slot hold something,
    /// and the earliest expiry.
    fn change(
        &mut self,
        state: usize,
        slot: SlotRef,
        expires_at: ExpiresAt,
        change: impl FnOnce(&mut StateColumn, usize),
    ) {
        let table = &mut self.tables[slot.group as usize];
        let column = &mut table.states[state];
        let index = slot.slot as usize;
        let held = column.holds(index);
        change(column, index);
        table.keys.note(slot.slot, held, column.holds(index));
        self.sweep.next_ms = self.sweep.next_ms.min(expires_at);
        self.sweep.seen_ms = self.sweep.seen_ms.min(expires_at);
    }
}

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
            let (slot, index) = table.keys.resolve(hash, bytes, call, fresh);
            if index == fresh {
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
        self.change(state, slot, expires_at, |column, at| column.write_value(at, item, expires_at));
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
        self.change(state, slot, expires_at, |column, at| {
            column.append_list(at, items, expires_at);
        });
    }

    fn clear_list(&mut self, state: usize, slot: SlotRef) {
        self.change(state, slot, super::NEVER, StateColumn::clear);
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
        self.change(state, slot, expires_at, |column, at| {
            column.write_map(at, key, value, expires_at);
        });
    }

    fn clear_map(&mut self, state: usize, slot: SlotRef) {
        self.change(state, slot, super::NEVER, StateColumn::clear);
    }

    fn refresh(
        &mut self,
        state: usize,
        slot: SlotRef,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
    ) {
        self.change(state, slot, expires_at, |column, at| {
            column.refresh(at, key, now_ms, expires_at);
        });
    }

    fn settle(&mut self, slots: &[SlotRef]) {
        for slot in slots {
            self.tables[slot.group as usize].keys.free_if_bare(slot.slot);
        }
    }

    fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        if !self.sweep.running {
            if self.sweep.next_ms > now_ms {
                return (self.sweep.next_ms != super::NEVER).then_some(self.sweep.next_ms);
            }
            self.sweep =
                Sweep { table: 0, slot: 0, running: true, next_ms: now_ms, seen_ms: super::NEVER };
        }
        for _ in 0..budget {
            let Some(table) = self.tables.get_mut(self.sweep.table) else {
                self.sweep.running = false;
                self.sweep.next_ms = self.sweep.seen_ms.max(now_ms.saturating_add(SWEEP_PAUSE_MS));
                if self.sweep.seen_ms == super::NEVER {
                    self.sweep.next_ms = super::NEVER;
                }
                return (self.sweep.next_ms != super::NEVER).then_some(self.sweep.next_ms);
            };
            if self.sweep.slot as usize >= table.keys.slots() {
                self.sweep.table += 1;
                self.sweep.slot = 0;
                continue;
            }
            let slot = self.sweep.slot;
            self.sweep.slot += 1;
            for column in &mut table.states {
                let held = column.holds(slot as usize);
                self.sweep.seen_ms = self.sweep.seen_ms.min(column.expire(slot as usize, now_ms));
                table.keys.note(slot, held, column.holds(slot as usize));
            }
            table.keys.free_if_bare(slot);
        }
        Some(now_ms)
    }

    fn usage(&self) -> StateUsage {
        let mut usage = StateUsage::default();
        for table in &self.tables {
            usage.keys += table.keys.held();
            usage.bytes += table.keys.bytes();
            usage.bytes += table.states.iter().map(StateColumn::bytes).sum::<u64>();
        }
        usage
    }
}
