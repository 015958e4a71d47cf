//! Opens the places where a job keeps its durable things.

use std::path::Path;
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

/// Opens the directory of the job's checkpoints.
pub(super) fn open_checkpoints(plan: &JobPlan, dir: &JobDir) -> Result<Arc<dyn Disk>, JobError> {
    let path = match &plan.checkpoints.directory {
        None => dir.path().join(CHECKPOINTS),
        Some(directory) => directory.join(&plan.name),
    };
    let disk = RealDisk::create(&path).map_err(|error| JobError::DataDir {
        path: path.clone(),
        problem: error.to_string(),
        help: "check that the directory can be written, or name another with checkpoint-dir".to_owned(),
    })?;
    Ok(Arc::new(disk))
}
