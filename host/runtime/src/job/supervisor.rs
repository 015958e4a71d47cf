//! Watches over one incarnation of a job: feeds the coordinator facts and the time, and performs its actions.
//!
//! Owns the one channel that everything reports to: lanes, the keeper, uploads, people. It never waits for a
//! disk or a lane, so that it can always tell who is stuck. Decides nothing about checkpoints: that is the
//! coordinator's. Invariants: actions are performed in order; after the first failure nothing new is begun;
//! when the supervisor returns, all lanes are gone but those that are stuck for good, however it came to its end.

mod ending;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use tidemill_core::checkpoint::coordinator::{Action, Completion, Coordinator, Fact, Purpose};
use tidemill_core::checkpoint::ledger::{Ledger, MergeTask};
use tidemill_core::checkpoint::manifest::{Manifest, SnapshotFile};
use tidemill_core::events::JobEventKind;
use tidemill_core::ids::CheckpointId;
use tidemill_core::wal::Usage;

use super::JobError;
use super::hand_over::HandOver;
use super::heartbeat::Heartbeats;
use super::input_log::InputLog;
use super::keeper::{Keeper, Task};
use super::lane_line::{Command, LaneLine};
use super::lane_thread::LaneEnd;
use super::report::TaskInfo;
use super::statistics::Statistics;
use super::watchdog::Watchdog;
use crate::machine;
use crate::tenants::Tenant;
use ending::{Draining, LOOK_EVERY};

/// Everything that reaches the supervisor.
pub(super) enum Event {
    /// Something for the coordinator.
    Fact(Fact),
    /// The thread of a lane is done.
    LaneGone(usize, LaneEnd),
    /// A manifest is durable.
    ManifestWritten(Arc<Manifest>),
    /// What it holds is committed.
    Committed(CheckpointId),
    /// A manifest could not be written.
    KeeperFailed(String),
    /// A chain of snapshot files has become one, or could not.
    Merged(MergeTask, Result<SnapshotFile, String>),
    /// Somebody asked the job to stop.
    StopWanted,
    /// Somebody asked for a savepoint.
    SavepointWanted(SavepointRequest),
    /// Somebody asked the job to stop with a savepoint.
    HandOverWanted,
    /// A savepoint was made, or could not be.
    SavepointDone {
        checkpoint: CheckpointId,
        request: SavepointRequest,
        outcome: Result<(), String>,
    },
    /// The input log needs room.
    WalPressure(Usage),
    /// The input log has failed for good.
    WalFailed(String),
}

/// A savepoint that somebody waits for.
pub(super) struct SavepointRequest {
    /// Where it is to lie.
    pub(super) directory: PathBuf,
    /// Who waits.
    pub(super) reply: Sender<Result<CheckpointId, String>>,
    /// Since when.
    pub(super) asked: Instant,
    /// The job stops with it.
    pub(super) stops: bool,
}

/// How an incarnation ended, when nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All input is processed and committed.
    Finished,
    /// It stopped at a checkpoint.
    Stopped,
}

/// How the watch over an incarnation ended.
pub(super) struct Watched {
    /// How the incarnation ended, or the failure that counts.
    pub(super) outcome: Result<Ended, JobError>,
    /// Lanes whose threads hang, and cannot be joined.
    pub(super) stuck: BTreeSet<usize>,
}

/// How many times as long as a checkpoint took a job rests after it while its tenant gives way: what checkpoints cost threads and
/// disks is not a lane's, and has no low priority.
const RESTS_WHO_GIVES_WAY: u64 = 4;

/// Settings of a supervisor.
pub(super) struct SupervisorSettings {
    pub(super) retained: usize,
    pub(super) stop_timeout: Duration,
    pub(super) heartbeat_interval: Duration,
    pub(super) heartbeat_timeout: Duration,
}

