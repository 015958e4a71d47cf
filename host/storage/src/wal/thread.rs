//! What the log's thread does.
//!
//! Owns when to be idle, the figures, and the end; the order of a turn is that of
//! [`GroupCommit`](tidemill_core::wal::GroupCommit). Invariant: a failure calls back everything and ends the
//! thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::wal::{
    Append, Committed, FullOf, GroupCommit, GroupEvents, Progress, Usage, WalCounters, WalError,
    WalWriter,
};

use super::queue::{End, Queue, Tag, WaitFor, Work, micros};
use super::{Durable, WalEvents, WalStatistics};

/// Silence after which the log is closed by an idle record, which must be there within 100 ms.
const IDLE_AFTER: Duration = Duration::from_millis(50);
/// How often a full device is asked again. (A full quota needs no asking: a trim tells.)
const SPACE_RETRY: Duration = Duration::from_secs(1);

/// The log with its work.
pub(super) struct Committer {
    queue: Arc<Queue>,
    log: GroupCommit<Tag>,
    shell: Shell,
}

/// Whom the log tells.
struct Shell {
    queue: Arc<Queue>,
    events: Arc<dyn WalEvents>,
    /// When writing began, and how many groups were durable before.
    began: (Instant, u64),
    written_at: Instant,
    done: WalStatistics,
}

impl Committer {
    pub(super) fn new(queue: Arc<Queue>, writer: WalWriter, events: Arc<dyn WalEvents>) -> Self {
        let syncs = writer.counters().syncs;
        let log = GroupCommit::new(writer);
        let now = Instant::now();
        let mut shell = Shell {
            queue: queue.clone(),
            events,
            began: (now, syncs),
            written_at: now,
            done: WalStatistics::default(),
        };
        shell.count((0, 0), &log.progress());
        Self { queue, log, shell }
    }

    /// Works until it is asked to end.
    pub(super) fn run(&mut self) -> Result<(), WalError> {
        self.log.watch_usage(&mut self.shell);
        loop {
            let Work { appends, trim_below, end, is_all } = self.queue.wait(self.wait_for());
            if end == Some(End::Abandon) {
                return Ok(());
            }
            let is_ending = end.is_some();
            self.log.turn(trim_below, appends.into_iter(), is_ending, &mut self.shell)?;
            // What finds no room now will find none.
            if is_ending && (is_all || self.log.full().is_some()) {
                return self.log.seal(&mut self.shell);
            }
        }
    }

    fn wait_for(&self) -> WaitFor {
        match self.log.full() {
            Some(FullOf::Quota) => WaitFor::Room,
            Some(FullOf::Device) => WaitFor::RoomUntil(Instant::now() + SPACE_RETRY),
            None if !self.log.is_promised() => WaitFor::Silence(self.shell.written_at + IDLE_AFTER),
            None => WaitFor::Work,
        }
    }

    /// Calls back all that is left, because the log is closed or has failed.
    pub(super) fn end(&mut self, ended: Result<(), WalError>) {
        let error = ended.err().unwrap_or(WalError::Closed);
        let never_taken = self.queue.end(error.clone());
        if error != WalError::Closed {
            self.shell.events.failed(&error);
        }
        let never_taken = never_taken.into_iter().map(|append| append.tag);
        for Tag { on_durable, .. } in self.log.give_back().into_iter().chain(never_taken) {
            on_durable(Err(error.clone()));
        }
    }
}

impl Shell {
    /// Tells the queue how far the log is, and what is settled.
    fn count(&mut self, settled: (usize, usize), progress: &Progress<'_, Tag>) {
        self.done.records = progress.counters.records;
        self.done.bytes = progress.counters.bytes;
        self.done.syncs = progress.counters.syncs;
        self.done.durable_lsn = progress.durable_lsn;
        self.done.usage = progress.usage;
        self.done.full = progress.full;
        self.queue.settle(settled, progress.oldest.map(|tag| tag.since), self.done);
    }
}

impl GroupEvents<Tag> for Shell {
    fn trimmed(&mut self, bytes: u64) {
        self.done.trimmed_bytes += bytes;
    }

    fn writing(&mut self, counters: WalCounters) {
        self.began = (Instant::now(), counters.syncs);
    }

    fn written(&mut self, counters: WalCounters) {
        let elapsed_us = micros(self.began.0.elapsed());
        if counters.syncs > self.began.1 {
            self.written_at = Instant::now();
            self.done.sync_us_total += elapsed_us;
            self.done.sync_us_max = self.done.sync_us_max.max(elapsed_us);
        }
    }

    fn durable(&mut self, batches: &mut VecDeque<Committed<Tag>>, progress: Progress<'_, Tag>) {
        let bytes = batches.iter().map(|batch| batch.body.len()).sum();
        // First the figures, so that who is called back finds himself in them.
        self.count((batches.len(), bytes), &progress);
        while let Some(Committed { lsn, seq, body, tag }) = batches.pop_front() {
            (tag.on_durable)(Ok(Durable { lsn, seq, body }));
        }
    }

    fn too_large(&mut self, append: Append<Tag>, error: WalError, progress: Progress<'_, Tag>) {
        let bytes = append.body.len();
        (append.tag.on_durable)(Err(error));
        self.count((1, bytes), &progress);
    }

    fn pressure(&mut self, usage: Usage) {
        self.events.pressure(usage);
    }
}
