//! One task's keyed state as its calls see it: a backend under an overlay.
//!
//! Owns the checks on what a guest asks for (state ids, kinds, slots, sizes, quotas) and the life of a
//! call: `begin`, reads and writes, then `commit` or `abort`. Invariant 2 of the architecture rests on
//! it: between `begin` and `commit` nothing reaches the backend but the slots of new keys, and `abort`
//! frees those.

use std::sync::Arc;

use super::memory::ITEM_OVERHEAD_BYTES;
use super::overlay::Overlay;
use super::{EncodeBudget, ExpiresAt, NEVER, Resolved, SlotRef, StateBackend, StateUsage};
use crate::batch::Dictionary;
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::{StateDescription, StateKind, TtlUpdate};
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::limits::{BATCH_BYTES_MAX, KIB, Limits};
use crate::quota::{Holding, TenantUsage};

/// Entries of one page at most, whatever the guest asks for.
pub(super) const PAGE_ENTRIES_MAX: usize = 65_536;
/// What one entry of the overlay costs beside its bytes.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What a task may hold of its tenant's quota over or under what it uses.
const HELD_SLACK_BYTES: u64 = 64 * KIB as u64;

/// Keyed state of one task, seen through the call at hand.
pub struct TaskState {
    pub(super) backend: Box<dyn StateBackend>,
    states: Arc<[StateDescription]>,
    pub(super) overlays: Vec<Overlay>,
    overlay_bytes: usize,
    /// What holds writes in the overlay and adds nothing to the state, as far as is known.
    holder_bytes: usize,
    /// Where the call's slots live; empty between calls.
    pub(super) slots: Vec<SlotRef>,
    pub(super) now_ms: i64,
    usage: StateUsage,
    /// What the task holds of its tenant's quota: all that it held after the last call, and what the call at hand
    /// may add.
    held: Holding,
    pub(super) limits: Arc<Limits>,
    /// What is encoded of a snapshot at a time.
    pub(super) slice: EncodeBudget,
}

pub(super) type Checked<T> = Result<T, GuestFault>;