/// The supervisor of one incarnation.
pub(super) struct Supervisor<'a> {
    pub(super) settings: SupervisorSettings,
    pub(super) coordinator: Coordinator,
    pub(super) ledger: Ledger,
    pub(super) lines: &'a [Arc<LaneLine>],
    pub(super) tasks: Arc<Vec<TaskInfo>>,
    pub(super) keeper: &'a Keeper,
    pub(super) input_log: &'a InputLog,
    pub(super) hand_over: &'a HandOver,
    pub(super) merger: &'a dyn Fn(MergeTask, CheckpointId, Sender<Event>),
    pub(super) events: Sender<Event>,
    pub(super) log: &'a dyn Fn(JobEventKind),
    pub(super) statistics: &'a Statistics,
    pub(super) tenant: &'a Tenant,
    pub(super) began: Instant,
    /// Makes the error of a lane that failed.
    pub(super) lane_error: &'a dyn Fn(usize, LaneEnd) -> Option<JobError>,
}

/// What changes while the supervisor runs.
#[derive(Default)]
struct Course {
    failure: Option<JobError>,
    ended: Option<Ended>,
    /// How it ends when its last savepoint is there.
    ending: Option<Ended>,
    /// How far a stop with a savepoint is.
    draining: Draining,
    /// Lanes whose threads have not ended and are not stuck.
    lanes: BTreeSet<usize>,
    stuck: BTreeSet<usize>,
    merging: bool,
    /// Records read when the coordinator was last told that there are new ones.
    read: u64,
    stop_by: Option<Instant>,
    savepoints: Vec<SavepointRequest>,
    /// When a checkpoint was last asked for because the input log is full.
    asked_at: Option<Instant>,
}

impl Course {
    /// Nothing new is begun: the job has failed, or its last checkpoint is complete.
    fn is_over(&self) -> bool {
        self.failure.is_some() || self.ended.is_some()
    }
}

