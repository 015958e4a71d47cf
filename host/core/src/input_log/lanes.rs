//! What waits for one lane, and where batches lie in the log.
//!
//! Knows nothing of logs, nor of who forms batches. Invariant: replayed batches go before live ones, and live
//! ones only when nothing more will be replayed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::connector::Wake;
use crate::limits::KIB;

use super::body::Body;

/// A batch that is durable.
#[derive(Debug, PartialEq)]
pub struct LoggedBatch {
    /// The partition, by its place in the source's list.
    pub part: usize,
    /// Its number in its partition.
    pub seq: u64,
    /// Its place in the log.
    pub lsn: u64,
    /// What was logged.
    pub body: Body,
}

/// What a lane gets.
#[derive(Debug, PartialEq)]
pub enum Taken {
    /// The next batch.
    Batch(LoggedBatch),
    /// None now; the lane is woken when there is.
    Pending,
    /// There will never be one again.
    Ended,
}

/// What waits for one lane.
#[derive(Default)]
pub(super) struct LaneQueue {
    pub(super) replayed: VecDeque<LoggedBatch>,
    pub(super) live: VecDeque<LoggedBatch>,
    pub(super) waker: Option<Arc<dyn Wake>>,
}

/// A batch that was taken, and what its bytes counted as.
pub(super) enum Popped {
    Replayed(LoggedBatch),
    Live(LoggedBatch),
}

impl LaneQueue {
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    pub(super) fn put_live(&mut self, batch: LoggedBatch) {
        self.live.push_back(batch);
        if self.live.len() == 1 {
            self.wake();
        }
    }

    pub(super) fn put_replayed(&mut self, batch: LoggedBatch) {
        self.replayed.push_back(batch);
        if self.replayed.len() == 1 {
            self.wake();
        }
    }

    /// Takes the next batch if it is wanted.
    pub(super) fn pop_if(
        &mut self,
        is_replayed: bool,
        is_wanted: impl FnOnce(&LoggedBatch) -> bool,
    ) -> Option<Popped> {
        if let Some(next) = self.replayed.front() {
            return match is_wanted(next) {
                true => self.replayed.pop_front().map(Popped::Replayed),
                false => None,
            };
        }
        match self.live.front() {
            Some(next) if is_replayed && is_wanted(next) => self.live.pop_front().map(Popped::Live),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replayed.is_empty() && self.live.is_empty()
    }
}

/// A place is kept for so many batches, or so many bytes of them, in turn: batches may be of a few bytes each, and a log of very
/// many. Whoever reads from a place that is too early passes over what a checkpoint covers.
const BATCHES_A_PLACE: u64 = 64;
const BYTES_A_PLACE: usize = 64 * KIB;

/// Places in the log, of some batches in order.
#[derive(Debug, Default)]
struct Known {
    /// Numbers and places of the first batch and of some behind it.
    places: VecDeque<(u64, u64)>,
    /// The number of the last batch.
    newest: Option<u64>,
    /// Batches since the last place that is kept, and their bytes.
    since: (u64, usize),
}

impl Known {
    fn note(&mut self, seq: u64, lsn: u64, bytes: usize) {
        self.newest = Some(seq);
        let (batches, since_bytes) = (self.since.0 + 1, self.since.1.saturating_add(bytes));
        self.since = (batches, since_bytes);
        let is_far = batches >= BATCHES_A_PLACE || since_bytes >= BYTES_A_PLACE;
        if self.places.is_empty() || is_far {
            self.places.push_back((seq, lsn));
            self.since = (0, 0);
        }
    }

    /// The place of batch `seq` or of one before it; `None` when it comes later than all of these.
    fn of(&self, seq: u64) -> Option<u64> {
        if self.newest.is_none_or(|newest| newest < seq) {
            return None;
        }
        let after = self.places.partition_point(|(known, _)| *known <= seq);
        self.places.get(after.saturating_sub(1)).map(|(_, lsn)| *lsn)
    }

    fn forget_below(&mut self, seq: u64) {
        if self.newest.is_some_and(|newest| newest < seq) {
            *self = Self::default();
        }
        while self.places.get(1).is_some_and(|(second, _)| *second <= seq) {
            self.places.pop_front();
        }
    }
}

/// Where batches of one partition lie in the log, as far as no complete checkpoint covers them.
///
/// Live batches may settle while others are still replayed. Those come before, so the two are kept apart.
#[derive(Debug, Default)]
pub(super) struct Places {
    replayed: Known,
    /// All of them come later.
    live: Known,
    /// All before this place was replayed.
    replayed_upto_lsn: u64,
}

impl Places {
    /// Nothing is known but that all before `from_lsn` is not needed.
    pub(super) fn new(from_lsn: u64) -> Self {
        Self { replayed_upto_lsn: from_lsn, ..Self::default() }
    }

