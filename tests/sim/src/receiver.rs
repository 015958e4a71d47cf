//! The host's end of a logged source: who receives input, and forms batches of it.
//!
//! Lives as long as the process, like the product's. Which lines are known, and what becomes of a batch, is the
//! product's own.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::column::BytesColumn;
use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;
use tidemill_core::input_log::{
    Body, ClientTable, End, Head, Intake, LoggedBatch, Marks, Numbering, Supply, Taken,
};

use crate::model::{record_key, record_number, record_value};
use crate::outside::Ear;
use crate::plan::{Input, Plan};
use crate::rng::Rng;
use crate::source::{plan_end, position};

/// Lines that wait to be formed into batches before who sends waits.
const LINES_MAX: usize = 12;

/// A line, or a record of a pipe.
pub struct Line {
    /// Number of the record.
    pub number: usize,
    /// Its client, and its number there from 1.
    pub client: Option<(Arc<str>, u64)>,
}

/// The host's end of a logged source.
pub struct Receiver {
    /// Its node.
    pub node: usize,
    /// What was taken and not handed out.
    pub intake: Intake,
    /// Which lines are known.
    pub numbering: Numbering<Ear>,
    lines: VecDeque<Line>,
    /// For each relayed partition the next record; as many as there are when it has ended.
    relayed: Vec<u64>,
    is_receiving: bool,
}

/// A receiver, shared by lanes and all that works on it.
pub type Shared = Arc<Mutex<Receiver>>;

/// Locks a receiver.
pub fn lock(receiver: &Shared) -> MutexGuard<'_, Receiver> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What lives as long as a process.
#[derive(Default)]
pub struct Process {
    /// Its logged sources.
    pub receivers: Vec<Shared>,
    /// The newest place of a batch that was called back.
    pub settled_lsn: Arc<AtomicU64>,
}

impl Process {
    /// A process that has received nothing yet.
    pub fn new(plan: &Plan) -> Self {
        let settled_lsn = Arc::<AtomicU64>::default();
        let receiver = |node| {
            Arc::new(Mutex::new(Receiver {
                node,
                intake: Intake::new(settled_lsn.clone(), plan.held_bytes_max),
                numbering: Numbering::new(&ClientTable::default()),
                lines: VecDeque::new(),
                relayed: Vec::new(),
                is_receiving: false,
            }))
        };
        let receivers = plan.logged().map(receiver).collect();
        Self { receivers, settled_lsn }
    }

    /// Whether it was asked to come to an end.
    pub fn is_stopping(&self) -> bool {
        self.receivers.iter().any(|receiver| lock(receiver).intake.is_stopping())
    }
}

impl Receiver {
    /// Begins to receive, once, with what the log knows of clients, or of relayed partitions.
    pub fn begin(&mut self, table: &ClientTable, relayed: Vec<u64>) {
        self.is_receiving = true;
        self.relayed = relayed;
        self.numbering = Numbering::new(table);
    }

    /// Whether it has begun.
    pub fn is_receiving(&self) -> bool {
        self.is_receiving
    }

    /// Whether more may be received.
    pub fn has_room(&self) -> bool {
        self.lines.len() < LINES_MAX
    }

    /// Takes lines in.
    pub fn receive(&mut self, lines: impl Iterator<Item = Line>) {
        self.lines.extend(lines);
    }

    /// Forms a batch, or tells that there will be none: the input has ended when `is_done`. Answers whether
    /// there was anything to do.
    pub fn form(&mut self, plan: &Plan, is_done: bool, rng: &mut Rng) -> bool {
        if self.relay(plan, rng) {
            return true;
        }
        let is_read = |(part, next): (usize, &u64)| *next == plan_end(plan, part);
        let is_done = is_done && self.relayed.iter().enumerate().all(is_read);
        if self.lines.is_empty() {
            let end = match (is_done, self.intake.is_stopping()) {
                (_, true) => End::Stopped,
                (true, false) => End::Ended,
                (false, false) => return false,
            };
            let is_news = self.is_receiving && !self.intake.has_ended();
            if is_news {
                self.intake.finish(end);
            }
            return is_news;
        }
        if !self.intake.has_room() {
            return false;
        }
        // One that is not full has lingered.
        let count = (1 + rng.below(plan.batch_records)).min(self.lines.len());
        let (mut marks, mut numbers) = (Marks::new(), Vec::new());
        for Line { number, client } in self.lines.drain(..count) {
            numbers.push(number);
            marks.extend(client);
        }
        let head = Head { marks, time_ms: 0, inner: None };
        let batch = batch(plan, self.node, &numbers);
        self.intake.push(0, Body { head, batch });
        true
    }
}