pub(super) fn fault<T>(code: FaultCode, message: String) -> Checked<T> {
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
        Self {
            backend,
            states,
            overlays,
            overlay_bytes: 0,
            holder_bytes: 0,
            slots: Vec::new(),
            now_ms: 0,
            usage,
            held: Holding::default(),
            limits,
            slice: EncodeBudget::default(),
        }
    }

    /// Counts the state against the quota of a tenant from here on. What is there already is counted, quota or not.
    pub fn share(&mut self, tenant: &TenantUsage) {
        self.held = Holding::of(&tenant.state_bytes);
        self.held.settle(self.usage.bytes);
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

    /// Bytes that reading the value states of all slots of the call takes, to bound what it reads at once.
    pub fn value_bytes(&self) -> usize {
        self.backend.value_bytes(&self.slots)
    }

    /// Ends the call: its writes take effect.
    pub fn commit(&mut self) {
        for state in 0..self.states.len() {
            let description = &self.states[state];
            let expires_at = expiry(description, self.now_ms);
            let backend = &mut *self.backend;
            self.overlays[state].apply(backend, state, &self.slots, self.now_ms, expires_at);
        }
        self.abort();
    }

    /// Ends the call: its writes are forgotten.
    pub fn abort(&mut self) {
        self.overlays.iter_mut().for_each(Overlay::clear);
        (self.overlay_bytes, self.holder_bytes) = (0, 0);
        self.backend.settle();
        self.slots.clear();
        // Shared with other lanes, so it is not touched for every few bytes.
        let bytes = self.backend.usage().bytes;
        if bytes.abs_diff(self.held.amount()) > HELD_SLACK_BYTES {
            self.held.settle(bytes);
        }
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
        let overhead = size_of::<u32>()
            + if layout == Layout::Variable { ITEM_OVERHEAD_BYTES as usize } else { 0 };
        self.charge(values.bytes() + slots.len() * overhead)?;
        let slot_count = self.slots.len();
        self.overlays[index].values.write(layout, slots, values, slot_count).or_else(|slot| {
            let why = if slot as usize >= slot_count { "is out of range" } else { "occurs twice" };
            fault(
                FaultCode::BadSlot,
                format!("value-write: slot {slot} {why} ({slot_count} slots)"),
            )
        })
    }

    pub(super) fn check(&self, state: u32, kind: StateKind) -> Checked<(usize, Layout)> {
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
        self.check_item(description.width.unwrap_or(0) as usize)?;
        Ok((state as usize, Layout::of(description.width)))
    }

    pub(super) fn check_slots(&self, what: &str, slots: &[u32]) -> Checked<()> {
        match slots.iter().find(|slot| **slot as usize >= self.slots.len()) {
            Some(slot) => {
                let message = format!("{what}: slot {slot} of {}", self.slots.len());
                fault(FaultCode::BadSlot, message)
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_keys(
        &self,
        what: &'static str,
        slots: &[u32],
        keys: &BytesColumn,
    ) -> Checked<()> {
        let count = keys.validate(Layout::Variable, what)?;
        if count != slots.len() {
            let message = format!("{what}: {count} keys for {} slots", slots.len());
            return fault(FaultCode::BadColumn, message);
        }
        self.check_item(keys.longest())?;
        self.check_slots(what, slots)
    }

    pub(super) fn check_item(&self, longest: usize) -> Checked<()> {
        if longest > self.limits.value_bytes {
            let message =
                format!("a state item of {longest} bytes; at most {}", self.limits.value_bytes);
            return fault(FaultCode::ItemTooLarge, message);
        }
        Ok(())
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Checked<()> {
        self.overlay_bytes += bytes;
        self.check_overlay()?;
        // One batch over the quota is let through, so that a task at its quota can still shrink.
        let allowed = self.limits.state_bytes.saturating_add(BATCH_BYTES_MAX as u64);
        if self.usage.bytes + self.overlay_bytes as u64 > allowed {
            let message = format!(
                "the task holds {} bytes of state, and the call has written {} more; at most {} are allowed",
                self.usage.bytes, self.overlay_bytes, self.limits.state_bytes
            );
            return fault(FaultCode::StateQuota, message);
        }
        self.charge_tenant()
    }

    /// As [`charge`](Self::charge), for what counts for the overlay alone: a task at its quota can still shrink.
    pub(super) fn charge_holders(&mut self, bytes: usize) -> Checked<()> {
        self.holder_bytes += bytes;
        self.check_overlay()
    }

    fn check_overlay(&self) -> Checked<()> {
        let held = self.overlay_bytes + self.holder_bytes;
        if held > self.limits.overlay_bytes {
            let limit = self.limits.overlay_bytes;
            let message =
                format!("{held} bytes of state writes in one call; at most {limit} are allowed");
            return fault(FaultCode::OverlayLimit, message);
        }
        Ok(())
    }

    /// Takes what the call adds from the tenant's quota. As with the task's own, one batch over it is let through.
    fn charge_tenant(&mut self) -> Checked<()> {
        let wanted = self.usage.bytes + self.overlay_bytes as u64;
        let Some(more) = wanted.checked_sub(self.held.amount()).filter(|more| *more > 0) else {
            return Ok(());
        };
        if self.held.grow(more + HELD_SLACK_BYTES) || self.held.grow(more) {
            return Ok(());
        }
        let allowance = self.held.allowance();
        let (used, limit) = (allowance.used(), allowance.limit());
        if used.saturating_add(more) <= limit.saturating_add(BATCH_BYTES_MAX as u64) {
            return Ok(());
        }
        let message = format!(
            "the tenant's jobs hold {used} bytes of state, and the call adds {more}; at most {limit} are allowed"
        );
        fault(FaultCode::TenantState, message)
    }

    pub(super) fn expires(&self, state: usize) -> bool {
        self.states[state].ttl.is_some()
    }

    pub(super) fn renews_on_read(&self, state: usize) -> bool {
        self.states[state].ttl.is_some_and(|ttl| ttl.update == TtlUpdate::OnReadAndWrite)
    }
}

fn expiry(description: &StateDescription, now_ms: i64) -> ExpiresAt {
    description.ttl.map_or(NEVER, |ttl| {
        now_ms.saturating_add(i64::try_from(ttl.milliseconds).unwrap_or(NEVER))
    })
}
