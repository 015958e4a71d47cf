//! The input WAL of a job, on a thread of its own.
//!
//! Owns the queue before the log, group commit, and when a log is idle. It must not know what is in a body, nor
//! who appends: sources on threads wait for room, sources on an async runtime are called back. What is written
//! and in which order is decided in [`tidemill_core::wal`].
//!
//! Order: append -> log, with all that waits -> one sync -> callbacks, in the order of the appends. Invariants:
//! nothing is called durable before its sync; every append that was taken is called back once, whatever
//! happens; the queue, with what is being written, has a bound; a quiet log has no wake-ups.

mod queue;
#[cfg(test)]
mod tests;
mod thread;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use tidemill_core::wal::{FullOf, LoggedPartition, Usage, WalError, WalWriter};

use self::queue::{End, Queue, append};
use self::thread::Committer;
use crate::error::FileError;

/// A batch that lies durably in the log.
#[derive(Debug, PartialEq, Eq)]
pub struct Durable {
    /// Its place in the log.
    pub lsn: u64,
    /// Its number in its partition.
    pub seq: u64,
    /// What was appended, given back.
    pub body: Vec<u8>,
}

/// Called once for each append that was taken, on the log's thread, in order: it must not wait.
pub type OnDurable = Box<dyn FnOnce(Result<Durable, WalError>) + Send>;

/// What the job wants to know of its log. Called on the log's thread: it must not wait.
pub trait WalEvents: Send + Sync {
    /// Half of the quota is used, or all of it: a checkpoint would make room. Called when either becomes true.
    fn pressure(&self, usage: Usage);

    /// The log failed for good. Called once; nothing is taken any more.
    fn failed(&self, error: &WalError);

    /// Called by the log's thread with all that it does, for whoever wants to know of the thread.
    fn work(&self, body: &mut dyn FnMut()) {
        body();
    }
}

/// Why an append was not taken.
pub enum Refused {
    /// The queue is full. Everything is given back.
    NoRoom {
        /// The body.
        body: Vec<u8>,
        /// The callback.
        on_durable: OnDurable,
    },
    /// The log is closed or has failed, and takes nothing any more.
    Ended(WalError),
}

/// What a log has done and what waits for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStatistics {
    /// Batches made durable.
    pub records: u64,
    /// Bytes written for records, without zeros ahead.
    pub bytes: u64,
    /// Groups made durable.
    pub syncs: u64,
    /// Time spent in writing and syncing groups, in microseconds.
    pub sync_us_total: u64,
    /// The longest of it for one group, in microseconds.
    pub sync_us_max: u64,
    /// Batches that were taken and are not durable.
    pub queued_records: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How long the oldest of them has waited, in microseconds.
    pub queue_lag_us: u64,
    /// Last durable LSN.
    pub durable_lsn: u64,
    /// Bytes removed by trimming.
    pub trimmed_bytes: u64,
    /// What of the quota is used.
    pub usage: Usage,
    /// WAL_FULL: intake has stopped until there is room again.
    pub full: Option<FullOf>,
}

/// A log that is being written. Dropped without [`Wal::seal_and_close`] it ends as a killed process would end
/// it, but for waiting for what is being written.
pub struct Wal {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Starts the log's thread. `queue_bytes` bounds what was appended and is not durable yet; one batch
    /// may go beyond.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        writer: WalWriter,
        queue_bytes: usize,
        events: Arc<dyn WalEvents>,
    ) -> Result<Self, FileError> {
        let queue = Arc::new(Queue::new(queue_bytes));
        let worker = Arc::clone(&events);
        let mut committer = Committer::new(Arc::clone(&queue), writer, events);
        let run = move || {
            worker.work(&mut || {
                let ended = catch_unwind(AssertUnwindSafe(|| committer.run()));
                committer.end(ended.unwrap_or(Err(WalError::Defect)));
            });
        };
        let thread = Builder::new().name("tidemill-wal".to_owned()).spawn(run);
        let thread = thread.map_err(|source| FileError::Thread { source: Arc::new(source) })?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// The way into the log for a partition that its writer has named.
    pub fn sender(&self, partition: LoggedPartition) -> WalSender {
        WalSender { queue: Arc::clone(&self.queue), partition }
    }

    /// Asks for the removal of segments that hold no input from `below_lsn` on. It is done soon.
    pub fn trim(&self, below_lsn: u64) {
        self.queue.trim(below_lsn);
    }

    /// What it has done and what waits.
    pub fn statistics(&self) -> WalStatistics {
        self.queue.statistics()
    }

    /// Writes what waits, as far as there is room, seals the log and joins its thread; answers the last
    /// durable LSN. What found no room is called back with [`WalError::Closed`].
    ///
    /// # Errors
    /// The log failed, now or before.
    pub fn seal_and_close(mut self) -> Result<u64, WalError> {
        self.join(End::Seal);
        match self.queue.ended() {
            Some(WalError::Closed) => Ok(self.queue.statistics().durable_lsn),
            Some(error) => Err(error),
            None => Err(WalError::Defect),
        }
    }

    fn join(&mut self, end: End) {
        if let Some(thread) = self.thread.take() {
            self.queue.request_end(end);
            // Its panics are caught inside, and told.
            thread.join().ok();
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.join(End::Abandon);
    }
}

/// Appends batches of one partition. Batches of one sender keep their order.
#[derive(Clone)]
pub struct WalSender {
    queue: Arc<Queue>,
    partition: LoggedPartition,
}

impl WalSender {
    /// Appends a batch if there is room, without waiting.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn append(&self, body: Vec<u8>, on_durable: OnDurable) -> Result<(), Refused> {
        self.queue.append(append(self.partition, body, on_durable))
    }

    /// Appends a batch, waiting in this thread until there is room. Not for async tasks.
    ///
    /// # Errors
    /// The log is closed or has failed.
    pub fn append_from_thread(&self, body: Vec<u8>, on_durable: OnDurable) -> Result<(), WalError> {
        self.queue.append_waiting(append(self.partition, body, on_durable))
    }

    /// Calls `wake` once when there is room, or when the log has ended; at once if that is so now. The room may
    /// be taken by another before it is used.
    pub fn when_room(&self, wake: Box<dyn FnOnce() + Send>) {
        self.queue.when_room(wake);
    }
}
