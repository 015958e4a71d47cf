//! Reads a file in order, a piece at a time.
//!
//! Owns the piece that is in memory. Knows nothing of records. Invariant: it holds at most one chunk, or as
//! much as was asked for at once.

use super::error::WalError;
use crate::disk::{Disk, DiskFile};

/// Bytes that are read at a time.
const CHUNK_BYTES: u64 = 256 * 1024;

/// A file, and the part of it that is in memory.
pub(super) struct Window {
    file: Box<dyn DiskFile>,
    name: String,
    length: u64,
    start: u64,
    held: Vec<u8>,
}

impl Window {
    pub(super) fn open(disk: &dyn Disk, name: String) -> Result<Self, WalError> {
        let failed = |error| WalError::disk(&name, error);
        let file = disk.open(&name).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        Ok(Self { file, name, length, start: 0, held: Vec::new() })
    }

    /// Name of the file, with its directory.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Length of the file when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The first `count` bytes, and no more is read; fewer when the file ends before.
    pub(super) fn first_bytes(&mut self, count: u64) -> Result<&[u8], WalError> {
        self.load(0, count)?;
        Ok(&self.held)
    }

    /// `count` bytes from `offset` on; fewer when the file ends before.
    pub(super) fn bytes(&mut self, offset: u64, count: u64) -> Result<&[u8], WalError> {
        let end = offset.saturating_add(count).min(self.length).max(offset);
        let held_end = self.start + self.held.len() as u64;
        if offset < self.start || end > held_end {
            self.load(offset, (end - offset).max(CHUNK_BYTES))?;
        }
        let from = (offset - self.start) as usize;
        let to = ((end - self.start) as usize).min(self.held.len());
        Ok(self.held.get(from..to).unwrap_or_default())
    }

    /// Reads `count` bytes from `offset` on, or up to the end.
    fn load(&mut self, offset: u64, count: u64) -> Result<(), WalError> {
        let count = count.min(self.length.saturating_sub(offset));
        self.held.clear();
        self.held.resize(count as usize, 0);
        let read = self.file.read_at(offset, &mut self.held);
        let read = read.map_err(|error| WalError::disk(&self.name, error))?;
        self.held.truncate(read);
        self.start = offset;
        Ok(())
    }
}
