//! The bounded buffer between those who receive bytes and the lane that cuts them into records.
//!
//! Owns the bytes in between, and how the two ends wait for each other: receivers for room, the
//! lane for bytes. Knows nothing of sockets or formats. Invariants: the lane never waits; at most
//! [`HELD_BYTES_MAX`] bytes and one block of each receiver are held; what was appended before the
//! end is handed out before it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidemill_core::connector::{ConnectorError, Wake};
use tokio::sync::Notify;

/// Bytes that wait for the lane before receivers wait.
pub(super) const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// Receivers that wait for room in a thread.
    waiting: usize,
    is_stopping: bool,
    is_ended: bool,
    failure: Option<ConnectorError>,
}

/// What the lane gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes,
    Pending,
    Ended,
}

/// The buffer; shared by its two ends.
pub(super) struct Inlet {
    state: Mutex<State>,
    thread_room: Condvar,
    task_room: Notify,
    waker: Arc<dyn Wake>,
}

impl Inlet {
    pub(super) fn new(waker: Arc<dyn Wake>) -> Self {
        let state = Mutex::default();
        Self { state, thread_room: Condvar::new(), task_room: Notify::new(), waker }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, mut state: MutexGuard<'_, State>, bytes: &[u8]) {
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(bytes);
        drop(state);
        if was_empty {
            self.waker.wake();
        }
    }

    /// Appends when there is room, waiting in this thread. Answers whether more is wanted.
    pub(super) fn append_from_thread(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        while state.bytes.len() >= HELD_BYTES_MAX && !state.is_stopping {
            state.waiting += 1;
            state = self.thread_room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if state.is_ended {
            return false;
        }
        let goes_on = !state.is_stopping;
        self.append(state, bytes);
        goes_on
    }

    /// Appends when there is room, or at once when the source is stopping.
    pub(super) async fn append_from_task(&self, bytes: &[u8]) {
        loop {
            // Listens before it looks, so that room made in between is not missed.
            let room = self.task_room.notified();
            {
                let state = self.lock();
                if state.bytes.len() < HELD_BYTES_MAX || state.is_stopping {
                    return self.append(state, bytes);
                }
            }
            room.await;
        }
    }

    /// Receivers shall come to an end; who waits for room need not wait any longer. Answers whether
    /// a thread was waiting and will still append what it holds.
    pub(super) fn stop(&self) -> bool {
        let mut state = self.lock();
        state.is_stopping = true;
        let was_waiting = state.waiting > 0;
        drop(state);
        self.thread_room.notify_all();
        self.task_room.notify_waiters();
        was_waiting
    }

    /// Nothing will be appended any more.
    pub(super) fn end(&self) {
        self.lock().is_ended = true;
        self.waker.wake();
    }

    /// As `end`, because of a failure; the lane learns it after what was appended before.
    pub(super) fn fail(&self, failure: ConnectorError) {
        self.lock().failure = Some(failure);
        self.end();
    }

    /// Puts what was appended into `bytes`, in place of what was there.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Result<Taken, ConnectorError> {
        bytes.clear();
        let mut state = self.lock();
        if state.bytes.is_empty() {
            return match &state.failure {
                Some(failure) => Err(failure.clone()),
                None if state.is_ended => Ok(Taken::Ended),
                None => Ok(Taken::Pending),
            };
        }
        std::mem::swap(&mut state.bytes, bytes);
        drop(state);
        self.thread_room.notify_all();
        self.task_room.notify_waiters();
        Ok(Taken::Bytes)
    }

    /// Whether `take` would answer something other than `Pending`.
    pub(super) fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.bytes.is_empty() || state.is_ended
    }
}
