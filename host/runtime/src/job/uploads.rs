//! Snapshot files in the making: from the segments that lanes encode to durable files and acks.
//!
//! Owns one thread of low priority for each incarnation, which sorts, compresses and writes, so that a lane
//! only hands segments over. Order for each file: created under its own name, which must be free -> written
//! -> synced -> directory synced -> the task's ack. An upload that is dropped leaves a file that no manifest
//! names; it is collected later. A merge goes on in a thread of its own, file by file in the same order.
//! Invariant: what a lane calls here never waits for a thread that writes, nor for another lane.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Instant;

use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::checkpoint::ledger::{MergeTask, NodeRole};
use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::checkpoint::store::snapshot_name;
use tidemill_core::checkpoint::{
    AckContent, CheckpointListener, OperatorAck, SnapshotUpload, TaskAck, UploadTask,
};
use tidemill_core::connector::Wake;
use tidemill_core::disk::Disk;
use tidemill_core::ids::{CheckpointId, Incarnation, LaneId, NodeId};
use tidemill_core::snapshot::{
    Segment, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotWriter, Written, make_durable,
    merge,
};

use super::failpoint::failpoint;
use super::lane_line::LaneLine;
use super::supervisor::Event;
use crate::tenants::Tenant;
use crate::{machine, priority, spawner};

/// Bytes of segments that may wait for the thread before lanes stop encoding.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What all snapshot files of an incarnation have in common.
#[derive(Clone)]
pub(super) struct SnapshotSeed {
    pub(super) identity: String,
    pub(super) incarnation: Incarnation,
    pub(super) hash_seed: u64,
    pub(super) key_groups: u32,
    pub(super) roles: Vec<NodeRole>,
}

impl SnapshotSeed {
    fn header(&self, task: &UploadTask) -> Option<SnapshotHeader> {
        let Some(NodeRole::Operator { name, states, .. }) = self.roles.get(task.node.0) else {
            return None;
        };
        Some(SnapshotHeader {
            identity: self.identity.clone(),
            operator: name.clone(),
            lane: task.lane.0 as u32,
            checkpoint: task.checkpoint,
            incarnation: self.incarnation,
            key_groups: self.key_groups,
            hash_seed: self.hash_seed,
            states: states.clone(),
            is_base: task.is_base,
        })
    }
}

/// What the thread is told.
enum Order {
    Put { upload: u64, segments: Vec<Segment>, bytes: usize },
    Finish { upload: u64, ack: OperatorAck },
    Drop { upload: u64 },
    Begin { upload: u64, task: UploadTask },
}

/// The thread, and the merges beside it.
pub(super) struct Uploads {
    shared: Arc<Shared>,
    /// The thread of uploads and those of merges, joined when dropped.
    threads: Mutex<Vec<JoinHandle<()>>>,
    disk: Arc<dyn Disk>,
    incarnation: Incarnation,
    tenant: Arc<Tenant>,
}

struct Shared {
    /// Lanes only read it, so that none waits for another; it is taken when all of them are gone.
    orders: RwLock<Option<Sender<Order>>>,
    events: Sender<Event>,
    waiting_bytes: Arc<AtomicUsize>,
    next: AtomicUsize,
}

impl Shared {
    fn order(&self, order: Order) {
        if let Some(orders) = &*self.orders.read().unwrap_or_else(PoisonError::into_inner) {
            // After a panic of the thread nothing is acknowledged any more, and checkpoints time out.
            orders.send(order).ok();
        }
    }
}