    /// A live batch of so many bytes is durable.
    pub(super) fn note(&mut self, seq: u64, lsn: u64, bytes: usize) {
        self.live.note(seq, lsn, bytes);
    }

    pub(super) fn note_replayed(&mut self, seq: u64, lsn: u64, bytes: usize) {
        self.replayed.note(seq, lsn, bytes);
        self.replayed_upto_lsn = lsn + 1;
    }

    /// The place of batch `seq`, or one before it; `None` when the log holds no such batch yet.
    pub(super) fn of(&self, seq: u64, is_replayed: bool) -> Option<u64> {
        self.replayed.of(seq).or_else(|| match is_replayed {
            true => self.live.of(seq),
            false => Some(self.replayed_upto_lsn),
        })
    }

    /// A complete checkpoint covers all before batch `seq`.
    pub(super) fn forget_below(&mut self, seq: u64) {
        self.replayed.forget_below(seq);
        self.live.forget_below(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(seq: u64) -> LoggedBatch {
        LoggedBatch { part: 0, seq, lsn: seq + 10, body: Body::default() }
    }

    #[test]
    fn live_batches_wait_for_the_end_of_the_replay() {
        let mut queue = LaneQueue::default();
        queue.put_live(batch(3));
        queue.put_replayed(batch(2));
        assert!(queue.pop_if(false, |_| false).is_none());
        assert!(matches!(queue.pop_if(false, |_| true), Some(Popped::Replayed(b)) if b.seq == 2));
        assert!(queue.pop_if(false, |_| true).is_none());
        assert!(matches!(queue.pop_if(true, |_| true), Some(Popped::Live(b)) if b.seq == 3));
        assert!(queue.is_empty());
    }

    #[test]
    fn a_place_is_exact_or_before() {
        let mut places = Places::new(5);
        assert_eq!(places.of(7, false), Some(5), "not replayed yet");
        places.note_replayed(7, 20, 1 << 20);
        places.note(8, 25, 1 << 20);
        assert_eq!((places.of(7, false), places.of(8, true)), (Some(20), Some(25)));
        assert_eq!((places.of(9, false), places.of(9, true)), (Some(21), None));
        places.forget_below(8);
        assert_eq!(places.of(8, true), Some(25));
    }

    #[test]
    fn few_places_are_kept_of_many_small_batches_and_each_of_large_ones() {
        let mut places = Places::new(0);
        (0..100_000).for_each(|seq| places.note(seq, 10 * seq, 80));
        assert!(places.live.places.len() <= 100_000 / 60);
        for seq in [0, 1, 63, 64, 65, 99_999] {
            let lsn = places.of(seq, true).unwrap();
            assert!(lsn <= 10 * seq && lsn + 10 * 64 > 10 * seq, "{seq} at {lsn}");
        }
        assert_eq!(places.of(100_000, true), None);
        places.forget_below(50_000);
        assert!(places.of(50_000, true).is_some_and(|lsn| lsn <= 500_000 && lsn > 499_000));
        assert!(places.live.places.len() <= 50_000 / 60);
        places.forget_below(100_000);
        assert_eq!((places.of(99_999, true), places.live.places.len()), (None, 0));
        (100_000..100_100).for_each(|seq| places.note(seq, 10 * seq, 1 << 20));
        assert_eq!((places.of(100_050, true), places.live.places.len()), (Some(1_000_500), 100));
    }

    #[test]
    fn a_live_batch_that_settles_during_the_replay_hides_no_place_of_a_replayed_one() {
        let mut places = Places::new(5);
        places.note(9, 30, 1 << 20);
        assert_eq!(places.of(7, false), Some(5), "not replayed yet");
        places.note_replayed(7, 20, 1 << 20);
        assert_eq!((places.of(7, false), places.of(8, false)), (Some(20), Some(21)));
        places.note_replayed(8, 22, 1 << 20);
        assert_eq!(
            (places.of(8, true), places.of(9, true), places.of(10, true)),
            (Some(22), Some(30), None)
        );
    }
}
