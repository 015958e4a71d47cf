//! A sink of a job: one writer for each lane, and the commits of what they have prepared.
//!
//! Owns the settings' last checks, the figures over all lanes, and what a sink does to its directory
//! beside writing. Must not know checkpoints beyond their numbers. Invariants: output that is promised
//! exactly once is visible only by a commit; after a `close` that says so no thread of this sink is at work.

mod counts;
mod discard;
mod file;
mod lines;
mod settle;
mod stdout;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::connector::{ConnectorError, ConnectorFault, SinkWriter, Wake};
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::quota::Account;
use tidemill_storage::files::Packing;
use tidemill_storage::output::{Output, OutputDirectory, OutputNames, OutputTask};

use crate::connectors::fields::{FieldSum, LineFormat};
use crate::connectors::settings::{
    Compression, DiscardSink, FileSink, RecordFormat, SinkSettings, Style,
};
use crate::connectors::sink::counts::{Counts, Figures};
use crate::connectors::sink::discard::Discard;
use crate::connectors::sink::file::FileWriter;
use crate::connectors::sink::lines::Lines;
use crate::connectors::sink::stdout::Outlet;

pub use stdout::BROKEN_PIPE;
pub use tidemill_storage::output::SinkStart;

/// What a sink has taken, over all lanes, since the job was created.
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
    /// Files that this process has committed, in that order; the first 1,000. Filled in by whoever commits.
    pub files: Vec<PathBuf>,
    /// How many files this process has committed.
    pub file_count: u64,
}

enum Kind {
    File { format: RecordFormat, directory: OutputDirectory, outputs: Vec<Output> },
    Stdout { format: RecordFormat, outlet: Outlet },
    Discard(DiscardSink),
}

/// A sink that is ready to take records.
pub struct Sink {
    kind: Kind,
    incarnation: Incarnation,
    next: CheckpointId,
    lanes: Vec<Arc<Counts>>,
}

impl Sink {
    /// Prepares sink `name` of `job`. For files this creates and locks the directory, until the sink is
    /// dropped. A new job removes what earlier runs left unfinished there; what they published is
    /// refused, or removed at once if the job is to be fresh. `next` is one more than the last checkpoint
    /// that was begun.
    ///
    /// # Errors
    /// The settings do not fit together, or the place to write to cannot be had.
    pub fn open(
        job: &str,
        name: &str,
        settings: &SinkSettings,
        start: SinkStart,
        incarnation: Incarnation,
        next: CheckpointId,
    ) -> Result<Self, ConnectorError> {
        check(settings).map_err(refused)?;
        let kind = match settings {
            SinkSettings::File(file) => {
                let names = file_names(job, name, file)?;
                let FileSink { directory, format, .. } = file;
                let directory = OutputDirectory::prepare(directory, names, start)?;
                Kind::File { format: format.clone(), directory, outputs: Vec::new() }
            }
            SinkSettings::Stdout(format) => {
                Kind::Stdout { format: format.clone(), outlet: Outlet::start(std::io::stdout())? }
            }
            SinkSettings::Discard(settings) => Kind::Discard(settings.clone()),
        };
        Ok(Self { kind, incarnation, next, lanes: Vec::new() })
    }

    /// Whether [`open`](Self::open) would refuse this for what is there already. Nothing is changed.
    ///
    /// # Errors
    /// The settings do not fit together, or earlier runs have published files where a new job is to begin.
    pub fn look(
        job: &str,
        name: &str,
        settings: &SinkSettings,
        start: SinkStart,
    ) -> Result<(), ConnectorError> {
        check(settings).map_err(refused)?;
        match (settings, start) {
            (SinkSettings::File(file), SinkStart::New { fresh: false }) => {
                Ok(OutputDirectory::look(&file.directory, &file_names(job, name, file)?)?)
            }
            _ => Ok(()),
        }
    }

