//! Writes a lane's blocks to files behind the lane.
//!
//! The lane queues blocks and barriers, an I/O thread compresses and writes them, and answers each
//! barrier when all before it is durable. Knows nothing of records: a block holds whole ones.
//! Invariants: blocks and barriers take effect in the order in which they were queued; the lane waits
//! for none of it, and may have any number of barriers under way; after a failure nothing more is written
//! and every later question is answered with it.

use std::collections::VecDeque;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tidemill_core::connector::{Prepared, Wake};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::quota::Account;
use tidemill_core::transaction::{FileId, OutputFiles};

use crate::error::FileError;
use crate::output::OutputDirectory;
use crate::output::files::DirectoryFiles;
use crate::pool::{self, Turn, Work, lock};

/// Bytes that may wait to be written before the writer is out of room.
pub const QUEUED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Length of a file after which a new one is started.
const FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes of blocks that one turn writes, about.
const TURN_BYTES: usize = 1024 * 1024;
/// Written blocks that are kept to be filled again.
const SPENT_MAX: usize = 4;
/// Bytes of such a block: a larger one was an exception.
const SPENT_BYTES_MAX: usize = 1024 * 1024;

/// Who writes, and where its names begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputTask {
    /// The lane.
    pub lane: usize,
    /// The job's incarnation.
    pub incarnation: Incarnation,
    /// One more than the last checkpoint that was begun.
    pub next: CheckpointId,
}

enum Item {
    Block(Vec<u8>),
    /// With everything but its files.
    Barrier(Prepared),
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// Bytes of blocks that are not written yet, those at work included.
    queued_bytes: usize,
    spent: Vec<Vec<u8>>,
    prepared: VecDeque<Prepared>,
    /// Whether the pool has this writer.
    submitted: bool,
    cancelled: bool,
    failure: Option<FileError>,
}

/// What a turn takes from the queue: blocks, and at most one barrier behind them.
#[derive(Default)]
struct Portion {
    blocks: Vec<Vec<u8>>,
    barrier: Option<Prepared>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when `submitted` ends.
    rest: Condvar,
    /// Used by the one turn that runs; gone when the writer was cancelled.
    files: Mutex<Option<OutputFiles<DirectoryFiles>>>,
    directory: PathBuf,
    waker: Arc<dyn Wake>,
    account: Arc<dyn Account>,
}

/// One lane's files.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

impl Output {
    /// A writer into `directory`, for `account`.
    pub fn new(
        directory: &OutputDirectory,
        task: OutputTask,
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Self {
        Self::with_file_bytes(directory, task, FILE_BYTES, waker, account)
    }

    pub(super) fn with_file_bytes(
        directory: &OutputDirectory,
        task: OutputTask,
        file_bytes: u64,
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Self {
        let names = directory.names();
        let effects =
            DirectoryFiles { directory: directory.path().to_owned(), packing: names.packing() };
        let first = FileId {
            incarnation: task.incarnation,
            checkpoint: task.next,
            task: task.lane,
            number: 0,
        };
        let (sink, ending) = (names.sink().clone(), names.ending().to_owned());
        let files = OutputFiles::new(effects, sink, ending, first, file_bytes);
        let (state, rest) = (Mutex::default(), Condvar::new());
        let (files, directory) = (Mutex::new(Some(files)), directory.path().to_owned());
        Self { shared: Arc::new(Shared { state, rest, files, directory, waker, account }) }
    }

    /// Whether a block may be queued. When not, the waker is called once it may. A writer that
    /// failed has room: the next call tells why.
    pub fn has_room(&self) -> bool {
        let state = lock(&self.shared.state);
        state.failure.is_some() || state.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Queues a block and returns an empty one to fill next.
    ///
    /// # Errors
    /// An earlier block could not be written.
    pub fn write(&self, block: Vec<u8>) -> Result<Vec<u8>, FileError> {
        let mut state = self.unless_failed()?;
        if state.cancelled {
            return Ok(Vec::new());
        }
        if block.is_empty() {
            return Ok(block);
        }
        state.queued_bytes += block.len();
        state.queue.push_back(Item::Block(block));
        let next = state.spent.pop().unwrap_or_default();
        self.submit(state)?;
        Ok(next)
    }

    /// Queues a barrier: what was written so far belongs to `checkpoint`, what follows does not. Needs
    /// no room. `state` comes back with the answer.
    ///
    /// # Errors
    /// As `write`.
    pub fn prepare(&self, checkpoint: CheckpointId, state: Vec<u8>) -> Result<(), FileError> {
        let barrier = Prepared { checkpoint, files: Vec::new(), state };
        let mut state = self.unless_failed()?;
        if state.cancelled {
            return Ok(());
        }
        state.queue.push_back(Item::Barrier(barrier));
        self.submit(state)
    }

    /// The oldest barrier before which everything is durable and that was not asked for yet. The waker
    /// is called when there is one.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn prepared(&self) -> Result<Option<Prepared>, FileError> {
        Ok(self.unless_failed()?.prepared.pop_front())
    }

    /// Has no thread write more of what is queued, nor answer barriers. Whoever ends several tells all of them first, so that none of them
    /// goes on while another is waited for.
    pub fn forsake(&self) {
        lock(&self.shared.state).cancelled = true;
    }

    /// Drops what is queued, and waits until no I/O thread touches the files. Not for lanes: it
    /// waits. Barriers that are not answered by then never are, and unfinished files stay.
    pub fn cancel(&self) {
        self.forsake();
        let is_withdrawn = pool::withdraw(&(Arc::clone(&self.shared) as Arc<dyn Work>));
        let mut state = lock(&self.shared.state);
        if is_withdrawn {
            state.submitted = false;
        }
        while state.submitted {
            state = self.shared.rest.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        *lock(&self.shared.files) = None;
    }

    fn unless_failed(&self) -> Result<MutexGuard<'_, State>, FileError> {
        let state = lock(&self.shared.state);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state),
        }
    }

