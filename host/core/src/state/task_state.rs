//! One task's keyed state as its calls see it: a backend under an overlay.
//!
//! Owns the checks on what a guest asks for (state ids, kinds, slots, sizes, quotas) and the life of a
//! call: `begin`, reads and writes, then `commit` or `abort`. Invariant 2 of the architecture rests on
//! it: between `begin` and `commit` nothing reaches the backend but the slots of new keys, and `abort`
//! frees those.

use std::sync::Arc;

use super::overlay::Overlay;
use super::{ExpiresAt, NEVER, Resolved, SlotRef, StateBackend, StateUsage};
use crate::batch::Dictionary;
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::{StateDescription, StateKind, TtlUpdate};
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::limits::{BATCH_BYTES_MAX, Limits, PAGE_BYTES_MAX};

/// Entries of one page of a map scan at most, whatever the guest asks for.
const PAGE_ENTRIES_MAX: usize = 65_536;
/// What one entry of the overlay costs beside its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;

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

/// Keyed state of one task, seen through the call at hand.
pub struct TaskState {
    backend: Box<dyn StateBackend>,
    states: Arc<[StateDescription]>,
    overlays: Vec<Overlay>,
    overlay_bytes: usize,
    /// Where the call's slots live; empty between calls.
    slots: Vec<SlotRef>,
    now_ms: i64,
    usage: StateUsage,
    limits: Arc<Limits>,
}

type Checked<T> = Result<T, GuestFault>;

fn fault<T>(code: FaultCode, message: String) -> Checked<T> {
    Err(GuestFault::new(code, message))
}

impl TaskState {
    /// State over a backend that was made for the same descriptions.
    pub fn new(
        backend: Box<dyn StateBackend>,
        states: Arc<[StateDescription]>,
        limits: Arc<Limits>,
    ) -> Self {
        let overlays = states.iter().map(|_| Overlay::default()).collect();
        let usage = backend.usage();
        let slots = Vec::new();
        Self { backend, states, overlays, overlay_bytes: 0, slots, now_ms: 0, usage, limits }
    }

    /// Begins a call on records with these keys: makes the keys distinct and finds their slots.
    ///
    /// # Errors
    /// As [`StateBackend::resolve`].
    pub fn begin(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        now_ms: i64,
    ) -> Result<Resolved, Failure> {
        let mut resolved = Resolved::default();
        let found = self.backend.resolve(dictionary, key_of, &mut resolved);
        self.slots.clone_from(&resolved.slots);
        self.now_ms = now_ms;
        self.usage = self.backend.usage();
        if let Err(failure) = found {
            self.abort();
            return Err(failure);
        }
        Ok(resolved)
    }

    /// Bytes of the value states of each slot of the call, to bound what the call reads.
    pub fn value_bytes(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().map(|slot| self.backend.value_bytes(*slot))
    }

    /// Ends the call: its writes take effect.
    pub fn commit(&mut self) {
        for state in 0..self.states.len() {
            let description = &self.states[state];
            let expires_at = expiry(description, self.now_ms);
            let layout = Layout::of(description.width);
            let backend = &mut *self.backend;
            self.overlays[state].apply(
                backend,
                state,
                layout,
                &self.slots,
                self.now_ms,
                expires_at,
            );
        }
        self.abort();
    }

    /// Ends the call: its writes are forgotten.
    pub fn abort(&mut self) {
        self.overlays.iter_mut().for_each(Overlay::clear);
        self.overlay_bytes = 0;
        self.backend.settle(&self.slots);
        self.slots.clear();
    }

    /// Removes expired items between calls; as [`StateBackend::expire`].
    pub fn expire(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        self.backend.expire(now_ms, budget)
    }

    /// How much is held.
    pub fn usage(&self) -> StateUsage {
        self.backend.usage()
    }

