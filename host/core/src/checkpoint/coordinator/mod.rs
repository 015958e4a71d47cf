//! The checkpoint coordinator of a job, as a pure state machine.
//!
//! Facts and the time go in, actions come out; whoever drives it performs them in order and reports what
//! came of them. Owns when a checkpoint is triggered, when it is complete or given up, and the order of
//! everything behind it:
//!
//! > all tasks acknowledged (their files durable) -> manifest durable -> every sink commits, fully ->
//! > durable mark `committed` -> event -> WAL trimmed, old checkpoints dropped
//!
//! Invariants: one checkpoint is in flight at a time, and it is in flight until its mark is durable, so the
//! commit of one ends before the manifest of the next is written; numbers strictly increase; an answer to
//! another checkpoint than the one that is gathering changes nothing; giving up undoes nothing.

mod gathering;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::manifest::MANIFEST_BYTES_MAX;
use super::{Barrier, TaskAck};
use crate::ids::{CheckpointId, LaneId, NodeId};
use crate::planted::{self, Bug};
pub use gathering::Gathered;
use gathering::Gathering;

/// A checkpoint that took long, perhaps because it was given up, keeps the next one waiting no longer than this or its interval.
const REST_MS_MAX: u64 = 10_000;
/// Bytes that operators may hand over of their own memory for one checkpoint, all tasks together: they lie in the manifest.
const SAVED_BYTES_MAX: usize = (MANIFEST_BYTES_MAX / 4 * 3) as usize;

/// Settings of a coordinator. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorSettings {
    /// From one trigger to the next.
    pub interval_ms: u64,
    /// From the end of one checkpoint to the next trigger, at least.
    pub min_pause_ms: u64,
    /// A checkpoint that takes longer is given up.
    pub timeout_ms: u64,
    /// Checkpoints that may fail one after the other before the job does.
    pub tolerable_failures: u32,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Time for another.
    Periodic,
    /// Room is wanted in the WAL.
    Pressure,
    /// A person wants a savepoint of it.
    Savepoint,
    /// The job stops, and goes on later.
    Stop,
    /// All input has ended.
    End,
}

/// What the coordinator learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A task has answered a barrier.
    Acknowledged(TaskAck),
    /// A task could not be snapshotted.
    Declined {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// All tasks of a lane have ended.
    LaneEnded(LaneId),
    /// Something new was processed since the last time this was said.
    Active,
    /// Room is wanted in the WAL.
    WalPressure,
    /// A person wants a savepoint.
    SavepointWanted,
    /// The job is to stop at a checkpoint.
    StopWanted,
    /// The manifest is durable: the checkpoint exists.
    ManifestWritten(CheckpointId),
    /// All sinks have committed, and the mark that says so is durable.
    Committed(CheckpointId),
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Tell the sources to hand out no more.
    StopSources,
    /// Tell all lanes to inject or answer this barrier.
    Trigger(Barrier),
    /// Write the manifest; answer [`Fact::ManifestWritten`]. When it cannot be written, the job fails in
    /// this incarnation, because nobody knows whether it exists.
    WriteManifest(Box<Gathered>),
    /// Tell all lanes that the checkpoint is complete.
    TellCompleted(CheckpointId),
    /// Have all sinks commit what the manifest holds, then make the mark durable; answer
    /// [`Fact::Committed`]. Tried again until it succeeds.
    Commit(CheckpointId),
    /// The checkpoint and its commits are done: log it, trim the WAL, drop what is old.
    Finished(Completion),
    /// Tell all lanes that the checkpoint was given up; log it.
    Abort {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What it was for.
        purpose: Purpose,
        /// Why.
        reason: String,
    },
    /// Too many failed one after the other: the job fails in this incarnation.
    Fail {
        /// Why.
        reason: String,
        /// The last one failed because something could not be written: another start would not help.
        was_declined: bool,
    },
}

/// A checkpoint that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What it was for.
    pub purpose: Purpose,
    /// From its trigger to the manifest, in milliseconds.
    pub duration_ms: u64,
    /// Longest alignment of a task, in microseconds.
    pub alignment_us: u64,
    /// Bytes of the snapshot files that it added.
    pub added_bytes: u64,
}

/// Where a checkpoint stands.
#[derive(Debug)]
enum Phase {
    Resting,
    Gathering(Gathering),
    Writing(Completion),
    Committing(Completion),
    /// Nothing more will be triggered: the job has stopped, ended or failed.
    Over,
}

