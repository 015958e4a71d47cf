//! Logs a source that can be read again.
//!
//! Owns the thread that reads it and which partitions it has open. Every logged batch says where its partition
//! goes on after it, so that a new process finds the place. Knows nothing of files or generators. Invariants:
//! partitions take turns, and only a few are open at a time; the thread waits only for input or for room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, Thread};

use tidemill_core::connector::{BatchTarget, ConnectorError, SourcePoll, SourceReader, Wake};
use tidemill_core::ids::Now;
use tidemill_core::input_log::{Body, End, Head};
use tidemill_core::quota::Account;

use crate::connectors::logged::former::Forming;
use crate::connectors::logged::intake::{Intake, Stop};
use crate::connectors::no_thread;
use crate::connectors::source::Source;
use crate::spawner;

/// Reads a source into an intake.
pub(in crate::connectors) struct Relay {
    source: Source,
    intake: Arc<Intake>,
    target: BatchTarget,
    /// Partitions that are not open yet.
    waiting: VecDeque<usize>,
    /// Open partitions.
    open: Vec<(usize, Box<dyn SourceReader>)>,
    is_stopped: Arc<AtomicBool>,
    account: Arc<dyn Account>,
}

struct Bell(Thread);

impl Wake for Bell {
    fn wake(&self) {
        self.0.unpark();
    }
}

struct StopRelay {
    is_stopped: Arc<AtomicBool>,
    thread: Thread,
}

impl Stop for StopRelay {
    fn stop(&mut self) {
        self.is_stopped.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Relay {
    /// Starts to read `source`, which stands where the log ends.
    pub(in crate::connectors) fn start(
        source: Source,
        intake: &Arc<Intake>,
        forming: Forming,
    ) -> Result<(), ConnectorError> {
        let Forming { target, account, .. } = forming;
        let waiting = (0..source.partitions().len()).collect();
        let is_stopped = Arc::<AtomicBool>::default();
        let intake = intake.clone();
        let (open, stop) = (Vec::new(), is_stopped.clone());
        let taken = intake.clone();
        let relay = Self { source, intake: taken, target, waiting, open, is_stopped, account };
        let thread = spawner::builder("tidemill-intake")
            .and_then(|thread| thread.spawn(move || relay.run()))
            .map_err(|error| no_thread("that reads the source", &error))?;
        let thread = thread.thread().clone();
        intake.begin(Box::new(StopRelay { is_stopped: stop, thread }), None);
        Ok(())
    }

    fn run(mut self) {
        let _employed = self.account.clone().employ_thread();
        let end = self.relay().unwrap_or_else(End::Failed);
        self.intake.finish(end);
    }

    fn relay(&mut self) -> Result<End, ConnectorError> {
        loop {
            if self.is_stopped.load(SeqCst) {
                return Ok(End::Stopped);
            }
            self.open_more()?;
            if self.open.is_empty() {
                return Ok(End::Ended);
            }
            let mut is_idle = true;
            let mut index = 0;
            while let Some((part, reader)) = self.open.get_mut(index) {
                match reader.poll(self.target, Now::default())? {
                    SourcePoll::Batch(batch) => {
                        let inner = reader.positions().pop().map(|at| at.position);
                        let head = Head { inner, ..Head::default() };
                        if !self.intake.append(*part, Body { head, batch }) {
                            return Ok(End::Stopped);
                        }
                        (is_idle, index) = (false, index + 1);
                    }
                    SourcePoll::Pending => index += 1,
                    SourcePoll::Ended => {
                        is_idle = false;
                        drop(self.open.swap_remove(index));
                    }
                }
            }
            if is_idle {
                // A wake that came in between is remembered.
                thread::park();
            }
        }
    }

    fn open_more(&mut self) -> Result<(), ConnectorError> {
        let (all, at_once) = (self.source.partitions().len(), self.source.open_at_once());
        while self.open.len() < at_once
            && let Some(part) = self.waiting.pop_front()
        {
            let bell = Arc::new(Bell(thread::current()));
            self.open.push((part, self.source.reader(part, all, bell, self.account.clone())?));
        }
        Ok(())
    }
}
