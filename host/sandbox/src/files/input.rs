//! Reading files, at once or as a stream.

use std::io;
use std::sync::Arc;

use cap_std::fs::{File, FileExt};

use super::Opened;

/// Bytes that are read beyond the size of a file: it may have grown, or say that it is empty.
const SIZE_UNKNOWN_BYTES: u64 = 4096;

/// A stream over a file.
#[expect(unreachable_pub, reason = "it is part of a type that the generated bindings re-export")]
pub struct FileInput {
    file: Arc<Opened<File>>,
    offset: u64,
}

impl FileInput {
    pub(super) fn new(file: Arc<Opened<File>>, offset: u64) -> Self {
        Self { file, offset }
    }

    /// The next bytes, at most `max`; none at the end of the file.
    pub(crate) fn read(&mut self, max: usize) -> io::Result<Vec<u8>> {
        let bytes = read_at(&self.file.it, max, self.offset)?;
        self.offset = self.offset.saturating_add(bytes.len() as u64);
        Ok(bytes)
    }
}

/// Up to `max` bytes from `offset` on; none at the end of the file.
pub(super) fn read_at(file: &File, max: usize, offset: u64) -> io::Result<Vec<u8>> {
    // The buffer of a small file is small, also when the guest asks for as much as there may be.
    let left = file.metadata()?.len().saturating_sub(offset).saturating_add(SIZE_UNKNOWN_BYTES);
    let mut bytes = vec![0; max.min(usize::try_from(left).unwrap_or(usize::MAX))];
    loop {
        match file.read_at(&mut bytes, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => {
                bytes.truncate(read?);
                return Ok(bytes);
            }
        }
    }
}
