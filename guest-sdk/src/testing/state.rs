//! Keyed state of the host in memory.
//!
//! Every item, list item and map entry expires on its own. A cell that a call changes is copied
//! into the overlay of the call first, as a whole: slow, and plainly right.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::columns::{checked_items, checked_optional, limit_hit};
use super::model::Model;
use crate::bindings::exports::tidemill::operator::operator::{StateKind, TtlUpdate};
use crate::bindings::tidemill::operator::state::MapPage;
use crate::bindings::tidemill::operator::types::{BytesColumn, OptionalColumn};
use crate::column::{Column, push_present};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

const OVERLAY_BYTES_MAX: usize = 64 * 1024 * 1024;
const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// Where a cell lies: the state and the key.
pub(super) type Place = (u32, Vec<u8>);

/// What one state holds for one key. A value state is a list of at most one item.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Items(Vec<Item>),
    Map(BTreeMap<Vec<u8>, Item>),
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    bytes: Vec<u8>,
    expires_ms: Option<i64>,
}

impl Cell {
    fn drop_expired(&mut self, now_ms: i64) {
        let lives = |item: &Item| item.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms);
        match self {
            Self::Items(items) => items.retain(lives),
            Self::Map(entries) => entries.retain(|_, item| lives(item)),
        }
    }

    fn items(&mut self) -> &mut Vec<Item> {
        match self {
            Self::Items(items) => items,
            Self::Map(_) => unreachable!("the kind of the state was checked"),
        }
    }

    fn entries(&mut self) -> &mut BTreeMap<Vec<u8>, Item> {
        match self {
            Self::Map(entries) => entries,
            Self::Items(_) => unreachable!("the kind of the state was checked"),
        }
    }
}

impl Model {
    pub(super) fn value_read(&mut self, state: u32) -> OptionalColumn {
        let width = self.check(state, StateKind::Value);
        let mut present = Vec::new();
        let mut values = Column::new(width);
        for slot in 0..self.slots() {
            let item = self.touched(state, slot).items().first().cloned();
            push_present(&mut present, slot as usize, item.is_some());
            match item {
                Some(item) => values.push_bytes(&item.bytes),
                None => values.push_absent(),
            }
        }
        OptionalColumn { present, values: values.raw }
    }

    pub(super) fn value_write(&mut self, state: u32, slots: &[u32], values: &OptionalColumn) {
        let width = self.check(state, StateKind::Value);
        let mut seen = std::collections::HashSet::new();
        for (&slot, value) in slots.iter().zip(checked_optional(values, width, slots.len())) {
            assert!(seen.insert(slot), "trap: a slot is written twice");
            let items = value.map(|value| self.written(state, value)).into_iter().collect();
            *self.cell(state, slot).items() = items;
        }
    }

    pub(super) fn list_append(&mut self, state: u32, slots: &[u32], items: &BytesColumn) {
        let width = self.check(state, StateKind::List);
        for (&slot, item) in slots.iter().zip(checked_items(items, width, Some(slots.len()))) {
            let item = self.written(state, item);
            self.cell(state, slot).items().push(item);
        }
    }

    pub(super) fn list_read(&mut self, state: u32, slot: u32, start: u64) -> BytesColumn {
        let width = self.check(state, StateKind::List);
        let mut page = Column::new(width);
        for item in self.touched(state, slot).items().iter().skip(start as usize) {
            if page.bytes() + item.bytes.len() > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push_bytes(&item.bytes);
        }
        page.raw
    }

    pub(super) fn list_replace(&mut self, state: u32, slot: u32, items: &BytesColumn) {
        let width = self.check(state, StateKind::List);
        let items = checked_items(items, width, None);
        let items = items.into_iter().map(|item| self.written(state, item)).collect();
        *self.cell(state, slot).items() = items;
    }

    pub(super) fn map_read(
        &mut self,
        state: u32,
        slots: &[u32],
        keys: &BytesColumn,
    ) -> OptionalColumn {
        let width = self.check(state, StateKind::Map);
        let mut present = Vec::new();
        let mut values = Column::new(width);
        let keys = checked_items(keys, None, Some(slots.len()));
        for (index, (&slot, key)) in slots.iter().zip(keys).enumerate() {
            let renewed = self.renewed(state);
            let entry = self.cell(state, slot).entries().get_mut(&key);
            push_present(&mut present, index, entry.is_some());
            match entry {
                Some(item) => {
                    item.expires_ms = renewed.unwrap_or(item.expires_ms);
                    values.push_bytes(&item.bytes);
                }
                None => values.push_absent(),
            }
        }
        OptionalColumn { present, values: values.raw }
    }

    pub(super) fn map_write(
        &mut self,
        state: u32,
        slots: &[u32],
        keys: &BytesColumn,
        values: &OptionalColumn,
    ) {
        let width = self.check(state, StateKind::Map);
        let keys = checked_items(keys, None, Some(slots.len()));
        let values = checked_optional(values, width, slots.len());
        for ((&slot, key), value) in slots.iter().zip(keys).zip(values) {
            assert!(key.len() <= KEY_BYTES_MAX, "trap: a map key of more than 4 KiB");
            let item = value.map(|value| self.written(state, value));
            let entries = self.cell(state, slot).entries();
            match item {
                Some(item) => entries.insert(key, item),
                None => entries.remove(&key),
            };
        }
    }

