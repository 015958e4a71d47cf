//! What was taken of a logged source and is not handed out yet.
//!
//! It lives as long as the process; logs and lanes come and go with incarnations. Must not know how batches are
//! formed nor what a lane does with them, nor who waits for whom.
//!
//! A batch is *unsettled* until the log says that it is durable, *live* until a lane takes it. One that the
//! log gave back, because it was closed, stays unsettled and goes first into the next log. What was durable
//! and not covered by the checkpoint that the next incarnation begins from comes again as a *replayed* batch,
//! and all replayed ones before the first live one.
//!
//! Invariants: nothing reaches a lane before it is durable; batches of a partition come in the order of their
//! numbers, without gap or repeat; the bytes that are unsettled or live have a bound, and so have those
//! replayed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::body::{Body, Marks};
use super::lanes::{LaneQueue, LoggedBatch, Places, Popped, Taken};
use crate::batch::Batch;
use crate::connector::{ConnectorError, Wake};
use crate::planted::{self, Bug};

/// How those who form batches have come to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The input has ended.
    Ended,
    /// They were stopped; the input goes on in the next run.
    Stopped,
    /// They failed. Lanes learn it after all that came before.
    Failed(ConnectorError),
}

/// What became of a batch that is replayed.
#[derive(Debug)]
pub enum Replaying {
    /// It waits for its lane.
    Taken,
    /// There is no room now; it is given back.
    NoRoom(LoggedBatch),
    /// Nobody wants it: the run is over.
    Over,
}

/// What was taken of a logged source and is not handed out yet.
#[derive(Default)]
pub struct Intake {
    held_bytes_max: usize,
    /// The newest place of a batch that was called back, whichever the intake.
    settled_lsn: Arc<AtomicU64>,
    /// Counts the logs, so that nobody mistakes one for another.
    run: u64,
    is_connected: bool,
    /// Batches that are not known to be durable, with their partitions, by the order in which they came.
    unsettled: BTreeMap<u64, (usize, Body)>,
    /// The first that this log was not asked to take.
    next_append: u64,
    /// The next that comes.
    next_order: u64,
    /// Bytes that are unsettled or live.
    held_bytes: usize,
    replayed_bytes: usize,
    /// All that the log held at the start of this run was replayed.
    is_replayed: bool,
    places: Vec<Places>,
    lanes: Vec<LaneQueue>,
    failure: Option<ConnectorError>,
    end: Option<End>,
    is_stopping: bool,
}

/// For those who form batches, and for the log.
impl Intake {
    /// An intake without a log, with room for `held_bytes_max` bytes that are unsettled or live; the same again
    /// may be replayed. `settled_lsn` is shared by all intakes of a log: a batch that no intake knows the place
    /// of lies behind it.
    pub fn new(settled_lsn: Arc<AtomicU64>, held_bytes_max: usize) -> Self {
        Self { held_bytes_max, settled_lsn, ..Self::default() }
    }

    /// Whether a batch may be pushed now. After a stop nothing is taken out any more, and what was received must
    /// still become durable.
    pub fn has_room(&self) -> bool {
        self.held_bytes < self.held_bytes_max || self.is_stopping
    }

    /// Takes a batch of a partition; answers its place in the order.
    pub fn push(&mut self, part: usize, body: Body) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        self.held_bytes += body.held_bytes();
        self.unsettled.insert(order, (part, body));
        order
    }

    /// The next batch that the log is to be asked to take: its place in the order, its partition, and it. `None`
    /// when there is none, or no log. It counts as asked for.
    pub fn next_append(&mut self) -> Option<(u64, usize, &Body)> {
        let order = self.next_append;
        let (part, body) = self.unsettled.get(&order).filter(|_| self.is_connected)?;
        self.next_append += 1;
        Some((order, *part, body))
    }

    /// The log of a run has made a batch durable as number `seq`, at `lsn`. `told` hears which lines are durable.
    pub fn settled(
        &mut self,
        run: u64,
        order: u64,
        (seq, lsn): (u64, u64),
        told: impl FnOnce(&Marks),
    ) {
        if self.run != run {
            return;
        }
        let Some((part, body)) = self.unsettled.remove(&order) else { return };
        told(&body.head.marks);
        if let Some((places, lane)) = self.of_part(part) {
            places.note(seq, lsn, body.batch.bytes());
            lane.put_live(LoggedBatch { part, seq, lsn, body });
        }
        self.settled_lsn.store(lsn, SeqCst);
        if self.end.is_some() && self.unsettled.is_empty() {
            // It may be the last batch of another lane that one waits for.
            self.lanes.iter().for_each(LaneQueue::wake);
        }
    }

    /// The log can never take a batch.
    pub fn refused(&mut self, order: u64, failure: ConnectorError) {
        self.unsettled.remove(&order);
        self.fail(failure);
    }

    /// Those who form batches have come to an end.
    pub fn finish(&mut self, end: End) {
        self.end = Some(end);
        self.lanes.iter().for_each(LaneQueue::wake);
    }

    /// Whether those who form batches have come to an end.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }
}

/// For the job.
impl Intake {
    /// A log has begun, for so many partitions and lanes; what it holds from `from_lsn` on is replayed first.
    /// Answers the number of this run.
    pub fn connect(&mut self, parts: usize, lanes: usize, from_lsn: u64) -> u64 {
        self.run += 1;
        self.is_connected = true;
        self.next_append = self.unsettled.keys().next().copied().unwrap_or(self.next_order);
        self.is_replayed = false;
        self.failure = None;
        self.places = (0..parts).map(|_| Places::new(from_lsn)).collect();
        self.lanes = (0..lanes.max(1)).map(|_| LaneQueue::default()).collect();
        self.run
    }

