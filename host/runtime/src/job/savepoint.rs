//! Savepoints: checkpoints that a person asked for and owns.
//!
//! A savepoint is a copy of a complete, committed checkpoint with all its files, in a directory of its own; the
//! host never deletes it. A job that starts from one is a new job: it has an identity of its own, and nothing
//! left to commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::store::{CheckpointStore, StoreError};
use tidemill_core::disk::Disk;
use tidemill_core::ids::CheckpointId;
use tidemill_storage::disk::RealDisk;

use super::keeper::{self, Places};
use super::open::{open_checkpoints, open_job_dir};
use super::{JobError, chance};
use crate::config::JobPlan;

/// Made and removed to find out whether a directory can be written.
const PROBE: &str = "probe.tmp";

/// Whether a savepoint can be put into a directory, which is made if it is missing. Asked before anything is
/// done for one.
pub(super) fn check_target(directory: &Path) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", directory.display());
    let disk = RealDisk::create(directory).map_err(|error| failed(&error))?;
    disk.remove(PROBE).map_err(|error| failed(&error))?;
    disk.create(PROBE).map_err(|error| failed(&error))?;
    disk.remove(PROBE).map_err(|error| failed(&error))?;
    let target = CheckpointStore::new(Arc::new(disk));
    match target.manifests().map_err(|error| failed(&error))?.first() {
        None => Ok(()),
        Some(there) => Err(failed(&StoreError::Taken { name: there.name() })),
    }
}

/// Copies a committed checkpoint to a directory.
pub(super) fn write(
    checkpoints: &CheckpointStore,
    manifest: &Manifest,
    directory: &Path,
) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", directory.display());
    let disk = RealDisk::create(directory).map_err(|error| failed(&error))?;
    // It is committed: whoever starts from it has nothing to publish.
    let mut manifest = manifest.clone();
    for sink in &mut manifest.sinks {
        sink.tasks.iter_mut().for_each(|task| task.prepared.clear());
    }
    let target = CheckpointStore::new(Arc::new(disk));
    checkpoints.copy_to(&target, &manifest).map_err(|error| failed(&error))
}

/// Makes a savepoint of the newest checkpoint of a job that does not run. Its open commits are finished first.
///
/// # Errors
/// The job runs, it has no checkpoint, or a disk fails.
pub fn savepoint_of_stopped(
    plan: &JobPlan,
    data_dir: &Path,
    directory: &Path,
) -> Result<CheckpointId, JobError> {
    let dir = open_job_dir(data_dir, &plan.directory_name())?;
    let checkpoints = CheckpointStore::new(open_checkpoints(plan, &dir)?);
    let failed = |error: &dyn std::fmt::Display| JobError::Checkpoint(error.to_string());
    let newest = checkpoints.manifests().map_err(|error| failed(&error))?.pop();
    let Some(newest) = newest.filter(|newest| newest.checkpoint.0 > 0) else {
        return Err(JobError::Checkpoint("the job has come to no checkpoint yet".to_owned()));
    };
    let manifest = checkpoints.load(&newest).map_err(|error| failed(&error))?;
    let places = Places { job: dir.disk(), checkpoints, published: Arc::default() };
    if !places.checkpoints.is_committed(&newest).map_err(|error| failed(&error))? {
        keeper::commit(&places, &manifest).map_err(JobError::Checkpoint)?;
    }
    write(&places.checkpoints, &manifest, directory).map_err(JobError::Checkpoint)?;
    Ok(newest.checkpoint)
}

/// A savepoint that a job is to begin with.
pub(super) struct Beginning {
    directory: PathBuf,
    /// The savepoint.
    pub(super) store: CheckpointStore,
    /// The manifest of the new job's first checkpoint.
    pub(super) manifest: Manifest,
}

/// Reads a savepoint that a job is to begin with.
///
/// A savepoint holds no input log: the log of the new job begins at 0, for the sources that are `logged`. What the
/// old job had logged and not processed stays with it.
pub(super) fn read(directory: &Path, logged: &[String]) -> Result<Beginning, JobError> {
    let failed = |problem: String| refused(directory, problem);
    let none = |problem| JobError::MissingSavepoint { path: directory.to_owned(), problem };
    let disk = RealDisk::open(directory).map_err(|error| none(error.to_string()))?;
    let store = CheckpointStore::new(Arc::new(disk));
    let newest = store.manifests().map_err(|error| none(error.to_string()))?.pop();
    let newest = newest.ok_or_else(|| none("it holds no savepoint".to_owned()))?;
    let mut manifest = store.load(&newest).map_err(|error| failed(error.to_string()))?;
    // Its files carry the identity of the job that wrote them, until the first checkpoint of this one.
    manifest.files_identity.get_or_insert_with(|| manifest.identity.clone());
    manifest.identity = chance::identity();
    manifest.wal_start = None;
    for source in manifest.sources.iter_mut().filter(|source| logged.contains(&source.name)) {
        source.partitions.iter_mut().for_each(|partition| partition.position.offset = 0);
    }
    Ok(Beginning { directory: directory.to_owned(), store, manifest })
}

impl Beginning {
    /// Makes the savepoint's files and manifest the first checkpoint of a new job.
    pub(super) fn copy(&self, checkpoints: &CheckpointStore) -> Result<(), JobError> {
        self.check_target(checkpoints)?;
        let Self { directory, store, manifest } = self;
        let failed = |error: StoreError| refused(directory, error.to_string());
        store.copy_to(checkpoints, manifest).map_err(|error| match error {
            StoreError::File { .. } => {
                JobError::Checkpoint(format!("{}: {error}", directory.display()))
            }
            error => failed(error),
        })?;
        checkpoints.mark_committed(manifest.checkpoint, manifest.incarnation).map_err(failed)
    }

    /// Makes sure that the job has no checkpoints of its own.
    pub(super) fn check_target(&self, checkpoints: &CheckpointStore) -> Result<(), JobError> {
        let failed = |error: StoreError| refused(&self.directory, error.to_string());
        let there = checkpoints.manifests().map_err(|error| failed(error.into()))?;
        match there.first() {
            None => Ok(()),
            Some(there) => Err(failed(StoreError::Taken { name: there.name() })),
        }
    }
}

fn refused(directory: &Path, problem: String) -> JobError {
    JobError::DataDir {
        path: directory.to_owned(),
        problem,
        help: "`tidemill savepoint inspect DIR` shows what a savepoint holds; a job that has run already \
               needs --fresh to begin from one"
            .to_owned(),
    }
}
