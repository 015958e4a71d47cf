//! What waits for the log: the seam between its thread and all others.
//!
//! Owns the bound, and how both sides wait for each other. Knows nothing of disks. Invariants: bytes count until
//! they are durable or given up; no callback is called with the lock held; after the end nothing is taken.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidemill_core::wal::{LoggedPartition, WalError};

use super::{OnDurable, Refused, WalStatistics};
use crate::pool::lock;

/// What a batch counts beside its bytes, so that empty ones are bounded, too.
const OVERHEAD_BYTES: usize = 128;
/// Bytes that are written in one group at most, and one batch.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What comes back with a batch.
pub(super) struct Tag {
    pub(super) on_durable: OnDurable,
    pub(super) since: Instant,
}

/// A batch on its way.
pub(super) type Append = tidemill_core::wal::Append<Tag>;

pub(super) fn append(partition: LoggedPartition, body: Vec<u8>, on_durable: OnDurable) -> Append {
    Append { partition, body, tag: Tag { on_durable, since: Instant::now() } }
}

fn cost(append: &Append) -> usize {
    append.body.len() + OVERHEAD_BYTES
}

/// How the log is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Write all, and seal.
    Seal,
    /// At once.
    Abandon,
}

/// What the log's thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// Anything to do.
    Work,
    /// Anything to do, or silence until then.
    Silence(Instant),
    /// A trim or the end: there is no room in the quota.
    Room,
    /// The same, or another try then: there is no space on the device.
    RoomUntil(Instant),
}

/// What is to be done.
#[derive(Default)]
pub(super) struct Work {
    pub(super) appends: VecDeque<Append>,
    pub(super) trim_below: Option<u64>,
    pub(super) end: Option<End>,
    /// Nothing waits behind `appends`.
    pub(super) is_all: bool,
}

#[derive(Default)]
struct State {
    appends: VecDeque<Append>,
    /// Bytes of `appends` and of what the thread has taken and not settled.
    bytes: usize,
    taken: usize,
    taken_since: Option<Instant>,
    wakes: Vec<Box<dyn FnOnce() + Send>>,
    trim_below: Option<u64>,
    end: Option<End>,
    ended: Option<WalError>,
    done: WalStatistics,
}

/// The queue.
pub(super) struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
    bytes_max: usize,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        let state = Mutex::default();
        Self { state, work: Condvar::new(), room: Condvar::new(), bytes_max }
    }

    fn has_room(&self, state: &State) -> bool {
        state.bytes < self.bytes_max
    }

    fn push(&self, mut state: MutexGuard<'_, State>, append: Append) {
        state.bytes += cost(&append);
        state.appends.push_back(append);
        drop(state);
        self.work.notify_one();
    }

    pub(super) fn append(&self, append: Append) -> Result<(), Refused> {
        let state = lock(&self.state);
        if let Some(error) = state.closed() {
            return Err(Refused::Ended(error));
        }
        if !self.has_room(&state) {
            let Append { body, tag: Tag { on_durable, .. }, .. } = append;
            return Err(Refused::NoRoom { body, on_durable });
        }
        self.push(state, append);
        Ok(())
    }

    pub(super) fn append_waiting(&self, append: Append) -> Result<(), WalError> {
        let mut state = lock(&self.state);
        loop {
            if let Some(error) = state.closed() {
                return Err(error);
            }
            if self.has_room(&state) {
                self.push(state, append);
                return Ok(());
            }
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn when_room(&self, wake: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.state);
        if state.closed().is_none() && !self.has_room(&state) {
            state.wakes.push(wake);
            return;
        }
        drop(state);
        wake();
    }

    pub(super) fn trim(&self, below_lsn: u64) {
        let mut state = lock(&self.state);
        state.trim_below = state.trim_below.max(Some(below_lsn));
        drop(state);
        self.work.notify_one();
    }

    /// Takes no more, and asks the thread to end.
    pub(super) fn request_end(&self, end: End) {
        let mut state = lock(&self.state);
        state.end = Some(end);
        self.wake_all(state);
        self.work.notify_one();
    }

    /// Why the log has ended; `None` while its thread runs.
    pub(super) fn ended(&self) -> Option<WalError> {
        lock(&self.state).ended.clone()
    }

    pub(super) fn statistics(&self) -> WalStatistics {
        let state = lock(&self.state);
        let since = state.taken_since.or(state.appends.front().map(|append| append.tag.since));
        let lag = since.map_or(Duration::ZERO, |since| since.elapsed());
        WalStatistics {
            queued_records: (state.appends.len() + state.taken) as u64,
            queued_bytes: state.bytes as u64,
            queue_lag_us: micros(lag),
            ..state.done
        }
    }

    /// Waits until there is something to do, and takes a group of it.
    pub(super) fn wait(&self, wait_for: WaitFor) -> Work {
        let mut state = lock(&self.state);
        loop {
            let is_blocked = matches!(wait_for, WaitFor::Room | WaitFor::RoomUntil(_));
            let has_appends = !is_blocked && !state.appends.is_empty();
            if has_appends || state.trim_below.is_some() || state.end.is_some() {
                let appends = if is_blocked { VecDeque::new() } else { state.take_group() };
                let is_all = state.appends.is_empty();
                return Work {
                    appends,
                    trim_below: state.trim_below.take(),
                    end: state.end,
                    is_all,
                };
            }
            let until = match wait_for {
                WaitFor::Silence(until) | WaitFor::RoomUntil(until) => until,
                WaitFor::Work | WaitFor::Room => {
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Work { is_all: state.appends.is_empty(), ..Work::default() };
            }
            let waited = self.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// So many batches of so many bytes are durable or given up; `oldest` is left of those taken. Tells those who
    /// wait for room.
    pub(super) fn settle(
        &self,
        (records, body_bytes): (usize, usize),
        oldest: Option<Instant>,
        done: WalStatistics,
    ) {
        let mut state = lock(&self.state);
        state.taken -= records;
        state.taken_since = oldest;
        state.bytes -= body_bytes + records * OVERHEAD_BYTES;
        state.done = done;
        if records > 0 && self.has_room(&state) {
            self.wake_all(state);
        }
    }

    /// Nothing goes on any more; answers what was never taken.
    pub(super) fn end(&self, error: WalError) -> VecDeque<Append> {
        let mut state = lock(&self.state);
        state.ended = Some(error);
        state.bytes = 0;
        state.taken = 0;
        state.taken_since = None;
        let appends = std::mem::take(&mut state.appends);
        self.wake_all(state);
        appends
    }

    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        let wakes = std::mem::take(&mut state.wakes);
        drop(state);
        self.room.notify_all();
        wakes.into_iter().for_each(|wake| wake());
    }
}

impl State {
    /// Why nothing is taken, if so.
    fn closed(&self) -> Option<WalError> {
        self.ended.clone().or(self.end.map(|_| WalError::Closed))
    }

    fn take_group(&mut self) -> VecDeque<Append> {
        let mut bytes = 0;
        let fits = |append: &&Append| {
            let is_first = bytes == 0;
            bytes += cost(append);
            is_first || bytes <= GROUP_BYTES
        };
        let count = self.appends.iter().take_while(fits).count();
        let rest = self.appends.split_off(count);
        let group = std::mem::replace(&mut self.appends, rest);
        self.taken += group.len();
        self.taken_since = self.taken_since.or(group.front().map(|append| append.tag.since));
        group
    }
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
