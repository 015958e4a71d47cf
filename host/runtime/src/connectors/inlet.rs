//! The bounded buffer between those who receive bytes and the thread that cuts them into records.
//!
//! Owns the bytes in between, whose lines they are, and how the two ends wait for each other: receivers for
//! room, the thread for bytes. Knows nothing of sockets or formats. Invariants: at most [`HELD_BYTES_MAX`]
//! bytes and one block of each receiver are held; what was appended before the end is handed out before it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tidemill_core::connector::ConnectorError;
use tokio::sync::Notify;

/// Bytes that wait before receivers wait.
const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Lines of a client that numbers them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    /// Where they begin in the chunk.
    pub(super) start: usize,
    /// Where they end.
    pub(super) end: usize,
    /// The client.
    pub(super) client: Arc<str>,
    /// Number of the last line.
    pub(super) last_line: u64,
}

/// Bytes, as they were received.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Runs of numbered lines in it, in order.
    pub(super) numbered: Vec<Numbered>,
}

#[derive(Default)]
struct State {
    chunk: Chunk,
    /// Receivers that wait for room in a thread.
    waiting: usize,
    is_stopping: bool,
    /// Nothing more comes; says whether that is because of a stop.
    ended: Option<bool>,
    failure: Option<ConnectorError>,
}

/// What the thread gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Bytes,
    /// Nothing came until then.
    Late,
    /// The input has ended, or who receives it was stopped.
    Ended {
        is_stopped: bool,
    },
}

/// The buffer; shared by its two ends.
#[derive(Default)]
pub(super) struct Inlet {
    state: Mutex<State>,
    filled: Condvar,
    thread_room: Condvar,
    task_room: Notify,
}

impl Inlet {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, state: &mut State, bytes: &[u8], numbered: Option<(&Arc<str>, u64)>) {
        let start = state.chunk.bytes.len();
        state.chunk.bytes.extend_from_slice(bytes);
        if let Some((client, last_line)) = numbered {
            let end = state.chunk.bytes.len();
            let client = client.clone();
            state.chunk.numbered.push(Numbered { start, end, client, last_line });
        }
        self.filled.notify_one();
    }

    /// Appends when there is room, waiting in this thread. Answers whether more is wanted.
    pub(super) fn append_from_thread(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        while state.chunk.bytes.len() >= HELD_BYTES_MAX && !state.is_stopping {
            state.waiting += 1;
            state = self.thread_room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        if state.ended.is_some() {
            return false;
        }
        self.push(&mut state, bytes, None);
        !state.is_stopping
    }

    /// Appends if there is room, or if the source is stopping. Answers whether it did. Whole lines of a client
    /// that numbers them come with it and the number of the last.
    pub(super) fn append(&self, bytes: &[u8], numbered: Option<(&Arc<str>, u64)>) -> bool {
        let mut state = self.lock();
        let has_room = state.chunk.bytes.len() < HELD_BYTES_MAX || state.is_stopping;
        if has_room {
            self.push(&mut state, bytes, numbered);
        }
        has_room
    }

    /// Waits in a task until `append` may find room.
    pub(super) async fn room(&self) {
        // Listens before it looks, so that room made in between is not missed.
        let room = self.task_room.notified();
        let is_full = {
            let state = self.lock();
            state.chunk.bytes.len() >= HELD_BYTES_MAX && !state.is_stopping
        };
        if is_full {
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
        self.make_room();
        was_waiting
    }

    /// Nothing will be appended any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        let is_stopped = state.is_stopping;
        state.ended.get_or_insert(is_stopped);
        self.filled.notify_one();
    }

    /// As `end`, because of a failure; it is told after what was appended before.
    pub(super) fn fail(&self, failure: ConnectorError) {
        self.lock().failure = Some(failure);
        self.end();
    }

    fn make_room(&self) {
        self.thread_room.notify_all();
        self.task_room.notify_waiters();
    }

    /// Puts what was appended into `chunk`, in place of what was there; waits for something, but with
    /// `until` not longer than that.
    ///
    /// # Errors
    /// Who receives the input has failed; all before that was handed out.
    pub(super) fn take(
        &self,
        chunk: &mut Chunk,
        until: Option<Instant>,
    ) -> Result<Taken, ConnectorError> {
        chunk.bytes.clear();
        chunk.numbered.clear();
        let mut state = self.lock();
        while state.chunk.bytes.is_empty() {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if let Some(is_stopped) = state.ended {
                return Ok(Taken::Ended { is_stopped });
            }
            let Some(until) = until else {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Taken::Late);
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.chunk, chunk);
        drop(state);
        self.make_room();
        Ok(Taken::Bytes)
    }
}
