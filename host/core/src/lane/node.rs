//! One node on one lane: its queues, its outboxes and what it runs.
//!
//! Owns when a node can make a step, and what a step does to queues and outboxes. Knows nothing of the
//! other nodes of the lane. What it does for checkpoints is in [`super::barriers`].

use std::sync::Arc;

use super::LaneProblem;
use super::alignment::Alignment;
use super::outbox::Outbox;
use super::queue::{Message, Queue};
use super::snapshot::{OperatorSnapshots, SinkSnapshots, TaskId};
use super::task::OperatorTask;
use crate::batch::{Batch, Hashed};
use crate::checkpoint::{Barrier, CheckpointListener};
use crate::connector::{BatchTarget, SinkWriter, SourcePoll, SourceReader};
use crate::counters::TaskCounters;
use crate::failure::Failure;
use crate::graph::EdgeKind;
use crate::ids::{CheckpointId, LaneId, Now};
use crate::key_group::Assignment;
use crate::planted::{self, Bug};

/// A source is asked for its positions once in so many polls: there may be thousands of them.
const REMAINING_EVERY_POLLS: u64 = 64;

pub(super) enum NodeWork {
    Source(Box<dyn SourceReader>),
    Operator(Box<OperatorTask>, OperatorSnapshots),
    Sink(Box<dyn SinkWriter>, SinkSnapshots),
}

/// The receiving end of a queue.
pub(super) struct Inbox {
    pub(super) queue: Arc<Queue>,
    pub(super) input: usize,
    pub(super) ended: bool,
    /// The newest barrier that came out of the queue.
    pub(super) delivered: CheckpointId,
}

impl Inbox {
    pub(super) fn new(queue: Arc<Queue>, input: usize) -> Self {
        Self { queue, input, ended: false, delivered: CheckpointId(0) }
    }
}

/// One edge of an output, with an outbox for each lane that it leads to.
pub(super) struct OutEdge {
    pub(super) kind: EdgeKind,
    pub(super) outboxes: Vec<Outbox>,
    /// Rebalance: whose turn it is.
    pub(super) turn: usize,
}

/// What routing needs to know.
pub(super) struct Routing {
    pub(super) assignment: Arc<Assignment>,
    pub(super) seed: u64,
    pub(super) target: BatchTarget,
}

/// What a step of a node was for.
pub(super) enum Stepped {
    /// Input, or its end.
    Work,
    /// A barrier.
    Barrier,
}

pub(super) struct NodeTask {
    pub(super) id: TaskId,
    pub(super) work: NodeWork,
    pub(super) inboxes: Vec<Inbox>,
    /// For each output its edges.
    pub(super) outputs: Vec<Vec<OutEdge>>,
    pub(super) routing: Arc<Routing>,
    pub(super) counters: Arc<TaskCounters>,
    /// Parts of a batch that is too much for one call, or to be written at once, with its input; the next is the last. They
    /// go before any message.
    pub(super) pending: Vec<(usize, Batch)>,
    /// Whose turn it is among the inboxes.
    pub(super) turn: usize,
    pub(super) phase: NodePhase,
    pub(super) alignment: Alignment,
    /// The newest barrier that the coordinator has told the lane of.
    pub(super) triggered: Barrier,
    pub(super) listener: Arc<dyn CheckpointListener>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodePhase {
    /// Input may come.
    Running,
    /// Ended; nothing will come out any more. It still answers the coordinator.
    Done,
}

impl NodeTask {
    pub(super) fn counters(&self) -> &Arc<TaskCounters> {
        &self.counters
    }

    pub(super) fn is_done(&self) -> bool {
        self.phase == NodePhase::Done && self.outboxes().all(Outbox::is_empty)
    }

    fn outboxes(&self) -> impl Iterator<Item = &Outbox> {
        self.outputs.iter().flatten().flat_map(|edge| &edge.outboxes)
    }

