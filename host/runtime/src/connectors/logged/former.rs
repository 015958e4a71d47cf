//! Forms the batches of a stream.
//!
//! Owns the thread that cuts received bytes into records and brings batches to the intake: a batch goes when it
//! has the size that is aimed for, or when its first record has lingered. Knows nothing of sockets or of the
//! log. Invariants: after a stop whole records that were received still go, and the beginning of one does not;
//! records before a bad one go; a batch says of each client that numbers its lines which of them is its last.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill_core::connector::{BatchTarget, ConnectorError, ConnectorFault};
use tidemill_core::input_log::{Body, End, Head, Marks};
use tidemill_core::quota::Account;

use crate::connectors::formats::{BadRecord, Parser};
use crate::connectors::inlet::{Chunk, Inlet, Taken};
use crate::connectors::logged::intake::Intake;
use crate::connectors::records::Records;
use crate::connectors::settings::StreamFormat;
use crate::machine::wall_ms;
use crate::spawner;

/// How batches are formed, and for whom.
#[derive(Clone)]
pub(crate) struct Forming {
    /// The size that is aimed for.
    pub(crate) target: BatchTarget,
    /// How long a record waits for more.
    pub(crate) linger: Duration,
    /// Whom the threads that receive input work for.
    pub(crate) account: Arc<dyn Account>,
}

/// Forms the batches of one stream.
pub(in crate::connectors) struct Former {
    /// How the stream is called in messages.
    name: String,
    inlet: Arc<Inlet>,
    intake: Arc<Intake>,
    forming: Forming,
    parser: Parser,
    records: Records,
    marks: Marks,
    /// When the first record of the batch was received.
    since: Option<Instant>,
}

/// The intake wants nothing more.
struct Unwanted;

impl Former {
    pub(in crate::connectors) fn new(
        name: String,
        format: &StreamFormat,
        inlet: Arc<Inlet>,
        intake: Arc<Intake>,
        forming: Forming,
    ) -> Self {
        let StreamFormat { format, key } = format;
        let mut records = Records::new(key.is_some(), false);
        records.begin(forming.target);
        let parser = Parser::whole(*format, key.as_deref());
        Self { name, inlet, intake, forming, parser, records, marks: Marks::new(), since: None }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub(in crate::connectors) fn start(self) -> io::Result<JoinHandle<()>> {
        spawner::builder("tidemill-intake")?.spawn(move || self.run())
    }

    fn run(mut self) {
        let _employed = self.forming.account.clone().employ_thread();
        let end = self.form().unwrap_or_else(|failure| {
            self.records.cut_unfinished();
            // What came before the failure is good.
            self.flush().ok();
            End::Failed(failure)
        });
        self.intake.finish(end);
    }

    /// Forms batches to the end of the input.
    fn form(&mut self) -> Result<End, ConnectorError> {
        let mut chunk = Chunk::default();
        loop {
            let until = self.since.map(|since| since + self.forming.linger);
            let done = match self.inlet.take(&mut chunk, until)? {
                Taken::Bytes => self.cut(&chunk)?,
                Taken::Late => self.flush(),
                Taken::Ended { is_stopped: true } => {
                    self.flush().ok();
                    return Ok(End::Stopped);
                }
                Taken::Ended { is_stopped: false } => {
                    while !self.parser.finish(&mut self.records).map_err(|bad| self.bad(bad))? {
                        if self.flush().is_err() {
                            return Ok(End::Stopped);
                        }
                    }
                    return Ok(self.flush().map_or(End::Stopped, |()| End::Ended));
                }
            };
            if let Err(Unwanted) = done {
                return Ok(End::Stopped);
            }
        }
    }

    /// Cuts a chunk into records, and has batches go as they become full.
    fn cut(&mut self, chunk: &Chunk) -> Result<Result<(), Unwanted>, ConnectorError> {
        let (mut at, mut marked) = (0, 0);
        while at < chunk.bytes.len() {
            let parsed = self.parser.parse(&chunk.bytes[at..], &mut self.records);
            at += parsed.map_err(|bad| self.bad(bad))?.consumed;
            self.mark(chunk, at, &mut marked);
            if !self.records.is_empty() && self.since.is_none() {
                self.since = Some(Instant::now());
            }
            if self.records.is_full()
                && let Err(unwanted) = self.flush()
            {
                return Ok(Err(unwanted));
            }
        }
        Ok(Ok(()))
    }

    /// Notes whose lines up to `at` are in the batch. The first `marked` runs of lines are noted.
    fn mark(&mut self, chunk: &Chunk, at: usize, marked: &mut usize) {
        while let Some(run) = chunk.numbered.get(*marked).filter(|run| run.start < at) {
            // The batch may be full in the middle of the run.
            let rest = chunk.bytes.get(at..run.end).unwrap_or_default();
            let left = memchr::memchr_iter(b'\n', rest).count() as u64;
            self.marks.insert(run.client.clone(), run.last_line - left);
            if at < run.end {
                return;
            }
            *marked += 1;
        }
    }

    /// Has the batch go, if there is one.
    fn flush(&mut self) -> Result<(), Unwanted> {
        self.since = None;
        let batch = self.records.take();
        self.records.begin(self.forming.target);
        let Some(batch) = batch else { return Ok(()) };
        let marks = std::mem::take(&mut self.marks);
        let time_ms = if marks.is_empty() { 0 } else { wall_ms() };
        let body = Body { head: Head { marks, time_ms, inner: None }, batch };
        if self.intake.append(0, body) { Ok(()) } else { Err(Unwanted) }
    }

    fn bad(&self, bad: BadRecord) -> ConnectorError {
        let BadRecord { record, offset, what } = bad;
        let place = format!("{}, record {} at byte {offset}", self.name, record + 1);
        ConnectorError::new(ConnectorFault::BadData, format!("{place}: {what}"))
    }
}
