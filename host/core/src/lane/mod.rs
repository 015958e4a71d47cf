//! A lane: one slice of the whole graph, making one step at a time.
//!
//! A lane shares nothing with others but the queues between them. It has no thread of its own here:
//! whoever drives it calls [`Lane::step`] until it finishes, and waits as the outcome says. The same
//! lane runs on an operating-system thread in the host and under a seeded scheduler in simulation.
//!
//! Invariants: a step never blocks; blocked is a node, never the lane; a node makes a step only when all
//! its outboxes have room, so that it holds at most one call's output beyond its bounds.

mod alignment;
mod barriers;
mod build;
mod node;
mod outbox;
mod queue;
mod schedule;
mod snapshot;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use alignment::BarrierMode;
pub use build::{LaneParts, LaneSettings, build_lanes, queue_count};
pub use queue::{Message, Queue, Wakers};
pub use schedule::{SOURCE_EVERY_STEPS, Schedule};
pub use task::{OperatorParts, TaskStart};

use crate::checkpoint::Barrier;
use crate::connector::ConnectorError;
use crate::counters::TaskCounters;
use crate::failure::Failure;
use crate::ids::{CheckpointId, LaneId, NodeId, Now};

use node::{NodeTask, Stepped};

/// While there is other work, a slice of a snapshot is encoded at most once in so many microseconds, so
/// that small calls are not each followed by a long slice.
const SLICE_EVERY_US: u64 = 400;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// Something was done by this node; step again.
    Progress(NodeId),
    /// Something was done for a checkpoint by this node while input may have been ready; step again.
    Snapshot(NodeId),
    /// Something was done for a checkpoint by this node because nothing else could be done; step again.
    SpareSnapshot(NodeId),
    /// Nothing can be done before the lane is woken or the time comes.
    Idle {
        /// When to step again even if nobody wakes the lane (the next expiry of state), in wall
        /// milliseconds since the Unix epoch.
        until_ms: Option<i64>,
    },
    /// All tasks of the lane have ended, and nothing can be done before the lane is woken: it still answers
    /// barriers.
    Finished,
}

/// Why a lane, and with it the job, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lane {lane}: {problem}")]
pub struct LaneFailure {
    /// The lane.
    pub lane: LaneId,
    /// The node at work.
    pub node: NodeId,
    /// What happened.
    pub problem: LaneProblem,
}

/// What happened to a lane.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaneProblem {
    /// A call of an operator failed.
    #[error(transparent)]
    Call(#[from] Failure),
    /// A source or sink failed.
    #[error(transparent)]
    Connector(#[from] ConnectorError),
}

/// One slice of the graph.
pub struct Lane {
    id: LaneId,
    nodes: Vec<NodeTask>,
    schedule: Schedule,
    linger_us: u64,
    opened: usize,
    /// When a slice of a snapshot was last begun, in monotonic microseconds.
    last_slice_us: u64,
    /// The last step was a slice: another would only add to the time that input waits.
    sliced_last: bool,
}

impl Lane {
    /// The lane's number.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The counters of the lane's tasks, by node.
    pub fn counters(&self) -> impl Iterator<Item = &Arc<TaskCounters>> {
        self.nodes.iter().map(NodeTask::counters)
    }

    /// Asks the sources to hand out no more: the job stops at its next checkpoint.
    pub fn stop_sources(&mut self) {
        self.nodes.iter_mut().for_each(NodeTask::stop_source);
    }

    /// The coordinator has triggered a checkpoint: sources send the barrier, and nodes that have ended
    /// answer it.
    ///
    /// # Errors
    /// The first failure of a node; the lane must not be stepped again.
    pub fn trigger(&mut self, barrier: Barrier, now: Now) -> Result<(), LaneFailure> {
        for index in 0..self.nodes.len() {
            let triggered = self.nodes[index].trigger(barrier, now);
            triggered.map_err(|problem| self.failure(index, problem))?;
        }
        Ok(())
    }

    /// A checkpoint is complete: what is held for it is let go.
    pub fn completed(&mut self, checkpoint: CheckpointId) {
        self.nodes.iter_mut().for_each(|node| node.completed(checkpoint));
    }

    /// The next snapshot of an operator is to be a base.
    pub fn rebase(&mut self, node: NodeId) {
        self.nodes.get_mut(node.0).into_iter().for_each(NodeTask::rebase);
    }

    /// A checkpoint was given up: what it took goes into the next.
    pub fn aborted(&mut self, checkpoint: CheckpointId) {
        self.nodes.iter_mut().for_each(|node| node.aborted(checkpoint));
    }

    /// Bytes in the lane's outboxes, for tests of the bounds.
    pub fn outbox_bytes(&self) -> usize {
        self.nodes.iter().map(NodeTask::outbox_bytes).sum()
    }

    /// Makes one step. The first ones open a task each: between them whoever drives the lane may do something else.
    ///
    /// # Errors
    /// The first failure of a node; the lane must not be stepped again.
    pub fn step(&mut self, now: Now) -> Result<StepOutcome, LaneFailure> {
        while let Some(node) = self.nodes.get_mut(self.opened) {
            let index = self.opened;
            self.opened += 1;
            if node.open(now).map_err(|problem| self.failure(index, problem))? {
                return Ok(StepOutcome::Progress(NodeId(index)));
            }
        }
        for index in 0..self.nodes.len() {
            self.nodes[index].tend_outboxes(now, self.linger_us);
            let collected = self.nodes[index].collect_prepared();
            if collected.map_err(|problem| self.failure(index, problem))? {
                return Ok(StepOutcome::Snapshot(NodeId(index)));
            }
        }
        let sliced_last = std::mem::take(&mut self.sliced_last);
        if !sliced_last
            && now.monotonic_us.saturating_sub(self.last_slice_us) >= SLICE_EVERY_US
            && let Some(node) = self.encode_slice(now)
        {
            return Ok(StepOutcome::Snapshot(node));
        }
        let nodes = &mut self.nodes;
        if let Some(index) = self.schedule.choose(|index| nodes[index].can_step()) {
            let stepped = self.nodes[index].step(now);
            let stepped = stepped.map_err(|problem| self.failure(index, problem))?;
            return Ok(match stepped {
                Stepped::Work => StepOutcome::Progress(NodeId(index)),
                Stepped::Barrier => {
                    // No input was processed by that.
                    self.sliced_last = sliced_last;
                    StepOutcome::Snapshot(NodeId(index))
                }
            });
        }
        Ok(self.rest(now))
    }

    /// What to do when no node can make a step.
    fn rest(&mut self, now: Now) -> StepOutcome {
        // Hand over what is held back for fuller batches, then look again.
        let mut handed_over = None;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.hand_over_all() {
                handed_over = Some(NodeId(index));
            }
        }
        if let Some(node) = handed_over {
            return StepOutcome::Progress(node);
        }
        if let Some(node) = self.encode_slice(now) {
            return StepOutcome::SpareSnapshot(node);
        }
        if self.nodes.iter().all(NodeTask::is_done) {
            return StepOutcome::Finished;
        }
        let next_ms = self.nodes.iter_mut().filter_map(|node| node.expire(now)).min();
        StepOutcome::Idle { until_ms: next_ms }
    }

    fn encode_slice(&mut self, now: Now) -> Option<NodeId> {
        let index = self.nodes.iter_mut().position(NodeTask::encode_slice)?;
        (self.last_slice_us, self.sliced_last) = (now.monotonic_us, true);
        Some(NodeId(index))
    }

    fn failure(&self, index: usize, problem: LaneProblem) -> LaneFailure {
        LaneFailure { lane: self.id, node: NodeId(index), problem }
    }
}
