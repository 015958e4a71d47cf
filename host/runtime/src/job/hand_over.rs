//! A stop with a savepoint: the job is handed over to whoever begins with it.
//!
//! Owns the request, from when it is made to the end of the job, over all incarnations in between: once it is made
//! nothing more is received, so that the savepoint holds all that was acknowledged. Waits for nothing but its own
//! locks. Order: request -> intake stopped -> input log processed to its end -> sources stopped -> last checkpoint
//! complete and committed -> copied -> requester told -> job over, its locks released -> connection closed.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tidemill_core::ids::CheckpointId;

use super::lock;
use super::supervisor::SavepointRequest;

/// How long the end of the job waits for a line to be written to the requester.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// A savepoint that a job was stopped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    /// The checkpoint that it is a copy of.
    pub checkpoint: CheckpointId,
    /// Where it lies.
    pub directory: PathBuf,
}

#[derive(Default)]
struct State {
    request: Option<SavepointRequest>,
    is_wanted: bool,
    made: Option<Savepoint>,
    is_answered: bool,
    is_over: bool,
}

/// The hand-over of a job, if somebody wants one.
#[derive(Default)]
pub(super) struct HandOver {
    state: Mutex<State>,
    changed: Condvar,
}

/// Dropped when the requester was told.
pub(super) struct Telling<'a>(&'a HandOver);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_answered = true;
        self.0.changed.notify_all();
    }
}

impl HandOver {
    /// Somebody wants it.
    ///
    /// # Errors
    /// Somebody else was first, or the job is over.
    pub(super) fn ask(&self, request: SavepointRequest) -> Result<Telling<'_>, String> {
        let mut state = lock(&self.state);
        if state.is_over {
            return Err("the job has ended".to_owned());
        }
        if state.is_wanted {
            return Err("the job is being stopped with another savepoint already".to_owned());
        }
        (state.request, state.is_wanted) = (Some(request), true);
        Ok(Telling(self))
    }

    /// Whether somebody wants it.
    pub(super) fn is_wanted(&self) -> bool {
        lock(&self.state).is_wanted
    }

    /// The request, to be answered by whoever takes it.
    pub(super) fn take(&self) -> Option<SavepointRequest> {
        lock(&self.state).request.take()
    }

    /// The savepoint is complete.
    pub(super) fn done(&self, savepoint: Savepoint) {
        lock(&self.state).made = Some(savepoint);
    }

    /// The savepoint, if it is complete.
    pub(super) fn made(&self) -> Option<Savepoint> {
        lock(&self.state).made.clone()
    }

    /// The job is over, and holds nothing any more. Who still waits for an answer learns that there will be none.
    /// Returns when the requester was told, because the process may end right after this.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        (state.is_over, state.request) = (true, None);
        self.changed.notify_all();
        let is_untold = |state: &mut State| state.is_wanted && !state.is_answered;
        let told = self.changed.wait_timeout_while(state, ANSWER_PATIENCE, is_untold);
        drop(told.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the job is over.
    pub(super) fn wait_end(&self) {
        let state = lock(&self.state);
        let waited = self.changed.wait_while(state, |state| !state.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    fn request() -> (SavepointRequest, mpsc::Receiver<Result<CheckpointId, String>>) {
        let (reply, replies) = mpsc::channel();
        let (directory, asked) = (PathBuf::from("/saved"), Instant::now());
        (SavepointRequest { directory, reply, asked, stops: true }, replies)
    }

    #[test]
    fn one_hand_over_is_asked_for_in_the_life_of_a_job() {
        let hand_over = HandOver::default();
        let telling = hand_over.ask(request().0).unwrap();
        let error = hand_over.ask(request().0).err().unwrap();
        assert!(error.contains("already"), "{error}");
        assert!(hand_over.is_wanted() && hand_over.take().is_some());
        drop(telling);
        hand_over.end();
        assert!(hand_over.ask(request().0).is_err());
    }

    #[test]
    fn the_end_of_the_job_waits_until_the_requester_was_told_that_there_is_no_savepoint() {
        let hand_over = HandOver::default();
        let (request, replies) = request();
        let telling = hand_over.ask(request).unwrap();
        std::thread::scope(|scope| {
            let ends = scope.spawn(|| hand_over.end());
            assert!(replies.recv().is_err());
            hand_over.wait_end();
            assert!(!ends.is_finished());
            drop(telling);
        });
    }
}