    pub(super) fn outboxes_mut(&mut self) -> impl Iterator<Item = &mut Outbox> {
        self.outputs.iter_mut().flatten().flat_map(|edge| &mut edge.outboxes)
    }

    pub(super) fn outbox_bytes(&self) -> usize {
        self.outboxes().map(Outbox::bytes).sum()
    }

    pub(super) fn stop_source(&mut self) {
        if let NodeWork::Source(reader) = &mut self.work {
            reader.stop();
        }
    }

    /// Prepares the node for its first step; answers whether that was a call of an operator's. One that had ended in the checkpoint that the job starts from
    /// says so again: its queues are new.
    pub(super) fn open(&mut self, now: Now) -> Result<bool, LaneProblem> {
        match (&mut self.work, self.phase) {
            (_, NodePhase::Done) => {
                self.outboxes_mut().for_each(|outbox| outbox.put_marker(Message::End));
                Ok(false)
            }
            (NodeWork::Operator(task, _), _) => {
                task.open(now, &self.counters)?;
                Ok(true)
            }
            (NodeWork::Source(_) | NodeWork::Sink(..), _) => Ok(false),
        }
    }

    /// Hands over what is ready and what has lingered.
    pub(super) fn tend_outboxes(&mut self, now: Now, linger_us: u64) {
        for outbox in self.outboxes_mut() {
            outbox.hand_over();
            outbox.linger(now.monotonic_us, linger_us);
        }
    }

    /// Hands over everything, full batches or not. Answers whether anything moved.
    pub(super) fn hand_over_all(&mut self) -> bool {
        let mut moved = false;
        self.outboxes_mut().for_each(|outbox| moved |= outbox.flush());
        moved
    }

    /// Whether `step` would do something.
    pub(super) fn can_step(&mut self) -> bool {
        let has_room = self.outboxes().all(Outbox::has_room);
        let readable = |inbox: &Inbox| !self.alignment.blocks(inbox) && !inbox.queue.is_empty();
        let has_message = !self.pending.is_empty() || self.inboxes.iter().any(readable);
        match (&mut self.work, self.phase) {
            (_, NodePhase::Done) => false,
            (NodeWork::Source(reader), _) => has_room && reader.is_ready(),
            (NodeWork::Operator(..), _) => has_room && has_message,
            (NodeWork::Sink(writer, _), _) => has_message && writer.has_room(),
        }
    }

    /// Makes one step: a poll of the source, or the message at the head of one inbox.
    pub(super) fn step(&mut self, now: Now) -> Result<Stepped, LaneProblem> {
        TaskCounters::add(&self.counters.calls, 1);
        match &mut self.work {
            NodeWork::Source(reader) => {
                let poll = reader.poll(self.routing.target, now)?;
                let polls = self.counters.calls.load(std::sync::atomic::Ordering::Relaxed);
                if polls % REMAINING_EVERY_POLLS == 1 || matches!(poll, SourcePoll::Ended) {
                    self.counters.set_remaining(reader.remaining());
                }
                match poll {
                    SourcePoll::Batch(batch) => {
                        self.count_in(&batch);
                        TaskCounters::add(&self.counters.records_out, batch.len() as u64);
                        route(&mut self.outputs[0], &self.routing, batch, now, &mut None);
                        if planted::is(Bug::BarrierBehindNextBatch) {
                            let barrier = Message::Barrier(self.triggered);
                            self.outboxes_mut().for_each(|o| o.put_marker(barrier.clone()));
                        }
                    }
                    SourcePoll::Pending => {}
                    SourcePoll::Ended => self.end(now)?,
                }
                Ok(Stepped::Work)
            }
            NodeWork::Operator(..) | NodeWork::Sink(..) => self.take_message(now),
        }
    }

    fn count_in(&self, batch: &Batch) {
        TaskCounters::add(&self.counters.records_in, batch.len() as u64);
        TaskCounters::add(&self.counters.bytes_in, batch.values.data.len() as u64);
    }

