//! Putting the frozen items of a column into a snapshot, a slice at a time.
//!
//! Owns the encoder's way through a column: detached containers, then frozen slots in ascending order,
//! which is the order in which keys and items lie in memory. Knows nothing of other columns.

use prefetch_index::prefetch_index;

use super::budget::Budget;
use super::capture::Context;
use super::column::{Items, StateColumn};
use super::keys::KeyTable;
use super::marks::Tracker;
use super::parts::Parts;

/// Slots that are looked at before they are encoded.
const BATCH_SLOTS: usize = 64;
/// Words of the bitmap that are looked through for a batch; at the price of one entry when in vain.
const BATCH_WORDS: usize = 16;

/// The next slots to encode, ascending.
struct Batch {
    slots: [usize; BATCH_SLOTS],
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self { slots: [0; BATCH_SLOTS], count: 0 }
    }
}

impl Batch {
    fn slots(&self) -> &[usize] {
        &self.slots[..self.count]
    }
}

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
        // While a batch is encoded the memory fetches the next.
        let (mut batch, mut ahead) = (Batch::default(), Batch::default());
        let mut next = self.look_ahead(*from, bound, context, &mut batch);
        while *from < bound {
            let after = self.look_ahead(next, bound, context, &mut ahead);
            if batch.slots().is_empty() {
                budget.look();
            }
            for &slot in batch.slots() {
                *from = slot;
                if budget.is_spent() || !self.encode_slot(slot, context, budget, out) {
                    return false;
                }
                self.capture.set_encoded(slot);
            }
            *from = next;
            if budget.is_spent() {
                return false;
            }
            next = after;
            std::mem::swap(&mut batch, &mut ahead);
        }
        true
    }

    /// Makes `batch` the next slots to encode, and has the memory fetch what belongs to them; answers where to go on after
    /// them.
    #[inline]
    fn look_ahead(
        &self,
        from: usize,
        bound: usize,
        context: &Context<'_>,
        batch: &mut Batch,
    ) -> usize {
        let next = self.gather(from, bound, context.tracker, batch);
        self.fetch(batch.slots(), context.keys);
        next
    }

    /// Has the memory fetch the keys and values of slots. They lie far apart when few slots changed, or on the heap;
    /// asking for all of a batch first has it fetch them at once rather than one after the other.
    #[inline]
    fn fetch(&self, slots: &[usize], keys: &KeyTable) {
        for &slot in slots {
            keys.prefetch_entry(slot);
            self.prefetch(slot);
        }
        if let Items::Values(items) = &self.items {
            for slot in slots {
                if let Some(value) = items.get(*slot).and_then(Option::as_deref) {
                    prefetch_index(value, 0);
                }
            }
        }
    }

    /// Makes `batch` the next slots to encode; answers where to go on after them.
    #[inline]
    fn gather(&self, from: usize, bound: usize, tracker: &Tracker, batch: &mut Batch) -> usize {
        batch.count = 0;
        let last = (from / 64 + BATCH_WORDS).min(bound.div_ceil(64));
        // Those before are encoded, or in the batch that is encoded first.
        let mut wanted = u64::MAX << (from % 64);
        for word in from / 64..last {
            let held = if tracker.full { self.held(word) } else { 0 };
            let mut open = self.capture.open(word, tracker, held) & wanted;
            wanted = u64::MAX;
            while open != 0 {
                let slot = word * 64 + open.trailing_zeros() as usize;
                open &= open - 1;
                let Some(place) = batch.slots.get_mut(batch.count) else {
                    return slot;
                };
                *place = slot;
                batch.count += 1;
            }
        }
        last * 64
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
                budget.spend(key.len() + self.value_bytes(slot));
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
            budget.spend(key.len());
            true
        })
    }
}
