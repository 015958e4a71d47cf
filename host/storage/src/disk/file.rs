//! An open file of a [`RealDisk`](super::RealDisk), and what the system's errors mean.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tidemill_core::disk::{DiskError, DiskFile};

/// A file, by the whole path that messages name.
pub(super) struct RealFile {
    pub(super) file: File,
    pub(super) path: String,
}

impl RealFile {
    fn failed(&self, operation: &'static str, error: &io::Error) -> DiskError {
        explain(&self.path, operation, error)
    }
}

impl DiskFile for RealFile {
    fn length(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata();
        metadata.map(|metadata| metadata.len()).map_err(|error| self.failed("look at", &error))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let mut count = 0;
        while count < buffer.len() {
            match self.file.read_at(&mut buffer[count..], offset.saturating_add(count as u64)) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", &error)),
            }
        }
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed("write", &error))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|error| unsynced(&self.path, &error))
    }
}

/// What a failure of anything but a sync means.
pub(super) fn explain(path: &str, operation: &'static str, error: &io::Error) -> DiskError {
    let name = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => DiskError::NotFound { name },
        io::ErrorKind::AlreadyExists => DiskError::Exists { name },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskError::Full { name },
        _ => DiskError::Failed { name, operation, reason: error.to_string() },
    }
}

/// What a failed sync means: nobody knows what is durable, even if it was only for want of space.
pub(super) fn unsynced(path: &str, error: &io::Error) -> DiskError {
    DiskError::Failed { name: path.to_owned(), operation: "sync", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_no_fault_of_the_disk_except_in_a_sync() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = io::Error::from(errno);
            let name = "/data/file".to_owned();
            assert_eq!(explain("/data/file", "write", &error), DiskError::Full { name });
            assert!(matches!(unsynced("/data/file", &error), DiskError::Failed { .. }));
        }
        let error = explain("/data/file", "write", &Errno::IO.into());
        assert!(error.to_string().starts_with("cannot write /data/file: "), "{error}");
    }
}