    fn take_message(&mut self, now: Now) -> Result<Stepped, LaneProblem> {
        if let Some((input, batch)) = self.pending.pop() {
            self.take_batch(input, batch, now)?;
            return Ok(Stepped::Work);
        }
        let count = self.inboxes.len();
        for offset in 0..count {
            let at = (self.turn + offset) % count;
            if self.alignment.blocks(&self.inboxes[at]) {
                continue;
            }
            let Some(message) = self.inboxes[at].queue.pop() else {
                continue;
            };
            self.turn = at + 1;
            match message {
                Message::Batch(batch) => {
                    self.count_in(&batch);
                    self.take_batch(self.inboxes[at].input, batch, now)?;
                }
                Message::Barrier(barrier) => {
                    self.alignment.deliver(&mut self.inboxes[at], barrier, now.monotonic_us);
                    self.take_barrier_if_aligned(now)?;
                    return Ok(Stepped::Barrier);
                }
                Message::End => {
                    self.inboxes[at].ended = true;
                    self.take_barrier_if_aligned(now)?;
                    self.end_if_all_inputs_have(now)?;
                }
            }
            break;
        }
        Ok(Stepped::Work)
    }

    fn take_batch(&mut self, input: usize, batch: Batch, now: Now) -> Result<(), LaneProblem> {
        match &mut self.work {
            NodeWork::Operator(task, _) => {
                let (outputs, routing) = (&mut self.outputs, &self.routing);
                let mut hashed = None;
                let mut emit = |output: usize, batch| {
                    route(&mut outputs[output], routing, batch, now, &mut hashed);
                };
                let left = task.process(input, batch, now, &self.counters, &mut emit)?;
                self.pending.extend(left.into_iter().map(|part| (input, part)));
                task.expire(now);
                task.count_state(&self.counters);
                Ok(())
            }
            NodeWork::Sink(writer, _) => {
                let (batch, rest) = batch.split_to_write();
                self.pending.extend(rest.map(|rest| (input, rest)));
                TaskCounters::add(&self.counters.records_out, batch.len() as u64);
                let bytes = writer.write(batch)?;
                TaskCounters::add(&self.counters.bytes_out, bytes as u64);
                Ok(())
            }
            NodeWork::Source(_) => Err(Failure::Host("a source has no inbox".to_owned()).into()),
        }
    }

    fn end_if_all_inputs_have(&mut self, now: Now) -> Result<(), LaneProblem> {
        if !self.inboxes.iter().all(|inbox| inbox.ended) {
            return Ok(());
        }
        if let NodeWork::Operator(task, _) = &mut self.work {
            let (outputs, routing) = (&mut self.outputs, &self.routing);
            let mut hashed = None;
            let mut emit = |output: usize, batch| {
                route(&mut outputs[output], routing, batch, now, &mut hashed);
            };
            task.close(now, &self.counters, &mut emit)?;
        }
        self.end(now)
    }

    fn end(&mut self, now: Now) -> Result<(), LaneProblem> {
        self.phase = NodePhase::Done;
        self.outboxes_mut().for_each(|outbox| outbox.put_marker(Message::End));
        self.answer_if_triggered(now)
    }

