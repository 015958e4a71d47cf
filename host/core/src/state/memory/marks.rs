//! Which slots, list chunks and map entries changed since which freeze.
//!
//! Owns the numbering that makes a freeze O(1) whatever is held: nothing is visited when a snapshot is
//! frozen or settled. Every set of marks carries the number of freezes that had happened when it was
//! made, and is brought up to date when it is next looked at ([`Layers::catch_up`]). With `F` freezes so
//! far, `C` of them the newest whose snapshot was completed, marks made after freeze `n`
//!
//! - are void when `n < C`: a completed snapshot holds what they stand for;
//! - are frozen when `C <= n < F` and a snapshot is in flight: it has to hold them;
//! - are dirty otherwise. So an aborted snapshot gives its marks back by doing nothing.
//!
//! Knows nothing of items, keys or encodings. Invariant: a mark goes away only by a completed snapshot.

use crate::planted::{self, Bug};

/// How far tracking has come; the same for all marks of a backend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tracker {
    /// Changes are marked at all.
    pub(super) on: bool,
    /// Moves with every freeze and every settling, so that a set of marks knows whether it has seen it.
    epoch: u64,
    freezes: u64,
    completed: u64,
    /// A snapshot is frozen and not settled.
    pub(super) in_flight: bool,
    /// That snapshot holds everything, changed or not, and no tombstones.
    pub(super) full: bool,
}

impl Tracker {
    pub(super) fn turn_on(&mut self) {
        (self.on, self.epoch) = (true, self.epoch + 1);
    }

    pub(super) fn freeze(&mut self, full: bool) {
        (self.in_flight, self.full) = (true, full);
        self.freezes += 1;
        self.epoch += 1;
    }

    pub(super) fn settle(&mut self, completed: bool) {
        self.in_flight = false;
        self.epoch += 1;
        if completed {
            self.completed = self.freezes;
        }
    }

    /// The number that marks made now carry.
    pub(super) fn now(&self) -> u64 {
        self.freezes
    }

    /// Whether marks with this number stand for something that no completed snapshot holds.
    pub(super) fn is_live(&self, since: u64) -> bool {
        since >= self.completed
    }
}

/// A set of marks that can take in another.
pub(super) trait Marks: Default {
    /// Takes in all marks of `other`.
    fn merge(&mut self, other: Self);
}

/// Marks of before and after the newest freeze.
#[derive(Default)]
pub(super) struct Layers<M> {
    epoch: u64,
    /// Made since the newest freeze, and, when no snapshot is in flight, those that aborted ones left.
    pub(super) dirty: M,
    dirty_since: u64,
    /// Frozen; empty when no snapshot is in flight.
    pub(super) frozen: M,
    frozen_since: u64,
}

impl<M: Marks> Layers<M> {
    /// Brings the marks up to date; answers whether anything was frozen or settled since the last time.
    /// To be called before the marks or what they stand for are changed.
    #[inline]
    pub(super) fn catch_up(&mut self, tracker: &Tracker) -> bool {
        let is_late = self.epoch != tracker.epoch;
        if is_late {
            self.rotate(tracker);
        }
        is_late
    }

    fn rotate(&mut self, tracker: &Tracker) {
        if !tracker.is_live(self.frozen_since) {
            self.frozen = M::default();
        }
        if !tracker.is_live(self.dirty_since) {
            self.dirty = M::default();
        }
        if self.dirty_since < tracker.freezes {
            self.frozen.merge(std::mem::take(&mut self.dirty));
        }
        if !tracker.in_flight {
            let frozen = std::mem::take(&mut self.frozen);
            if !planted::is(Bug::FrozenNotMergedBack) {
                self.dirty.merge(frozen);
            }
        }
        self.dirty_since = tracker.freezes;
        self.frozen_since = tracker.freezes.saturating_sub(1);
        self.epoch = tracker.epoch;
    }