    /// The log has ended, and called everything back. What is live is durable, and is replayed.
    pub fn disconnect(&mut self) {
        self.run += 1;
        self.is_connected = false;
        self.lanes.clear();
        self.places.clear();
        if planted::is(Bug::UnsettledDropped) {
            self.unsettled.clear();
        }
        self.held_bytes = self.unsettled.values().map(|(_, body)| body.held_bytes()).sum();
        self.replayed_bytes = 0;
    }

    /// The run of now.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Those who receive input are to come to an end.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether they are.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// A place in the log from which on batch `seq` of a partition and those after it lie, and few before it; `None` when the
    /// log holds none of them yet.
    pub fn place_of(&self, part: usize, seq: u64) -> Option<u64> {
        self.places.get(part)?.of(seq, self.is_replayed)
    }

    /// A complete checkpoint covers all before batch `seq` of a partition.
    pub fn covered(&mut self, part: usize, seq: u64) {
        if let Some(places) = self.places.get_mut(part) {
            places.forget_below(seq);
        }
    }
}

/// For the replay.
impl Intake {
    /// Takes a batch that was found in the log at the start of a run.
    pub fn replay(&mut self, run: u64, batch: LoggedBatch) -> Replaying {
        if self.run != run {
            return Replaying::Over;
        }
        if self.replayed_bytes >= self.held_bytes_max {
            return Replaying::NoRoom(batch);
        }
        self.replayed_bytes += batch.body.held_bytes();
        if let Some((places, lane)) = self.of_part(batch.part) {
            places.note_replayed(batch.seq, batch.lsn, batch.body.batch.bytes());
            lane.put_replayed(batch);
        }
        Replaying::Taken
    }

    /// All that was found was replayed, or the rest cannot be.
    pub fn end_replay(&mut self, run: u64, outcome: Result<(), ConnectorError>) {
        if self.run == run {
            match outcome {
                Ok(()) => {
                    self.is_replayed = true;
                    self.lanes.iter().for_each(LaneQueue::wake);
                }
                Err(failure) => self.fail(failure),
            }
        }
    }
}

/// For lanes.
impl Intake {
    /// Who is woken when there is a batch for the lane.
    pub fn attach(&mut self, lane: usize, waker: Arc<dyn Wake>) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.waker = Some(waker);
        }
    }

    /// The next batch for a lane.
    ///
    /// # Errors
    /// The input failed; all before that was handed out.
    pub fn take(&mut self, lane: usize) -> Result<Taken, ConnectorError> {
        if let Some(batch) = self.take_if(lane, |_| true) {
            return Ok(Taken::Batch(batch));
        }
        match (&self.failure, &self.end) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(End::Failed(failure))) if self.is_at_end(lane) => Err(failure.clone()),
            (None, Some(End::Ended)) if self.is_at_end(lane) => Ok(Taken::Ended),
            _ => Ok(Taken::Pending),
        }
    }

    /// The next batch for a lane, if there is one that is wanted.
    pub fn take_if(
        &mut self,
        lane: usize,
        is_wanted: impl FnOnce(&Batch) -> bool,
    ) -> Option<LoggedBatch> {
        let is_replayed = self.is_replayed || planted::is(Bug::LiveBeforeReplayed);
        let queue = self.lanes.get_mut(lane)?;
        Some(match queue.pop_if(is_replayed, |next| is_wanted(&next.body.batch))? {
            Popped::Replayed(batch) => {
                self.replayed_bytes -= batch.body.held_bytes();
                batch
            }
            Popped::Live(batch) => {
                self.held_bytes -= batch.body.held_bytes();
                batch
            }
        })
    }

    /// Whether all that came is durable and was handed out, and nothing has failed.
    pub fn is_drained(&self) -> bool {
        let has_failed = self.failure.is_some() || matches!(self.end, Some(End::Failed(_)));
        !has_failed && (0..self.lanes.len()).all(|lane| self.is_at_end(lane))
    }

    /// Whether `take` would answer something other than `Pending`.
    pub fn is_ready(&self, lane: usize) -> bool {
        let Some(queue) = self.lanes.get(lane) else { return false };
        let has_batch = !queue.replayed.is_empty() || (self.is_replayed && !queue.live.is_empty());
        let has_end = || matches!(self.end, Some(End::Ended | End::Failed(_)));
        has_batch || self.failure.is_some() || (self.is_at_end(lane) && has_end())
    }

    fn of_part(&mut self, part: usize) -> Option<(&mut Places, &mut LaneQueue)> {
        let lane = part % self.lanes.len().max(1);
        Some((self.places.get_mut(part)?, self.lanes.get_mut(lane)?))
    }

    /// All that came was handed out.
    fn is_at_end(&self, lane: usize) -> bool {
        let is_empty = self.lanes.get(lane).is_some_and(LaneQueue::is_empty);
        self.is_replayed && is_empty && self.unsettled.is_empty()
    }

    fn fail(&mut self, failure: ConnectorError) {
        self.failure.get_or_insert(failure);
        self.lanes.iter().for_each(LaneQueue::wake);
    }
}
