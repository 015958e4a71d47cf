//! A sink that writes files by the transaction protocol, with its I/O behind a queue of its own.
//!
//! Order for each file, as in the product: created under its in-progress name -> written -> synced ->
//! directory synced -> prepared. The lane only appends to the queue; the world decides when the I/O is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, Prepared, PreparedFile, SinkWriter, Wake};
use tidemill_core::disk::{Disk, DiskError, DiskFile};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::planted::{self, Bug};
use tidemill_core::transaction::{FileId, SinkNames};

use crate::disk::SimDisk;
use crate::gate::Gate;

/// What the I/O of one writer has to do, in order.
enum Job {
    /// Append to a file, which is created when it is not there.
    Append { name: String, bytes: Vec<u8> },
    /// Make the files durable and say so.
    Prepare(Prepared),
}

/// The I/O of one writer.
pub struct SinkIo {
    disk: SimDisk,
    waker: Arc<dyn Wake>,
    jobs: VecDeque<Job>,
    open: BTreeMap<String, (Box<dyn DiskFile>, u64)>,
    done: VecDeque<Prepared>,
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
        None => Ok(false),
        Some(Job::Append { name, bytes }) => io.append(&name, &bytes).map(|()| true),
        Some(Job::Prepare(prepared)) => io.prepare(prepared).map(|()| true),
    }
}

/// Whether a writer's I/O has nothing to do.
pub fn is_idle(io: &SharedIo) -> bool {
    lock(io).jobs.is_empty()
}

impl SinkIo {
    /// I/O in the directory that `disk` is rooted at.
    pub fn new(disk: SimDisk, waker: Arc<dyn Wake>) -> SharedIo {
        let (jobs, open, done) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
        Arc::new(Mutex::new(Self { disk, waker, jobs, open, done }))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        if !self.open.contains_key(name) {
            self.open.insert(name.to_owned(), (self.disk.create(name)?, 0));
        }
        if let Some((file, length)) = self.open.get_mut(name) {
            file.write_at(*length, bytes)?;
            *length += bytes.len() as u64;
        }
        Ok(())
    }

    fn prepare(&mut self, prepared: Prepared) -> Result<(), DiskError> {
        for file in &prepared.files {
            if let Some((mut open, _)) = self.open.remove(&file.in_progress)
                && !planted::is(Bug::NoSyncOfPreparedFile)
            {
                open.sync()?;
            }
        }
        if !prepared.files.is_empty() && !planted::is(Bug::NoDirectorySyncOfPreparedFile) {
            self.disk.sync_dir("")?;
        }
        self.done.push_back(prepared);
        self.waker.wake();
        Ok(())
    }
}

/// A file that is being written.
struct OpenFile {
    id: FileId,
    lines: usize,
    content: Vec<u8>,
}

/// One lane's writer.
pub struct SimSink {
    io: SharedIo,
    names: SinkNames,
    gate: Gate,
    /// The identity of the next file.
    next: FileId,
    file: Option<OpenFile>,
    /// Files that are full.
    full: Vec<PreparedFile>,
    roll_lines: usize,
    /// Lines written in all incarnations.
    lines: u64,
}

impl SimSink {
    /// A writer that begins behind checkpoint `restored`, going on from the states of others.
    pub fn new(
        io: SharedIo,
        names: SinkNames,
        gate: Gate,
        (incarnation, restored): (Incarnation, CheckpointId),
        task: usize,
        states: &[Vec<u8>],
        roll_lines: usize,
    ) -> Self {
        let next =
            FileId { incarnation, checkpoint: CheckpointId(restored.0 + 1), task, number: 0 };
        let lines = states.iter().map(|state| lines_of(state)).sum();
        Self { io, names, gate, next, file: None, full: Vec::new(), roll_lines, lines }
    }

    fn end_file(&mut self) {
        let Some(OpenFile { id, content, .. }) = self.file.take() else { return };
        self.full.push(PreparedFile {
            in_progress: self.names.in_progress(id),
            published: self.names.published(id, "txt"),
            bytes: content.len() as u64,
            digest: *blake3::hash(&content).as_bytes(),
        });
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

    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError> {
        self.gate.pass();
        self.lines += batch.len() as u64;
        let file = self.file.get_or_insert_with(|| {
            let id = self.next;
            self.next.number += 1;
            OpenFile { id, lines: 0, content: Vec::new() }
        });
        let start = file.content.len();
        for value in batch.values.iter() {
            file.content.extend_from_slice(value);
            file.content.push(b'\n');
        }
        file.lines += batch.len();
        let is_full = file.lines >= self.roll_lines;
        let (name, bytes) = (self.names.in_progress(file.id), file.content[start..].to_vec());
        lock(&self.io).jobs.push_back(Job::Append { name, bytes });
        if is_full {
            self.end_file();
        }
        Ok(())
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError> {
        self.end_file();
        let (files, state) = (std::mem::take(&mut self.full), self.lines.to_le_bytes().to_vec());
        lock(&self.io).jobs.push_back(Job::Prepare(Prepared { checkpoint, files, state }));
        self.next = FileId { checkpoint: CheckpointId(checkpoint.0 + 1), number: 0, ..self.next };
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(lock(&self.io).done.pop_front())
    }
}