    /// Removes expired state; answers when to come again, in wall milliseconds.
    pub(super) fn expire(&mut self, now: Now) -> Option<i64> {
        match &mut self.work {
            NodeWork::Operator(task, _) if self.phase == NodePhase::Running => {
                task.expire(now);
                task.count_state(&self.counters);
                task.expire_at_ms()
            }
            NodeWork::Operator(..) | NodeWork::Source(_) | NodeWork::Sink(..) => None,
        }
    }
}

/// Puts a batch into the outboxes of all edges of an output, which share it for as long as it waits there. `hashed` is what the
/// batches of one step share.
fn route(
    edges: &mut [OutEdge],
    routing: &Routing,
    mut batch: Batch,
    now: Now,
    hashed: &mut Option<Hashed>,
) {
    // What becomes of a batch takes as long as it has keys, and one call may emit very many of a few records each.
    if batch.uses_few_keys() {
        batch = batch.slice(0, batch.len());
    }
    if edges.iter().any(|edge| edge.kind == EdgeKind::Keyed) {
        batch.ensure_shared_hashes(routing.seed, hashed);
    }
    let Some((last, others)) = edges.split_last_mut() else {
        return;
    };
    let batch = Arc::new(batch);
    for edge in others {
        edge.put(batch.clone(), routing, now);
    }
    last.put(batch, routing, now);
}

impl OutEdge {
    fn put(&mut self, batch: Arc<Batch>, routing: &Routing, now: Now) {
        let mut to = |lane: usize, batch| {
            self.outboxes[lane].put(batch, routing.target, now.monotonic_us);
        };
        match self.kind {
            EdgeKind::Forward => to(0, batch),
            EdgeKind::Keyed => {
                batch.partition(&routing.assignment, |LaneId(lane), part| to(lane, part))
            }
            EdgeKind::Rebalance => {
                to(self.turn, batch);
                self.turn = (self.turn + 1) % self.outboxes.len();
            }
            EdgeKind::Broadcast => {
                let lanes = self.outboxes.len();
                (1..lanes).for_each(|lane| {
                    self.outboxes[lane].put(batch.clone(), routing.target, now.monotonic_us)
                });
                self.outboxes[0].put(batch, routing.target, now.monotonic_us);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Dictionary, RecordKeys};
    use crate::column::BytesColumn;

    fn column(items: &[&[u8]]) -> BytesColumn {
        let mut column = BytesColumn::default();
        items.iter().for_each(|item| column.push(item));
        column
    }

    /// The dictionaries of the batches that come out of a keyed edge to one lane, when a call has emitted `count` batches of one
    /// record with these keys of its input.
    fn routed(keys: BytesColumn, count: usize) -> Vec<Arc<Dictionary>> {
        let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
        let queue = Arc::new(Queue::new(usize::MAX, None));
        let outboxes = vec![Outbox::new(queue.clone())];
        let mut edges = [OutEdge { kind: EdgeKind::Keyed, outboxes, turn: 0 }];
        let assignment = Arc::new(Assignment::initial(8, 1));
        let routing = Routing { assignment, seed: 3, target: BatchTarget { records: 1, bytes: 1 } };
        let mut hashed = None;
        for _ in 0..count {
            let keys = RecordKeys::Of { dictionary: dictionary.clone(), key_of: vec![0] };
            let batch = Batch { keys, values: column(&[b"v"]), timestamps: Vec::new() };
            route(&mut edges, &routing, batch, Now::default(), &mut hashed);
        }
        let batches = std::iter::from_fn(|| queue.pop());
        let keys = |message| match message {
            Message::Batch(Batch { keys: RecordKeys::Of { dictionary, .. }, .. }) => dictionary,
            _ => panic!("a batch with keys"),
        };
        batches.map(keys).collect()
    }

    #[test]
    fn keys_of_the_input_that_a_call_emits_many_times_are_held_once() {
        let dictionaries = routed(column(&[b"a", &[7; 60_000]]), 100);
        assert_eq!(dictionaries.len(), 100);
        assert!(dictionaries.iter().all(|one| Arc::ptr_eq(one, &dictionaries[0])));
    }

    #[test]
    fn of_many_keys_those_that_are_emitted_go_on_alone() {
        let keys: Vec<[u8; 4]> = (0..1000u32).map(u32::to_be_bytes).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        let dictionaries = routed(column(&keys), 3);
        assert!(dictionaries.len() == 3 && dictionaries.iter().all(|one| one.keys.len() == 1));
    }
}
