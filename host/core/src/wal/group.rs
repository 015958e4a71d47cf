//! Group commit: what waits for the log becomes durable together, and then is called back.
//!
//! Owns the order of a turn, and what a full log keeps. Knows nothing of queues, threads or time; `T` is whatever
//! comes back with a batch. Order: trim -> append what was taken -> one sync -> call back, in the order of the
//! appends. Invariants: nothing is called back as durable before its sync; a full log keeps what it has taken, in
//! order, and goes on with it.

use std::collections::VecDeque;

use super::error::{FullOf, WalError};
use super::sizes::Usage;
use super::writer::{LoggedPartition, WalCounters, WalWriter};
use crate::planted::{self, Bug};

/// A batch that is to be logged.
#[derive(Debug)]
pub struct Append<T> {
    /// Its partition.
    pub partition: LoggedPartition,
    /// What is logged.
    pub body: Vec<u8>,
    /// Comes back with it.
    pub tag: T,
}

/// A batch in the log.
#[derive(Debug)]
pub struct Committed<T> {
    /// Its place in the log.
    pub lsn: u64,
    /// Its number in its partition.
    pub seq: u64,
    /// What was logged.
    pub body: Vec<u8>,
    /// What came with it.
    pub tag: T,
}

/// How far a log is.
#[derive(Debug)]
pub struct Progress<'a, T> {
    /// What was written.
    pub counters: WalCounters,
    /// Last durable LSN.
    pub durable_lsn: u64,
    /// What of the quota is used.
    pub usage: Usage,
    /// The log takes nothing until there is room.
    pub full: Option<FullOf>,
    /// The oldest batch that was taken and is not durable.
    pub oldest: Option<&'a T>,
}

/// Who is told what a turn does.
pub trait GroupEvents<T> {
    /// So many bytes were trimmed.
    fn trimmed(&mut self, bytes: u64);

    /// Writing begins, with this in the log.
    fn writing(&mut self, counters: WalCounters);

    /// Writing is over, with this in the log.
    fn written(&mut self, counters: WalCounters);

    /// These are durable, in order; it takes them out. May be none.
    fn durable(&mut self, batches: &mut VecDeque<Committed<T>>, progress: Progress<'_, T>);

    /// This one can never be logged.
    fn too_large(&mut self, append: Append<T>, error: WalError, progress: Progress<'_, T>);

    /// Half of the quota is used, or all of it: a checkpoint would make room. Called when either becomes true.
    fn pressure(&mut self, usage: Usage);
}

/// A log's writer, with what it was given.
pub struct GroupCommit<T> {
    writer: WalWriter,
    taken: VecDeque<Append<T>>,
    appended: VecDeque<Committed<T>>,
    /// Durable, and not called back yet.
    ready: VecDeque<Committed<T>>,
    full: Option<FullOf>,
    is_pressing: bool,
}

impl<T> GroupCommit<T> {
    /// Commits by `writer`.
    pub fn new(writer: WalWriter) -> Self {
        let (taken, appended, ready) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { writer, taken, appended, ready, full: None, is_pressing: false }
    }

    /// How far the log is.
    pub fn progress(&self) -> Progress<'_, T> {
        progress(&self.writer, self.full, &self.appended, &self.taken)
    }

    /// The log takes nothing until there is room.
    pub fn full(&self) -> Option<FullOf> {
        self.full
    }

    /// Whether silence would have nothing to write.
    pub fn is_promised(&self) -> bool {
        self.writer.is_promised()
    }

    /// One turn: trims, if asked to, and makes what was taken durable. A turn without anything to do is silence,
    /// and closes the log with a promise; not one before the end.
    ///
    /// # Errors
    /// The log has failed for good.
    pub fn turn(
        &mut self,
        trim_below: Option<u64>,
        appends: impl ExactSizeIterator<Item = Append<T>>,
        is_ending: bool,
        events: &mut impl GroupEvents<T>,
    ) -> Result<(), WalError> {
        let is_silence = appends.len() == 0 && trim_below.is_none() && self.full.is_none();
        if let Some(below_lsn) = trim_below {
            events.trimmed(self.writer.trim(below_lsn)?.bytes);
        }
        self.taken.extend(appends);
        let was_full = self.full.take();
        events.writing(self.writer.counters());
        let written = match is_silence && !is_ending {
            true => self.writer.idle(),
            false => self.write(events),
        };
        match written {
            Err(WalError::Full { of, .. }) => self.full = Some(of),
            other => other?,
        }
        events.written(self.writer.counters());
        self.call_back(self.writer.durable_lsn(), events);
        if self.full.is_some() && was_full.is_none() {
            events.pressure(self.writer.usage());
            self.is_pressing = true;
        }
        self.watch_usage(events);
        Ok(())
    }

    /// Appends what was taken, as far as there is room, and makes it durable.
    fn write(&mut self, events: &mut impl GroupEvents<T>) -> Result<(), WalError> {
        let mut full = Ok(());
        while let Some(append) = self.taken.pop_front() {
            match self.writer.append(append.partition, &append.body) {
                Ok(appended) => self.appended.push_back(Committed {
                    lsn: appended.lsn,
                    seq: appended.seq,
                    body: append.body,
                    tag: append.tag,
                }),
                Err(error @ WalError::TooLarge { .. }) => {
                    events.too_large(append, error, self.progress());
                }
                Err(error) => {
                    self.taken.push_front(append);
                    full = Err(error);
                    break;
                }
            }
        }
        if planted::is(Bug::AckBeforeSync) {
            self.call_back(u64::MAX, events);
        }
        // What was appended before the log was full has its room.
        self.writer.sync()?;
        full
    }

    /// Calls back what is durable up to an LSN.
    fn call_back(&mut self, upto_lsn: u64, events: &mut impl GroupEvents<T>) {
        while let Some(appended) = self.appended.pop_front_if(|next| next.lsn <= upto_lsn) {
            self.ready.push_back(appended);
        }
        let progress = progress(&self.writer, self.full, &self.appended, &self.taken);
        events.durable(&mut self.ready, progress);
    }

    /// Tells when half of the quota has come to be used.
    pub fn watch_usage(&mut self, events: &mut impl GroupEvents<T>) {
        let usage = self.writer.usage();
        if usage.is_pressing() && !self.is_pressing {
            events.pressure(usage);
        }
        self.is_pressing = usage.is_pressing();
    }

    /// Ends the log in order. What waits and finds no room is left to [`GroupCommit::give_back`].
    ///
    /// # Errors
    /// The log has failed for good.
    pub fn seal(&mut self, events: &mut impl GroupEvents<T>) -> Result<(), WalError> {
        let durable_lsn = self.writer.seal()?;
        self.call_back(durable_lsn, events);
        Ok(())
    }

    /// What is left of what was taken, in order, when the log is closed or has failed.
    pub fn give_back(&mut self) -> Vec<T> {
        let appended = self.ready.drain(..).chain(self.appended.drain(..));
        let appended = appended.map(|appended| appended.tag);
        appended.chain(self.taken.drain(..).map(|append| append.tag)).collect()
    }
}

fn progress<'a, T>(
    writer: &WalWriter,
    full: Option<FullOf>,
    appended: &'a VecDeque<Committed<T>>,
    taken: &'a VecDeque<Append<T>>,
) -> Progress<'a, T> {
    let oldest = appended.front().map(|next| &next.tag).or(taken.front().map(|next| &next.tag));
    Progress {
        counters: writer.counters(),
        durable_lsn: writer.durable_lsn(),
        usage: writer.usage(),
        full,
        oldest,
    }
}
