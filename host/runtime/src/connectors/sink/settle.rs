//! What is done to a sink's directory when a checkpoint is complete, and after a crash.
//!
//! Owns how the results of commits are told to people. The order of writes is that of
//! [`tidemill_core::transaction`]. Everything here waits for a disk: not for lanes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidemill_core::connector::{ConnectorError, ConnectorFault, PreparedFile};
use tidemill_core::ids::CheckpointId;
use tidemill_core::transaction::{CommitError, CommitOutcome, SinkNames, commit};
use tidemill_storage::output::{clean_up_in, set_aside_in};
use tidemill_storage::{FileError, RealDisk};

use crate::connectors::sink::{Kind, Sink};

impl Sink {
    /// Publishes prepared files in `directory`: a sink's own, or one that a manifest names. Needs no
    /// settings, so that the commits of a manifest can be finished before a changed job file is looked
    /// at. May be repeated, after success and after any failure. Warns of files that a reader has taken.
    ///
    /// # Errors
    /// A file cannot be published; all that could be were.
    pub fn commit_in(
        directory: &Path,
        files: &[PreparedFile],
    ) -> Result<CommitOutcome, ConnectorError> {
        if files.is_empty() {
            return Ok(CommitOutcome::default());
        }
        let disk = RealDisk::open(directory).map_err(CommitError::from);
        let outcome = disk.and_then(|disk| commit(&disk, files)).map_err(|error| {
            let message = format!("{error} (in `{}`)", directory.display());
            ConnectorError::new(ConnectorFault::Io, message)
        })?;
        if let Some(example) = outcome.taken.first() {
            tracing::warn!(
                "{} committed file(s) are no longer in {}, such as {example}; if no reader took \
                 them away, they are lost.",
                outcome.taken.len(),
                directory.display(),
            );
        }
        Ok(outcome)
    }

    /// Removes files that were never committed, except those in `keep`: the in-progress names of
    /// everything that is prepared and not known to be committed. Before the first writer is made, or
    /// after [`close`](Self::close). Answers how many were removed.
    ///
    /// # Errors
    /// They cannot be listed or removed.
    pub fn clean_up(&self, keep: &BTreeSet<String>) -> Result<usize, ConnectorError> {
        match &self.kind {
            Kind::File { directory, .. } => Ok(directory.clean_up(keep)?),
            Kind::Stdout { .. } | Kind::Discard(_) => Ok(0),
        }
    }

    /// As [`clean_up`](Self::clean_up), for a directory that a manifest names and no open sink uses: the
    /// job file has another one now, or no longer has the sink. One that is gone is clean.
    ///
    /// # Errors
    /// Also when another run of the job holds the directory.
    pub fn clean_up_in(
        directory: &Path,
        job: &str,
        sink: &str,
        keep: &BTreeSet<String>,
    ) -> Result<usize, ConnectorError> {
        let names = SinkNames::new(job, sink).map_err(FileError::from)?;
        Ok(clean_up_in(directory, &names, keep)?)
    }

    /// Moves what a sink has published for checkpoints later than `after` into the directory `place` in its
    /// own, while no sink is open. Answers where it lies. May be repeated.
    ///
    /// # Errors
    /// Another run of the job holds the directory, or a file cannot be moved.
    pub fn set_aside_in(
        directory: &Path,
        job: &str,
        sink: &str,
        after: CheckpointId,
        place: &str,
    ) -> Result<Vec<PathBuf>, ConnectorError> {
        let names = SinkNames::new(job, sink).map_err(FileError::from)?;
        Ok(set_aside_in(directory, &names, after, place)?)
    }
}
