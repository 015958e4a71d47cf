//! The items of one state in one key group, by dense slot.
//!
//! Owns the three shapes (value, list, map), their expiry and their size in bytes. Knows nothing of keys.
//! Invariant: `bytes` is the sum over what is held; an item whose expiry is not after `now` is never
//! returned.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::column::{BytesColumn, Layout};
use crate::describe::{StateDescription, StateKind};
use crate::limits::KIB;
use crate::state::{ExpiresAt, NEVER};

/// A list chunk takes no more items once it has this many bytes.
const CHUNK_BYTES: usize = 64 * KIB;
/// What a heap item costs beside its bytes: its pointer and the allocator's share.
const ITEM_OVERHEAD_BYTES: u64 = 32;
/// What a list or map costs beside its items: the holder, its first chunk or node.
const HOLDER_BYTES: u64 = 400;
/// Widest fixed-width value that lies in a dense column; a wider one lies on the heap, so that a slot
/// without it takes no room.
const DENSE_WIDTH_MAX: u32 = 64;

/// The items of one state in one key group.
pub(super) struct StateColumn {
    layout: Layout,
    items: Items,
    /// Expiry per slot, for value states with a time to live; empty otherwise.
    expires: Vec<ExpiresAt>,
    has_ttl: bool,
    bytes: u64,
}

enum Items {
    FixedValues { present: Vec<u64>, data: Vec<u8> },
    Values(Vec<Option<Box<[u8]>>>),
    Lists(Vec<Option<Box<List>>>),
    Maps(Vec<Option<Box<Map>>>),
}

/// A list: append-only chunks.
#[derive(Default)]
pub(super) struct List {
    chunks: VecDeque<Chunk>,
    bytes: u64,
}

struct Chunk {
    items: BytesColumn,
    /// Expiry per item; empty when no item of the chunk expires.
    expires: Vec<ExpiresAt>,
}

/// A map, ordered by key bytes.
#[derive(Default)]
pub(super) struct Map {
    entries: BTreeMap<Box<[u8]>, MapItem>,
    bytes: u64,
}

/// The value of a map entry and its expiry.
type MapItem = (Box<[u8]>, ExpiresAt);

