//! A job's part of the data directory: one host at a time, and what is known of earlier runs.
//!
//! Owns the lock file and the record of how the last run ended. All paths are confined to the directory
//! (cap-std), so that no job name or link can lead outside. Order of a record's write: temporary file,
//! sync, rename, sync of the directory; so a record is either the old one or the new one.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

/// The lock that keeps a second host out.
const LOCK: &str = "lock";
/// How the last run ended.
const OUTCOME: &str = "outcome";
/// Largest outcome record that is read.
const OUTCOME_BYTES_MAX: u64 = 64 * 1024;

/// The directory of one job, locked for this process.
#[derive(Debug)]
pub struct JobDir {
    path: PathBuf,
    dir: Dir,
    /// Held as long as the job may have effects.
    _lock: std::fs::File,
}

/// Why a job's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JobDirError {
    /// It cannot be created or opened.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process runs this job.
    #[error("another tidemill process runs this job (it holds {0})")]
    Locked(PathBuf),
}

impl JobDir {
    /// Opens (and makes, if need be) `data_dir/job` and locks it.
    ///
    /// # Errors
    /// See [`JobDirError`].
    pub fn open(data_dir: &Path, job: &str) -> Result<Self, JobDirError> {
        let path = data_dir.join(job);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| JobDirError::Io { path, source }
        };
        std::fs::create_dir_all(&path).map_err(failed(&path))?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed(&path))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).read(true);
        let lock_path = path.join(LOCK);
        let lock = dir.open_with(LOCK, &options).map_err(failed(&lock_path))?.into_std();
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, dir, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(JobDirError::Locked(lock_path)),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(&lock_path)(source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the last run ended, in the words of whoever wrote it; `None` when no run has ended.
    ///
    /// # Errors
    /// When the record exists and cannot be read.
    pub fn outcome(&self) -> Result<Option<String>, JobDirError> {
        let file = match self.dir.open(OUTCOME) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed(OUTCOME, source)),
        };
        let mut text = String::new();
        let read = file.take(OUTCOME_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|source| self.failed(OUTCOME, source))?;
        Ok(Some(text))
    }

    /// Records how this run ended.
    ///
    /// # Errors
    /// When the record cannot be made durable.
    pub fn record_outcome(&self, outcome: &str) -> Result<(), JobDirError> {
        let temporary = format!("{OUTCOME}.new");
        let write = || {
            let mut file = self.dir.create(&temporary)?;
            file.write_all(outcome.as_bytes())?;
            file.sync_all()?;
            self.dir.rename(&temporary, &self.dir, OUTCOME)?;
            self.dir.open(".")?.sync_all()
        };
        write().map_err(|source| self.failed(OUTCOME, source))
    }

    fn failed(&self, name: &str, source: io::Error) -> JobDirError {
        JobDirError::Io { path: self.path.join(name), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_kept_out_until_the_first_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let first = JobDir::open(data.path(), "tide").unwrap();
        assert!(matches!(JobDir::open(data.path(), "tide"), Err(JobDirError::Locked(_))));
        assert!(JobDir::open(data.path(), "other").is_ok());
        drop(first);
        assert!(JobDir::open(data.path(), "tide").is_ok());
    }

    #[test]
    fn an_outcome_is_kept_until_the_next_one() {
        let data = tempfile::tempdir().unwrap();
        let dir = JobDir::open(data.path(), "tide").unwrap();
        assert_eq!(dir.outcome().unwrap(), None);
        dir.record_outcome("finished").unwrap();
        drop(dir);
        let dir = JobDir::open(data.path(), "tide").unwrap();
        assert_eq!(dir.outcome().unwrap().as_deref(), Some("finished"));
        dir.record_outcome("was stopped").unwrap();
        assert_eq!(dir.outcome().unwrap().as_deref(), Some("was stopped"));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("tide"), "x").unwrap();
        let error = JobDir::open(data.path(), "tide").unwrap_err();
        assert!(error.to_string().contains("tide"), "{error}");
    }
}
