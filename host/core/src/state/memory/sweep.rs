//! The search for expired items.
//!
//! Owns when a round begins and where it stands: rounds go through all slots in slices, and through large maps within a slot, start
//! when the earliest known expiry is due, and at most once in [`SWEEP_PAUSE_MS`]. Knows nothing of how items expire.

use super::MemoryBackend;
use crate::state::{ExpiresAt, NEVER, SlotRef};

/// Between two searches for expired items. An expired item is never returned in the meantime; this
/// only bounds how often all slots are looked at.
const SWEEP_PAUSE_MS: i64 = 1000;

/// Where the search stands.
pub(super) struct Sweep {
    table: usize,
    slot: u32,
    /// Of the slot the next state: those before have been looked at to their end.
    state: usize,
    running: bool,
    /// No item expires before this.
    next_ms: ExpiresAt,
    /// Earliest expiry seen by the round at hand.
    seen_ms: ExpiresAt,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { table: 0, slot: 0, state: 0, running: false, next_ms: NEVER, seen_ms: NEVER }
    }
}

impl Sweep {
    /// Notes that an item expires then.
    #[inline]
    pub(super) fn note(&mut self, expires_at: ExpiresAt) {
        self.next_ms = self.next_ms.min(expires_at);
        self.seen_ms = self.seen_ms.min(expires_at);
    }

    /// Notes what another search knows of items to expire.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.note(other.next_ms);
    }

    fn next(&self) -> Option<i64> {
        (self.next_ms != NEVER).then_some(self.next_ms)
    }

    fn end_round(&mut self, now_ms: i64) {
        self.running = false;
        self.next_ms = match self.seen_ms {
            NEVER => NEVER,
            seen_ms => seen_ms.max(now_ms.saturating_add(SWEEP_PAUSE_MS)),
        };
    }
}

impl MemoryBackend {
    /// Looks at no more than `budget` slots, and at no more than one part of a map that is looked at in parts; answers when to come
    /// again.
    pub(super) fn sweep_expired(&mut self, now_ms: i64, budget: usize) -> Option<i64> {
        if !self.sweep.running {
            if self.sweep.next_ms > now_ms {
                return self.sweep.next();
            }
            self.sweep = Sweep { running: true, next_ms: now_ms, ..Sweep::default() };
        }
        for _ in 0..budget {
            let Some(table) = self.tables.get(self.sweep.table) else {
                self.sweep.end_round(now_ms);
                return self.sweep.next();
            };
            if self.sweep.slot as usize >= table.keys.slots() {
                (self.sweep.table, self.sweep.slot, self.sweep.state) =
                    (self.sweep.table + 1, 0, 0);
                continue;
            }
            let states = table.states.len();
            let slot = SlotRef { group: self.sweep.table as u32, slot: self.sweep.slot };
            while self.sweep.state < states {
                let mut is_done = true;
                self.change(self.sweep.state, slot, |column, at, context| {
                    let next = column.expire(at, now_ms, context);
                    is_done = next.is_some();
                    next.unwrap_or(NEVER)
                });
                if !is_done {
                    return Some(now_ms);
                }
                self.sweep.state += 1;
            }
            (self.sweep.slot, self.sweep.state) = (self.sweep.slot + 1, 0);
            self.free_if_bare(slot);
        }
        Some(now_ms)
    }
}