impl StateColumn {
    pub(super) fn new(description: &StateDescription) -> Self {
        let layout = Layout::of(description.width);
        let items = match (description.kind, layout) {
            (StateKind::Value, Layout::Fixed(width)) if width <= DENSE_WIDTH_MAX => {
                Items::FixedValues { present: Vec::new(), data: Vec::new() }
            }
            (StateKind::Value, _) => Items::Values(Vec::new()),
            (StateKind::List, _) => Items::Lists(Vec::new()),
            (StateKind::Map, _) => Items::Maps(Vec::new()),
        };
        Self { layout, items, expires: Vec::new(), has_ttl: description.ttl.is_some(), bytes: 0 }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the dense part of the column takes for each slot, whether it holds something or not.
    pub(super) fn slot_bytes(&self) -> u64 {
        let dense = match &self.items {
            Items::FixedValues { .. } => fixed_width(self.layout) + 1,
            Items::Values(_) => size_of::<Option<Box<[u8]>>>(),
            Items::Lists(_) | Items::Maps(_) => size_of::<Option<Box<List>>>(),
        };
        (dense + if self.has_ttl { size_of::<ExpiresAt>() } else { 0 }) as u64
    }

    /// Makes room so that `slot` can be written. Reading needs no room: what was never written takes
    /// none.
    #[inline]
    fn reach(&mut self, slot: usize) {
        let slots = slot + 1;
        match &mut self.items {
            Items::FixedValues { present, data } => {
                let width = fixed_width(self.layout);
                if data.len() < slots * width {
                    data.resize(slots * width, 0);
                    present.resize(slots.div_ceil(64), 0);
                }
            }
            Items::Values(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Lists(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Maps(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Values(_) | Items::Lists(_) | Items::Maps(_) => {}
        }
        if self.has_ttl && self.expires.len() < slots {
            self.expires.resize(slots, NEVER);
        }
    }

    /// Whether the slot holds anything, expired or not.
    #[inline]
    pub(super) fn holds(&self, slot: usize) -> bool {
        match &self.items {
            Items::FixedValues { present, .. } => {
                present.get(slot / 64).is_some_and(|bits| bits & (1 << (slot % 64)) != 0)
            }
            Items::Values(items) => items.get(slot).is_some_and(Option::is_some),
            Items::Lists(items) => items.get(slot).is_some_and(Option::is_some),
            Items::Maps(items) => items.get(slot).is_some_and(Option::is_some),
        }
    }

    fn expiry(&self, slot: usize) -> ExpiresAt {
        self.expires.get(slot).copied().unwrap_or(NEVER)
    }

    /// Bytes of the value at `slot`; 0 for lists and maps, which are read in pages.
    pub(super) fn value_bytes(&self, slot: usize) -> usize {
        match &self.items {
            Items::FixedValues { .. } => fixed_width(self.layout),
            Items::Values(items) => {
                items.get(slot).and_then(Option::as_ref).map_or(0, |item| item.len())
            }
            Items::Lists(_) | Items::Maps(_) => 0,
        }
    }

    #[inline]
    pub(super) fn value(&self, slot: usize, now_ms: i64) -> Option<&[u8]> {
        if self.has_ttl && self.expiry(slot) <= now_ms {
            return None;
        }
        match &self.items {
            Items::FixedValues { data, .. } => {
                let width = fixed_width(self.layout);
                self.holds(slot).then(|| &data[slot * width..(slot + 1) * width])
            }
            Items::Values(items) => items.get(slot)?.as_deref(),
            Items::Lists(_) | Items::Maps(_) => unreachable!("the kind was checked"),
        }
    }

    #[inline]
    pub(super) fn write_value(&mut self, slot: usize, item: Option<&[u8]>, expires_at: ExpiresAt) {
        let Some(item) = item else {
            return self.clear(slot);
        };
        self.reach(slot);
        match &mut self.items {
            Items::FixedValues { present, data } => {
                let width = fixed_width(self.layout);
                present[slot / 64] |= 1 << (slot % 64);
                data[slot * width..(slot + 1) * width].copy_from_slice(item);
            }
            Items::Values(items) => {
                let old = items[slot].replace(item.into());
                self.bytes += item.len() as u64 + ITEM_OVERHEAD_BYTES;
                self.bytes -= old.map_or(0, |old| old.len() as u64 + ITEM_OVERHEAD_BYTES);
            }
            Items::Lists(_) | Items::Maps(_) => unreachable!("the kind was checked"),
        }
        if self.has_ttl {
            self.expires[slot] = expires_at;
        }
    }

    /// Removes all that the slot holds.
    pub(super) fn clear(&mut self, slot: usize) {
        if !self.holds(slot) {
            return;
        }
        let freed = match &mut self.items {
            Items::FixedValues { present, .. } => {
                present[slot / 64] &= !(1 << (slot % 64));
                0
            }
            Items::Values(items) => {
                items[slot].take().map_or(0, |item| item.len() as u64 + ITEM_OVERHEAD_BYTES)
            }
            Items::Lists(items) => items[slot].take().map_or(0, |list| list.bytes + HOLDER_BYTES),
            Items::Maps(items) => items[slot].take().map_or(0, |map| map.bytes + HOLDER_BYTES),
        };
        self.bytes -= freed;
    }

    pub(super) fn list(&self, slot: usize) -> Option<&List> {
        match &self.items {
            Items::Lists(items) => items.get(slot)?.as_deref(),
            _ => unreachable!("the kind was checked"),
        }
    }

    pub(super) fn append_list(&mut self, slot: usize, items: &BytesColumn, expires_at: ExpiresAt) {
        if items.is_empty() {
            return;
        }
        self.reach(slot);
        let Items::Lists(lists) = &mut self.items else { unreachable!("the kind was checked") };
        self.bytes += if lists[slot].is_none() { HOLDER_BYTES } else { 0 };
        let list = lists[slot].get_or_insert_default();
        let before = list.bytes;
        list.append(items, if self.has_ttl { expires_at } else { NEVER });
        self.bytes = self.bytes - before + list.bytes;
    }

    pub(super) fn map(&self, slot: usize) -> Option<&Map> {
        match &self.items {
            Items::Maps(items) => items.get(slot)?.as_deref(),
            _ => unreachable!("the kind was checked"),
        }
    }

    pub(super) fn write_map(
        &mut self,
        slot: usize,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: ExpiresAt,
    ) {
        if value.is_none() && !self.holds(slot) {
            return;
        }
        self.reach(slot);
        let expires_at = if self.has_ttl { expires_at } else { NEVER };
        let Items::Maps(maps) = &mut self.items else { unreachable!("the kind was checked") };
        self.bytes += if maps[slot].is_none() { HOLDER_BYTES } else { 0 };
        let map = maps[slot].get_or_insert_default();
        let before = map.bytes;
        map.write(key, value, expires_at);
        self.bytes = self.bytes - before + map.bytes;
        if map.entries.is_empty() {
            self.clear(slot);
        }
    }

    /// Gives all live items of the slot, or the live map entry `key`, a new expiry.
    pub(super) fn refresh(
        &mut self,
        slot: usize,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
    ) {
        let renew = |expires: &mut ExpiresAt| {
            if *expires > now_ms {
                *expires = expires_at;
            }
        };
        match (&mut self.items, key) {
            (Items::FixedValues { .. } | Items::Values(_), _) => {
                self.expires.get_mut(slot).into_iter().for_each(renew);
            }
            (Items::Lists(items), _) => {
                let chunks =
                    items.get_mut(slot).into_iter().flatten().flat_map(|list| &mut list.chunks);
                chunks.flat_map(|chunk| &mut chunk.expires).for_each(renew);
            }
            (Items::Maps(items), Some(key)) => {
                let map = items.get_mut(slot).and_then(Option::as_mut);
                if let Some(entry) = map.and_then(|map| map.entries.get_mut(key)) {
                    renew(&mut entry.1);
                }
            }
            (Items::Maps(_), None) => {}
        }
    }

    /// Removes what has expired at the slot; answers the earliest expiry of what is left.
    pub(super) fn expire(&mut self, slot: usize, now_ms: i64) -> ExpiresAt {
        if !self.has_ttl || !self.holds(slot) {
            return NEVER;
        }
        let next = match &mut self.items {
            Items::FixedValues { .. } | Items::Values(_) => self.expiry(slot),
            Items::Lists(items) => {
                let Some(list) = &mut items[slot] else {
                    return NEVER;
                };
                let before = list.bytes;
                let next = list.expire(now_ms);
                self.bytes = self.bytes - before + list.bytes;
                next
            }
            Items::Maps(items) => {
                let Some(map) = &mut items[slot] else {
                    return NEVER;
                };
                let before = map.bytes;
                let next = map.expire(now_ms);
                self.bytes = self.bytes - before + map.bytes;
                next
            }
        };
        if next <= now_ms {
            self.clear(slot);
            return NEVER;
        }
        next
    }
}

fn fixed_width(layout: Layout) -> usize {
    match layout {
        Layout::Fixed(width) => width as usize,
        Layout::Variable => 0,
    }
}

fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64 + 2 * ITEM_OVERHEAD_BYTES
}

impl List {
    fn append(&mut self, items: &BytesColumn, expires_at: ExpiresAt) {
        for item in items.iter() {
            let full = self.chunks.back().is_none_or(|chunk| {
                let fits = chunk.items.data.len() + item.len() <= CHUNK_BYTES;
                !fits || chunk.expires.is_empty() != (expires_at == NEVER)
            });
            if full {
                self.chunks.push_back(Chunk { items: BytesColumn::default(), expires: Vec::new() });
                self.bytes += ITEM_OVERHEAD_BYTES;
            }
            let Some(chunk) = self.chunks.back_mut() else {
                return;
            };
            chunk.items.push(item);
            self.bytes += (item.len() + size_of::<u32>()) as u64;
            if expires_at != NEVER {
                chunk.expires.push(expires_at);
                self.bytes += size_of::<ExpiresAt>() as u64;
            }
        }
    }

    pub(super) fn len(&self, now_ms: i64) -> u64 {
        let live = |chunk: &Chunk| match chunk.expires.len() {
            0 => chunk.items.len(),
            _ => chunk.expires.iter().filter(|expires| **expires > now_ms).count(),
        };
        self.chunks.iter().map(|chunk| live(chunk) as u64).sum()
    }

    pub(super) fn read(&self, now_ms: i64, start: u64, each: &mut dyn FnMut(&[u8]) -> bool) {
        let mut skip = start;
        for chunk in &self.chunks {
            let items = chunk.items.len();
            if chunk.expires.is_empty() && skip >= items as u64 {
                skip -= items as u64;
                continue;
            }
            for index in 0..items {
                if chunk.expires.get(index).is_some_and(|expires| *expires <= now_ms) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if !each(chunk.items.get(index)) {
                    return;
                }
            }
        }
    }

    /// Drops chunks of which every item has expired; answers the earliest expiry left, or `now_ms`
    /// when nothing is left.
    fn expire(&mut self, now_ms: i64) -> ExpiresAt {
        let bytes = &mut self.bytes;
        self.chunks.retain(|chunk| {
            let live = chunk.expires.is_empty() || chunk.expires.iter().any(|e| *e > now_ms);
            if !live {
                *bytes -= (chunk.items.bytes() + size_of_val(&*chunk.expires)) as u64;
                *bytes -= ITEM_OVERHEAD_BYTES;
            }
            live
        });
        if self.chunks.is_empty() {
            return now_ms;
        }
        let live = self.chunks.iter().flat_map(|chunk| &chunk.expires).filter(|e| **e > now_ms);
        live.copied().min().unwrap_or(NEVER)
    }
}

impl Map {
    fn write(&mut self, key: &[u8], value: Option<&[u8]>, expires_at: ExpiresAt) {
        let old = match value {
            Some(value) => {
                self.bytes += entry_bytes(key, value);
                self.entries.insert(key.into(), (value.into(), expires_at))
            }
            None => self.entries.remove(key),
        };
        self.bytes -= old.map_or(0, |(old, _)| entry_bytes(key, &old));
    }

    /// Drops expired entries; answers the earliest expiry left, or `now_ms` when nothing is left.
    fn expire(&mut self, now_ms: i64) -> ExpiresAt {
        let bytes = &mut self.bytes;
        self.entries.retain(|key, (value, expires)| {
            let live = *expires > now_ms;
            if !live {
                *bytes -= entry_bytes(key, value);
            }
            live
        });
        self.entries.values().map(|(_, expires)| *expires).min().unwrap_or(now_ms)
    }

    pub(super) fn get(&self, key: &[u8], now_ms: i64) -> Option<&[u8]> {
        self.entries.get(key).filter(|(_, expires)| *expires > now_ms).map(|(value, _)| &**value)
    }

    pub(super) fn scan(
        &self,
        start: &[u8],
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let range = self.entries.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        for (key, (value, expires)) in range {
            if *expires > now_ms && !each(key, value) {
                return;
            }
        }
    }
}
