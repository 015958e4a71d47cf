//! Changing the items of a column.
//!
//! Owns the order that a snapshot rests on: a slot that is about to change is marked, and what it holds is
//! encoded or detached first when the snapshot in flight still needs it; then it is changed. Knows nothing
//! of when a slot is freed.

use super::capture::{Container, Context};
use super::column::{Items, StateColumn, copy_dense, fixed_width};
use super::list::List;
use super::map::{Found, Map};
use super::{HOLDER_BYTES, ITEM_OVERHEAD_BYTES};
use crate::column::BytesColumn;
use crate::planted::{self, Bug};
use crate::snapshot::{Item, put_entry, put_short_value};
use crate::state::{ExpiresAt, NEVER};

impl StateColumn {
    /// Readies the value at `slot` for a change.
    #[inline]
    fn begin_value(&mut self, slot: usize, context: &Context<'_>) {
        let is_frozen = self.capture.begin_change(slot, context.tracker);
        if is_frozen && !planted::is(Bug::NoCopyBeforeWrite) {
            self.encode_value_ahead(slot, context);
        }
    }

    fn encode_value_ahead(&mut self, slot: usize, context: &Context<'_>) {
        let mut side = std::mem::take(&mut self.capture.side);
        self.put_value(slot, context, &mut side);
        self.capture.side = side;
        self.capture.set_encoded(slot);
    }

    /// Readies a list or map for a change. Answers whether it is frozen and not encoded.
    fn begin_container(&mut self, slot: usize, context: &Context<'_>) -> bool {
        let is_frozen = self.capture.begin_change(slot, context.tracker);
        if is_frozen && !self.holds(slot) {
            let mut side = std::mem::take(&mut self.capture.side);
            self.put_gone(slot, context, &mut side);
            self.capture.side = side;
            self.capture.set_encoded(slot);
            return false;
        }
        is_frozen
    }

    /// Puts a value in the place of another of the same width, where there is one that does not expire; answers
    /// whether it did.
    #[inline]
    pub(super) fn overwrite(&mut self, slot: usize, item: &[u8], context: &Context<'_>) -> bool {
        let is_dense = matches!(self.items, Items::FixedValues { .. });
        if !is_dense || self.has_ttl || !self.holds(slot) {
            return false;
        }
        self.begin_value(slot, context);
        if let Items::FixedValues { data, .. } = &mut self.items {
            let width = fixed_width(self.layout);
            copy_dense(&mut data[slot * width..(slot + 1) * width], item);
        }
        true
    }

    #[inline]
    pub(super) fn write_value(
        &mut self,
        slot: usize,
        item: Option<&[u8]>,
        expires_at: ExpiresAt,
        context: &Context<'_>,
    ) {
        let Some(item) = item else {
            return self.clear(slot, context);
        };
        self.begin_value(slot, context);
        self.set_value(slot, item, expires_at);
    }

