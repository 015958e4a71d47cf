//! What a snapshot in flight still has to take from a column, and what it took ahead of the encoder.
//!
//! Owns, for one state of one key group, the marks of changed slots, which frozen slots are encoded, the
//! entries that were encoded because a write was about to change them, and the containers that were taken
//! out of their slots by pointer. Knows nothing of how items lie in the column.
//!
//! Invariant: of every frozen slot, the snapshot gets exactly what it held at the freeze, once.

use super::budget::Budget;
use super::keys::KeyTable;
use super::list::List;
use super::map::Map;
use super::marks::{Layers, SlotSet, Tracker};
use super::parts::Parts;
use crate::snapshot::Buffers;

/// What a change needs to know beside the column.
pub(super) struct Context<'a> {
    pub(super) tracker: &'a Tracker,
    pub(super) keys: &'a KeyTable,
}

/// A container that a clear, an expiry or a refresh took out of its slot before it was encoded.
struct Detached {
    slot: usize,
    container: Container,
}

pub(super) enum Container {
    List(Box<List>),
    Map(Box<Map>),
    /// A map that is encoded and only has to be dropped, entry by entry.
    Spent(Box<Map>),
}

pub(super) struct Capture {
    marks: Layers<SlotSet>,
    /// Of the frozen slots, those that are encoded or detached.
    encoded: SlotSet,
    /// Entries encoded ahead of the encoder.
    pub(super) side: Parts,
    detached: Vec<Detached>,
}

impl Capture {
    pub(super) fn new(buffers: &Buffers) -> Self {
        Self {
            marks: Layers::default(),
            encoded: SlotSet::default(),
            side: Parts::growing(buffers),
            detached: Vec::new(),
        }
    }

    /// Brings the marks up to date.
    #[inline]
    pub(super) fn catch_up(&mut self, tracker: &Tracker) {
        if self.marks.catch_up(tracker) {
            self.encoded.clear();
            self.side.expect(self.frozen());
        }
    }

    /// Marks a slot that is about to change. Answers whether it is frozen and not encoded: what it holds
    /// must be encoded or detached first.
    #[inline]
    pub(super) fn begin_change(&mut self, slot: usize, tracker: &Tracker) -> bool {
        if !tracker.on {
            return false;
        }
        self.catch_up(tracker);
        self.marks.dirty.insert(slot);
        tracker.in_flight
            && (tracker.full || self.marks.frozen.contains(slot))
            && !self.encoded.contains(slot)
    }

    /// The slot's frozen items are in the snapshot, or will be without the slot.
    #[inline]
    pub(super) fn set_encoded(&mut self, slot: usize) {
        self.encoded.insert(slot);
    }

    /// Takes a container whose slot goes on without it.
    pub(super) fn detach(&mut self, slot: usize, container: Container) {
        self.detached.push(Detached { slot, container });
    }

    /// Whether the slot carries a mark, so that it must keep its key.
    pub(super) fn is_marked(&self, slot: usize, tracker: &Tracker) -> bool {
        self.marks.any(tracker, |marks| marks.contains(slot))
    }

    /// Frozen slots of `64 * word` and on that are not encoded; `held` are those that hold something.
    #[inline]
    pub(super) fn open(&self, word: usize, tracker: &Tracker, held: u64) -> u64 {
        let frozen = if tracker.full { held } else { self.marks.frozen.word(word) };
        frozen & !self.encoded.word(word)
    }

    /// Frozen slots of a snapshot that is not full, encoded or not.
    pub(super) fn frozen(&self) -> usize {
        self.marks.frozen.len()
    }

    /// All frozen slots of a snapshot that is not full are below this.
    pub(super) fn bound(&self) -> usize {
        self.marks.frozen.bound()
    }

    /// Encodes detached containers as far as the budget goes; answers whether none is left.
    pub(super) fn encode_detached(
        &mut self,
        keys: &KeyTable,
        budget: &mut Budget,
        out: &mut Parts,
    ) -> bool {
        while let Some(Detached { slot, mut container }) = self.detached.pop() {
            if budget.is_spent() {
                self.detach(slot, container);
                return false;
            }
            let key = keys.key(slot);
            let is_done = match &mut container {
                Container::List(list) => list.encode(key, budget, out),
                Container::Map(map) => map.encode(key, budget, out),
                Container::Spent(map) => map.take_apart(budget),
            };
            match container {
                Container::Map(map) if is_done => self.detach(slot, Container::Spent(map)),
                container if !is_done => self.detach(slot, container),
                _ => {}
            }
        }
        true
    }

    /// Drops what is left of a snapshot that is settled.
    pub(super) fn end_snapshot(&mut self) {
        self.side.forget();
        self.detached = Vec::new();
    }
}