    /// The writer of lane `lane`; called once for each. It goes on from `states`: those of the writers
    /// of the checkpoint that fall to this lane, any number of them. Each is given to one lane. Writing behind the
    /// lane is paid for by `account`.
    ///
    /// # Errors
    /// The settings do not fit together, or a state cannot be read.
    pub fn writer(
        &mut self,
        lane: usize,
        waker: Arc<dyn Wake>,
        account: &Arc<dyn Account>,
        states: &[Vec<u8>],
    ) -> Result<Box<dyn SinkWriter>, ConnectorError> {
        let counts = Arc::new(Counts::resume(states)?);
        self.lanes.push(Arc::clone(&counts));
        let (incarnation, next) = (self.incarnation, self.next);
        Ok(match &mut self.kind {
            Kind::File { format, directory, outputs } => {
                let format = LineFormat::new(format).map_err(refused)?;
                let task = OutputTask { lane, incarnation, next };
                let output = Output::new(directory, task, waker, account.clone());
                outputs.push(output.clone());
                Box::new(FileWriter::new(Lines::new(lane, format, counts), output))
            }
            Kind::Stdout { format, outlet } => {
                let format = LineFormat::new(format).map_err(refused)?;
                Box::new(outlet.writer(Lines::new(lane, format, counts), waker))
            }
            Kind::Discard(DiscardSink { fields }) => {
                let fields = fields.as_ref().map(FieldSum::new).transpose().map_err(refused)?;
                Box::new(Discard::new(lane, fields, counts, waker))
            }
        })
    }

    /// The directory that its files lie in, absolute and UTF-8; `None` when it writes none, and so has
    /// nothing to commit.
    pub fn directory(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File { directory, .. } => Some(directory.path()),
            Kind::Stdout { .. } | Kind::Discard(_) => None,
        }
    }

    /// Ends this incarnation's part: drops what is queued, and waits until no thread is at work on it.
    /// Barriers that are not answered by then never are. Blocks for as long as a device takes for one
    /// write, and for standard output while its reader takes nothing, at most for `patience`. Answers
    /// whether all is at rest; if not, what is at work may still come out.
    pub fn close(&mut self, patience: Duration) -> bool {
        match &mut self.kind {
            Kind::File { outputs, .. } => {
                outputs.iter().for_each(Output::forsake);
                outputs.drain(..).for_each(|output| output.cancel());
            }
            Kind::Stdout { outlet, .. } => return outlet.close(patience),
            Kind::Discard(_) => {}
        }
        true
    }

    /// What the sink has taken so far.
    pub fn summary(&self) -> SinkSummary {
        let lanes = self.lanes.iter().map(|counts| counts.figures());
        let Figures { records, bytes, sum } = lanes.fold(Figures::default(), Figures::plus);
        let (checksum, check_sum_of_fields) = match &self.kind {
            Kind::Discard(DiscardSink { fields: None }) => (Some(sum), None),
            Kind::Discard(DiscardSink { fields: Some(_) }) => (None, Some(sum)),
            Kind::File { .. } | Kind::Stdout { .. } => (None, None),
        };
        SinkSummary { records, bytes, checksum, check_sum_of_fields, ..SinkSummary::default() }
    }

    /// What a sink with these settings promises about each record.
    pub fn guarantee(settings: &SinkSettings) -> &'static str {
        match settings {
            SinkSettings::File(_) => {
                "exactly once: files appear with each checkpoint, complete, and stay"
            }
            SinkSettings::Stdout(_) => {
                "at least once: lines appear as they are made, so a restart may repeat those since \
                 the last checkpoint"
            }
            SinkSettings::Discard(_) => "exactly once: counts and sums are part of each checkpoint",
        }
    }
}

fn file_names(job: &str, name: &str, file: &FileSink) -> Result<OutputNames, ConnectorError> {
    let ending = match file.format.style {
        Style::Raw | Style::Text => "txt",
        Style::Ndjson => "ndjson",
    };
    let packing = match file.compression {
        Compression::None => Packing::None,
        Compression::Gzip => Packing::Gzip,
        Compression::Zstd => Packing::Zstd,
    };
    Ok(OutputNames::new(job, name, ending, packing)?)
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