    /// Value state: the item of every slot of the call.
    ///
    /// # Errors
    /// A [`GuestFault`] when the state is unknown or of another kind.
    pub fn value_read(&mut self, state: u32) -> Checked<OptionalColumn> {
        let (index, layout) = self.check(state, StateKind::Value)?;
        let renews = self.renews_on_read(index);
        let overlay = &mut self.overlays[index];
        overlay.read_all |= renews;
        let mut out = OptionalColumn::default();
        self.backend.read_values(index, &self.slots, self.now_ms, &mut out);
        if overlay.values.is_empty() {
            return Ok(out);
        }
        let mut merged = OptionalColumn::default();
        for slot in 0..self.slots.len() {
            let newest = overlay.values.newest(layout, slot);
            merged.push(layout, slot, newest.unwrap_or_else(|| out.item(layout, slot)));
        }
        Ok(merged)
    }

    /// Value state: writes the given slots, each at most once.
    ///
    /// # Errors
    /// A [`GuestFault`] for a bad column or slot, or when a limit would be passed.
    pub fn value_write(
        &mut self,
        state: u32,
        slots: Vec<u32>,
        values: OptionalColumn,
    ) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::Value)?;
        values.validate(layout, slots.len(), "value-write")?;
        self.check_item(values.values.longest())?;
        self.charge(values.bytes() + slots.len() * size_of::<u32>())?;
        let slot_count = self.slots.len();
        self.overlays[index].values.write(layout, slots, values, slot_count).or_else(|slot| {
            let why = if slot as usize >= slot_count { "is out of range" } else { "occurs twice" };
            fault(
                FaultCode::BadSlot,
                format!("value-write: slot {slot} {why} ({slot_count} slots)"),
            )
        })
    }

    /// List state: appends `items[i]` to the list of `slots[i]`.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn list_append(&mut self, state: u32, slots: &[u32], items: &BytesColumn) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::List)?;
        let count = items.validate(layout, "list-append")?;
        if count != slots.len() {
            let message = format!("list-append: {count} items for {} slots", slots.len());
            return fault(FaultCode::BadColumn, message);
        }
        self.check_slots("list-append", slots)?;
        self.check_item(items.longest())?;
        self.charge(items.bytes() + slots.len() * ENTRY_OVERHEAD_BYTES)?;
        for (at, slot) in slots.iter().enumerate() {
            let writes = self.overlays[index].lists.entry(*slot).or_default();
            writes.items.push(items.item(layout, at));
        }
        Ok(())
    }

    /// List state: items of one slot from index `start` on, one page.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown state or slot.
    pub fn list_read(&mut self, state: u32, slot: u32, start: u64) -> Checked<BytesColumn> {
        let (index, layout) = self.check(state, StateKind::List)?;
        self.check_slots("list-read", &[slot])?;
        if self.renews_on_read(index) {
            self.overlays[index].read.push((slot, None));
        }
        let mut page = BytesColumn::default();
        let mut take = |item: &[u8]| {
            let fits = page.is_empty() || page.data.len() + item.len() <= PAGE_BYTES_MAX;
            if fits {
                page.push(item);
            }
            fits && page.len() < PAGE_ENTRIES_MAX
        };
        let at = self.slots[slot as usize];
        let writes = self.overlays[index].lists.get(&slot);
        let (mut skip, mut more) = (start, true);
        if !writes.is_some_and(|writes| writes.replaced) {
            self.backend.read_list(index, at, self.now_ms, start, &mut |item| {
                more = take(item);
                more
            });
            skip = start.saturating_sub(self.backend.list_len(index, at, self.now_ms));
        }
        if let (Some(writes), true) = (writes, more) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            writes.items.iter().skip(skip).all(take);
        }
        if let Layout::Fixed(_) = layout {
            page.ends.clear();
        }
        Ok(page)
    }

    /// List state: replaces the list of one slot; no items clear it.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn list_replace(&mut self, state: u32, slot: u32, mut items: BytesColumn) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::List)?;
        items.validate(layout, "list-replace")?;
        self.check_slots("list-replace", &[slot])?;
        self.check_item(items.longest())?;
        self.charge(items.bytes() + ENTRY_OVERHEAD_BYTES)?;
        if let Layout::Fixed(width) = layout {
            items.spread(width);
        }
        let writes = self.overlays[index].lists.entry(slot).or_default();
        writes.replaced = true;
        writes.items = items;
        Ok(())
    }

    /// Map state: entry `keys[i]` of `slots[i]`.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown state or slot, or when the answer passes the limit of one host
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
                let message = format!("map-read: over {} bytes", self.limits.host_call_bytes);
                return fault(FaultCode::HostCallLimit, message);
            }
            if renews {
                self.overlays[index].read.push((*slot, Some(key.into())));
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
        for (at, (slot, key)) in slots.iter().zip(keys.iter()).enumerate() {
            let writes = self.overlays[index].maps.entry(*slot).or_default();
            writes.entries.insert(key.into(), values.item(layout, at).map(Into::into));
        }
        Ok(())
    }

    /// Map state: entries with `start <= key < end` in ascending order, one page.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown state or slot.
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
        let none = super::overlay::MapWrites::default();
        let writes = self.overlays[index].maps.get(&slot).unwrap_or(&none);
        let from = (std::ops::Bound::Included(start), std::ops::Bound::Unbounded);
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
            let keys = page.keys.iter().map(|key| (slot, Some(key.into())));
            self.overlays[index].read.extend(keys);
        }
        if let Layout::Fixed(_) = layout {
            page.values.ends.clear();
        }
        Ok(page)
    }

    /// Map state: removes all entries of one slot.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown state or slot.
    pub fn map_clear(&mut self, state: u32, slot: u32) -> Checked<()> {
        let (index, _) = self.check(state, StateKind::Map)?;
        self.check_slots("map-clear", &[slot])?;
        let writes = self.overlays[index].maps.entry(slot).or_default();
        writes.cleared = true;
        writes.entries.clear();
        Ok(())
    }

    fn check(&self, state: u32, kind: StateKind) -> Checked<(usize, Layout)> {
        let Some(description) = self.states.get(state as usize) else {
            let message = format!("state {state} of {} described states", self.states.len());
            return fault(FaultCode::UnknownIndex, message);
        };
        if description.kind != kind {
            let message = format!(
                "state {:?} is a {} state, used as {}",
                description.name,
                description.kind.name(),
                kind.name()
            );
            return fault(FaultCode::WrongStateKind, message);
        }
        Ok((state as usize, Layout::of(description.width)))
    }

    fn check_slots(&self, what: &str, slots: &[u32]) -> Checked<()> {
        match slots.iter().find(|slot| **slot as usize >= self.slots.len()) {
            Some(slot) => {
                let message = format!("{what}: slot {slot} of {}", self.slots.len());
                fault(FaultCode::BadSlot, message)
            }
            None => Ok(()),
        }
    }

    fn check_keys(&self, what: &'static str, slots: &[u32], keys: &BytesColumn) -> Checked<()> {
        let count = keys.validate(Layout::Variable, what)?;
        if count != slots.len() {
            let message = format!("{what}: {count} keys for {} slots", slots.len());
            return fault(FaultCode::BadColumn, message);
        }
        self.check_item(keys.longest())?;
        self.check_slots(what, slots)
    }

    fn check_item(&self, longest: usize) -> Checked<()> {
        if longest > self.limits.value_bytes {
            let message =
                format!("a state item of {longest} bytes; at most {}", self.limits.value_bytes);
            return fault(FaultCode::ItemTooLarge, message);
        }
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Checked<()> {
        self.overlay_bytes += bytes;
        if self.overlay_bytes > self.limits.overlay_bytes {
            let message =
                format!("over {} bytes of state writes in one call", self.limits.overlay_bytes);
            return fault(FaultCode::OverlayLimit, message);
        }
        // One batch over the quota is let through, so that a task at its quota can still shrink.
        let allowed = self.limits.state_bytes.saturating_add(BATCH_BYTES_MAX as u64);
        if self.usage.bytes + self.overlay_bytes as u64 > allowed {
            let message = format!(
                "the task holds {} bytes of state; at most {} are allowed",
                self.usage.bytes, self.limits.state_bytes
            );
            return fault(FaultCode::StateQuota, message);
        }
        Ok(())
    }

    fn renews_on_read(&self, state: usize) -> bool {
        self.states[state].ttl.is_some_and(|ttl| ttl.update == TtlUpdate::OnReadAndWrite)
    }
}

fn expiry(description: &StateDescription, now_ms: i64) -> ExpiresAt {
    description.ttl.map_or(NEVER, |ttl| {
        now_ms.saturating_add(i64::try_from(ttl.milliseconds).unwrap_or(NEVER))
    })
}
