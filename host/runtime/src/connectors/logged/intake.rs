//! The way of a logged source's batches: from whoever forms them, through the log, to the lanes.
//!
//! Owns what was taken and is not handed out yet. It lives as long as the process; logs and lanes come and go
//! with incarnations. It must not know how batches are formed nor what a lane does with them.
//!
//! A batch is *unsettled* until the log says that it is durable, *live* until a lane takes it. One that the
//! log gave back, because it was closed, stays unsettled and goes first into the next log. What was durable
//! and not covered by the checkpoint that the next incarnation begins from comes again as a *replayed* batch,
//! and all replayed ones before the first live one.
//!
//! Invariants: nothing reaches a lane before it is durable; batches of a partition come in the order of their
//! numbers, without gap or repeat; the bytes that are unsettled or live have a bound, and so have those
//! replayed; lanes and the log's thread never wait here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, ConnectorFault, Wake};
use tidemill_core::wal::WalError;
use tidemill_storage::wal::{Durable, WalSender};

use crate::connectors::logged::body::{Body, Marks};
use crate::connectors::logged::lanes::{LaneQueue, LoggedBatch, Places, Popped, Taken};

/// Bytes that are unsettled or live before who forms batches waits; the same again may be replayed.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Tells those who receive input to come to an end. Must not wait.
pub(crate) trait Stop: Send {
    /// Called once.
    fn stop(&mut self);
}

/// Is told what has become durable. Must not wait, nor use the intake.
pub(crate) trait DurableListener: Send + Sync {
    /// Of these clients all lines up to these are durable.
    fn durable(&self, marks: &Marks);
}

/// How those who form batches have come to an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The input has ended.
    Ended,
    /// They were stopped; the input goes on in the next run.
    Stopped,
    /// They failed. Lanes learn it after all that came before.
    Failed(ConnectorError),
}

#[derive(Default)]
struct State {
    /// For each partition the way into the log of the incarnation that runs; `None` between two.
    log: Option<Arc<[WalSender]>>,
    /// Counts the logs, so that nobody mistakes one for another.
    run: u64,
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
    is_receiving: bool,
    is_stopping: bool,
    is_closed: bool,
    receivers: Option<Box<dyn Stop>>,
    listener: Option<Arc<dyn DurableListener>>,
}

/// Shared by who forms batches, the log, the replay, and the lanes.
pub(crate) struct Intake {
    state: Mutex<State>,
    /// Those who form batches wait for a log, or for room; the replay for room.
    changed: Condvar,
    /// The newest place of a batch that was called back. Shared by all intakes of a log.
    settled_lsn: Arc<AtomicU64>,
}