impl Receiver {
    /// Reads a batch of a relayed partition; answers whether there was one, and room for it.
    fn relay(&mut self, plan: &Plan, rng: &mut Rng) -> bool {
        if self.relayed.is_empty() || self.intake.is_stopping() || !self.intake.has_room() {
            return false;
        }
        let (count, first) = (self.relayed.len(), rng.below(self.relayed.len()));
        let mut parts = (0..count).map(|offset| (first + offset) % count);
        let Some(part) = parts.find(|part| self.relayed[*part] < plan_end(plan, *part)) else {
            return false;
        };
        let (start, end) = (self.relayed[part], plan_end(plan, part));
        let next = end.min(start + 1 + rng.below(plan.batch_records) as u64);
        let numbers = (start..next).map(|at| record_number(part, at, plan.partitions));
        let batch = batch(plan, self.node, &numbers.collect::<Vec<_>>());
        let inner = Some(position(part, next, end).position);
        self.intake.push(part, Body { head: Head { inner, ..Head::default() }, batch });
        self.relayed[part] = next;
        true
    }
}

fn batch(plan: &Plan, node: usize, numbers: &[usize]) -> Batch {
    let (mut keys, mut values) = (BytesColumn::default(), BytesColumn::default());
    for number in numbers {
        values.push(record_value(node, *number).as_bytes());
        keys.push(record_key(*number, plan.keys).as_bytes());
    }
    let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
    let keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
    Batch { keys, values, ..Batch::default() }
}

/// Ids of the partitions of a source.
pub fn partitions(plan: &Plan, node: usize) -> Vec<String> {
    match plan.inputs[node] {
        Input::Clients => vec!["listener".to_owned()],
        Input::Stdin => vec!["stdin".to_owned()],
        Input::Again | Input::Relayed => {
            (0..plan.partitions).map(|index| index.to_string()).collect()
        }
    }
}

/// A receiver as lanes see it.
pub struct SimSupply(pub Shared);

impl Supply for SimSupply {
    fn attach(&self, lane: usize, waker: Arc<dyn Wake>) {
        lock(&self.0).intake.attach(lane, waker);
    }

    fn take(&self, lane: usize) -> Result<Taken, ConnectorError> {
        lock(&self.0).intake.take(lane)
    }

    fn take_if(&self, lane: usize, is_wanted: impl FnOnce(&Batch) -> bool) -> Option<LoggedBatch> {
        lock(&self.0).intake.take_if(lane, is_wanted)
    }

    fn is_ready(&self, lane: usize) -> bool {
        lock(&self.0).intake.is_ready(lane)
    }

    fn stop(&self) {
        lock(&self.0).intake.stop();
    }
}

/// The reader of a lane that has nothing left to read.
pub struct EndedReader {
    positions: Vec<PartitionPosition>,
    is_stopped: bool,
}

impl EndedReader {
    /// Its partitions, if it has any, have all ended.
    pub fn new(positions: Vec<PartitionPosition>) -> Self {
        Self { positions, is_stopped: false }
    }
}

impl SourceReader for EndedReader {
    fn poll(&mut self, _: BatchTarget, _: Now) -> Result<SourcePoll, ConnectorError> {
        Ok(if self.is_stopped { SourcePoll::Pending } else { SourcePoll::Ended })
    }

    fn is_ready(&mut self) -> bool {
        !self.is_stopped
    }

    fn stop(&mut self) {
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        self.positions.clone()
    }

    fn remaining(&self) -> Option<u64> {
        Some(0)
    }
}
