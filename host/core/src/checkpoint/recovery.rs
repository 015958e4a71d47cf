//! What a job starts from: the decision, from what lies on the disk.
//!
//! Owns the numbering of incarnations and the choice of the manifest. Decides nothing about the job file:
//! whether a plan goes with a manifest is checked by whoever has both. Order: the decision changes nothing,
//! but makes durable what it saw; [`begin`] is the first effect of an incarnation, a marker created
//! exclusively and durable. Invariants: an incarnation's number is above every one that has left a trace; a
//! newest manifest that cannot be read is never passed over silently, because its output may have been
//! published; a manifest that was acted upon is durable.

use super::manifest::{Manifest, ManifestError};
use super::store::{CheckpointStore, StoreError, StoredManifest};
use crate::disk::{Disk, DiskError, create_whole};
use crate::ids::Incarnation;
use crate::planted::{self, Bug};

/// How the names of markers begin.
const MARKER: &str = "incarnation-";

/// What a job starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Number of the incarnation that begins.
    pub incarnation: Incarnation,
    /// The checkpoint to restore; `None` for a job that has none yet.
    pub from: Option<Restored>,
}

/// The checkpoint that a job starts from.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The manifest.
    pub manifest: Manifest,
    /// The sinks have committed all that it holds.
    pub is_committed: bool,
}

impl Start {
    /// Incarnations that began since the newest checkpoint and left none of their own.
    pub fn fruitless(&self) -> u64 {
        let before = self.incarnation.0.saturating_sub(1);
        before.saturating_sub(self.from.as_ref().map_or(0, |from| from.manifest.incarnation.0))
    }
}

/// Why a job cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The newest checkpoint cannot be used.
    #[error(
        "the newest checkpoint cannot be used: {name}: {error}. Its output may have been published already, so \
         an older checkpoint is not used in its place"
    )]
    Manifest {
        /// Its name.
        name: String,
        /// Why.
        error: ManifestError,
    },
    /// A marker of this number is there already: another host has begun.
    #[error(
        "incarnation {0} has begun elsewhere: another host runs this job on the same directory"
    )]
    Overtaken(Incarnation),
}

impl From<StoreError> for RecoveryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Disk(error) => Self::Disk(error),
            StoreError::Manifest { name, error } => Self::Manifest { name, error },
            StoreError::Taken { name } => Self::Disk(DiskError::Exists { name }),
            StoreError::File { name } => {
                let error = ManifestError::Damaged("a file of it is damaged".to_owned());
                Self::Manifest { name, error }
            }
        }
    }
}

/// Decides what to start from. Changes nothing, but makes the names of the manifests durable: one whose
/// writer was killed between the link and the sync of the directory is seen by everybody and may still be
/// lost with the power, after its output has been published.
///
/// # Errors
/// See [`RecoveryError`].
pub fn decide(job: &dyn Disk, checkpoints: &CheckpointStore) -> Result<Start, RecoveryError> {
    let manifests = checkpoints.manifests()?;
    if !manifests.is_empty() && !planted::is(Bug::RecoveryTrustsUnsyncedManifest) {
        checkpoints.disk().sync_dir("")?;
    }
    let from = newest(checkpoints)?;
    Ok(Start { incarnation: next_incarnation(job, &manifests)?, from })
}

/// The number above every incarnation that has left a trace.
///
/// # Errors
/// The disk fails.
pub fn next_incarnation(
    job: &dyn Disk,
    manifests: &[StoredManifest],
) -> Result<Incarnation, DiskError> {
    let newest_manifest = manifests.iter().map(|stored| stored.incarnation).max();
    let newest_marker = markers(job)?.last().copied();
    let newest = newest_manifest.max(newest_marker).unwrap_or_default();
    Ok(Incarnation(newest.0 + 1))
}

/// The checkpoint that a job starts from, if there is one: what [`decide`] decides on, without any effect.
///
/// # Errors
/// See [`RecoveryError`].
pub fn newest(checkpoints: &CheckpointStore) -> Result<Option<Restored>, RecoveryError> {
    let manifests = checkpoints.manifests()?;
    manifests.last().map(|stored| restored(checkpoints, stored)).transpose()
}

fn restored(
    checkpoints: &CheckpointStore,
    stored: &StoredManifest,
) -> Result<Restored, RecoveryError> {
    let manifest = checkpoints.load(stored)?;
    let is_committed = checkpoints.is_committed(stored)? || planted::is(Bug::RecoverySkipsCommit);
    Ok(Restored { manifest, is_committed })
}

/// Begins an incarnation: from here on no older one may have an effect.
///
/// # Errors
/// [`RecoveryError::Overtaken`] when another host has begun the same, or the disk fails.
pub fn begin(job: &dyn Disk, incarnation: Incarnation) -> Result<(), RecoveryError> {
    let older = markers(job)?;
    match create_whole(job, &marker(incarnation), b"") {
        Ok(()) => {}
        Err(DiskError::Exists { .. }) => return Err(RecoveryError::Overtaken(incarnation)),
        Err(error) => return Err(error.into()),
    }
    // The newest marker is durable: the older ones have nothing left to say.
    for old in older.iter().filter(|old| **old < incarnation) {
        job.remove(&marker(*old))?;
    }
    Ok(())
}

/// Whether `incarnation` is still the newest: false once another host has begun.
///
/// # Errors
/// The disk fails.
pub fn is_newest(job: &dyn Disk, incarnation: Incarnation) -> Result<bool, DiskError> {
    Ok(markers(job)?.last() == Some(&incarnation))
}

fn marker(incarnation: Incarnation) -> String {
    format!("{MARKER}{:010}", incarnation.0)
}

fn markers(job: &dyn Disk) -> Result<Vec<Incarnation>, DiskError> {
    let names = job.list("")?;
    let numbers = names.iter().filter_map(|name| name.strip_prefix(MARKER)?.parse().ok());
    let mut found: Vec<Incarnation> = numbers.map(Incarnation).collect();
    found.sort_unstable();
    Ok(found)
}
