//! A sink that writes files by the transaction protocol, with its I/O behind a queue of its own.
//!
//! The order of effects is the product's. The lane only appends to the queue; the world decides when the I/O is
//! done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, Prepared, SinkWriter, Wake};
use tidemill_core::disk::{Disk, DiskError, DiskFile};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::transaction::{FileEffects, FileId, OutputFiles, SinkNames};

use crate::disk::SimDisk;
use crate::gate::Gate;

/// What the I/O of one writer has to do, in order.
enum Job {
    /// Append a block.
    Append(Vec<u8>),
    /// Make the files durable and say so.
    Prepare(Prepared),
}

/// The I/O of one writer.
pub struct SinkIo {
    files: OutputFiles<SinkDirectory>,
    waker: Arc<dyn Wake>,
    jobs: VecDeque<Job>,
    done: VecDeque<Prepared>,
}

/// The directory of a sink.
struct SinkDirectory(SimDisk);

/// A file, and what was written to it.
type Body = (Box<dyn DiskFile>, Vec<u8>);

impl FileEffects for SinkDirectory {
    type Body = Body;
    type Ended = Box<dyn DiskFile>;
    type Error = DiskError;

    fn create(&mut self, name: &str) -> Result<Body, DiskError> {
        Ok((self.0.create(name)?, Vec::new()))
    }

    fn append(&mut self, (file, content): &mut Body, block: &[u8]) -> Result<u64, DiskError> {
        file.write_at(content.len() as u64, block)?;
        content.extend_from_slice(block);
        Ok(content.len() as u64)
    }

    fn end(
        &mut self,
        (file, content): Body,
    ) -> Result<(Box<dyn DiskFile>, u64, [u8; 32]), DiskError> {
        Ok((file, content.len() as u64, *blake3::hash(&content).as_bytes()))
    }

    fn sync(&mut self, mut ended: Box<dyn DiskFile>) -> Result<(), DiskError> {
        ended.sync()
    }

    fn sync_names(&mut self) -> Result<(), DiskError> {
        self.0.sync_dir("")
    }
}

/// The I/O of one writer, shared with it.
pub type SharedIo = Arc<Mutex<SinkIo>>;

fn lock(io: &SharedIo) -> MutexGuard<'_, SinkIo> {
    io.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does the next job of a writer; answers whether there was one.
///
/// # Errors
/// The machine is off.
pub fn work(io: &SharedIo) -> Result<bool, DiskError> {
    let mut io = lock(io);
    match io.jobs.pop_front() {
        None => return Ok(false),
        Some(Job::Append(block)) => io.files.append(&block)?,
        Some(Job::Prepare(mut prepared)) => {
            prepared.files = io.files.prepare(prepared.checkpoint)?;
            io.done.push_back(prepared);
            io.waker.wake();
        }
    }
    Ok(true)
}

/// Whether a writer's I/O has nothing to do.
pub fn is_idle(io: &SharedIo) -> bool {
    lock(io).jobs.is_empty()
}

impl SinkIo {
    /// The I/O of lane `task` in the directory that `disk` is rooted at, behind checkpoint `restored`. A file
    /// is full at `file_bytes`.
    pub fn new(
        disk: SimDisk,
        names: SinkNames,
        (incarnation, restored): (Incarnation, CheckpointId),
        task: usize,
        file_bytes: u64,
        waker: Arc<dyn Wake>,
    ) -> SharedIo {
        let checkpoint = CheckpointId(restored.0 + 1);
        let first = FileId { incarnation, checkpoint, task, number: 0 };
        let ending = "txt".to_owned();
        let files = OutputFiles::new(SinkDirectory(disk), names, ending, first, file_bytes);
        let (jobs, done) = (VecDeque::new(), VecDeque::new());
        Arc::new(Mutex::new(Self { files, waker, jobs, done }))
    }
}

/// One lane's writer.
pub struct SimSink {
    io: SharedIo,
    gate: Gate,
    /// Lines written in all incarnations.
    lines: u64,
}

impl SimSink {
    /// A writer that goes on from the states of others.
    pub fn new(io: SharedIo, gate: Gate, states: &[Vec<u8>]) -> Self {
        let lines = states.iter().map(|state| lines_of(state)).sum();
        Self { io, gate, lines }
    }
}

/// The lines that the state of a writer stands for.
pub fn lines_of(state: &[u8]) -> u64 {
    state.try_into().map_or(0, u64::from_le_bytes)
}

impl SinkWriter for SimSink {
    fn has_room(&mut self) -> bool {
        self.gate.is_open()
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        self.gate.pass();
        self.lines += batch.len() as u64;
        let mut block = Vec::new();
        for value in batch.values.iter() {
            block.extend_from_slice(value);
            block.push(b'\n');
        }
        let bytes = block.len();
        lock(&self.io).jobs.push_back(Job::Append(block));
        Ok(bytes)
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError> {
        let (files, state) = (Vec::new(), self.lines.to_le_bytes().to_vec());
        lock(&self.io).jobs.push_back(Job::Prepare(Prepared { checkpoint, files, state }));
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(lock(&self.io).done.pop_front())
    }
}
