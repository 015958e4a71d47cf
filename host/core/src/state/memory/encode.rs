//! Putting the frozen items of a column into a snapshot, a slice at a time.
//!
//! Owns the encoder's way through a column: detached containers, then frozen slots in ascending order,
//! which is the order in which keys and items lie in memory. Knows nothing of other columns.

use super::budget::Budget;
use super::capture::Context;
use super::column::{Items, StateColumn};
use super::parts::Parts;

/// Words of the bitmap that are looked through at the price of one entry.
const WORDS_PER_ENTRY: usize = 16;

impl StateColumn {
    /// Encodes from slot `*from` on, as far as the budget goes, and moves `*from`; answers whether that is
    /// all.
    pub(super) fn encode(
        &mut self,
        from: &mut usize,
        context: &Context<'_>,
        budget: &mut Budget,
        out: &mut Parts,
    ) -> bool {
        self.capture.catch_up(context.tracker);
        if !self.capture.encode_detached(context.keys, budget, out) {
            return false;
        }
        let bound = match context.tracker.full {
            true => self.slots(),
            false => self.capture.bound(),
        };
        let start = *from / 64;
        for word in start..bound.div_ceil(64) {
            let held = if context.tracker.full { self.held(word) } else { 0 };
            let mut open = self.capture.open(word, context.tracker, held);
            while open != 0 {
                let slot = word * 64 + open.trailing_zeros() as usize;
                open &= open - 1;
                *from = slot;
                if budget.is_spent() || !self.encode_slot(slot, context, budget, out) {
                    return false;
                }
                self.capture.set_encoded(slot);
            }
            // Paying at the end of a run of words keeps an empty word at a nanosecond.
            if word % WORDS_PER_ENTRY == 0 {
                budget.spend(0);
                *from = (word + 1) * 64;
                if budget.is_spent() {
                    return false;
                }
            }
        }
        true
    }

    /// Encodes what a frozen slot holds; answers whether that is all of it.
    #[inline]
    fn encode_slot(
        &mut self,
        slot: usize,
        context: &Context<'_>,
        budget: &mut Budget,
        out: &mut Parts,
    ) -> bool {
        let key = context.keys.key(slot);
        let container_is_done = match &mut self.items {
            Items::FixedValues { .. } | Items::Values(_) => {
                self.put_value(slot, context, out);
                budget.spend(key.1.len() + self.value_bytes(slot));
                return true;
            }
            Items::Lists(lists) => lists
                .get_mut(slot)
                .and_then(Option::as_mut)
                .map(|list| list.encode_in_place(key, context.tracker, budget, out)),
            Items::Maps(maps) => maps
                .get_mut(slot)
                .and_then(Option::as_mut)
                .map(|map| map.encode_in_place(key, context.tracker, budget, out)),
        };
        container_is_done.unwrap_or_else(|| {
            self.put_gone(slot, context, out);
            budget.spend(key.1.len());
            true
        })
    }
}