impl Uploads {
    /// Starts the thread, which works for `tenant`. `lines` are woken when there is room again.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        seed: SnapshotSeed,
        lines: &[Arc<LaneLine>],
        events: Sender<Event>,
        busy_us: Arc<AtomicU64>,
        tenant: Arc<Tenant>,
    ) -> std::io::Result<Self> {
        let (orders, received) = mpsc::channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let incarnation = seed.incarnation;
        let mut work = Work {
            disk: disk.clone(),
            seed,
            lines: lines.to_vec(),
            events: events.clone(),
            waiting_bytes: waiting_bytes.clone(),
            busy_us,
            open: BTreeMap::new(),
        };
        let employer = tenant.clone();
        let body = move || {
            priority::work_in_background();
            let _employed = employer.employ();
            work.run(&received);
        };
        let thread = spawner::builder("tidemill-snap")?.spawn(body)?;
        let orders = RwLock::new(Some(orders));
        let shared = Arc::new(Shared { orders, events, waiting_bytes, next: AtomicUsize::new(0) });
        Ok(Self { shared, threads: Mutex::new(vec![thread]), disk, incarnation, tenant })
    }

    /// What lanes report to.
    pub(super) fn listener(&self) -> Listener {
        Listener { shared: self.shared.clone() }
    }

    /// Begins to make one file of a chain.
    pub(super) fn merge(&self, task: MergeTask, newest: CheckpointId, events: Sender<Event>) {
        let (disk, incarnation) = (self.disk.clone(), self.incarnation);
        let (lost, failed) = (task.clone(), events.clone());
        let tenant = self.tenant.clone();
        let body = move || {
            priority::work_in_background();
            let _employed = tenant.employ();
            let merged = merge_chain(&*disk, &task, newest, incarnation);
            events.send(Event::Merged(task, merged.map_err(|error| error.to_string()))).ok();
        };
        match spawner::builder("tidemill-merge").and_then(|thread| thread.spawn(body)) {
            Ok(thread) => {
                let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
            }
            Err(error) => {
                failed.send(Event::Merged(lost, Err(format!("no thread: {error}")))).ok();
            }
        }
    }
}

impl Drop for Uploads {
    /// Drops what is under way, and waits for the threads.
    fn drop(&mut self) {
        *self.shared.orders.write().unwrap_or_else(PoisonError::into_inner) = None;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// What lanes report to.
pub(super) struct Listener {
    shared: Arc<Shared>,
}

impl CheckpointListener for Listener {
    fn acknowledge(&self, ack: TaskAck) {
        // The supervisor outlives every lane.
        self.shared.events.send(Event::Fact(Fact::Acknowledged(ack))).ok();
    }

    fn begin_upload(&self, task: UploadTask) -> Box<dyn SnapshotUpload> {
        let upload = self.shared.next.fetch_add(1, SeqCst) as u64;
        self.shared.order(Order::Begin { upload, task });
        Box::new(Upload { shared: self.shared.clone(), upload, is_finished: false })
    }
}

struct Upload {
    shared: Arc<Shared>,
    upload: u64,
    is_finished: bool,
}

impl SnapshotUpload for Upload {
    fn has_room(&self) -> bool {
        self.shared.waiting_bytes.load(SeqCst) < WAITING_BYTES_MAX
    }

    fn put(&mut self, segments: Vec<Segment>) {
        // What they take, which for few entries is more than what they hold.
        let bytes = segments.iter().map(|segment| segment.bytes.capacity()).sum();
        self.shared.waiting_bytes.fetch_add(bytes, SeqCst);
        self.shared.order(Order::Put { upload: self.upload, segments, bytes });
    }

    fn finish(mut self: Box<Self>, ack: OperatorAck) {
        self.is_finished = true;
        self.shared.order(Order::Finish { upload: self.upload, ack });
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.is_finished {
            self.shared.order(Order::Drop { upload: self.upload });
        }
    }
}

/// A file in the making; begun with its first segment, so that nothing changed makes no file.
struct OpenFile {
    task: UploadTask,
    name: String,
    writer: Option<SnapshotWriter>,
    failure: Option<SnapshotError>,
}

/// The thread's side.
struct Work {
    disk: Arc<dyn Disk>,
    seed: SnapshotSeed,
    lines: Vec<Arc<LaneLine>>,
    events: Sender<Event>,
    waiting_bytes: Arc<AtomicUsize>,
    /// Time spent in orders, in microseconds.
    busy_us: Arc<AtomicU64>,
    open: BTreeMap<u64, OpenFile>,
}

impl Work {
    fn run(&mut self, orders: &Receiver<Order>) {
        for order in orders {
            let began = Instant::now();
            match order {
                Order::Begin { upload, task } => {
                    let UploadTask { checkpoint, node, lane, is_base, .. } = task;
                    let incarnation = self.seed.incarnation;
                    let name = snapshot_name(checkpoint, incarnation, node, lane, is_base);
                    let file = OpenFile { task, name, writer: None, failure: None };
                    self.open.insert(upload, file);
                }
                Order::Put { upload, segments, bytes } => {
                    self.put(upload, segments);
                    let before = self.waiting_bytes.fetch_sub(bytes, SeqCst);
                    if before >= WAITING_BYTES_MAX && before - bytes < WAITING_BYTES_MAX {
                        self.lines.iter().for_each(|line| line.waker.wake());
                    }
                }
                Order::Finish { upload, ack } => self.finish(upload, ack),
                Order::Drop { upload } => self.drop_file(upload),
            }
            let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.busy_us.fetch_add(took_us, SeqCst);
        }
        let left: Vec<u64> = self.open.keys().copied().collect();
        left.into_iter().for_each(|upload| self.drop_file(upload));
    }

    fn put(&mut self, upload: u64, segments: Vec<Segment>) {
        let Some(file) = self.open.get_mut(&upload) else {
            return;
        };
        for segment in segments {
            if file.failure.is_some() {
                return;
            }
            let added = file.writer(&*self.disk, &self.seed).and_then(|writer| writer.add(segment));
            file.failure = added.err();
        }
    }

    fn finish(&mut self, upload: u64, mut ack: OperatorAck) {
        let Some(mut file) = self.open.remove(&upload) else {
            return;
        };
        let task = file.task;
        match file.end(&*self.disk, &self.seed) {
            Ok(written) => {
                ack.file = written;
                let UploadTask { checkpoint, node, lane, alignment_us, .. } = task;
                let content = AckContent::Operator(ack);
                let ack = TaskAck { checkpoint, node, lane, alignment_us, content };
                self.events.send(Event::Fact(Fact::Acknowledged(ack))).ok();
            }
            Err(error) => {
                self.disk.remove(&file.name).ok();
                let (checkpoint, reason) = (task.checkpoint, error.to_string());
                self.events.send(Event::Fact(Fact::Declined { checkpoint, reason })).ok();
            }
        }
    }

    fn drop_file(&mut self, upload: u64) {
        if let Some(file) = self.open.remove(&upload)
            && file.writer.is_some()
        {
            // What cannot be removed is named by no manifest and is collected later.
            self.disk.remove(&file.name).ok();
        }
    }
}

impl OpenFile {
    fn writer(
        &mut self,
        disk: &dyn Disk,
        seed: &SnapshotSeed,
    ) -> Result<&mut SnapshotWriter, SnapshotError> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let header = seed.header(&self.task).ok_or_else(|| SnapshotError::BadSegment {
                    name: self.name.clone(),
                    what: "it belongs to no operator".to_owned(),
                })?;
                SnapshotWriter::new(disk.create(&self.name)?, &self.name, &header)?
                    .pausing(priority::pause_in_background)
            }
        };
        Ok(self.writer.insert(writer))
    }

    /// Ends the file and makes it durable. A base is always a file; changes only when there are any.
    fn end(
        &mut self,
        disk: &dyn Disk,
        seed: &SnapshotSeed,
    ) -> Result<Option<SnapshotFile>, SnapshotError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.writer.is_none() && !self.task.is_base {
            return Ok(None);
        }
        self.writer(disk, seed)?;
        let Some(writer) = self.writer.take() else {
            return Ok(None);
        };
        let (written, mut file) = writer.finish()?;
        failpoint("snapshot.written");
        make_durable(disk, &mut *file)?;
        failpoint("snapshot.synced");
        Ok(Some(snapshot_file(&self.name, written, self.task.is_base)))
    }
}

