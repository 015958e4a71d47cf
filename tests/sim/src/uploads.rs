//! Snapshot files in the making, as the product makes them: lanes put segments into a queue, and whoever
//! works it off writes files and acknowledges.
//!
//! Order for each file: created -> written -> synced -> directory synced -> acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::checkpoint::ledger::{MergeTask, NodeRole};
use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::checkpoint::store::snapshot_name;
use tidemill_core::checkpoint::{
    AckContent, CheckpointListener, OperatorAck, SnapshotUpload, TaskAck, UploadTask,
};
use tidemill_core::connector::Wake;
use tidemill_core::disk::Disk;
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::snapshot::{
    Segment, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, Written, make_durable,
    merge,
};

use crate::disk::SimDisk;
use crate::mail::{Event, Flag, Mailbox, Sender};

/// What all snapshot files of an incarnation have in common.
#[derive(Clone)]
pub struct SnapshotSeed {
    /// The job's identity.
    pub identity: String,
    /// Who writes.
    pub incarnation: Incarnation,
    /// Seed of the key hash.
    pub hash_seed: u64,
    /// Key groups of the job.
    pub key_groups: u32,
    /// What the nodes are.
    pub roles: Vec<NodeRole>,
}

impl SnapshotSeed {
    fn header(&self, task: &UploadTask) -> SnapshotHeader {
        let (operator, states) = match &self.roles[task.node.0] {
            NodeRole::Operator { name, states, .. } => (name.clone(), states.clone()),
            NodeRole::Source { name } | NodeRole::Sink { name, .. } => (name.clone(), Vec::new()),
        };
        SnapshotHeader {
            identity: self.identity.clone(),
            operator,
            lane: task.lane.0 as u32,
            checkpoint: task.checkpoint,
            incarnation: self.incarnation,
            key_groups: self.key_groups,
            hash_seed: self.hash_seed,
            states,
            is_base: task.is_base,
        }
    }
}

enum Order {
    Begin { upload: u64, task: UploadTask },
    Put { upload: u64, segments: Vec<Segment>, bytes: usize },
    Finish { upload: u64, ack: OperatorAck },
    Drop { upload: u64 },
}

/// A file in the making; begun with its first segment, so that nothing changed makes no file.
struct OpenFile {
    task: UploadTask,
    name: String,
    writer: Option<SnapshotWriter>,
}

#[derive(Default)]
struct Queue {
    orders: VecDeque<Order>,
    waiting_bytes: usize,
    next: u64,
}