/// For those who form batches.
impl Intake {
    /// An intake without a log. `settled_lsn` is shared by all intakes of a log: a batch that no intake knows the
    /// place of lies behind it.
    pub(crate) fn new(settled_lsn: Arc<AtomicU64>) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), settled_lsn }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Who receives input, and who is told of what is durable. Once, before the first batch.
    pub(crate) fn begin(
        &self,
        mut receivers: Box<dyn Stop>,
        listener: Option<Arc<dyn DurableListener>>,
    ) {
        let mut state = self.lock();
        state.is_receiving = true;
        state.listener = listener;
        match state.is_stopping {
            true => receivers.stop(),
            false => state.receivers = Some(receivers),
        }
    }

    /// Takes a batch of a partition, waiting in this thread until there is room or a stop was asked for, and
    /// brings it to the log. Answers whether more is wanted. To be called by one thread.
    pub(crate) fn append(self: &Arc<Self>, part: usize, body: Body) -> bool {
        let mut encoded = Some(body.encode());
        let mut state = self.lock();
        // After a stop nothing is taken out any more, and what was received must still become durable.
        while state.held_bytes >= HELD_BYTES_MAX && !state.is_stopping && !state.is_closed {
            state = self.wait(state);
        }
        let order = state.next_order;
        state.next_order += 1;
        state.held_bytes += body.bytes();
        state.unsettled.insert(order, (part, body));
        loop {
            if state.is_closed {
                return false;
            }
            let (Some(log), run) = (state.log.clone(), state.run) else {
                state = self.wait(state);
                continue;
            };
            let next = state.next_append;
            let Some((part, body)) = state.unsettled.get(&next) else {
                return true;
            };
            // Those before it were encoded for a log that is gone.
            let bytes = encoded.take_if(|_| next == order).unwrap_or_else(|| body.encode());
            let Some(log) = log.get(*part) else { return false };
            state.next_append += 1;
            drop(state);
            let this = self.clone();
            let settle = move |outcome| this.settled(run, next, outcome);
            let taken = log.append_from_thread(bytes, Box::new(settle));
            state = self.lock();
            if taken.is_err() {
                // It stays unsettled. The next log takes it, if there is one.
                while state.run == run && !state.is_closed {
                    state = self.wait(state);
                }
            }
        }
    }

    /// The log has called a batch back.
    fn settled(&self, run: u64, order: u64, outcome: Result<Durable, WalError>) {
        let mut state = self.lock();
        let Durable { lsn, seq, .. } = match outcome {
            Ok(durable) => durable,
            Err(error @ WalError::TooLarge { .. }) => {
                // It would never go.
                state.unsettled.remove(&order);
                state.fail(ConnectorError::new(ConnectorFault::BadData, error.to_string()));
                return;
            }
            // The job learns of it from the log itself.
            Err(_) => return,
        };
        if state.run != run {
            return;
        }
        let Some((part, body)) = state.unsettled.remove(&order) else { return };
        if let Some(listener) = &state.listener {
            listener.durable(&body.head.marks);
        }
        if let Some((places, lane)) = state.of_part(part) {
            places.note(seq, lsn);
            lane.put_live(LoggedBatch { part, seq, lsn, body });
        }
        self.settled_lsn.store(lsn, SeqCst);
        if state.end.is_some() && state.unsettled.is_empty() {
            // It may be the last batch of another lane that one waits for.
            state.lanes.iter().for_each(LaneQueue::wake);
        }
    }

    /// Those who form batches have come to an end.
    pub(crate) fn finish(&self, end: End) {
        let mut state = self.lock();
        state.end = Some(end);
        state.lanes.iter().for_each(LaneQueue::wake);
        self.changed.notify_all();
    }
}

/// For the job.
impl Intake {
    /// A log has begun, with a way into it for each partition, for so many lanes; what it holds from `from_lsn`
    /// on is replayed first. Answers the number of this run.
    pub(crate) fn connect(&self, log: Vec<WalSender>, lanes: usize, from_lsn: u64) -> u64 {
        let mut state = self.lock();
        state.run += 1;
        state.next_append = state.unsettled.keys().next().copied().unwrap_or(state.next_order);
        state.is_replayed = false;
        state.failure = None;
        state.places = log.iter().map(|_| Places::new(from_lsn)).collect();
        state.lanes = (0..lanes.max(1)).map(|_| LaneQueue::default()).collect();
        state.log = Some(log.into());
        self.changed.notify_all();
        state.run
    }