    pub(super) fn map_scan(
        &mut self,
        state: u32,
        slot: u32,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
        limit: u32,
    ) -> MapPage {
        let width = self.check(state, StateKind::Map);
        let mut keys = Column::new(None);
        let mut values = Column::new(width);
        let start = start.unwrap_or_default();
        let mut more = false;
        if end.is_none_or(|end| start < end) {
            let range = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
            for (key, item) in self.touched(state, slot).entries().range::<[u8], _>(range) {
                let bytes = keys.bytes() + values.bytes() + key.len() + item.bytes.len();
                let full = keys.len() >= limit as usize || bytes > PAGE_BYTES_MAX;
                if full && !keys.is_empty() {
                    more = true;
                    break;
                }
                keys.push_bytes(key);
                values.push_bytes(&item.bytes);
            }
        }
        MapPage { keys: keys.raw, values: values.raw, more }
    }

    pub(super) fn map_clear(&mut self, state: u32, slot: u32) {
        self.check(state, StateKind::Map);
        self.cell(state, slot).entries().clear();
    }

    /// The items of a committed cell that have not expired.
    pub(super) fn committed_items(&self, state: u32, key: &[u8]) -> Vec<Vec<u8>> {
        let Some(cell) = self.state.get(&(state, key.to_vec())) else {
            return Vec::new();
        };
        let mut cell = cell.clone();
        cell.drop_expired(self.now_ms);
        cell.items().iter().map(|item| item.bytes.clone()).collect()
    }

    /// The entries of a committed cell that have not expired.
    pub(super) fn committed_entries(&self, state: u32, key: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let Some(cell) = self.state.get(&(state, key.to_vec())) else {
            return Vec::new();
        };
        let mut cell = cell.clone();
        cell.drop_expired(self.now_ms);
        cell.entries().iter().map(|(key, item)| (key.clone(), item.bytes.clone())).collect()
    }

    /// Puts items into a value or list state, as if they had been written now.
    pub(super) fn store_items(&mut self, state: u32, key: &[u8], items: Vec<Vec<u8>>) {
        let items = items.into_iter().map(|item| self.written(state, item)).collect();
        self.state.insert((state, key.to_vec()), Cell::Items(items));
    }

    /// Puts entries into a map state, as if they had been written now.
    pub(super) fn store_entries(
        &mut self,
        state: u32,
        key: &[u8],
        entries: Vec<(Vec<u8>, Vec<u8>)>,
    ) {
        let entries = entries.into_iter().map(|(key, item)| (key, self.written(state, item)));
        let entries = entries.collect();
        self.state.insert((state, key.to_vec()), Cell::Map(entries));
    }

    fn check(&self, state: u32, kind: StateKind) -> Option<u32> {
        assert!(self.call.keyed, "trap: state outside of `process` of a keyed input");
        let about = self.description.states.get(state as usize).expect("trap: no such state");
        assert_eq!(about.kind, kind, "trap: state `{}` is of another kind", about.name);
        about.width
    }

    /// A cell of the overlay, without what has expired.
    fn cell(&mut self, state: u32, slot: u32) -> &mut Cell {
        let place = (state, self.key(slot).clone());
        let kind = self.description.states[state as usize].kind;
        let committed = &self.state;
        let cell = self.call.overlay.entry(place).or_insert_with_key(|place| {
            committed.get(place).cloned().unwrap_or_else(|| match kind {
                StateKind::Value | StateKind::List => Cell::Items(Vec::new()),
                StateKind::Map => Cell::Map(BTreeMap::new()),
            })
        });
        cell.drop_expired(self.now_ms);
        cell
    }

    /// Like [`cell`](Self::cell), for a read: it renews the items where the state says so.
    fn touched(&mut self, state: u32, slot: u32) -> &mut Cell {
        let renewed = self.renewed(state);
        let cell = self.cell(state, slot);
        if let Some(expires_ms) = renewed {
            match cell {
                Cell::Items(items) => {
                    items.iter_mut().for_each(|item| item.expires_ms = expires_ms)
                }
                Cell::Map(entries) => {
                    entries.values_mut().for_each(|item| item.expires_ms = expires_ms);
                }
            }
        }
        cell
    }

    /// When an item that is read now expires, where reading changes that.
    fn renewed(&self, state: u32) -> Option<Option<i64>> {
        let ttl = self.description.states[state as usize].ttl.as_ref()?;
        match ttl.update {
            TtlUpdate::OnReadAndWrite => Some(self.expires_ms(state)),
            TtlUpdate::OnCreateAndWrite => None,
        }
    }

    fn expires_ms(&self, state: u32) -> Option<i64> {
        let ttl = self.description.states[state as usize].ttl.as_ref()?;
        Some(self.now_ms.saturating_add_unsigned(ttl.milliseconds))
    }

    fn written(&mut self, state: u32, bytes: Vec<u8>) -> Item {
        assert!(bytes.len() <= VALUE_BYTES_MAX, "trap: an item of more than 1 MiB");
        self.call.overlay_bytes += bytes.len();
        if self.call.overlay_bytes > OVERLAY_BYTES_MAX {
            limit_hit("the call writes more than 64 MiB");
        }
        Item { bytes, expires_ms: self.expires_ms(state) }
    }
}