fn snapshot_file(name: &str, written: Written, is_base: bool) -> SnapshotFile {
    let Written { bytes, digest, entries } = written;
    SnapshotFile { name: name.to_owned(), bytes, digest, is_base, entries }
}

/// Makes one base of a chain. Its name is that of the newest checkpoint's base, which no snapshot has: had the
/// task's snapshot been a base, that would be the whole chain, and nothing to merge.
fn merge_chain(
    disk: &dyn Disk,
    task: &MergeTask,
    newest: CheckpointId,
    incarnation: Incarnation,
) -> Result<SnapshotFile, SnapshotError> {
    let MergeTask { node, lane, chain } = task;
    let name = merged_name(newest, incarnation, *node, *lane);
    let open = |file: &SnapshotFile| SnapshotReader::open(disk.open(&file.name)?, &file.name, None);
    let readers = chain.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let (written, mut file) = merge(
        readers,
        machine::wall_ms(),
        disk.create(&name)?,
        &name,
        priority::pause_in_background,
    )?;
    failpoint("merge.written");
    make_durable(disk, &mut *file)?;
    failpoint("merge.synced");
    Ok(snapshot_file(&name, written, true))
}

fn merged_name(
    newest: CheckpointId,
    incarnation: Incarnation,
    node: NodeId,
    lane: LaneId,
) -> String {
    snapshot_name(newest, incarnation, node, lane, true)
}
