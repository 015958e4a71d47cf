//! The way of a logged source's batches, shared by the threads that meet on it.
//!
//! Owns the lock around the core's [`Intake`](tidemill_core::input_log::Intake), which decides, and who waits for
//! whom. It lives as long as the process; logs and lanes come and go with incarnations. It must not know how
//! batches are formed nor what a lane does with them. Invariant: lanes and the log's thread never wait here.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, ConnectorFault, Wake};
use tidemill_core::input_log::{
    self as core, Body, End, LoggedBatch, Marks, Replaying, Supply, Taken,
};
use tidemill_core::wal::WalError;
use tidemill_storage::wal::{Durable, WalSender};

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

struct State {
    intake: core::Intake,
    /// For each partition the way into the log of the incarnation that runs; `None` between two.
    log: Option<Arc<[WalSender]>>,
    is_receiving: bool,
    is_closed: bool,
    receivers: Option<Box<dyn Stop>>,
    listener: Option<Arc<dyn DurableListener>>,
}

/// Shared by who forms batches, the log, the replay, and the lanes.
pub(crate) struct Intake {
    state: Mutex<State>,
    /// Those who form batches wait for a log, or for room; the replay for room.
    changed: Condvar,
}

/// For those who form batches.
impl Intake {
    /// An intake without a log. `settled_lsn` is shared by all intakes of a log.
    pub(crate) fn new(settled_lsn: Arc<AtomicU64>) -> Self {
        let state = State {
            intake: core::Intake::new(settled_lsn, HELD_BYTES_MAX),
            log: None,
            is_receiving: false,
            is_closed: false,
            receivers: None,
            listener: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
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
        match state.intake.is_stopping() {
            true => receivers.stop(),
            false => state.receivers = Some(receivers),
        }
    }

    /// Takes a batch of a partition, waiting in this thread until there is room or a stop was asked for, and
    /// brings it to the log. Answers whether more is wanted. To be called by one thread.
    pub(crate) fn append(self: &Arc<Self>, part: usize, body: Body) -> bool {
        let mut encoded = Some(body.encode());
        let mut state = self.lock();
        while !state.intake.has_room() && !state.is_closed {
            state = self.wait(state);
        }
        let order = state.intake.push(part, body);
        loop {
            if state.is_closed {
                return false;
            }
            let (Some(log), run) = (state.log.clone(), state.intake.run()) else {
                state = self.wait(state);
                continue;
            };
            let Some((next, part, body)) = state.intake.next_append() else { return true };
            // Those before it were encoded for a log that is gone.
            let bytes = encoded.take_if(|_| next == order).unwrap_or_else(|| body.encode());
            let Some(log) = log.get(part) else { return false };
            drop(state);
            let this = self.clone();
            let settle = move |outcome| this.settled(run, next, outcome);
            let taken = log.append_from_thread(bytes, Box::new(settle));
            state = self.lock();
            if taken.is_err() {
                // It stays unsettled. The next log takes it, if there is one.
                while state.intake.run() == run && !state.is_closed {
                    state = self.wait(state);
                }
            }
        }
    }

    /// The log has called a batch back.
    fn settled(&self, run: u64, order: u64, outcome: Result<Durable, WalError>) {
        let State { intake, listener, .. } = &mut *self.lock();
        match outcome {
            Ok(Durable { lsn, seq, .. }) => intake.settled(run, order, (seq, lsn), |marks| {
                if let Some(listener) = listener {
                    listener.durable(marks);
                }
            }),
            // It would never go.
            Err(error @ WalError::TooLarge { .. }) => {
                let failure = ConnectorError::new(ConnectorFault::BadData, error.to_string());
                intake.refused(order, failure);
            }
            // The job learns of it from the log itself.
            Err(_) => {}
        }
    }

    /// Those who form batches have come to an end.
    pub(crate) fn finish(&self, end: End) {
        self.lock().intake.finish(end);
        self.changed.notify_all();
    }
}

/// For the job.
impl Intake {
    /// A log has begun, with a way into it for each partition, for so many lanes; what it holds from `from_lsn`
    /// on is replayed first. Answers the number of this run.
    pub(crate) fn connect(&self, log: Vec<WalSender>, lanes: usize, from_lsn: u64) -> u64 {
        let mut state = self.lock();
        let run = state.intake.connect(log.len(), lanes, from_lsn);
        state.log = Some(log.into());
        self.changed.notify_all();
        run
    }

    /// The log has ended, and called everything back. What is live is durable, and is replayed.
    pub(crate) fn disconnect(&self) {
        let mut state = self.lock();
        state.intake.disconnect();
        state.log = None;
        self.changed.notify_all();
    }

    /// Whether input is received, or was.
    pub(crate) fn has_begun(&self) -> bool {
        self.lock().is_receiving
    }

    /// Asks those who receive input to come to an end.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.intake.stop();
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
        let has_come = !state.is_receiving || state.intake.has_ended();
        has_come && state.intake.is_drained()
    }

    /// After a stop: waits until those who form batches have brought all that they had to the log, but not
    /// longer than `patience`.
    pub(crate) fn drain(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        while state.intake.is_stopping() && state.is_receiving && !state.intake.has_ended() {
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

    /// As [`core::Intake::place_of`].
    pub(crate) fn place_of(&self, part: usize, seq: u64) -> Option<u64> {
        self.lock().intake.place_of(part, seq)
    }

    /// A complete checkpoint covers all before batch `seq` of a partition.
    pub(crate) fn covered(&self, part: usize, seq: u64) {
        self.lock().intake.covered(part, seq);
    }
}

/// For the replay.
impl Intake {
    /// Takes a batch that was found in the log at the start of this run, waiting for room. Answers whether
    /// more is wanted.
    pub(crate) fn replay(&self, run: u64, mut batch: LoggedBatch) -> bool {
        let mut state = self.lock();
        while !state.is_closed {
            batch = match state.intake.replay(run, batch) {
                Replaying::Taken => return true,
                Replaying::Over => return false,
                Replaying::NoRoom(batch) => batch,
            };
            state = self.wait(state);
        }
        false
    }

    /// All that was found was replayed, or the rest cannot be.
    pub(crate) fn end_replay(&self, run: u64, outcome: Result<(), ConnectorError>) {
        self.lock().intake.end_replay(run, outcome);
    }
}

/// An intake as lanes see it.
pub(crate) struct IntakeHandle(pub(crate) Arc<Intake>);

impl Supply for IntakeHandle {
    fn attach(&self, lane: usize, waker: Arc<dyn Wake>) {
        self.0.lock().intake.attach(lane, waker);
    }

    fn take(&self, lane: usize) -> Result<Taken, ConnectorError> {
        let taken = self.0.lock().intake.take(lane)?;
        if matches!(taken, Taken::Batch(_)) {
            self.0.changed.notify_all();
        }
        Ok(taken)
    }

    fn take_if(&self, lane: usize, is_wanted: impl FnOnce(&Batch) -> bool) -> Option<LoggedBatch> {
        let batch = self.0.lock().intake.take_if(lane, is_wanted)?;
        self.0.changed.notify_all();
        Some(batch)
    }

    fn is_ready(&self, lane: usize) -> bool {
        self.0.lock().intake.is_ready(lane)
    }

    fn stop(&self) {
        self.0.stop();
    }
}
