//! Writes a lane's blocks to files behind the lane.
//!
//! The lane queues blocks, an I/O thread compresses and writes them and starts a new file when one
//! is full. Knows nothing of records: a block holds whole ones. Invariants: blocks are written in
//! order; a file ends between two blocks; a file is created only when there is something to write
//! in it; after a failure nothing more is written and every later question is answered with it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use tidemill_core::connector::Wake;

use crate::error::FileError;
use crate::files::Packing;
use crate::output::body::Body;
use crate::output::{OutputDirectory, OutputNames};
use crate::pool::{self, Turn, Work, lock};

/// Bytes that may wait to be written before the writer is out of room.
pub const QUEUED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Length of a file after which a new one is started.
const FILE_BYTES: u64 = 1024 * 1024 * 1024;
/// Bytes of blocks that one turn writes, about.
const TURN_BYTES: usize = 1024 * 1024;
/// Written blocks that are kept to be filled again.
const SPENT_MAX: usize = 4;

#[derive(Default)]
struct State {
    blocks: VecDeque<Vec<u8>>,
    /// Bytes of blocks that are not written yet, the one at work included.
    queued_bytes: usize,
    spent: Vec<Vec<u8>>,
    /// Whether the pool has this writer.
    submitted: bool,
    ended: bool,
    settled: bool,
    cancelled: bool,
    failure: Option<FileError>,
    /// Files that are complete and durable.
    finished: u64,
}

struct Shared {
    directory: PathBuf,
    names: OutputNames,
    lane: usize,
    file_bytes: u64,
    state: Mutex<State>,
    /// Signalled when `submitted` ends.
    rest: Condvar,
    /// Used by the one turn that runs.
    body: Mutex<Option<Body>>,
    waker: Arc<dyn Wake>,
}

/// One lane's files.
#[derive(Clone)]
pub struct Output {
    shared: Arc<Shared>,
}

impl Output {
    /// A writer of `lane` into `directory`.
    pub fn new(directory: &OutputDirectory, lane: usize, waker: Arc<dyn Wake>) -> Self {
        Self::with_file_bytes(directory, lane, FILE_BYTES, waker)
    }

    fn with_file_bytes(
        directory: &OutputDirectory,
        lane: usize,
        file_bytes: u64,
        waker: Arc<dyn Wake>,
    ) -> Self {
        let shared = Shared {
            directory: directory.file(""),
            names: directory.names().clone(),
            lane,
            file_bytes,
            state: Mutex::default(),
            rest: Condvar::new(),
            body: Mutex::new(None),
            waker,
        };
        Self { shared: Arc::new(shared) }
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
        let mut state = lock(&self.shared.state);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if block.is_empty() || state.cancelled || state.ended {
            return Ok(block);
        }
        state.queued_bytes += block.len();
        state.blocks.push_back(block);
        let next = state.spent.pop().unwrap_or_default();
        self.submit(state)?;
        Ok(next)
    }

    /// No block follows: what is queued is written and made durable.
    ///
    /// # Errors
    /// As `write`.
    pub fn end(&self) -> Result<(), FileError> {
        let mut state = lock(&self.shared.state);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.ended = true;
        self.submit(state)
    }

    fn submit(&self, mut state: std::sync::MutexGuard<'_, State>) -> Result<(), FileError> {
        if std::mem::replace(&mut state.submitted, true) {
            return Ok(());
        }
        drop(state);
        pool::submit(Arc::clone(&self.shared) as Arc<dyn Work>).map_err(|error| {
            lock(&self.shared.state).submitted = false;
            FileError::Thread { source: Arc::new(error) }
        })
    }

    /// After `end`: whether everything is durable. When not, the waker is called once it is.
    ///
    /// # Errors
    /// Something could not be written.
    pub fn is_settled(&self) -> Result<bool, FileError> {
        let state = lock(&self.shared.state);
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(state.settled),
        }
    }

    /// The files that are complete, as (lane, number).
    pub fn finished(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let lane = self.shared.lane;
        (0..lock(&self.shared.state).finished).map(move |number| (lane, number))
    }

    /// Drops what is queued and waits until no I/O thread touches the files. Not for lanes: it
    /// waits.
    pub fn cancel(&self) {
        let mut state = lock(&self.shared.state);
        state.cancelled = true;
        while state.submitted {
            state = self.shared.rest.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        *lock(&self.shared.body) = None;
    }
}

impl Shared {
    fn write(
        &self,
        body: &mut Option<Body>,
        block: &[u8],
        number: &mut u64,
    ) -> Result<(), FileError> {
        let file = match body {
            Some(file) => file,
            None => {
                let path = self.directory.join(self.names.in_progress(self.lane, *number));
                body.insert(Body::create(path, self.packing())?)
            }
        };
        file.append(block)?;
        if file.bytes() >= self.file_bytes {
            self.finish(body, number)?;
        }
        Ok(())
    }

    fn finish(&self, body: &mut Option<Body>, number: &mut u64) -> Result<(), FileError> {
        if let Some(file) = body.take() {
            file.finish()?;
            *number += 1;
        }
        Ok(())
    }

    fn packing(&self) -> Packing {
        self.names.packing()
    }

