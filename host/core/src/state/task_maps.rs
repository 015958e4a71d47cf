//! Map states as calls see them: the committed map under what the call wrote.

use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::TaskState;
use super::memory::HOLDER_BYTES;
use super::overlay::MapWrites;
use super::task_state::{Checked, ENTRY_OVERHEAD_BYTES, PAGE_ENTRIES_MAX, fault};
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::StateKind;
use crate::failure::FaultCode;
use crate::limits::PAGE_BYTES_MAX;

/// A page of a map scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapPage {
    /// Keys of the entries, ascending.
    pub keys: BytesColumn,
    /// Values of the entries.
    pub values: BytesColumn,
    /// There are further entries before the end of the range.
    pub more: bool,
}

impl TaskState {
    /// Map state: entry `keys[i]` of `slots[i]`.
    ///
    /// # Errors
    /// A [`GuestFault`](crate::failure::GuestFault) for an unknown state or slot, or when the answer passes the limit of one host
    /// call.
    pub fn map_read(
        &mut self,
        state: u32,
        slots: &[u32],
        keys: &BytesColumn,
    ) -> Checked<OptionalColumn> {
        let (index, layout) = self.check(state, StateKind::Map)?;
        self.check_keys("map-read", slots, keys)?;
        let renews = self.renews_on_read(index);
        let mut out = OptionalColumn::default();
        for (at, (slot, key)) in slots.iter().zip(keys.iter()).enumerate() {
            let overlay = &self.overlays[index];
            let item = match overlay.maps.get(slot) {
                Some(writes) if writes.cleared || writes.entries.contains_key(key) => {
                    writes.entries.get(key).and_then(Option::as_deref)
                }
                _ => {
                    let slot = self.slots[*slot as usize];
                    self.backend.read_map(index, slot, key, self.now_ms)
                }
            };
            out.push(layout, at, item);
            if out.bytes() > self.limits.host_call_bytes {
                let message = format!(
                    "map-read: {} bytes of values; at most {} are allowed",
                    out.bytes(),
                    self.limits.host_call_bytes
                );
                return fault(FaultCode::HostCallLimit, message);
            }
            if renews && out.is_present(at) {
                self.charge(key.len() + ENTRY_OVERHEAD_BYTES)?;
                self.overlays[index].read_entries.push((*slot, key.into()));
            }
        }
        Ok(out)
    }

    /// Map state: writes entry `keys[i]` of `slots[i]`; an absent item removes it.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn map_write(
        &mut self,
        state: u32,
        slots: &[u32],
        keys: &BytesColumn,
        values: &OptionalColumn,
    ) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::Map)?;
        self.check_keys("map-write", slots, keys)?;
        values.validate(layout, slots.len(), "map-write")?;
        self.check_item(values.values.longest())?;
        self.charge(keys.bytes() + values.bytes() + slots.len() * ENTRY_OVERHEAD_BYTES)?;
        let maps = &mut self.overlays[index].maps;
        // Slots that are new to the overlay: by an entry, or by the removal of one.
        let (mut adding, mut removing) = (0, 0);
        for (at, (slot, key)) in slots.iter().zip(keys.iter()).enumerate() {
            let value = values.item(layout, at);
            let writes = match maps.entry(*slot) {
                Entry::Occupied(writes) => writes.into_mut(),
                Entry::Vacant(vacant) => {
                    *(if value.is_some() { &mut adding } else { &mut removing }) += 1;
                    vacant.insert(MapWrites::default())
                }
            };
            writes.entries.insert(key.into(), value.map(Into::into));
        }
        self.charge_holders(removing * HOLDER_BYTES as usize)?;
        self.charge(adding * HOLDER_BYTES as usize)
    }

    /// Map state: entries with `start <= key < end` in ascending order, one page.
    ///
    /// # Errors
    /// A [`GuestFault`](crate::failure::GuestFault) for an unknown state or slot.
    pub fn map_scan(
        &mut self,
        state: u32,
        slot: u32,
        start: Option<&[u8]>,
        end: Option<&[u8]>,
        limit: u32,
    ) -> Checked<MapPage> {
        let (index, layout) = self.check(state, StateKind::Map)?;
        self.check_slots("map-scan", &[slot])?;
        let start = start.unwrap_or_default();
        let mut page = MapPage::default();
        let limit = (limit as usize).min(PAGE_ENTRIES_MAX);
        let mut take = |key: &[u8], value: &[u8]| {
            if end.is_some_and(|end| key >= end) {
                return false;
            }
            let bytes = page.keys.data.len() + page.values.data.len() + key.len() + value.len();
            if page.keys.len() >= limit || (bytes > PAGE_BYTES_MAX && !page.keys.is_empty()) {
                page.more = true;
                return false;
            }
            page.keys.push(key);
            page.values.push(value);
            true
        };
        let at = self.slots[slot as usize];
        let none = MapWrites::default();
        let writes = self.overlays[index].maps.get(&slot).unwrap_or(&none);
        let from = (Bound::Included(start), Bound::Unbounded);
        let mut own = writes.entries.range::<[u8], _>(from).peekable();
        let mut open = true;
        if !writes.cleared {
            self.backend.scan_map(index, at, start, self.now_ms, &mut |key, value| {
                while let Some((own_key, own_value)) = own.next_if(|(own, _)| ***own < *key) {
                    open = open && own_value.as_ref().is_none_or(|value| take(own_key, value));
                }
                open = open
                    && match own.next_if(|(own, _)| ***own == *key) {
                        Some((_, own)) => own.as_ref().is_none_or(|value| take(key, value)),
                        None => take(key, value),
                    };
                open
            });
        }
        for (key, value) in own {
            open = open && value.as_ref().is_none_or(|value| take(key, value));
        }
        if self.renews_on_read(index) {
            self.charge(page.keys.data.len() + page.keys.len() * ENTRY_OVERHEAD_BYTES)?;
            let keys = page.keys.iter().map(|key| (slot, key.into()));
            self.overlays[index].read_entries.extend(keys);
        }
        if let Layout::Fixed(_) = layout {
            page.values.ends.clear();
        }
        Ok(page)
    }

    /// Map state: removes all entries of one slot.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn map_clear(&mut self, state: u32, slot: u32) -> Checked<()> {
        let (index, _) = self.check(state, StateKind::Map)?;
        self.check_slots("map-clear", &[slot])?;
        self.charge(ENTRY_OVERHEAD_BYTES)?;
        let writes = self.overlays[index].maps.entry(slot).or_default();
        writes.cleared = true;
        writes.entries.clear();
        Ok(())
    }
}
