//! A job's part of the data directory: one host at a time.
//!
//! Owns the lock file, and that the directory itself is durable before anything is kept in it. Must not
//! know what lies there: checkpoints and logs are written by their own protocols, over
//! [`JobDir::disk`]. Invariant: while a `JobDir` lives, no other process has one for the same directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use tidemill_core::disk::Disk;

use crate::disk::{RealDisk, create_all};
use crate::whole::NO_WAIT;

/// The lock that keeps a second host out.
const LOCK: &str = "lock";

/// The directory of one job, locked for this process.
#[derive(Debug)]
pub struct JobDir {
    disk: Arc<RealDisk>,
    /// Held as long as the job may have effects.
    _lock: std::fs::File,
}

/// The directory of one job that is looked at: nobody runs the job meanwhile, and nothing is changed.
#[derive(Debug)]
pub struct ObservedJobDir {
    disk: Arc<RealDisk>,
    /// Shared with others who look; none where the job has never run.
    _lock: Option<std::fs::File>,
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
        create_all(&path).map_err(failed(&path))?;
        let dir = Dir::open_ambient_dir(&path, ambient_authority()).map_err(failed(&path))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).read(true);
        let lock_path = path.join(LOCK);
        let lock = dir.open_with(LOCK, &options).map_err(failed(&lock_path))?.into_std();
        match lock.try_lock() {
            Ok(()) => Ok(Self { disk: Arc::new(RealDisk::of(&path, dir)), _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(JobDirError::Locked(lock_path)),
            Err(std::fs::TryLockError::Error(source)) => Err(failed(&lock_path)(source)),
        }
    }

    /// Looks at `data_dir/job`, if it is there, and changes nothing. Until the answer is dropped the job cannot be
    /// run, but looked at by others.
    ///
    /// # Errors
    /// See [`JobDirError`].
    pub fn observe(data_dir: &Path, job: &str) -> Result<Option<ObservedJobDir>, JobDirError> {
        let path = data_dir.join(job);
        let failed = |path: &Path, source| JobDirError::Io { path: path.to_path_buf(), source };
        let dir = match Dir::open_ambient_dir(&path, ambient_authority()) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&path, error)),
        };
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = match dir.open_with(LOCK, options.read(true).custom_flags(NO_WAIT)) {
            Ok(lock) => Some(lock.into_std()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&lock_path, error)),
        };
        match lock.as_ref().map_or(Ok(()), std::fs::File::try_lock_shared) {
            Ok(()) => {
                let disk = Arc::new(RealDisk::of(&path, dir));
                Ok(Some(ObservedJobDir { disk, _lock: lock }))
            }
            Err(std::fs::TryLockError::WouldBlock) => Err(JobDirError::Locked(lock_path)),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(&lock_path, error)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.disk.path()
    }

    /// The directory as a disk; its root is [`path`](Self::path).
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }
}

impl ObservedJobDir {
    /// The directory as a disk, to be read.
    pub fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }
}

/// Names of the folders in a directory, sorted; none when it is not there.
pub fn folders(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut names: Vec<String> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

/// Removes a socket that is left over, or is not needed any more.
pub fn remove_socket(path: &Path) {
    // One that stays is in nobody's way but a job's of the same name, which tries again.
    std::fs::remove_file(path).ok();
}

/// Lets only the owner reach a socket.
///
/// # Errors
/// The system says no.
pub fn keep_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use tidemill_core::disk::replace_whole;

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
    fn who_looks_changes_nothing_and_keeps_out_who_runs() {
        let data = tempfile::tempdir().unwrap();
        assert!(JobDir::observe(data.path(), "tide").unwrap().is_none());
        assert!(!data.path().join("tide").exists());
        std::fs::create_dir(data.path().join("tide")).unwrap();
        let looking = JobDir::observe(data.path(), "tide").unwrap().unwrap();
        assert_eq!(looking.disk().list("").unwrap(), [""; 0]);
        let running = JobDir::open(data.path(), "tide").unwrap();
        let refused = JobDir::observe(data.path(), "tide");
        assert!(matches!(refused, Err(JobDirError::Locked(_))));
        drop(running);
        let looking = [(); 2].map(|()| JobDir::observe(data.path(), "tide").unwrap().unwrap());
        assert!(matches!(JobDir::open(data.path(), "tide"), Err(JobDirError::Locked(_))));
        drop(looking);
        assert!(JobDir::open(data.path(), "tide").is_ok());
    }

    #[test]
    fn its_disk_is_rooted_at_its_path() {
        let data = tempfile::tempdir().unwrap();
        let dir = JobDir::open(data.path(), "tide").unwrap();
        replace_whole(&*dir.disk(), "a", b"content").unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"content");
        assert_eq!(dir.disk().list("").unwrap(), ["a", LOCK]);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("tide"), "x").unwrap();
        let error = JobDir::open(data.path(), "tide").unwrap_err();
        assert!(error.to_string().contains("tide"), "{error}");
    }
}