    /// The log has ended, and called everything back. What is live is durable, and is replayed.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        state.run += 1;
        state.log = None;
        state.lanes.clear();
        state.places.clear();
        state.held_bytes = state.unsettled.values().map(|(_, body)| body.bytes()).sum();
        state.replayed_bytes = 0;
        self.changed.notify_all();
    }

    /// Whether input is received, or was.
    pub(crate) fn has_begun(&self) -> bool {
        self.lock().is_receiving
    }

    /// Asks those who receive input to come to an end.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.is_stopping = true;
        let receivers = state.receivers.take();
        drop(state);
        self.changed.notify_all();
        if let Some(mut receivers) = receivers {
            receivers.stop();
        }
    }

    /// After a stop: whether everything that was received is durable, and was handed to lanes. Not for input
    /// that has failed: a lane is to learn of that.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        let is_over = match state.end {
            Some(End::Ended | End::Stopped) => true,
            Some(End::Failed(_)) => false,
            None => !state.is_receiving,
        };
        let is_handed_out = || state.lanes.iter().all(LaneQueue::is_empty);
        is_over && state.is_replayed && state.unsettled.is_empty() && is_handed_out()
    }

    /// After a stop: waits until those who form batches have brought all that they had to the log, but not
    /// longer than `patience`.
    pub(crate) fn drain(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.is_stopping && state.is_receiving && state.end.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The process is done with this input: nobody waits for anything any more.
    pub(crate) fn close(&self) {
        self.stop();
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// The place in the log from which on batch `seq` of a partition and those after it lie; `None` when the
    /// log holds none of them yet.
    pub(crate) fn place_of(&self, part: usize, seq: u64) -> Option<u64> {
        let state = self.lock();
        state.places.get(part)?.of(seq, state.is_replayed)
    }

    /// A complete checkpoint covers all before batch `seq` of a partition.
    pub(crate) fn covered(&self, part: usize, seq: u64) {
        if let Some(places) = self.lock().places.get_mut(part) {
            places.forget_below(seq);
        }
    }
}

/// For the replay.
impl Intake {
    /// Takes a batch that was found in the log at the start of this run, waiting for room. Answers whether
    /// more is wanted.
    pub(crate) fn replay(&self, run: u64, batch: LoggedBatch) -> bool {
        let mut state = self.lock();
        while state.run == run && !state.is_closed && state.replayed_bytes >= HELD_BYTES_MAX {
            state = self.wait(state);
        }
        if state.run != run || state.is_closed {
            return false;
        }
        state.replayed_bytes += batch.body.bytes();
        if let Some((places, lane)) = state.of_part(batch.part) {
            places.note_replayed(batch.seq, batch.lsn);
            lane.put_replayed(batch);
        }
        true
    }

    /// All that was found was replayed, or the rest cannot be.
    pub(crate) fn end_replay(&self, run: u64, outcome: Result<(), ConnectorError>) {
        let mut state = self.lock();
        if state.run == run {
            match outcome {
                Ok(()) => {
                    state.is_replayed = true;
                    state.lanes.iter().for_each(LaneQueue::wake);
                }
                Err(failure) => state.fail(failure),
            }
        }
    }
}

/// For lanes.
impl Intake {
    /// Who is woken when there is a batch for the lane.
    pub(crate) fn attach(&self, lane: usize, waker: Arc<dyn Wake>) {
        if let Some(lane) = self.lock().lanes.get_mut(lane) {
            lane.waker = Some(waker);
        }
    }

    /// The next batch for a lane.
    ///
    /// # Errors
    /// The input failed; all before that was handed out.
    pub(crate) fn take(&self, lane: usize) -> Result<Taken, ConnectorError> {
        if let Some(batch) = self.take_if(lane, |_| true) {
            return Ok(Taken::Batch(batch));
        }
        let state = self.lock();
        match (&state.failure, &state.end) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(End::Failed(failure))) if state.is_at_end(lane) => Err(failure.clone()),
            (None, Some(End::Ended)) if state.is_at_end(lane) => Ok(Taken::Ended),
            _ => Ok(Taken::Pending),
        }
    }

    /// The next batch for a lane, if there is one that is wanted.
    pub(crate) fn take_if(
        &self,
        lane: usize,
        is_wanted: impl FnOnce(&Batch) -> bool,
    ) -> Option<LoggedBatch> {
        let mut state = self.lock();
        let is_replayed = state.is_replayed;
        let queue = state.lanes.get_mut(lane)?;
        let batch = match queue.pop_if(is_replayed, |next| is_wanted(&next.body.batch))? {
            Popped::Replayed(batch) => {
                state.replayed_bytes -= batch.body.bytes();
                batch
            }
            Popped::Live(batch) => {
                state.held_bytes -= batch.body.bytes();
                batch
            }
        };
        self.changed.notify_all();
        Some(batch)
    }

    /// Whether `take` would answer something other than `Pending`.
    pub(crate) fn is_ready(&self, lane: usize) -> bool {
        let state = self.lock();
        let Some(queue) = state.lanes.get(lane) else { return false };
        let has_batch = !queue.replayed.is_empty() || (state.is_replayed && !queue.live.is_empty());
        let has_end = || matches!(state.end, Some(End::Ended | End::Failed(_)));
        has_batch || state.failure.is_some() || (state.is_at_end(lane) && has_end())
    }
}

impl State {
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
