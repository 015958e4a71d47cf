//! What one node does for checkpoints: sends barriers on, has its task snapshotted, answers.
//!
//! Invariants: a barrier is in every outbox before anything that the node emits after its snapshot; a
//! barrier is taken once; a node that has ended answers the coordinator directly, because no barrier
//! will reach it any more.

use super::LaneProblem;
use super::alignment::Aligned;
use super::node::{NodePhase, NodeTask, NodeWork};
use super::queue::Message;
use crate::checkpoint::{AckContent, Barrier, TaskAck};
use crate::ids::{CheckpointId, Now};
use crate::planted::{self, Bug};

impl NodeTask {
    /// The coordinator has triggered a checkpoint.
    pub(super) fn trigger(&mut self, barrier: Barrier, now: Now) -> Result<(), LaneProblem> {
        if barrier.checkpoint > self.triggered.checkpoint {
            self.triggered = barrier;
        }
        if matches!(self.work, NodeWork::Source(_)) || self.phase == NodePhase::Done {
            return self.answer_if_triggered(now);
        }
        Ok(())
    }

    /// Takes the barrier that was triggered last, unless that is done.
    pub(super) fn answer_if_triggered(&mut self, _now: Now) -> Result<(), LaneProblem> {
        let is_taken = self.triggered.checkpoint <= self.alignment.taken;
        if is_taken && !planted::is(Bug::DuplicateBarrierTaken) {
            return Ok(());
        }
        self.alignment.taken = self.triggered.checkpoint;
        self.take_barrier(Aligned { barrier: self.triggered, took_us: 0 })
    }

    /// Takes the barrier that all live inboxes have delivered, if there is one.
    pub(super) fn take_barrier_if_aligned(&mut self, now: Now) -> Result<(), LaneProblem> {
        match self.alignment.complete(&self.inboxes, now.monotonic_us) {
            Some(aligned) => self.take_barrier(aligned),
            None => Ok(()),
        }
    }

    fn take_barrier(&mut self, aligned: Aligned) -> Result<(), LaneProblem> {
        let Aligned { barrier, took_us } = aligned;
        let is_late =
            planted::is(Bug::BarrierBehindNextBatch) && matches!(self.work, NodeWork::Source(_));
        if self.phase == NodePhase::Running && !is_late {
            // Nothing is emitted between this and the snapshot, so the order of the two does not matter;
            // first the barrier lets the tasks behind align earlier.
            self.outboxes_mut().for_each(|outbox| outbox.put_marker(Message::Barrier(barrier)));
        }
        let (id, listener) = (self.id, &*self.listener);
        match &mut self.work {
            NodeWork::Source(reader) => {
                let content = AckContent::Source { positions: reader.positions() };
                listener.acknowledge(TaskAck {
                    checkpoint: barrier.checkpoint,
                    node: id.node,
                    lane: id.lane,
                    alignment_us: took_us,
                    content,
                });
            }
            NodeWork::Operator(task, snapshots) => {
                let closed = self.phase == NodePhase::Done && !planted::is(Bug::CloseRunsTwice);
                snapshots.take(task, id, barrier, closed, took_us, listener)?;
            }
            NodeWork::Sink(writer, snapshots) => {
                snapshots.take(&mut **writer, barrier, took_us)?;
                snapshots.collect(&mut **writer, id, listener)?;
            }
        }
        Ok(())
    }

    /// Answers barriers whose output has become durable since. Answers whether there was one.
    pub(super) fn collect_prepared(&mut self) -> Result<bool, LaneProblem> {
        match &mut self.work {
            NodeWork::Sink(writer, snapshots) => {
                Ok(snapshots.collect(&mut **writer, self.id, &*self.listener)?)
            }
            NodeWork::Source(_) | NodeWork::Operator(..) => Ok(false),
        }
    }

    /// Encodes some of the snapshot at hand. Answers whether anything was done.
    pub(super) fn encode_slice(&mut self) -> bool {
        match &mut self.work {
            NodeWork::Operator(task, snapshots) => snapshots.encode_slice(task),
            NodeWork::Source(_) | NodeWork::Sink(..) => false,
        }
    }

    /// A checkpoint is complete.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) {
        match &mut self.work {
            NodeWork::Operator(task, snapshots) => snapshots.settle(task, checkpoint),
            NodeWork::Sink(_, snapshots) => snapshots.settle(checkpoint),
            NodeWork::Source(_) => {}
        }
    }

    /// The next snapshot is to be a base.
    pub(super) fn rebase(&mut self) {
        if let NodeWork::Operator(task, _) = &mut self.work
            && let Some(state) = task.frame.state_mut()
        {
            state.rebase();
        }
    }

    /// A checkpoint was given up.
    pub(super) fn aborted(&mut self, checkpoint: CheckpointId) {
        if let NodeWork::Operator(task, snapshots) = &mut self.work {
            snapshots.abort_up_to(task, checkpoint);
        }
        if let (NodeWork::Sink(_, snapshots), true) =
            (&mut self.work, planted::is(Bug::PreparedDroppedOnAbort))
        {
            snapshots.settle(checkpoint);
        }
    }
}
