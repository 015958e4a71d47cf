//! A stop with a savepoint: the job is handed over to whoever begins with it.
//!
//! Owns the request, from when it is made to the end of the job, over all incarnations in between: once it is made
//! nothing more is received, so that the savepoint holds all that was acknowledged. Waits for nothing but its own
//! locks. Order: request -> intake stopped -> input log processed to its end -> sources stopped -> last checkpoint
//! complete and committed -> copied -> requester told -> job over, its locks released -> connection closed.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use tidemill_core::ids::CheckpointId;

use super::lock;
use super::supervisor::SavepointRequest;

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
    is_over: bool,
}

/// The hand-over of a job, if somebody wants one.
#[derive(Default)]
pub(super) struct HandOver {
    state: Mutex<State>,
    over: Condvar,
}

impl HandOver {
    /// Somebody wants it.
    ///
    /// # Errors
    /// Somebody else was first, or the job is over.
    pub(super) fn ask(&self, request: SavepointRequest) -> Result<(), String> {
        let mut state = lock(&self.state);
        if state.is_over {
            return Err("the job has ended".to_owned());
        }
        if state.is_wanted {
            return Err("the job is being stopped with another savepoint already".to_owned());
        }
        (state.request, state.is_wanted) = (Some(request), true);
        Ok(())
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

    /// The job is over, and holds nothing any more. Who still waits for an answer sees that there is none.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        (state.is_over, state.request) = (true, None);
        self.over.notify_all();
    }

    /// Waits until the job is over.
    pub(super) fn wait_end(&self) {
        let state = lock(&self.state);
        let waited = self.over.wait_while(state, |state| !state.is_over);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
