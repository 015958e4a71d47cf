//! What the log's thread does.
//!
//! Owns the writer, what was taken from the queue, and when to be idle. Order of a turn: trim -> append what was
//! taken -> one sync -> callbacks in order -> seal, if asked to end. Invariants: a full log keeps what it has
//! taken, in order, and goes on with it; a failure calls back everything and ends the thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::wal::{FullOf, WalError, WalWriter};

use super::queue::{Append, End, Queue, WaitFor, Work, micros};
use super::{Durable, OnDurable, WalEvents, WalStatistics};

/// Silence after which the log is closed by an idle record, which must be there within 100 ms.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// How often a full device is asked again. (A full quota needs no asking: a trim tells.)
const SPACE_RETRY: Duration = Duration::from_secs(1);

/// A batch that is in the log and not durable yet.
struct Appended {
    lsn: u64,
    seq: u64,
    body: Vec<u8>,
    on_durable: OnDurable,
    since: Instant,
}

/// The writer with its work.
pub(super) struct Committer {
    queue: Arc<Queue>,
    writer: WalWriter,
    events: Arc<dyn WalEvents>,
    taken: VecDeque<Append>,
    appended: VecDeque<Appended>,
    /// Durable, and not called back yet.
    ready: VecDeque<Appended>,
    full: Option<FullOf>,
    is_pressing: bool,
    written_at: Instant,
    done: WalStatistics,
}

impl Committer {
    pub(super) fn new(queue: Arc<Queue>, writer: WalWriter, events: Arc<dyn WalEvents>) -> Self {
        let mut committer = Self {
            queue,
            writer,
            events,
            taken: VecDeque::new(),
            appended: VecDeque::new(),
            ready: VecDeque::new(),
            full: None,
            is_pressing: false,
            written_at: Instant::now(),
            done: WalStatistics::default(),
        };
        committer.count((0, 0));
        committer
    }

    /// Works until it is asked to end.
    pub(super) fn run(&mut self) -> Result<(), WalError> {
        self.watch_usage();
        loop {
            let work = self.queue.wait(self.wait_for());
            if work.end == Some(End::Abandon) {
                return Ok(());
            }
            let (is_ending, is_all) = (work.end.is_some(), work.is_all);
            self.turn(work)?;
            // What finds no room now will find none.
            if is_ending && (is_all || self.full.is_some()) {
                return self.seal();
            }
        }
    }

    fn wait_for(&self) -> WaitFor {
        match self.full {
            Some(FullOf::Quota) => WaitFor::Room,
            Some(FullOf::Device) => WaitFor::RoomUntil(Instant::now() + SPACE_RETRY),
            None if !self.writer.is_promised() => WaitFor::Silence(self.written_at + IDLE_AFTER),
            None => WaitFor::Work,
        }
    }

    fn turn(&mut self, work: Work) -> Result<(), WalError> {
        let is_silence =
            work.appends.is_empty() && work.trim_below.is_none() && self.full.is_none();
        if let Some(below_lsn) = work.trim_below {
            self.done.trimmed_bytes += self.writer.trim(below_lsn)?.bytes;
        }
        self.taken.extend(work.appends);
        let was_full = self.full.take();
        let (started, syncs) = (Instant::now(), self.writer.counters().syncs);
        let written = match is_silence && work.end.is_none() {
            true => self.writer.idle(),
            false => self.write(),
        };
        match written {
            Err(WalError::Full { of, .. }) => self.full = Some(of),
            other => other?,
        }
        let elapsed_us = micros(started.elapsed());
        if self.writer.counters().syncs > syncs {
            self.written_at = Instant::now();
            self.done.sync_us_total += elapsed_us;
            self.done.sync_us_max = self.done.sync_us_max.max(elapsed_us);
        }
        self.call_back();
        if self.full.is_some() && was_full.is_none() {
            self.events.pressure(self.writer.usage());
            self.is_pressing = true;
        }
        self.watch_usage();
        Ok(())
    }

    /// Appends what was taken, as far as there is room, and makes it durable.
    fn write(&mut self) -> Result<(), WalError> {
        let mut full = Ok(());
        while let Some(append) = self.taken.pop_front() {
            match self.writer.append(append.partition, &append.body) {
                Ok(appended) => self.appended.push_back(Appended {
                    lsn: appended.lsn,
                    seq: appended.seq,
                    body: append.body,
                    on_durable: append.on_durable,
                    since: append.since,
                }),
                Err(error @ WalError::TooLarge { .. }) => {
                    let bytes = append.body.len();
                    (append.on_durable)(Err(error));
                    self.count((1, bytes));
                }
                Err(error) => {
                    self.taken.push_front(append);
                    full = Err(error);
                    break;
                }
            }
        }
        // What was appended before the log was full has its room.
        self.writer.sync()?;
        full
    }

    /// Calls back what has become durable.
    fn call_back(&mut self) {
        let durable_lsn = self.writer.durable_lsn();
        let mut bytes = 0;
        while let Some(appended) = self.appended.pop_front_if(|next| next.lsn <= durable_lsn) {
            bytes += appended.body.len();
            self.ready.push_back(appended);
        }
        // First the figures, so that who is called back finds himself in them.
        self.count((self.ready.len(), bytes));
        while let Some(Appended { lsn, seq, body, on_durable, .. }) = self.ready.pop_front() {
            on_durable(Ok(Durable { lsn, seq, body }));
        }
    }

    /// Tells the queue how far the log is, and what is settled.
    fn count(&mut self, settled: (usize, usize)) {
        let counters = self.writer.counters();
        self.done.records = counters.records;
        self.done.bytes = counters.bytes;
        self.done.syncs = counters.syncs;
        self.done.durable_lsn = self.writer.durable_lsn();
        self.done.usage = self.writer.usage();
        self.done.full = self.full;
        let appended = self.appended.front().map(|next| next.since);
        let oldest = appended.or(self.taken.front().map(|next| next.since));
        self.queue.settle(settled, oldest, self.done);
    }

    fn watch_usage(&mut self) {
        let usage = self.writer.usage();
        if usage.is_pressing() && !self.is_pressing {
            self.events.pressure(usage);
        }
        self.is_pressing = usage.is_pressing();
    }

    fn seal(&mut self) -> Result<(), WalError> {
        self.writer.seal()?;
        self.call_back();
        Ok(())
    }

    /// Calls back all that is left, because the log is closed or has failed.
    pub(super) fn end(&mut self, ended: Result<(), WalError>) {
        let error = ended.err().unwrap_or(WalError::Closed);
        let never_taken = self.queue.end(error.clone());
        if error != WalError::Closed {
            self.events.failed(&error);
        }
        let appended = self.ready.drain(..).chain(self.appended.drain(..));
        let appended = appended.map(|appended| appended.on_durable);
        let taken = self.taken.drain(..).chain(never_taken).map(|append| append.on_durable);
        for on_durable in appended.chain(taken) {
            on_durable(Err(error.clone()));
        }
    }
}
