//! A disk of one file, that is only read.

use std::sync::Arc;

use tidemill_core::disk::{Disk, DiskError, DiskFile};

/// A disk that holds one file and cannot be changed.
#[derive(Debug)]
pub struct OneFile {
    name: String,
    bytes: Arc<[u8]>,
}

impl OneFile {
    /// A disk with these bytes under this name.
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), bytes: bytes.into() }
    }
}

fn read_only(name: &str) -> DiskError {
    let reason = "it is only read here".to_owned();
    DiskError::Failed { name: name.to_owned(), operation: "change", reason }
}

struct Content(Arc<[u8]>);

impl DiskFile for Content {
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let count = buffer.len().min(self.0.len() - from);
        buffer[..count].copy_from_slice(&self.0[from..from + count]);
        Ok(count)
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(read_only("the file"))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Err(read_only("the file"))
    }
}

impl Disk for OneFile {
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        Err(read_only(name))
    }

    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError> {
        match name == self.name {
            true => Ok(Box::new(Content(self.bytes.clone()))),
            false => Err(DiskError::NotFound { name: name.to_owned() }),
        }
    }

    fn length(&self, name: &str) -> Result<Option<u64>, DiskError> {
        Ok((name == self.name).then_some(self.bytes.len() as u64))
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        let (own, name) = self.name.rsplit_once('/').unwrap_or(("", &self.name));
        Ok((own == directory).then(|| name.to_owned()).into_iter().collect())
    }

    fn make_directory(&self, directory: &str) -> Result<(), DiskError> {
        Err(read_only(directory))
    }

    fn link(&self, from: &str, _: &str) -> Result<(), DiskError> {
        Err(read_only(from))
    }

    fn rename(&self, from: &str, _: &str) -> Result<(), DiskError> {
        Err(read_only(from))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        Err(read_only(name))
    }

    fn sync_dir(&self, directory: &str) -> Result<(), DiskError> {
        Err(read_only(directory))
    }
}
