//! What a checkpoint needs of a disk once all tasks have answered: its manifest, its commits, its mark.
//!
//! Owns the order of effects inside each of these steps; the order of the steps is the coordinator's. How a
//! sink commits is the sink's: it comes in as [`Effects`]. Order of a commit: every sink, fully -> the mark.
//! Invariants: an incarnation that was overtaken writes no manifest; a mark stands only when all sinks have
//! committed; a commit may be repeated.

use std::fmt::Display;

use super::manifest::{Manifest, SinkSnapshot};
use super::recovery;
use super::store::{CheckpointStore, StoreError};
use crate::connector::PreparedFile;
use crate::disk::{Disk, DiskError};
use crate::planted::{self, Bug};

/// How sinks commit, and who is told where a step stands.
pub trait Effects {
    /// Why a sink could not commit.
    type Error: Display;

    /// Publishes the files of a sink, never none. Doing it again changes nothing.
    ///
    /// # Errors
    /// Some could not be published.
    fn commit(&mut self, sink: &SinkSnapshot, files: &[PreparedFile]) -> Result<(), Self::Error>;

    /// This place of the order has been reached: a test may have the process die here.
    fn passed(&mut self, _place: &'static str) {}
}

/// Why a step is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeeperError {
    /// This incarnation may have no effect any more.
    #[error("another host has begun to run this job")]
    Overtaken,
    /// The disk fails.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A manifest could not be written: nobody knows whether it exists.
    #[error("the manifest of a checkpoint: {0}")]
    Manifest(StoreError),
    /// A sink could not commit; the others before it have.
    #[error("{sink}: {reason}")]
    Sink {
        /// The sink.
        sink: String,
        /// What it says.
        reason: String,
    },
    /// All sinks have committed, and the mark could not be made.
    #[error(transparent)]
    Mark(StoreError),
}

/// Makes a manifest durable, if its incarnation is still the newest of the job whose directory is `job`.
///
/// # Errors
/// [`KeeperError::Overtaken`]; the disk fails.
pub fn write_manifest(
    job: &dyn Disk,
    checkpoints: &CheckpointStore,
    manifest: &Manifest,
    effects: &mut impl Effects,
) -> Result<(), KeeperError> {
    if !recovery::is_newest(job, manifest.incarnation)? {
        return Err(KeeperError::Overtaken);
    }
    if planted::is(Bug::CommitBeforeManifest) {
        commit_sinks(manifest, effects)?;
    }
    effects.passed("manifest.before");
    let written = checkpoints.write_manifest(manifest);
    effects.passed("manifest.after");
    written.map_err(KeeperError::Manifest)
}

/// Publishes everything that a durable manifest holds, then makes the mark durable.
///
/// # Errors
/// A sink or the disk fails; it may be tried again.
pub fn commit(
    checkpoints: &CheckpointStore,
    manifest: &Manifest,
    effects: &mut impl Effects,
) -> Result<(), KeeperError> {
    let mark = || checkpoints.mark_committed(manifest.checkpoint, manifest.incarnation);
    effects.passed("commit.before");
    if planted::is(Bug::MarkBeforeCommit) {
        mark().map_err(KeeperError::Mark)?;
    }
    commit_sinks(manifest, effects)?;
    effects.passed("commit.mark");
    let marked = mark();
    effects.passed("commit.after");
    marked.map_err(KeeperError::Mark)
}

fn commit_sinks(manifest: &Manifest, effects: &mut impl Effects) -> Result<(), KeeperError> {
    for sink in &manifest.sinks {
        let prepared = sink.tasks.iter().flat_map(|task| &task.prepared);
        let files: Vec<PreparedFile> = prepared.flat_map(|p| p.files.iter().cloned()).collect();
        if !files.is_empty() {
            let failed = |error: &dyn Display| KeeperError::Sink {
                sink: sink.name.clone(),
                reason: error.to_string(),
            };
            effects.commit(sink, &files).map_err(|error| failed(&error))?;
        }
        effects.passed("commit.sink");
    }
    Ok(())
}
