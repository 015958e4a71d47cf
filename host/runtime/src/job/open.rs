//! Opens the places where a job keeps its durable things.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidemill_core::disk::Disk;
use tidemill_storage::data_dir::{JobDir, JobDirError};
use tidemill_storage::disk::RealDisk;

use super::JobError;
use crate::config::JobPlan;

/// Where checkpoints lie in a job's directory, unless the job file says otherwise.
const CHECKPOINTS: &str = "checkpoints";

/// Opens and locks the job's own directory.
pub(super) fn open_job_dir(data_dir: &Path, job: &str) -> Result<JobDir, JobError> {
    let failed = |error: JobDirError| {
        let help = match &error {
            JobDirError::Locked(_) => {
                "wait for the other process, or choose another directory with --data-dir"
            }
            JobDirError::Io { .. } => {
                "check that the directory can be written, or choose another with --data-dir"
            }
        };
        let (path, problem) = (data_dir.join(job), error.to_string());
        JobError::DataDir { path, problem, help: help.to_owned() }
    };
    JobDir::open(data_dir, job).map_err(failed)
}

/// Where the checkpoints of a job lie.
pub fn checkpoint_directory(plan: &JobPlan, data_dir: &Path) -> PathBuf {
    match &plan.checkpoints.directory {
        None => data_dir.join(&plan.name).join(CHECKPOINTS),
        Some(directory) => directory.join(&plan.name),
    }
}

/// Where the savepoints of a job lie unless somebody says otherwise.
pub fn savepoints_directory(plan: &JobPlan, data_dir: &Path) -> PathBuf {
    data_dir.join(&plan.name).join("savepoints")
}

/// Opens the directory of the job's checkpoints.
pub(super) fn open_checkpoints(plan: &JobPlan, dir: &JobDir) -> Result<Arc<dyn Disk>, JobError> {
    let data_dir = dir.path().parent().unwrap_or(dir.path());
    let path = checkpoint_directory(plan, data_dir);
    let disk = RealDisk::create(&path).map_err(|error| JobError::DataDir {
        path: path.clone(),
        problem: error.to_string(),
        help: "check that the directory can be written, or name another with checkpoint-dir"
            .to_owned(),
    })?;
    Ok(Arc::new(disk))
}
