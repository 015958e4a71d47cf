//! How an incarnation comes to its end, and the savepoint that it may end with.
//!
//! Order of a stop with a savepoint: nothing more is received -> all of the input log is in the lanes -> sources
//! stopped -> last checkpoint complete and committed -> copied -> lanes sent away. A stop that comes otherwise in
//! between makes no savepoint: it would not hold what is only logged. A lane that hangs keeps no end waiting.

use std::time::{Duration, Instant};

use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::events::JobEventKind;
use tidemill_core::ids::CheckpointId;

use super::{Course, Ended, SavepointRequest, Supervisor};
use crate::job::JobError;
use crate::job::hand_over::Savepoint;
use crate::job::heartbeat::Heartbeats;
use crate::job::keeper::Task;

/// How often it is looked whether the input log is processed.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How far a stop with a savepoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Draining {
    /// Nobody wants one.
    #[default]
    No,
    /// Nothing more is received; the log is processed to its end.
    Begun,
    /// It was when the job was told to stop.
    Done,
}

impl Supervisor<'_> {
    /// Sees to it that nobody waits for a lane that hangs, and that a stop takes no longer than it may.
    pub(super) fn watch(&mut self, heartbeats: &mut Heartbeats, course: &mut Course) {
        let pulses = course.lanes.iter().map(|lane| (*lane, self.lines[*lane].pulse()));
        for (lane, silent) in heartbeats.stuck(pulses, Instant::now()) {
            // Its thread cannot be ended, so nobody waits for it, whatever the job has come to meanwhile.
            course.lanes.remove(&lane);
            course.stuck.insert(lane);
            self.fail_for_good(JobError::Stuck { lane, silent }, course);
        }
        if course.is_over() {
            return;
        }
        if course.stop_by.is_some_and(|stop_by| Instant::now() >= stop_by) {
            let newest = self.ledger.newest().checkpoint;
            let waited = self.settings.stop_timeout;
            self.fail(JobError::StopTimeout { waited, newest }, course);
        }
    }

    /// As [`fail`](Self::fail), with a failure after which the job cannot begin anew, which an earlier one might have it do.
    fn fail_for_good(&mut self, failure: JobError, course: &mut Course) {
        match course.failure.replace(failure) {
            Some(earlier @ JobError::Stuck { .. }) => course.failure = Some(earlier),
            Some(earlier) => tracing::error!("Before a lane hung, the job failed: {earlier}."),
            None => {}
        }
        self.send_away();
    }

    /// The last checkpoint is complete: the lanes may go, after a savepoint of it if somebody waits for one.
    pub(super) fn end(&self, ended: Ended, course: &mut Course) {
        course.stop_by = None;
        match self.hand_over.take() {
            Some(request) if ended == Ended::Finished || course.draining == Draining::Done => {
                course.ending = Some(ended);
                let manifest = self.ledger.newest().clone();
                self.keeper.ask(Task::Savepoint(manifest, request));
                return;
            }
            Some(request) => {
                let reason = "the job was stopped otherwise before all of its input log was processed; run it, \
                              and try again";
                request.reply.send(Err(reason.to_owned())).ok();
            }
            None => {}
        }
        course.ended = Some(ended);
        self.send_away();
    }

    /// A savepoint was made, or could not be. Of one that the job stops with, the requester learns here.
    pub(super) fn savepoint_done(
        &mut self,
        checkpoint: CheckpointId,
        request: SavepointRequest,
        outcome: Result<(), String>,
        course: &mut Course,
    ) {
        let SavepointRequest { directory, reply, asked, stops } = request;
        if outcome.is_ok() {
            let path = directory.display().to_string();
            let duration_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
            (self.log)(JobEventKind::SavepointCompleted { checkpoint, path, duration_ms });
        }
        if !stops {
            return;
        }
        // Who no longer waits has the directory all the same.
        match outcome {
            Ok(()) => {
                tracing::info!(
                    "Stopped with a savepoint of checkpoint {checkpoint}: {}",
                    directory.display()
                );
                self.hand_over.done(Savepoint { checkpoint, directory });
                reply.send(Ok(checkpoint)).ok();
                course.ended = course.ending;
                self.send_away();
            }
            Err(reason) => {
                let reason = format!(
                    "the job has stopped at checkpoint {checkpoint}, and the savepoint of it could not be \
                     written: {reason}; `tidemill savepoint create` without --stop copies that checkpoint"
                );
                reply.send(Err(reason.clone())).ok();
                self.fail(JobError::Checkpoint(reason), course);
            }
        }
    }

    /// Has the job stop when all of its input log is in its lanes, if it is to stop with a savepoint.
    pub(super) fn note_drained(&mut self, course: &mut Course) {
        let is_stopping = course.stop_by.is_some() || course.ending.is_some();
        if course.draining == Draining::Begun && !is_stopping && self.input_log.is_drained() {
            course.draining = Draining::Done;
            course.stop_by = Some(Instant::now() + self.settings.stop_timeout);
            let actions = self.coordinator.learn(Fact::StopWanted, self.now_ms());
            self.perform(actions, course);
        }
    }
}
