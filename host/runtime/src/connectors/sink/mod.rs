//! A sink of a job: one writer for each lane, and what happens when all of them have ended.
//!
//! Owns the settings' last checks, the counts over all lanes, and publishing or abandoning the
//! whole. Invariants: `commit` is called when every writer has settled, and only it makes output
//! visible that is promised to appear whole; after `abandon` nothing unfinished is left.

mod discard;
mod file;
mod lines;
mod stdout;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidemill_core::connector::{ConnectorError, ConnectorFault, SinkWriter, Wake};
use tidemill_storage::files::Packing;
use tidemill_storage::output::{Output, OutputDirectory, OutputNames};

use crate::connectors::fields::{FieldSum, LineFormat};
use crate::connectors::settings::{
    Compression, DiscardSink, FileSink, RecordFormat, SinkSettings, Style,
};
use crate::connectors::sink::discard::Discard;
use crate::connectors::sink::file::FileWriter;
use crate::connectors::sink::lines::Lines;
use crate::connectors::sink::stdout::Outlet;

pub use stdout::BROKEN_PIPE;

/// What a sink has taken, over all lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkSummary {
    /// Records.
    pub records: u64,
    /// Bytes of the lines as written, before compression; for `Discard` of keys and values.
    pub bytes: u64,
    /// `Discard` without fields: a sum over the bytes of keys and values, in any order of records.
    pub checksum: Option<u64>,
    /// `Discard` with fields: a sum over the decoded fields, in any order of records.
    pub check_sum_of_fields: Option<u64>,
    /// Published files, by lane and number.
    pub files: Vec<PathBuf>,
}

/// Counts that all lanes add to.
#[derive(Debug, Default)]
struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
    sum: AtomicU64,
}

impl Counts {
    /// Adds what one batch brought; sums wrap.
    fn add(&self, records: usize, bytes: usize, sum: u64) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }
}

enum Kind {
    File { format: RecordFormat, directory: OutputDirectory, outputs: Vec<Output> },
    Stdout { format: RecordFormat, outlet: Arc<Outlet> },
    Discard(DiscardSink),
}

/// A sink that is ready to take records.
pub struct Sink {
    kind: Kind,
    counts: Arc<Counts>,
    files: Vec<PathBuf>,
}

impl Sink {
    /// Prepares sink `name` of `job`. For files this creates the directory and removes what an
    /// earlier run left unfinished. What it published is refused, or replaced by
    /// `commit` if `fresh`.
    ///
    /// # Errors
    /// The settings do not fit together, or the place to write to cannot be had.
    pub fn create(
        job: &str,
        name: &str,
        settings: &SinkSettings,
        fresh: bool,
    ) -> Result<Self, ConnectorError> {
        check(settings).map_err(refused)?;
        let kind = match settings {
            SinkSettings::File(FileSink { directory, format, compression }) => {
                let ending = match format.style {
                    Style::Raw | Style::Text => "txt",
                    Style::Ndjson => "ndjson",
                };
                let packing = match compression {
                    Compression::None => Packing::None,
                    Compression::Gzip => Packing::Gzip,
                    Compression::Zstd => Packing::Zstd,
                };
                let names = OutputNames::new(job, name, ending, packing)?;
                let directory = OutputDirectory::prepare(directory, names, fresh)?;
                Kind::File { format: format.clone(), directory, outputs: Vec::new() }
            }
            SinkSettings::Stdout(format) => {
                Kind::Stdout { format: format.clone(), outlet: Outlet::start(std::io::stdout())? }
            }
            SinkSettings::Discard(settings) => Kind::Discard(settings.clone()),
        };
        Ok(Self { kind, counts: Arc::default(), files: Vec::new() })
    }

    /// The writer of lane `lane`; called once for each.
    ///
    /// # Errors
    /// The settings do not fit together.
    pub fn writer(
        &mut self,
        lane: usize,
        waker: Arc<dyn Wake>,
    ) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let counts = Arc::clone(&self.counts);
        Ok(match &mut self.kind {
            Kind::File { format, directory, outputs } => {
                let format = LineFormat::new(format).map_err(refused)?;
                let output = Output::new(directory, lane, waker);
                outputs.push(output.clone());
                Box::new(FileWriter::new(Lines::new(lane, format, counts), output))
            }
            Kind::Stdout { format, outlet } => {
                let format = LineFormat::new(format).map_err(refused)?;
                Box::new(outlet.writer(Lines::new(lane, format, counts), waker))
            }
            Kind::Discard(DiscardSink { fields }) => {
                let fields = fields.as_ref().map(FieldSum::new).transpose().map_err(refused)?;
                Box::new(Discard::new(lane, fields, counts))
            }
        })
    }

    /// The whole job has ended and every writer has settled: makes the output visible.
    ///
    /// # Errors
    /// A file cannot be published, or a writer has not settled.
    pub fn commit(&mut self) -> Result<(), ConnectorError> {
        let Kind::File { directory, outputs, .. } = &mut self.kind else { return Ok(()) };
        let mut finished = Vec::new();
        for output in outputs.iter() {
            if !output.is_settled()? {
                let what =
                    "a lane is still writing; this is a defect in Tidemill, please report it";
                return Err(ConnectorError::new(ConnectorFault::Io, what));
            }
            finished.extend(output.finished());
        }
        finished.sort_unstable();
        self.files = directory.publish(&finished)?;
        outputs.clear();
        Ok(())
    }

    /// The job has failed: removes what is unfinished, and what this sink has published. Waits for I/O
    /// threads that are at work on it.
    pub fn abandon(&mut self) {
        if let Kind::File { directory, outputs, .. } = &mut self.kind {
            outputs.drain(..).for_each(|output| output.cancel());
            directory.discard();
        }
    }

    /// What the sink has taken so far.
    pub fn summary(&self) -> SinkSummary {
        let sum = self.counts.sum.load(Ordering::Relaxed);
        let (checksum, check_sum_of_fields) = match &self.kind {
            Kind::Discard(DiscardSink { fields: None }) => (Some(sum), None),
            Kind::Discard(DiscardSink { fields: Some(_) }) => (None, Some(sum)),
            Kind::File { .. } | Kind::Stdout { .. } => (None, None),
        };
        SinkSummary {
            records: self.counts.records.load(Ordering::Relaxed),
            bytes: self.counts.bytes.load(Ordering::Relaxed),
            checksum,
            check_sum_of_fields,
            files: self.files.clone(),
        }
    }

    /// What a sink with these settings promises about each record.
    pub fn guarantee(settings: &SinkSettings) -> &'static str {
        match settings {
            SinkSettings::File(_) => {
                "exactly once: files appear complete, and only after the whole job has succeeded"
            }
            SinkSettings::Stdout(_) => {
                "at least once: lines appear as they are made, so a second run repeats them"
            }
            SinkSettings::Discard(_) => {
                "exactly once per run: counts and sums cover one run of the job"
            }
        }
    }
}

fn refused(what: String) -> ConnectorError {
    ConnectorError::new(ConnectorFault::CannotCreate, what)
}

fn check(settings: &SinkSettings) -> Result<(), String> {
    match settings {
        SinkSettings::File(FileSink { format, .. }) | SinkSettings::Stdout(format) => {
            LineFormat::new(format).map(drop)
        }
        SinkSettings::Discard(DiscardSink { fields: Some(fields) }) => {
            FieldSum::new(fields).map(drop)
        }
        SinkSettings::Discard(DiscardSink { fields: None }) => Ok(()),
    }
}