/// The coordinator of one incarnation of a job.
#[derive(Debug)]
pub struct Coordinator {
    settings: CoordinatorSettings,
    tasks: BTreeSet<(NodeId, LaneId)>,
    lanes: usize,
    ended: BTreeSet<LaneId>,
    phase: Phase,
    /// The newest number given to a checkpoint.
    newest: CheckpointId,
    /// The newest complete checkpoint.
    completed: CheckpointId,
    /// When the last checkpoint was triggered, and when it came to its end.
    triggered_ms: u64,
    rested_since_ms: u64,
    /// How many times as long as a checkpoint took it rests after it.
    rests: u64,
    /// Something was processed since the newest complete checkpoint was triggered.
    is_active: bool,
    /// What was asked for and not begun.
    wanted: BTreeSet<Purpose>,
    failures: u32,
}

impl Coordinator {
    /// The coordinator of a job whose tasks are all (node, lane) of `nodes` and `lanes`, starting from
    /// the complete checkpoint `restored`. `now_ms` is monotonic, here and in all calls.
    pub fn new(
        settings: CoordinatorSettings,
        nodes: usize,
        lanes: usize,
        restored: CheckpointId,
        now_ms: u64,
    ) -> Self {
        let all = (0..nodes).flat_map(|node| (0..lanes).map(move |l| (NodeId(node), LaneId(l))));
        Self {
            settings,
            tasks: all.collect(),
            lanes,
            ended: BTreeSet::new(),
            phase: Phase::Resting,
            newest: restored,
            completed: restored,
            triggered_ms: now_ms,
            rested_since_ms: now_ms,
            rests: 0,
            is_active: false,
            wanted: BTreeSet::new(),
            failures: 0,
        }
    }

    /// The newest complete checkpoint.
    pub fn completed(&self) -> CheckpointId {
        self.completed
    }

