//! Putting items of a snapshot back.
//!
//! Owns the checks that a snapshot's item must pass to lie in a column: owner, kind, width, order of list
//! chunks. Items that are put back are marked nowhere: the snapshot that they come from holds them. Keys
//! are found by the stored hash; nothing is hashed again.

use super::column::{Items, StateColumn, fixed_width};
use super::map::Map;
use super::{HOLDER_BYTES, ITEM_OVERHEAD_BYTES, MemoryBackend, UNOWNED};
use crate::column::{BytesColumn, Layout};
use crate::key_group::key_group;
use crate::snapshot::Item;
use crate::state::{ExpiresAt, NEVER, RestoreError, SlotRef};

impl MemoryBackend {
    pub(super) fn restore_item(
        &mut self,
        state: usize,
        hash: u64,
        key: &[u8],
        item: Item<'_>,
    ) -> Result<(), RestoreError> {
        let key_group = key_group(hash, self.groups).0;
        let group = self.table_of[key_group as usize];
        if group == UNOWNED {
            return Err(RestoreError::NotOwned { key_group });
        }
        if group != self.restored {
            self.begin_table(group);
        }
        let table = &mut self.tables[group as usize];
        let before = table.keys.bytes();
        let slot = SlotRef { group, slot: table.keys.restore(hash, key) };
        self.usage.bytes = self.usage.bytes - before + table.keys.bytes();
        let mut outcome = Ok(());
        self.change(state, slot, |column, at, _| match column.restore(at, key, item) {
            Ok(expires_at) => expires_at,
            Err(error) => {
                outcome = Err(error);
                NEVER
            }
        });
        outcome
    }

    /// Takes over all of another backend for the same states, which owns other key groups. Both were only
    /// restored so far: neither has seen a call or a snapshot.
    pub fn absorb(&mut self, mut other: Self) {
        self.end_restore();
        other.end_restore();
        self.usage.keys += other.usage.keys;
        self.usage.bytes += other.usage.bytes;
        self.sweep.absorb(&other.sweep);
        self.tables.append(&mut other.tables);
        self.tables.sort_unstable_by_key(|table| table.group);
        for (index, table) in self.tables.iter().enumerate() {
            self.table_of[table.group.0 as usize] = index as u32;
        }
    }

    /// Ends the restore under way, if any: from here on keys are found.
    pub(super) fn end_restore(&mut self) {
        if let Some(table) = self.tables.get_mut(self.restored as usize) {
            table.keys.index_rest();
        }
        self.restored = UNOWNED;
    }

    /// Makes room for the items of the key group `group`. Keys are spread evenly over key groups, so those of
    /// the one before say how much: growing step by step would move everything several times.
    fn begin_table(&mut self, group: u32) {
        let before = self.restored;
        self.end_restore();
        self.restored = group;
        let slots_of = |column: &StateColumn| column.slots();
        let Some((keys, columns)) = self.tables.get(before as usize).map(|table| {
            (table.keys.slots(), table.states.iter().map(slots_of).collect::<Vec<_>>())
        }) else {
            return;
        };
        let table = &mut self.tables[group as usize];
        let with_room = |slots: usize| slots + slots / 16;
        table.keys.reserve(with_room(keys));
        for (column, slots) in table.states.iter_mut().zip(columns) {
            column.reserve(with_room(slots));
        }
    }
}

impl StateColumn {
    /// Puts an item at `slot`; answers when it expires.
    fn restore(
        &mut self,
        slot: usize,
        owner: &[u8],
        item: Item<'_>,
    ) -> Result<ExpiresAt, RestoreError> {
        self.reach(slot);
        let lives = |expires_at| if self.has_ttl { expires_at } else { NEVER };
        let bytes_before = self.bytes;
        match (&mut self.items, item) {
            (Items::FixedValues { present, data }, Item::Value { bytes, expires_at }) => {
                check_width(self.layout, bytes)?;
                let width = fixed_width(self.layout);
                present[slot / 64] |= 1 << (slot % 64);
                data[slot * width..(slot + 1) * width].copy_from_slice(bytes);
                let expires_at = lives(expires_at);
                self.expires.get_mut(slot).into_iter().for_each(|expires| *expires = expires_at);
                Ok(expires_at)
            }
            (Items::Values(items), Item::Value { bytes, expires_at }) => {
                check_width(self.layout, bytes)?;
                let expires_at = lives(expires_at);
                let old = items[slot].replace(bytes.into());
                self.bytes += bytes.len() as u64 + ITEM_OVERHEAD_BYTES;
                self.bytes -= old.map_or(0, |old| old.len() as u64 + ITEM_OVERHEAD_BYTES);
                self.expires.get_mut(slot).into_iter().for_each(|expires| *expires = expires_at);
                Ok(expires_at)
            }
            (Items::Maps(maps), Item::MapEntry { key, bytes, expires_at }) => {
                check_width(self.layout, bytes)?;
                let expires_at = lives(expires_at);
                let is_new = maps[slot].is_none();
                let map = maps[slot].get_or_insert_with(|| Box::new(Map::of(owner)));
                let before = if is_new { 0 } else { map.bytes() + HOLDER_BYTES };
                map.restore(key, bytes, expires_at);
                self.bytes = bytes_before - before + map.bytes() + HOLDER_BYTES;
                Ok(expires_at)
            }
            (Items::Lists(lists), Item::ListChunk { number, chunk }) => {
                let (items, mut expires) = chunk.decode();
                check_widths(self.layout, &items)?;
                if !self.has_ttl {
                    expires.clear();
                }
                let next = expires.iter().copied().min().unwrap_or(NEVER);
                let is_new = lists[slot].is_none();
                let list = lists[slot].get_or_insert_default();
                let before = if is_new { 0 } else { list.bytes() + HOLDER_BYTES };
                let is_in_order = list.restore(number, items, expires);
                self.bytes = bytes_before - before + list.bytes() + HOLDER_BYTES;
                if is_in_order { Ok(next) } else { Err(RestoreError::ChunkOrder { number }) }
            }
            _ => Err(RestoreError::Kind),
        }
    }
}

fn check_width(layout: Layout, item: &[u8]) -> Result<(), RestoreError> {
    match layout {
        Layout::Fixed(width) if item.len() != width as usize => {
            Err(RestoreError::Width { expected: width, found: item.len() })
        }
        _ => Ok(()),
    }
}

fn check_widths(layout: Layout, items: &BytesColumn) -> Result<(), RestoreError> {
    items.iter().try_for_each(|item| check_width(layout, item))
}
