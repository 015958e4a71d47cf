//! Barriers at one node: which inboxes have delivered one, which wait, and when it is complete.
//!
//! Owns the rule of alignment. Exactly once: an inbox that delivered a barrier is not read until all live
//! inboxes have. At least once: all go on being read, and the barrier counts when the last has delivered
//! it. An inbox that has ended counts as having delivered every barrier. Knows nothing of tasks.

use super::node::Inbox;
use crate::checkpoint::Barrier;
use crate::ids::CheckpointId;
use crate::planted::{self, Bug};

/// How barriers hold back input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierMode {
    /// Inboxes wait for each other.
    Aligned,
    /// Nobody waits: records behind a barrier may be counted before it, and again after a recovery.
    Unaligned,
}

/// The alignment of one node.
#[derive(Debug)]
pub(super) struct Alignment {
    mode: BarrierMode,
    /// The newest barrier that the node has taken.
    pub(super) taken: CheckpointId,
    /// The newest completed checkpoint that any barrier has told of.
    completed: CheckpointId,
    /// When the first barrier newer than `taken` came, in monotonic microseconds.
    began_us: Option<u64>,
}

/// A barrier that is complete at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Aligned {
    pub(super) barrier: Barrier,
    pub(super) took_us: u64,
}

impl Alignment {
    pub(super) fn new(mode: BarrierMode, taken: CheckpointId) -> Self {
        Self { mode, taken, completed: taken, began_us: None }
    }

    /// Whether an inbox must not be read now.
    pub(super) fn blocks(&self, inbox: &Inbox) -> bool {
        let is_aligned = self.mode == BarrierMode::Aligned;
        is_aligned && inbox.delivered > self.taken && !planted::is(Bug::AlignmentDoesNotBlock)
    }

    /// Notes that a barrier headed an inbox. One that was taken already, or twice the same, changes
    /// nothing.
    pub(super) fn deliver(&mut self, inbox: &mut Inbox, barrier: Barrier, now_us: u64) {
        if barrier.checkpoint > self.taken && barrier.checkpoint > inbox.delivered {
            inbox.delivered = barrier.checkpoint;
            self.completed = self.completed.max(barrier.completed);
            self.began_us.get_or_insert(now_us);
        }
    }

    /// The barrier that all live inboxes have delivered, if there is one that was not taken. When the last inbox
    /// has just ended, it is the newest that any had delivered: without alignment that one is still to be
    /// taken, before the node ends too, or the node would answer it as one that had ended before it.
    pub(super) fn complete(&mut self, inboxes: &[Inbox], now_us: u64) -> Option<Aligned> {
        let is_live = |inbox: &&Inbox| !inbox.ended || planted::is(Bug::EndedInputAwaited);
        let delivered = inboxes.iter().filter(is_live).map(|inbox| inbox.delivered);
        let checkpoint = match planted::is(Bug::FirstBarrierCompletes) {
            true => delivered.max()?,
            false => {
                let of_ended = || inboxes.iter().map(|inbox| inbox.delivered).max();
                delivered.min().or_else(of_ended)?
            }
        };
        if checkpoint <= self.taken {
            return None;
        }
        let began_us = self.began_us.take().unwrap_or(now_us);
        // Without alignment an inbox may be a barrier ahead already.
        if inboxes.iter().any(|inbox| !inbox.ended && inbox.delivered > checkpoint) {
            self.began_us = Some(now_us);
        }
        self.taken = checkpoint;
        let barrier = Barrier { checkpoint, completed: self.completed };
        Some(Aligned { barrier, took_us: now_us.saturating_sub(began_us) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::queue::Queue;
    use super::*;

    fn inboxes(count: usize) -> Vec<Inbox> {
        let inbox = |_| Inbox::new(Arc::new(Queue::new(1, None)), 0);
        (0..count).map(inbox).collect()
    }

    fn barrier(checkpoint: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId(checkpoint), completed: CheckpointId(0) }
    }

    fn taken(aligned: Option<Aligned>) -> Option<u64> {
        aligned.map(|aligned| aligned.barrier.checkpoint.0)
    }

    #[test]
    fn a_barrier_is_complete_when_the_last_live_inbox_has_delivered_it() {
        let mut alignment = Alignment::new(BarrierMode::Aligned, CheckpointId(0));
        let mut inboxes = inboxes(3);
        alignment.deliver(&mut inboxes[0], barrier(1), 5);
        assert!(alignment.blocks(&inboxes[0]) && !alignment.blocks(&inboxes[1]));
        assert_eq!(taken(alignment.complete(&inboxes, 6)), None);
        inboxes[1].ended = true;
        alignment.deliver(&mut inboxes[2], barrier(1), 8);
        let aligned = alignment.complete(&inboxes, 9).unwrap();
        assert_eq!((aligned.barrier.checkpoint.0, aligned.took_us), (1, 4));
        assert!(!alignment.blocks(&inboxes[0]));
    }

    #[test]
    fn a_barrier_that_comes_twice_counts_once() {
        let mut alignment = Alignment::new(BarrierMode::Aligned, CheckpointId(0));
        let mut inboxes = inboxes(2);
        alignment.deliver(&mut inboxes[0], barrier(1), 0);
        alignment.deliver(&mut inboxes[0], barrier(1), 0);
        assert_eq!(taken(alignment.complete(&inboxes, 0)), None);
        alignment.deliver(&mut inboxes[1], barrier(1), 0);
        assert_eq!(taken(alignment.complete(&inboxes, 0)), Some(1));
        alignment.deliver(&mut inboxes[1], barrier(1), 0);
        assert!(!alignment.blocks(&inboxes[1]));
        assert_eq!(taken(alignment.complete(&inboxes, 0)), None);
    }

    #[test]
    fn without_alignment_nothing_is_blocked_and_the_last_barrier_counts() {
        let mut alignment = Alignment::new(BarrierMode::Unaligned, CheckpointId(0));
        let mut inboxes = inboxes(2);
        alignment.deliver(&mut inboxes[0], barrier(1), 0);
        alignment.deliver(&mut inboxes[0], barrier(2), 0);
        assert!(!alignment.blocks(&inboxes[0]));
        alignment.deliver(&mut inboxes[1], barrier(1), 0);
        assert_eq!(taken(alignment.complete(&inboxes, 0)), Some(1));
        alignment.deliver(&mut inboxes[1], barrier(2), 0);
        assert_eq!(taken(alignment.complete(&inboxes, 0)), Some(2));
    }

    #[test]
    fn a_barrier_is_taken_before_the_end_even_if_the_inbox_that_delivered_it_ended_first() {
        let mut alignment = Alignment::new(BarrierMode::Unaligned, CheckpointId(0));
        let mut inboxes = inboxes(2);
        alignment.deliver(&mut inboxes[0], barrier(1), 0);
        inboxes[0].ended = true;
        assert_eq!(taken(alignment.complete(&inboxes, 0)), None);
        inboxes[1].ended = true;
        assert_eq!(taken(alignment.complete(&inboxes, 0)), Some(1));
        assert_eq!(taken(alignment.complete(&inboxes, 0)), None);
    }

    #[test]
    fn a_node_whose_inboxes_ended_without_a_barrier_takes_none_from_them() {
        let mut alignment = Alignment::new(BarrierMode::Aligned, CheckpointId(3));
        let mut inboxes = inboxes(2);
        inboxes.iter_mut().for_each(|inbox| inbox.ended = true);
        assert_eq!(taken(alignment.complete(&inboxes, 0)), None);
    }
}