    /// When [`Coordinator::tick`] is to be called next, if nothing happens before.
    pub fn deadline_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Resting if self.wanted.last() == Some(&Purpose::Pressure) => {
                Some(self.due_ms().min(self.rested_ms()))
            }
            Phase::Resting => Some(self.due_ms()),
            Phase::Gathering(gathering) => Some(gathering.began_ms + self.settings.timeout_ms),
            Phase::Writing(_) | Phase::Committing(_) | Phase::Over => None,
        }
    }

    fn due_ms(&self) -> u64 {
        let interval = self.triggered_ms.saturating_add(self.settings.interval_ms);
        let paused = self.rested_since_ms.saturating_add(self.settings.min_pause_ms);
        interval.max(paused).max(self.rested_ms())
    }

    /// When it has rested for as long as it was told to.
    fn rested_ms(&self) -> u64 {
        let took_ms = self.rested_since_ms.saturating_sub(self.triggered_ms);
        let rest_ms = took_ms.saturating_mul(self.rests);
        self.rested_since_ms.saturating_add(rest_ms.min(self.settings.interval_ms.max(REST_MS_MAX)))
    }

    /// From here on there are so many times as long between two checkpoints as the first of them took, at least; but no longer than the
    /// longer of its interval and ten seconds, and not before a savepoint or the end of the job.
    pub fn rest_at_least(&mut self, times: u64) {
        self.rests = times;
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Phase::Gathering(gathering) = &self.phase
            && now_ms >= gathering.began_ms.saturating_add(self.settings.timeout_ms)
        {
            let waited = self.settings.timeout_ms;
            let missing = gathering.missing(&self.tasks);
            let reason = format!("it took longer than {waited} ms; no answer from {missing}");
            self.give_up(reason, false, now_ms, &mut actions);
        }
        self.begin_if_due(now_ms, &mut actions);
        actions
    }

    /// Something has happened.
    pub fn learn(&mut self, fact: Fact, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match fact {
            Fact::Acknowledged(ack) => self.acknowledged(ack, now_ms, &mut actions),
            Fact::Declined { checkpoint, reason } => {
                if matches!(&self.phase, Phase::Gathering(g) if g.checkpoint == checkpoint) {
                    self.give_up(reason, true, now_ms, &mut actions);
                }
            }
            Fact::LaneEnded(lane) => {
                self.ended.insert(lane);
                if self.ended.len() == self.lanes {
                    self.wanted.insert(Purpose::End);
                }
            }
            Fact::Active => self.is_active = true,
            Fact::WalPressure => drop(self.wanted.insert(Purpose::Pressure)),
            Fact::SavepointWanted => drop(self.wanted.insert(Purpose::Savepoint)),
            Fact::StopWanted => {
                actions.push(Action::StopSources);
                self.wanted.insert(Purpose::Stop);
            }
            Fact::ManifestWritten(checkpoint) => self.written(checkpoint, &mut actions),
            Fact::Committed(checkpoint) => self.committed(checkpoint, now_ms, &mut actions),
        }
        self.begin_if_due(now_ms, &mut actions);
        actions
    }

    fn begin_if_due(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Resting) {
            return;
        }
        // The last of a job first: what else was asked for is in it.
        let is_resting = now_ms < self.rested_ms();
        let purpose = match self.wanted.last() {
            Some(Purpose::Pressure) if is_resting => return,
            Some(purpose) => *purpose,
            None if now_ms < self.due_ms() => return,
            None if !self.is_active => {
                // Nothing new: this one is skipped.
                self.triggered_ms = now_ms;
                return;
            }
            None => Purpose::Periodic,
        };
        self.wanted.remove(&purpose);
        self.newest = CheckpointId(self.newest.0 + 1);
        self.triggered_ms = now_ms;
        self.is_active = false;
        let barrier = Barrier { checkpoint: self.newest, completed: self.completed };
        self.phase = Phase::Gathering(Gathering::new(self.newest, purpose, now_ms));
        actions.push(Action::Trigger(barrier));
    }

    fn acknowledged(&mut self, ack: TaskAck, now_ms: u64, actions: &mut Vec<Action>) {
        let Phase::Gathering(gathering) = &mut self.phase else {
            return;
        };
        let is_late = ack.checkpoint != gathering.checkpoint && !planted::is(Bug::LateAckCounted);
        if is_late || !self.tasks.contains(&(ack.node, ack.lane)) {
            return;
        }
        gathering.add(ack);
        let saved_bytes = gathering.saved_bytes();
        if saved_bytes > SAVED_BYTES_MAX {
            let reason = format!(
                "operators have saved {saved_bytes} bytes of their own memory; at most {SAVED_BYTES_MAX} of all tasks together fit \
                 in a checkpoint"
            );
            return self.give_up(reason, true, now_ms, actions);
        }
        if gathering.is_complete(&self.tasks) {
            let (gathered, completion) = gathering.take(now_ms);
            self.phase = Phase::Writing(completion);
            actions.push(Action::WriteManifest(Box::new(gathered)));
        }
    }

    fn written(&mut self, checkpoint: CheckpointId, actions: &mut Vec<Action>) {
        if let Phase::Writing(completion) = &self.phase
            && completion.checkpoint == checkpoint
        {
            self.completed = checkpoint;
            self.failures = 0;
            self.phase = Phase::Committing(completion.clone());
            actions.extend([Action::TellCompleted(checkpoint), Action::Commit(checkpoint)]);
        }
    }

    fn committed(&mut self, checkpoint: CheckpointId, now_ms: u64, actions: &mut Vec<Action>) {
        if let Phase::Committing(completion) = &self.phase
            && completion.checkpoint == checkpoint
        {
            let completion = completion.clone();
            let is_last = matches!(completion.purpose, Purpose::Stop | Purpose::End);
            self.phase = if is_last { Phase::Over } else { Phase::Resting };
            self.rested_since_ms = now_ms;
            actions.push(Action::Finished(completion));
        }
    }

    fn give_up(
        &mut self,
        reason: String,
        was_declined: bool,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) {
        let Phase::Gathering(gathering) = &self.phase else {
            return;
        };
        let (checkpoint, purpose) = (gathering.checkpoint, gathering.purpose);
        actions.push(Action::Abort { checkpoint, purpose, reason: reason.clone() });
        self.phase = Phase::Resting;
        self.rested_since_ms = now_ms;
        // What it held is not in any checkpoint yet.
        self.is_active = true;
        self.failures += 1;
        match purpose {
            // These are still wanted, and at once.
            Purpose::Stop | Purpose::End => drop(self.wanted.insert(purpose)),
            Purpose::Periodic | Purpose::Pressure | Purpose::Savepoint => {}
        }
        if self.failures > self.settings.tolerable_failures {
            self.phase = Phase::Over;
            let failures = self.failures;
            let reason =
                format!("{failures} checkpoints failed one after the other; the last: {reason}");
            actions.push(Action::Fail { reason, was_declined });
        }
    }
}