    /// Takes blocks for one turn.
    fn blocks(&self, into: &mut Vec<Vec<u8>>) -> (bool, u64) {
        let mut state = lock(&self.state);
        let mut bytes = 0;
        while bytes < TURN_BYTES
            && !state.cancelled
            && let Some(block) = state.blocks.pop_front()
        {
            bytes += block.len();
            into.push(block);
        }
        (state.ended && state.blocks.is_empty() && !state.cancelled, state.finished)
    }

    /// Puts the outcome of a turn where the lane sees it.
    fn settle(
        &self,
        written: Vec<Vec<u8>>,
        result: Result<bool, FileError>,
        finished: u64,
    ) -> Turn {
        let mut state = lock(&self.state);
        let was_full = state.queued_bytes >= QUEUED_BYTES_MAX;
        for mut block in written {
            state.queued_bytes -= block.len();
            if state.spent.len() < SPENT_MAX {
                block.clear();
                state.spent.push(block);
            }
        }
        state.finished = finished;
        match result {
            Ok(settled) => state.settled |= settled,
            Err(failure) => {
                state.failure = Some(failure);
                state.blocks.clear();
            }
        }
        let stop = state.failure.is_some() || state.cancelled || state.settled;
        let again = !stop && (state.ended || !state.blocks.is_empty());
        state.submitted = again;
        let has_room = state.queued_bytes < QUEUED_BYTES_MAX;
        let wake = stop || (was_full && has_room);
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
        let mut body = lock(&self.body);
        let mut blocks = Vec::new();
        let (is_last, mut finished) = self.blocks(&mut blocks);
        let mut result = Ok(is_last);
        for block in &blocks {
            if let Err(failure) = self.write(&mut body, block, &mut finished) {
                result = Err(failure);
                break;
            }
        }
        if is_last && result.is_ok() {
            result = self.finish(&mut body, &mut finished).map(|()| true);
        }
        drop(body);
        self.settle(blocks, result, finished)
    }

    fn died(&self) {
        let path = self.directory.join(self.names.in_progress(self.lane, 0));
        self.settle(Vec::new(), Err(FileError::Defect { path }), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;

    struct Bell(mpsc::Sender<()>);

    impl Wake for Bell {
        fn wake(&self) {
            self.0.send(()).ok();
        }
    }

    fn unpack(path: &Path) -> Vec<u8> {
        let file = fs::File::open(path).unwrap();
        let mut all = Vec::new();
        match Packing::of(path) {
            Packing::None => Box::new(file) as Box<dyn Read>,
            Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Packing::Zstd => Box::new(zstd::Decoder::new(file).unwrap()),
        }
        .read_to_end(&mut all)
        .unwrap();
        all
    }

    #[test]
    fn blocks_come_back_in_order_from_the_published_files() {
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            let root = tempfile::tempdir().unwrap();
            let names = OutputNames::new("job", "out", "txt", packing).unwrap();
            let mut directory = OutputDirectory::prepare(root.path(), names, false).unwrap();
            let (bell, wakes) = mpsc::channel();
            let output = Output::with_file_bytes(&directory, 3, 300_000, Arc::new(Bell(bell)));
            let (mut all, mut block) = (Vec::new(), Vec::new());
            let mut noise = 1u64;
            for _ in 0..100 {
                for _ in 0..10_000 {
                    noise =
                        noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    block.push((noise >> 56) as u8);
                }
                all.extend_from_slice(&block);
                while !output.has_room() {
                    wakes.recv().unwrap();
                }
                block = output.write(block).unwrap();
            }
            output.end().unwrap();
            while !output.is_settled().unwrap() {
                wakes.recv().unwrap();
            }
            let finished: Vec<_> = output.finished().collect();
            let files = directory.publish(&finished).unwrap();
            drop(directory);
            assert!(files.len() > 2, "{packing}: {files:?}");
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), files.len());
            let found: Vec<u8> = files.iter().flat_map(|path| unpack(path)).collect();
            assert!(found == all, "{packing}");
        }
    }

    #[test]
    fn a_cancelled_writer_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let names = OutputNames::new("job", "out", "txt", Packing::Zstd).unwrap();
        let mut directory = OutputDirectory::prepare(root.path(), names, false).unwrap();
        let (bell, _wakes) = mpsc::channel();
        let output = Output::new(&directory, 0, Arc::new(Bell(bell)));
        for _ in 0..100 {
            output.write(vec![7; 100_000]).unwrap();
        }
        output.cancel();
        directory.discard();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_fails_the_writer_and_tells_why() {
        let root = tempfile::tempdir().unwrap();
        let names = OutputNames::new("job", "out", "txt", Packing::None).unwrap();
        let directory = OutputDirectory::prepare(root.path(), names, false).unwrap();
        fs::write(root.path().join(".tm-job-out-0-0"), "").unwrap();
        let (bell, wakes) = mpsc::channel();
        let output = Output::new(&directory, 0, Arc::new(Bell(bell)));
        output.write(b"record\n".to_vec()).unwrap();
        wakes.recv().unwrap();
        let error = output.is_settled().unwrap_err();
        assert!(matches!(error, FileError::Create { .. }), "{error}");
        assert!(output.has_room() && output.write(Vec::new()).is_err() && output.end().is_err());
    }
}