impl Supervisor<'_> {
    /// Runs until all lanes are gone, or stuck.
    pub(super) fn run(mut self, reports: &Receiver<Event>) -> Watched {
        let lanes = (0..self.lines.len()).collect();
        let mut course = Course { lanes, ..Course::default() };
        let mut heartbeats = Heartbeats::new(self.lines.len(), self.settings.heartbeat_timeout);
        let mut watchdog = Watchdog::new(self.tasks.len(), self.began);
        while !course.lanes.is_empty() {
            // Its checkpoints take from others what they take, too.
            let rests = if self.tenant.gives_way() { RESTS_WHO_GIVES_WAY } else { 0 };
            self.coordinator.rest_at_least(rests);
            let event = match reports.recv_timeout(self.patience(&course)) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let actions = match event {
                Some(event) => self.take_in(event, &mut course),
                None => Vec::new(),
            };
            self.perform(actions, &mut course);
            let watching = Instant::now();
            self.watch(&mut heartbeats, &mut course);
            let watched_us = u64::try_from(watching.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.statistics.heartbeat_us.fetch_add(watched_us, Relaxed);
            self.tell_of_tasks(&mut watchdog);
            if !course.is_over() {
                self.note_activity(&mut course);
                self.note_full_log(&mut course);
                self.note_drained(&mut course);
                let actions = self.coordinator.tick(self.now_ms());
                self.perform(actions, &mut course);
            }
        }
        self.tell_of_tasks(&mut watchdog);
        let outcome = match (course.failure, course.ended.or(course.ending)) {
            (Some(failure), _) => Err(failure),
            (None, Some(ended)) => Ok(ended),
            (None, None) => Err(JobError::Host("all lanes left without a reason".to_owned())),
        };
        Watched { outcome, stuck: course.stuck }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long nothing need be done if nothing happens.
    fn patience(&self, course: &Course) -> Duration {
        let heartbeat = self.settings.heartbeat_interval;
        if course.is_over() {
            // What was to be done at some time will not be done any more.
            return heartbeat;
        }
        let deadline = self.coordinator.deadline_ms();
        let checkpoint = deadline.map(|at| Duration::from_millis(at.saturating_sub(self.now_ms())));
        let stop = course.stop_by.map(|at| at.saturating_duration_since(Instant::now()));
        let drained = (course.draining == Draining::Begun).then_some(LOOK_EVERY);
        [checkpoint, stop, drained].into_iter().flatten().fold(heartbeat, Duration::min)
    }

    fn take_in(&mut self, event: Event, course: &mut Course) -> Vec<Action> {
        let now_ms = self.now_ms();
        match event {
            Event::Fact(fact) => return self.coordinator.learn(fact, now_ms),
            Event::LaneGone(lane, end) => {
                course.lanes.remove(&lane);
                match (self.lane_error)(lane, end) {
                    // The last checkpoint is complete: a call that was interrupted then is in nobody's way.
                    _ if course.ended.or(course.ending).is_some() => {}
                    Some(error) => self.fail(error, course),
                    // It was told to leave, or the job could not go on without it.
                    None if !course.is_over() => {
                        self.fail(JobError::Host(format!("lane {lane} left by itself")), course);
                    }
                    None => {}
                }
            }
            Event::ManifestWritten(manifest) => {
                let fact = Fact::ManifestWritten(manifest.checkpoint);
                self.ledger.completed(manifest);
                return self.coordinator.learn(fact, now_ms);
            }
            Event::Committed(checkpoint) => {
                return self.coordinator.learn(Fact::Committed(checkpoint), now_ms);
            }
            Event::KeeperFailed(reason) => self.fail(JobError::Checkpoint(reason), course),
            Event::Merged(task, outcome) => {
                course.merging = false;
                match outcome {
                    Ok(base) => self.ledger.merged(task, base),
                    Err(reason) => tracing::warn!("Snapshot files were not merged: {reason}."),
                }
            }
            Event::SavepointWanted(request) => {
                course.savepoints.push(request);
                return self.coordinator.learn(Fact::SavepointWanted, now_ms);
            }
            Event::HandOverWanted => {
                if course.draining == Draining::No {
                    tracing::info!(
                        "Stopping with a savepoint: nothing more is received, and what was is processed."
                    );
                    course.draining = Draining::Begun;
                    self.input_log.stop_intake();
                }
            }
            Event::SavepointDone { checkpoint, request, outcome } => {
                self.savepoint_done(checkpoint, request, outcome, course);
            }
            Event::WalPressure(usage) => {
                if let Some(blocked_by) = self.input_log.blocked_by() {
                    let Usage { used_bytes, quota_bytes } = usage;
                    tracing::warn!("The input log is full, and intake waits: {blocked_by}.");
                    (self.log)(JobEventKind::WalFull { used_bytes, quota_bytes, blocked_by });
                }
                return self.coordinator.learn(Fact::WalPressure, now_ms);
            }
            Event::WalFailed(reason) => {
                self.fail(JobError::Checkpoint(format!("the input log: {reason}")), course);
            }
            Event::StopWanted => {
                if course.stop_by.is_none() {
                    course.stop_by = Some(Instant::now() + self.settings.stop_timeout);
                    return self.coordinator.learn(Fact::StopWanted, now_ms);
                }
            }
        }
        Vec::new()
    }

    fn perform(&mut self, actions: Vec<Action>, course: &mut Course) {
        for action in actions {
            if course.failure.is_some() {
                return;
            }
            match action {
                Action::StopSources => self.tell_all(Command::StopSources),
                Action::Trigger(barrier) => self.tell_all(Command::Trigger(barrier)),
                Action::WriteManifest(gathered) => {
                    let before = self.ledger.newest().wal_start;
                    let mut manifest = self.ledger.compose(&gathered, machine::wall_ms(), before);
                    manifest.wal_start = self.input_log.wal_start(&manifest);
                    self.keeper.ask(Task::WriteManifest(Arc::new(manifest)));
                }
                Action::TellCompleted(checkpoint) => self.tell_all(Command::Completed(checkpoint)),
                Action::Commit(_) => {
                    self.keeper.ask(Task::Commit(self.ledger.newest().clone()));
                }
                Action::Finished(completion) => self.finished(&completion, course),
                Action::Abort { checkpoint, purpose, reason } => {
                    self.tell_all(Command::Aborted(checkpoint));
                    if purpose == Purpose::Savepoint {
                        for request in course.savepoints.drain(..) {
                            // Who no longer waits does not need to know.
                            request.reply.send(Err(reason.clone())).ok();
                        }
                    }
                    tracing::warn!("Checkpoint {checkpoint} was given up: {reason}.");
                    self.statistics.aborted();
                    (self.log)(JobEventKind::CheckpointAborted { checkpoint, reason });
                }
                Action::Fail { reason, was_declined: true } => {
                    self.fail(JobError::Checkpoint(reason), course);
                }
                Action::Fail { reason, was_declined: false } => {
                    self.fail(JobError::TooManyFailedCheckpoints(reason), course);
                }
            }
        }
    }

    fn finished(&mut self, completion: &Completion, course: &mut Course) {
        let full_bytes = self.ledger.newest().files().map(|file| file.bytes).sum();
        let alignment_ms = completion.alignment_us / 1000;
        self.statistics.completed(completion, full_bytes, self.lines);
        (self.log)(JobEventKind::CheckpointCompleted {
            checkpoint: completion.checkpoint,
            duration_ms: completion.duration_ms,
            full_bytes,
            delta_bytes: completion.added_bytes,
            alignment_ms,
        });
        if completion.purpose >= Purpose::Savepoint {
            // Before anything is dropped: the keeper does one thing after the other.
            let manifest = self.ledger.newest();
            for request in course.savepoints.drain(..) {
                self.keeper.ask(Task::Savepoint(manifest.clone(), request));
            }
        }
        let ended = match completion.purpose {
            Purpose::End => Some(Ended::Finished),
            Purpose::Stop => Some(Ended::Stopped),
            Purpose::Periodic | Purpose::Pressure | Purpose::Savepoint => None,
        };
        let retained = self.input_log.retained(self.settings.retained);
        self.input_log.completed(self.ledger.newest(), retained);
        if let Some(ended) = ended {
            return self.end(ended, course);
        }
        for (node, lane) in self.ledger.due_bases() {
            self.lines[lane.0].tell(Command::Rebase(node));
        }
        // The file of a merge has no manifest yet, so nothing is collected while there is one.
        if course.merging {
            return;
        }
        match self.ledger.due_merge() {
            Some(task) => {
                course.merging = true;
                (self.merger)(task, completion.checkpoint, self.events.clone());
            }
            None if self.ledger.may_collect() => {
                self.keeper.ask(Task::DropOld { retained });
            }
            None => {}
        }
    }

    /// Logs what people should know of the tasks.
    fn tell_of_tasks(&self, watchdog: &mut Watchdog) {
        let phases = self.lines.iter().map(|line| line.pulse().0);
        for event in watchdog.look(&self.tasks, phases, Instant::now()) {
            if let JobEventKind::Stalled { silent_ms, tasks } = &event {
                tracing::warn!("No input was processed for {silent_ms} ms: {tasks}.");
            }
            (self.log)(event);
        }
    }

    /// Tells the coordinator when something was read since it was last told.
    fn note_activity(&mut self, course: &mut Course) {
        let sources = self.tasks.iter().filter(|task| task.kind == "source");
        let read = sources.map(|task| task.counters.records_in.load(Relaxed)).sum();
        if std::mem::replace(&mut course.read, read) != read {
            let actions = self.coordinator.learn(Fact::Active, self.now_ms());
            self.perform(actions, course);
        }
    }

    /// Asks for another checkpoint, at most one for each heartbeat, as long as the input log is full: what
    /// was processed since the last one may make room, and no new input would ever ask for it.
    fn note_full_log(&mut self, course: &mut Course) {
        let is_time =
            course.asked_at.is_none_or(|at| at.elapsed() >= self.settings.heartbeat_interval);
        if is_time && self.input_log.blocked_by().is_some() {
            course.asked_at = Some(Instant::now());
            let actions = self.coordinator.learn(Fact::WalPressure, self.now_ms());
            self.perform(actions, course);
        }
    }

    fn fail(&mut self, failure: JobError, course: &mut Course) {
        // The first is the cause; what follows from sending the others away is not.
        course.failure.get_or_insert(failure);
        self.send_away();
    }

    fn send_away(&self) {
        self.lines.iter().for_each(|line| line.send_away());
    }

    fn tell_all(&self, command: Command) {
        self.lines.iter().for_each(|line| line.tell(command));
    }
}