    /// Whether a live mark satisfies `is_marked`; the marks need not be up to date.
    pub(super) fn any(&self, tracker: &Tracker, is_marked: impl Fn(&M) -> bool) -> bool {
        (tracker.is_live(self.dirty_since) && is_marked(&self.dirty))
            || (tracker.is_live(self.frozen_since) && is_marked(&self.frozen))
    }
}

/// A set of slots, one bit each.
#[derive(Default)]
pub(super) struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    #[inline]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.word(slot / 64) & (1 << (slot % 64)) != 0
    }

    #[inline]
    pub(super) fn insert(&mut self, slot: usize) {
        let word = slot / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (slot % 64);
    }

    pub(super) fn remove(&mut self, slot: usize) {
        if let Some(word) = self.words.get_mut(slot / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    /// Bits of slots `64 * word` and on.
    #[inline]
    pub(super) fn word(&self, word: usize) -> u64 {
        self.words.get(word).copied().unwrap_or(0)
    }

    /// All slots of the set are below this.
    pub(super) fn bound(&self) -> usize {
        self.words.len() * 64
    }
}

impl SlotSet {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl Marks for SlotSet {
    fn merge(&mut self, other: Self) {
        let (mut wide, narrow) = match self.words.len() >= other.words.len() {
            true => (std::mem::take(&mut self.words), other.words),
            false => (other.words, std::mem::take(&mut self.words)),
        };
        wide.iter_mut().zip(&narrow).for_each(|(word, more)| *word |= more);
        self.words = wide;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(layer: &SlotSet) -> Vec<usize> {
        (0..layer.bound()).filter(|slot| layer.contains(*slot)).collect()
    }

    fn mark(layers: &mut Layers<SlotSet>, tracker: &Tracker, slot: usize) {
        layers.catch_up(tracker);
        layers.dirty.insert(slot);
    }

    #[test]
    fn marks_go_by_a_completed_snapshot_only() {
        let (mut tracker, mut layers) = (Tracker::default(), Layers::default());
        tracker.turn_on();
        mark(&mut layers, &tracker, 1);
        tracker.freeze(false);
        mark(&mut layers, &tracker, 200);
        assert_eq!((slots(&layers.frozen), slots(&layers.dirty)), (vec![1], vec![200]));
        tracker.settle(false);
        layers.catch_up(&tracker);
        assert_eq!((slots(&layers.frozen), slots(&layers.dirty)), (vec![], vec![1, 200]));
        tracker.freeze(false);
        layers.catch_up(&tracker);
        assert_eq!((slots(&layers.frozen), slots(&layers.dirty)), (vec![1, 200], vec![]));
        tracker.settle(true);
        assert!(!layers.any(&tracker, |marks| marks.contains(1)));
        layers.catch_up(&tracker);
        assert_eq!((slots(&layers.frozen), slots(&layers.dirty)), (vec![], vec![]));
    }

    #[test]
    fn marks_nobody_looked_at_through_aborts_are_all_frozen_by_the_next_freeze() {
        let (mut tracker, mut layers) = (Tracker::default(), Layers::default());
        tracker.turn_on();
        mark(&mut layers, &tracker, 1);
        tracker.freeze(false);
        mark(&mut layers, &tracker, 2);
        tracker.settle(false);
        tracker.freeze(false);
        tracker.settle(false);
        tracker.freeze(false);
        assert!(layers.any(&tracker, |marks| marks.contains(1)));
        layers.catch_up(&tracker);
        assert_eq!((slots(&layers.frozen), slots(&layers.dirty)), (vec![1, 2], vec![]));
    }

    #[test]
    fn marks_made_in_flight_outlive_the_snapshots_completion() {
        let (mut tracker, mut layers) = (Tracker::default(), Layers::default());
        tracker.turn_on();
        mark(&mut layers, &tracker, 1);
        tracker.freeze(false);
        mark(&mut layers, &tracker, 2);
        tracker.settle(true);
        assert!(layers.any(&tracker, |marks| marks.contains(2)));
        layers.catch_up(&tracker);
        assert_eq!(slots(&layers.dirty), [2]);
    }
}