/// The queue and what works it off.
pub struct Uploads {
    disk: SimDisk,
    seed: SnapshotSeed,
    lanes: Vec<Arc<Flag>>,
    mailbox: Mailbox,
    queue: Arc<Mutex<Queue>>,
    waiting_bytes_max: usize,
    open: BTreeMap<u64, OpenFile>,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Uploads {
    /// Uploads to a disk; `lanes` are woken when there is room again.
    pub fn new(
        disk: SimDisk,
        seed: SnapshotSeed,
        lanes: Vec<Arc<Flag>>,
        mailbox: Mailbox,
        waiting_bytes_max: usize,
    ) -> Self {
        let (queue, open) = (Arc::default(), BTreeMap::new());
        Self { disk, seed, lanes, mailbox, queue, waiting_bytes_max, open }
    }

    /// What lanes report to.
    pub fn listener(&self) -> Arc<dyn CheckpointListener> {
        let (queue, mailbox) = (self.queue.clone(), self.mailbox.clone());
        let waiting_bytes_max = self.waiting_bytes_max;
        Arc::new(Listener { queue, mailbox, waiting_bytes_max })
    }

    /// Whether nothing is to be done.
    pub fn is_idle(&self) -> bool {
        lock(&self.queue).orders.is_empty()
    }

    /// Does the next thing; answers whether there was one. `declines`: a file that is finished now cannot be
    /// written, for a reason that passes.
    ///
    /// # Errors
    /// The machine is off, or a segment makes no sense.
    pub fn work(&mut self, declines: bool) -> Result<bool, SnapshotError> {
        let Some(order) = lock(&self.queue).orders.pop_front() else { return Ok(false) };
        match order {
            Order::Begin { upload, task } => {
                let UploadTask { checkpoint, node, lane, is_base, .. } = task;
                let name = snapshot_name(checkpoint, self.seed.incarnation, node, lane, is_base);
                self.open.insert(upload, OpenFile { task, name, writer: None });
            }
            Order::Put { upload, segments, bytes } => {
                self.put(upload, segments)?;
                self.make_room(bytes);
            }
            Order::Finish { upload, ack } => self.finish(upload, ack, declines)?,
            Order::Drop { upload } => self.drop_file(upload)?,
        }
        Ok(true)
    }

    fn make_room(&self, bytes: usize) {
        let mut queue = lock(&self.queue);
        let before = queue.waiting_bytes;
        queue.waiting_bytes -= bytes;
        if before >= self.waiting_bytes_max && before - bytes < self.waiting_bytes_max {
            self.lanes.iter().for_each(|lane| lane.wake());
        }
    }

    fn put(&mut self, upload: u64, segments: Vec<Segment>) -> Result<(), SnapshotError> {
        let Some(file) = self.open.get_mut(&upload) else { return Ok(()) };
        for segment in segments {
            file.writer(&self.disk, &self.seed)?.add(segment)?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        upload: u64,
        mut ack: OperatorAck,
        declines: bool,
    ) -> Result<(), SnapshotError> {
        let Some(mut file) = self.open.remove(&upload) else { return Ok(()) };
        let UploadTask { checkpoint, node, lane, alignment_us, .. } = file.task;
        let fact = if declines {
            if file.writer.is_some() {
                self.disk.remove(&file.name)?;
            }
            Fact::Declined { checkpoint, reason: "as the world says".to_owned() }
        } else {
            ack.file = file.end(&self.disk, &self.seed)?;
            let content = AckContent::Operator(ack);
            Fact::Acknowledged(TaskAck { checkpoint, node, lane, alignment_us, content })
        };
        self.mailbox.send(Sender::Uploads, Event::Fact(fact));
        Ok(())
    }

    fn drop_file(&mut self, upload: u64) -> Result<(), SnapshotError> {
        if let Some(file) = self.open.remove(&upload)
            && file.writer.is_some()
        {
            self.disk.remove(&file.name)?;
        }
        Ok(())
    }

    /// Makes one base of a chain, under the name of the newest checkpoint's base.
    ///
    /// # Errors
    /// The machine is off, or a file of the chain cannot be read.
    pub fn merge(
        &self,
        task: &MergeTask,
        newest: CheckpointId,
        now_ms: i64,
    ) -> Result<SnapshotFile, SnapshotError> {
        let MergeTask { node, lane, chain } = task;
        let disk = &self.disk;
        let name = snapshot_name(newest, self.seed.incarnation, *node, *lane, true);
        let open =
            |file: &SnapshotFile| SnapshotReader::open(disk.open(&file.name)?, &file.name, None);
        let readers = chain.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (written, mut file) = merge(readers, now_ms, disk.create(&name)?, &name, || ())?;
        make_durable(disk, &mut *file)?;
        Ok(snapshot_file(&name, written, true))
    }
}

impl OpenFile {
    fn writer(
        &mut self,
        disk: &SimDisk,
        seed: &SnapshotSeed,
    ) -> Result<&mut SnapshotWriter, SnapshotError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let header = seed.header(&self.task);
                SnapshotWriter::new(disk.create(&self.name)?, &self.name, &header)?
            }
        };
        Ok(self.writer.insert(writer))
    }

    /// Ends the file and makes it durable. A base is always a file; changes only when there are any.
    fn end(
        &mut self,
        disk: &SimDisk,
        seed: &SnapshotSeed,
    ) -> Result<Option<SnapshotFile>, SnapshotError> {
        if self.writer.is_none() && !self.task.is_base {
            return Ok(None);
        }
        self.writer(disk, seed)?;
        let Some(writer) = self.writer.take() else { return Ok(None) };
        let (written, mut file) = writer.finish()?;
        make_durable(disk, &mut *file)?;
        Ok(Some(snapshot_file(&self.name, written, self.task.is_base)))
    }
}

fn snapshot_file(name: &str, written: Written, is_base: bool) -> SnapshotFile {
    let Written { bytes, digest, entries } = written;
    SnapshotFile { name: name.to_owned(), bytes, digest, is_base, entries }
}

struct Listener {
    queue: Arc<Mutex<Queue>>,
    mailbox: Mailbox,
    waiting_bytes_max: usize,
}

impl CheckpointListener for Listener {
    fn acknowledge(&self, ack: TaskAck) {
        self.mailbox.send(Sender::Lane(ack.lane.0), Event::Fact(Fact::Acknowledged(ack)));
    }

    fn begin_upload(&self, task: UploadTask) -> Box<dyn SnapshotUpload> {
        let mut queue = lock(&self.queue);
        let upload = queue.next;
        queue.next += 1;
        queue.orders.push_back(Order::Begin { upload, task });
        let waiting_bytes_max = self.waiting_bytes_max;
        let queue = self.queue.clone();
        Box::new(Upload { queue, upload, waiting_bytes_max, is_finished: false })
    }
}

struct Upload {
    queue: Arc<Mutex<Queue>>,
    upload: u64,
    waiting_bytes_max: usize,
    is_finished: bool,
}

impl SnapshotUpload for Upload {
    fn has_room(&self) -> bool {
        lock(&self.queue).waiting_bytes < self.waiting_bytes_max
    }

    fn put(&mut self, segments: Vec<Segment>) {
        let bytes = segments.iter().map(|segment| segment.bytes.len()).sum();
        let mut queue = lock(&self.queue);
        queue.waiting_bytes += bytes;
        queue.orders.push_back(Order::Put { upload: self.upload, segments, bytes });
    }

    fn finish(mut self: Box<Self>, ack: OperatorAck) {
        self.is_finished = true;
        lock(&self.queue).orders.push_back(Order::Finish { upload: self.upload, ack });
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_finished {
            lock(&self.queue).orders.push_back(Order::Drop { upload: self.upload });
        }
    }
}