    #[inline]
    fn set_value(&mut self, slot: usize, item: &[u8], expires_at: ExpiresAt) {
        self.reach(slot);
        match &mut self.items {
            Items::FixedValues { present, data } => {
                let width = fixed_width(self.layout);
                present[slot / 64] |= 1 << (slot % 64);
                copy_dense(&mut data[slot * width..(slot + 1) * width], item);
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
    pub(super) fn clear(&mut self, slot: usize, context: &Context<'_>) {
        if !self.holds(slot) {
            return;
        }
        let is_frozen = match &self.items {
            Items::FixedValues { .. } | Items::Values(_) => {
                self.begin_value(slot, context);
                false
            }
            Items::Lists(_) | Items::Maps(_) => self.begin_container(slot, context),
        };
        let mut detached = None;
        let freed = match &mut self.items {
            Items::FixedValues { present, .. } => {
                present[slot / 64] &= !(1 << (slot % 64));
                0
            }
            Items::Values(items) => {
                items[slot].take().map_or(0, |item| item.len() as u64 + ITEM_OVERHEAD_BYTES)
            }
            Items::Lists(items) => items[slot].take().map_or(0, |mut list| {
                let bytes = list.bytes() + HOLDER_BYTES;
                if is_frozen {
                    list.detach(context.tracker);
                    detached = Some(Container::List(list));
                }
                bytes
            }),
            Items::Maps(items) => items[slot].take().map_or(0, |mut map| {
                let bytes = map.bytes() + HOLDER_BYTES;
                if is_frozen {
                    map.detach(context.tracker);
                    detached = Some(Container::Map(map));
                }
                bytes
            }),
        };
        self.bytes -= freed;
        if let Some(container) = detached {
            self.capture.detach(slot, container);
            self.capture.set_encoded(slot);
        }
    }

    pub(super) fn append_list(
        &mut self,
        slot: usize,
        items: &BytesColumn,
        expires_at: ExpiresAt,
        context: &Context<'_>,
    ) {
        if items.is_empty() {
            return;
        }
        let is_frozen = self.begin_container(slot, context);
        self.reach(slot);
        let expires_at = if self.has_ttl { expires_at } else { NEVER };
        let Items::Lists(lists) = &mut self.items else { unreachable!("the kind was checked") };
        self.bytes += if lists[slot].is_none() { HOLDER_BYTES } else { 0 };
        let list = lists[slot].get_or_insert_with(|| Box::new(List::new(context.tracker)));
        let before = list.bytes();
        list.append(items, expires_at, context.tracker, is_frozen);
        self.bytes = self.bytes - before + list.bytes();
    }

    pub(super) fn write_map(
        &mut self,
        slot: usize,
        key: &[u8],
        value: Option<&[u8]>,
        expires_at: ExpiresAt,
        context: &Context<'_>,
    ) {
        if value.is_none() && !self.map(slot).is_some_and(|map| map.contains(key)) {
            return;
        }
        let is_frozen = self.begin_container(slot, context);
        self.reach(slot);
        let expires_at = if self.has_ttl { expires_at } else { NEVER };
        let Items::Maps(maps) = &mut self.items else { unreachable!("the kind was checked") };
        self.bytes += if maps[slot].is_none() { HOLDER_BYTES } else { 0 };
        let new = || Box::new(Map::new(context.keys.key(slot), context.tracker));
        let map = maps[slot].get_or_insert_with(new);
        let before = map.bytes();
        let frozen = is_frozen.then(|| (context.keys.key(slot), &mut self.capture.side));
        map.touch(key, context.tracker, frozen);
        map.write(key, value, expires_at);
        self.bytes = self.bytes - before + map.bytes();
        if map.is_empty() {
            self.clear(slot, context);
        }
    }

    /// Gives all live items of the slot, or the live map entry `key`, a new expiry.
    pub(super) fn refresh(
        &mut self,
        slot: usize,
        key: Option<&[u8]>,
        now_ms: i64,
        expires_at: ExpiresAt,
        context: &Context<'_>,
    ) {
        if !self.has_ttl || !self.holds(slot) {
            return;
        }
        match (&mut self.items, key) {
            (Items::FixedValues { .. } | Items::Values(_), _) => {
                let expires = self.expiry(slot);
                if expires > now_ms && expires != expires_at {
                    self.begin_value(slot, context);
                    self.expires[slot] = expires_at;
                }
            }
            (Items::Lists(items), _) => {
                let list = items[slot].as_deref_mut();
                let Some(list) = list.filter(|list| list.would_refresh(now_ms, expires_at)) else {
                    return;
                };
                let is_frozen = self.capture.begin_change(slot, context.tracker);
                let image = list.refresh(now_ms, expires_at, context.tracker, is_frozen);
                if let Some(image) = image {
                    self.capture.detach(slot, Container::List(image));
                    self.capture.set_encoded(slot);
                }
            }
            (Items::Maps(items), Some(key)) => {
                let map = items[slot].as_deref_mut();
                let Some(map) = map.filter(|map| map.would_refresh(key, now_ms, expires_at)) else {
                    return;
                };
                let is_frozen = self.capture.begin_change(slot, context.tracker);
                let frozen = is_frozen.then(|| (context.keys.key(slot), &mut self.capture.side));
                map.touch(key, context.tracker, frozen);
                map.refresh(key, expires_at);
            }
            (Items::Maps(_), None) => {}
        }
    }

    /// Removes what has expired at the slot; answers the earliest expiry of what is left, or `None` when only a part was looked at
    /// and the rest is for the next time.
    pub(super) fn expire(
        &mut self,
        slot: usize,
        now_ms: i64,
        context: &Context<'_>,
    ) -> Option<ExpiresAt> {
        if !self.has_ttl || !self.holds(slot) {
            return Some(NEVER);
        }
        match &self.items {
            Items::FixedValues { .. } | Items::Values(_) => {
                let expires = self.expiry(slot);
                if expires > now_ms {
                    return Some(expires);
                }
                self.clear(slot, context);
                Some(NEVER)
            }
            Items::Lists(_) => Some(self.expire_list(slot, now_ms, context)),
            Items::Maps(_) => self.expire_map(slot, now_ms, context),
        }
    }

    fn expire_list(&mut self, slot: usize, now_ms: i64, context: &Context<'_>) -> ExpiresAt {
        let Some((next, is_due)) = self.list(slot).map(|list| list.expiry(now_ms)) else {
            return NEVER;
        };
        if !is_due {
            return next;
        }
        let is_frozen = self.capture.begin_change(slot, context.tracker);
        let Items::Lists(items) = &mut self.items else { unreachable!("the kind was checked") };
        let Some(list) = &mut items[slot] else {
            return NEVER;
        };
        let before = list.bytes();
        let dropped = list.expire(now_ms, context.tracker, is_frozen);
        self.bytes = self.bytes - before + list.bytes();
        let is_empty = list.is_empty();
        if let Some(dropped) = dropped {
            self.capture.detach(slot, Container::List(dropped));
        }
        if is_empty {
            self.clear(slot, context);
        }
        next
    }

    fn expire_map(&mut self, slot: usize, now_ms: i64, context: &Context<'_>) -> Option<ExpiresAt> {
        let Items::Maps(maps) = &mut self.items else { unreachable!("the kind was checked") };
        let Some(Found { due, next }) = maps[slot].as_mut().map(|map| map.search_expired(now_ms))
        else {
            return Some(NEVER);
        };
        for key in &due {
            // Clears the slot with the last entry.
            self.write_map(slot, key, None, NEVER, context);
        }
        next
    }

    /// Appends the entry of the value at `slot`, or that there is none.
    #[inline]
    pub(super) fn put_value(
        &self,
        slot: usize,
        context: &Context<'_>,
        out: &mut super::parts::Parts,
    ) {
        if let Some((value, key)) = self.short_value(slot).zip(context.keys.short_key(slot)) {
            return put_short_value(out.next(), key, value);
        }
        // Every expiry is above the smallest time, so this is the value whether it has expired or not.
        let Some(bytes) = self.value(slot, i64::MIN) else {
            return self.put_gone(slot, context, out);
        };
        let key = context.keys.key(slot);
        let expires_at = if self.has_ttl { self.expiry(slot) } else { NEVER };
        put_entry(out.next(), key, Item::Value { bytes, expires_at });
    }

    /// Appends the entry that says that the slot holds nothing; a full snapshot needs none.
    pub(super) fn put_gone(
        &self,
        slot: usize,
        context: &Context<'_>,
        out: &mut super::parts::Parts,
    ) {
        if context.tracker.full || planted::is(Bug::TombstonesDropped) {
            return;
        }
        let key = context.keys.key(slot);
        let gone = match &self.items {
            Items::FixedValues { .. } | Items::Values(_) => Item::ValueGone,
            Items::Lists(_) => Item::ListHead { cleared: true, first: 0 },
            Items::Maps(_) => Item::MapCleared,
        };
        put_entry(out.next(), key, gone);
    }
}
