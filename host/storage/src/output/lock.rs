//! The lock on one sink's files in a directory.
//!
//! Owns the lock file. Invariant: while a [`SinkLock`] lives, no other one, of this process or another,
//! exists for the same sink and directory; the file goes with it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tidemill_core::transaction::SinkNames;

use crate::error::FileError;
use crate::whole::{NO_WAIT, check_regular};

/// How often a lock file is opened again because its last holder removed it in between.
const ATTEMPTS: usize = 8;

/// The right to write and remove files of one sink in one directory.
#[derive(Debug)]
pub(super) struct SinkLock {
    path: PathBuf,
    _file: File,
}

impl SinkLock {
    pub(super) fn take(directory: &Path, names: &SinkNames) -> Result<Self, FileError> {
        let path = directory.join(format!(".tm-{}.lock", names.stem()));
        let failed = |error| FileError::create(&path, error);
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(false).read(true).write(true);
            let file = options.custom_flags(NO_WAIT).open(&path).map_err(failed)?;
            check_regular(&file).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(FileError::Busy { path }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            let held = file.metadata().map_err(failed)?;
            let there = fs::metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Self { path, _file: file });
            }
        }
        Err(FileError::Busy { path })
    }
}

impl Drop for SinkLock {
    fn drop(&mut self) {
        // Removed while the lock is held, so that nobody locks a file that is about to vanish without
        // seeing that it did. One that stays is locked by the next run.
        fs::remove_file(&self.path).ok();
    }
}