    fn submit(&self, mut state: MutexGuard<'_, State>) -> Result<(), FileError> {
        if mem::replace(&mut state.submitted, true) {
            return Ok(());
        }
        drop(state);
        pool::submit(Arc::clone(&self.shared) as Arc<dyn Work>).map_err(|error| {
            let mut state = lock(&self.shared.state);
            state.submitted = false;
            let failure = FileError::Thread { source: Arc::new(error) };
            // What is queued would never be written.
            state.failure = Some(failure.clone());
            self.shared.rest.notify_all();
            failure
        })
    }
}

impl Shared {
    fn take(&self) -> Portion {
        let mut state = lock(&self.state);
        let (mut portion, mut bytes) = (Portion::default(), 0);
        while bytes < TURN_BYTES && portion.barrier.is_none() && !state.cancelled {
            match state.queue.pop_front() {
                Some(Item::Block(block)) => {
                    bytes += block.len();
                    portion.blocks.push(block);
                }
                Some(Item::Barrier(barrier)) => portion.barrier = Some(barrier),
                None => break,
            }
        }
        portion
    }

    fn write(
        &self,
        blocks: &[Vec<u8>],
        barrier: Option<Prepared>,
    ) -> Result<Option<Prepared>, FileError> {
        let mut files = lock(&self.files);
        let Some(files) = files.as_mut() else { return Ok(None) };
        for block in blocks {
            files.append(block)?;
        }
        let Some(mut barrier) = barrier else { return Ok(None) };
        barrier.files = files.prepare(barrier.checkpoint)?;
        Ok(Some(barrier))
    }

    /// Puts the outcome of a turn where the lane sees it.
    fn settle(&self, written: Vec<Vec<u8>>, result: Result<Option<Prepared>, FileError>) -> Turn {
        let mut state = lock(&self.state);
        let had_room = state.queued_bytes < QUEUED_BYTES_MAX;
        for mut block in written {
            state.queued_bytes -= block.len();
            if state.spent.len() < SPENT_MAX && block.capacity() <= SPENT_BYTES_MAX {
                block.clear();
                state.spent.push(block);
            }
        }
        let mut wake = !had_room && state.queued_bytes < QUEUED_BYTES_MAX;
        match result {
            Ok(prepared) => {
                wake |= prepared.is_some();
                state.prepared.extend(prepared);
            }
            Err(failure) => {
                wake = true;
                state.failure = Some(failure);
                state.queue.clear();
            }
        }
        let again = !state.queue.is_empty() && !state.cancelled;
        state.submitted = again;
        drop(state);
        if wake {
            self.waker.wake();
        }
        if again {
            return Turn::Again;
        }
        self.rest.notify_all();
        Turn::Done
    }
}

impl Work for Shared {
    fn turn(&self) -> Turn {
        let Portion { blocks, barrier } = self.take();
        let result = self.write(&blocks, barrier);
        self.settle(blocks, result)
    }

    fn died(&self) {
        let files = lock(&self.files);
        let path = files.as_ref().map(|files| self.directory.join(files.current()));
        let path = path.unwrap_or_default();
        drop(files);
        self.settle(Vec::new(), Err(FileError::Defect { path }));
    }

    fn account(&self) -> &Arc<dyn Account> {
        &self.account
    }
}
