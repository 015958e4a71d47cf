//! Writes lines to standard output.
//!
//! Owns the thread that may wait there, and each lane's share of the queue in front of it.
//! Invariants: lines of several lanes never mix, since a block holds whole ones; what was written
//! is flushed before anybody waits for more; a barrier is answered when all its lane's lines before it
//! are written and flushed; once the reader has gone, every writer learns it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, ConnectorFault, Prepared, SinkWriter, Wake};
use tidemill_core::ids::CheckpointId;
use tidemill_storage::output::QUEUED_BYTES_MAX;

use crate::connectors::no_thread;
use crate::connectors::sink::lines::Lines;
use crate::spawner;

/// The whole message of the failure that means: whoever reads standard output has gone.
pub const BROKEN_PIPE: &str =
    "standard output: the reader has closed the pipe, so the job's output has nowhere to go";

/// Written blocks that are kept to be filled again.
const SPENT_MAX: usize = 4;
/// One that took more is not kept.
const SPENT_BYTES_MAX: usize = 1024 * 1024;

enum Item {
    Block(Vec<u8>),
    Barrier(Prepared),
}

struct Lane {
    queued_bytes: usize,
    prepared: VecDeque<Prepared>,
    waker: Arc<dyn Wake>,
}

#[derive(Default)]
struct State {
    /// What lanes, by their slots, have queued.
    items: VecDeque<(usize, Item)>,
    lanes: Vec<Lane>,
    spent: Vec<Vec<u8>>,
    failure: Option<ConnectorError>,
    is_closed: bool,
    /// The thread writes nothing any more.
    is_at_rest: bool,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    work: Condvar,
    /// Signalled when the thread comes to rest.
    rest: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes blocks and answers barriers until the outlet is closed or nothing can be written.
    fn serve(&self, mut output: impl Write) {
        loop {
            let mut state = self.lock();
            let (slot, item) = loop {
                match state.items.pop_front() {
                    _ if state.is_closed => return,
                    Some(item) => break item,
                    None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            match item {
                Item::Barrier(prepared) => self.answer(slot, prepared),
                Item::Block(block) => {
                    let result = output.write_all(&block).and_then(|()| output.flush());
                    if let Err(error) = result {
                        return self.fail(explain(&error));
                    }
                    self.written(slot, block);
                }
            }
        }
    }

    fn written(&self, slot: usize, mut block: Vec<u8>) {
        let mut state = self.lock();
        let Lane { queued_bytes, waker, .. } = &mut state.lanes[slot];
        let was_full = *queued_bytes >= QUEUED_BYTES_MAX;
        *queued_bytes -= block.len();
        let wake = was_full && *queued_bytes < QUEUED_BYTES_MAX;
        let waker = wake.then(|| Arc::clone(waker));
        if state.spent.len() < SPENT_MAX && block.capacity() <= SPENT_BYTES_MAX {
            block.clear();
            state.spent.push(block);
        }
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn answer(&self, slot: usize, prepared: Prepared) {
        let mut state = self.lock();
        let lane = &mut state.lanes[slot];
        lane.prepared.push_back(prepared);
        let waker = Arc::clone(&lane.waker);
        drop(state);
        waker.wake();
    }

    /// Nothing more is written, but for the block at work.
    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.items.clear();
        drop(state);
        self.work.notify_all();
    }

    fn fail(&self, failure: ConnectorError) {
        let mut state = self.lock();
        state.failure = Some(failure);
        state.items.clear();
        let wakers: Vec<_> = state.lanes.iter().map(|lane| Arc::clone(&lane.waker)).collect();
        drop(state);
        wakers.iter().for_each(|waker| waker.wake());
    }
}

fn explain(error: &io::Error) -> ConnectorError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ConnectorError::new(ConnectorFault::Io, BROKEN_PIPE);
    }
    let message = format!("cannot write to standard output: {error}; check where it leads to");
    ConnectorError::new(ConnectorFault::Io, message)
}

/// Standard output with its thread.
pub(super) struct Outlet {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Outlet {
    /// Starts the thread.
    pub(super) fn start(output: impl Write + Send + 'static) -> Result<Self, ConnectorError> {
        let queue = Arc::new(Queue::default());
        let served = Arc::clone(&queue);
        let serve = move || {
            served.serve(output);
            served.lock().is_at_rest = true;
            served.rest.notify_all();
        };
        let thread = spawner::builder("tidemill-stdout").and_then(|thread| thread.spawn(serve));
        let thread = thread.map_err(|error| no_thread("that writes standard output", &error))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// A writer for one lane.
    pub(super) fn writer(&self, lines: Lines, waker: Arc<dyn Wake>) -> StdoutWriter {
        let mut state = self.queue.lock();
        let slot = state.lanes.len();
        state.lanes.push(Lane { queued_bytes: 0, prepared: VecDeque::new(), waker });
        drop(state);
        StdoutWriter { queue: Arc::clone(&self.queue), slot, lines, block: Vec::new() }
    }

    /// Drops what is not written yet and waits for the thread to end, at most for `patience`: its last write
    /// ends only when the reader of standard output takes something. Answers whether it has ended.
    pub(super) fn close(&mut self, patience: Duration) -> bool {
        self.queue.close();
        let state = self.queue.lock();
        let waited = self.queue.rest.wait_timeout_while(state, patience, |state| !state.is_at_rest);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_at_rest = state.is_at_rest;
        drop(state);
        if let Some(thread) = self.thread.take_if(|_| is_at_rest) {
            // It has nothing to say: a failure was told to the writers.
            thread.join().ok();
        }
        is_at_rest
    }
}

impl Drop for Outlet {
    /// Does not wait, so that a reader who takes nothing cannot keep a failed job from ending.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// One lane's part of standard output.
pub(super) struct StdoutWriter {
    queue: Arc<Queue>,
    slot: usize,
    lines: Lines,
    block: Vec<u8>,
}

impl StdoutWriter {
    fn push(&self, mut state: MutexGuard<'_, State>, item: Item) {
        if state.is_closed {
            return;
        }
        if let Item::Block(block) = &item {
            state.lanes[self.slot].queued_bytes += block.len();
        }
        state.items.push_back((self.slot, item));
        drop(state);
        self.queue.work.notify_one();
    }

    fn unless_failed(&self) -> Result<MutexGuard<'_, State>, ConnectorError> {
        let state = self.queue.lock();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }
}

impl SinkWriter for StdoutWriter {
    fn has_room(&mut self) -> bool {
        let state = self.queue.lock();
        // After a failure there is room: the next call tells why.
        state.failure.is_some() || state.lanes[self.slot].queued_bytes < QUEUED_BYTES_MAX
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        self.lines.append(&batch, &mut self.block)?;
        let block = std::mem::take(&mut self.block);
        let bytes = block.len();
        let mut state = self.unless_failed()?;
        let next = state.spent.pop().unwrap_or_default();
        self.push(state, Item::Block(block));
        self.block = next;
        Ok(bytes)
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError> {
        let state = self.lines.state()?;
        let barrier = Prepared { checkpoint, files: Vec::new(), state };
        self.push(self.unless_failed()?, Item::Barrier(barrier));
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(self.unless_failed()?.lanes[self.slot].prepared.pop_front())
    }
}

#[cfg(test)]
mod tests;
