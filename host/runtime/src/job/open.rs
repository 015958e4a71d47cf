//! Opens the places where a job keeps its durable things.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::disk::{Disk, DiskError, LimitedDisk};
use tidemill_storage::data_dir::{JobDir, JobDirError, ObservedJobDir};
use tidemill_storage::disk::RealDisk;

use super::JobError;
use crate::config::JobPlan;
use crate::tenants::Tenant;

/// Where checkpoints lie in a job's directory, unless the job file says otherwise.
const CHECKPOINTS: &str = "checkpoints";

/// Opens and locks the job's own directory.
pub(super) fn open_job_dir(data_dir: &Path, job: &str) -> Result<JobDir, JobError> {
    JobDir::open(data_dir, job).map_err(failed(data_dir, job))
}

/// Looks at the job's own directory, if it is there, while nobody runs the job.
pub(super) fn observe_job_dir(
    data_dir: &Path,
    job: &str,
) -> Result<Option<ObservedJobDir>, JobError> {
    JobDir::observe(data_dir, job).map_err(failed(data_dir, job))
}

fn failed(data_dir: &Path, job: &str) -> impl Fn(JobDirError) -> JobError {
    let path = data_dir.join(job);
    move |error: JobDirError| {
        let help = match &error {
            JobDirError::Locked(_) => {
                "wait for the other process, or choose another directory with --data-dir"
            }
            JobDirError::Io { .. } => {
                "check that the directory can be written, or choose another with --data-dir"
            }
        };
        let (path, problem) = (path.clone(), error.to_string());
        JobError::DataDir { path, problem, help: help.to_owned() }
    }
}

/// Where the checkpoints of a job lie.
pub fn checkpoint_directory(plan: &JobPlan, data_dir: &Path) -> PathBuf {
    match &plan.checkpoints.directory {
        None => data_dir.join(plan.directory_name()).join(CHECKPOINTS),
        Some(directory) => directory.join(plan.directory_name()),
    }
}

/// Where the savepoints of a job lie unless somebody says otherwise.
pub fn savepoints_directory(plan: &JobPlan, data_dir: &Path) -> PathBuf {
    data_dir.join(plan.directory_name()).join("savepoints")
}

/// Looks at the job's checkpoints, if there is a directory for them.
pub(super) fn observe_checkpoints(
    plan: &JobPlan,
    data_dir: &Path,
) -> Result<Option<CheckpointStore>, JobError> {
    let path = checkpoint_directory(plan, data_dir);
    match RealDisk::open(&path) {
        Ok(disk) => Ok(Some(CheckpointStore::new(Arc::new(disk)))),
        Err(DiskError::NotFound { .. }) => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The directory of the job's checkpoints, whose files count against the quota of its tenant from here on.
pub(super) fn limited_checkpoints(
    plan: &JobPlan,
    dir: &JobDir,
    tenant: &Tenant,
) -> Result<Arc<dyn Disk>, JobError> {
    let disk = open_checkpoints(plan, dir)?;
    let limited = LimitedDisk::new(disk, &tenant.usage().checkpoint_bytes);
    let limited = limited.map_err(|error| JobError::Checkpoint(error.to_string()))?;
    Ok(Arc::new(limited))
}

/// Opens the directory of the job's checkpoints.
pub(super) fn open_checkpoints(plan: &JobPlan, dir: &JobDir) -> Result<Arc<dyn Disk>, JobError> {
    let data_dir = dir.path().parent().unwrap_or(dir.path());
    let path = checkpoint_directory(plan, data_dir);
    let disk = RealDisk::create(&path).map_err(|error| unusable(path, &error))?;
    Ok(Arc::new(disk))
}

fn unusable(path: PathBuf, error: &DiskError) -> JobError {
    JobError::DataDir {
        path,
        problem: error.to_string(),
        help: "check that the directory can be written, or name another with checkpoint-dir"
            .to_owned(),
    }
}
