//! A segment that is being made or written.
//!
//! Owns the order of writes and syncs in one file. Knows nothing of quotas or of other segments.
//!
//! Making: first page, copied records and zeros under a temporary name -> synced -> linked to its name (which
//! must be free) -> temporary name removed -> directory synced. Writing: zeros ahead -> synced -> records over
//! them, and more zeros ahead -> synced. So records never lie where zeros were not durable before.

use super::error::{FullOf, WalError};
use super::record::{Kind, RecordKey, Tail, push_record};
use super::segment::{SegmentHeader, in_directory, segment_name, temporary_name};
use super::sizes::Usage;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::planted::{self, Bug};

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// Copied records are written when there are as many bytes of them.
const FLUSH_BYTES: usize = 1024 * 1024;

/// Writing or making a name failed: a lack of space can pass.
fn write_failed(file: &str, error: DiskError, usage: Usage) -> WalError {
    match error {
        DiskError::Full { .. } => WalError::Full {
            of: FullOf::Device,
            used_bytes: usage.used_bytes,
            quota_bytes: usage.quota_bytes,
        },
        error => WalError::disk(file, error),
    }
}

/// A segment in the making.
pub(super) struct Draft {
    file: Box<dyn DiskFile>,
    directory: String,
    temporary: String,
    name: String,
    header: SegmentHeader,
    key: RecordKey,
    position: u64,
    buffer: Vec<u8>,
    pub(super) tail: Tail,
    usage: Usage,
}

impl Draft {
    /// Makes the file under its temporary name. An error anywhere on the way to [`Draft::publish`] leaves
    /// nothing but that name, which [`Draft::discard`] or the next start removes.
    pub(super) fn create(
        disk: &dyn Disk,
        directory: &str,
        header: SegmentHeader,
        usage: Usage,
    ) -> Result<Self, WalError> {
        let temporary = Self::temporary(directory, &header);
        let name = in_directory(directory, &segment_name(header.segment));
        // Left by a try that found no space.
        disk.remove(&temporary).map_err(|error| WalError::disk(&temporary, error))?;
        let file =
            disk.create(&temporary).map_err(|error| write_failed(&temporary, error, usage))?;
        let tail = Tail { lsn: header.base_lsn - 1, tag: header.first_tag() };
        Ok(Self {
            file,
            directory: directory.to_owned(),
            temporary,
            name,
            header,
            key: RecordKey::new(&header.salt),
            position: 0,
            buffer: header.encode(),
            tail,
            usage,
        })
    }

    fn temporary(directory: &str, header: &SegmentHeader) -> String {
        in_directory(directory, &temporary_name(header.segment, &header.salt))
    }

    /// Removes what a failed try left, as far as that goes.
    pub(super) fn discard(disk: &dyn Disk, directory: &str, header: &SegmentHeader) {
        disk.remove(&Self::temporary(directory, header)).ok();
    }

    /// Adds a record. All before it is durable when the segment gets its name, so it may promise that.
    pub(super) fn push(&mut self, kind: Kind, payload: &[u8]) -> Result<(), WalError> {
        let upto = self.tail.lsn;
        self.tail = push_record(&mut self.buffer, &self.key, self.tail, upto, kind, &[payload]);
        match self.buffer.len() >= FLUSH_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), WalError> {
        let written = self.file.write_at(self.position, &self.buffer);
        written.map_err(|error| write_failed(&self.name, error, self.usage))?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Gives the segment its name. `filled` says where zeros must reach to when records end at a place.
    pub(super) fn publish(
        mut self,
        disk: &dyn Disk,
        filled: impl FnOnce(u64) -> u64,
    ) -> Result<OpenSegment, WalError> {
        self.flush()?;
        let filled = filled(self.position);
        write_zeros(&mut *self.file, self.position, filled)
            .map_err(|error| write_failed(&self.name, error, self.usage))?;
        self.file.sync().map_err(|error| WalError::disk(&self.name, error))?;
        match disk.link(&self.temporary, &self.name) {
            Ok(()) => {}
            // Another made this segment, or removed ours to make it.
            Err(DiskError::Exists { .. } | DiskError::NotFound { .. }) => {
                let incarnation = self.header.incarnation;
                return Err(WalError::Overtaken { file: self.name, incarnation });
            }
            Err(error) => return Err(write_failed(&self.name, error, self.usage)),
        }
        let failed = |error| WalError::disk(&self.name, error);
        disk.remove(&self.temporary).map_err(failed)?;
        if !planted::is(Bug::NoDirectorySyncOfSegment) {
            disk.sync_dir(&self.directory).map_err(failed)?;
        }
        Ok(OpenSegment {
            file: self.file,
            name: self.name,
            header: self.header,
            key: self.key,
            position: self.position,
            filled,
        })
    }
}

fn write_zeros(file: &mut dyn DiskFile, from: u64, to: u64) -> Result<(), DiskError> {
    let mut offset = from;
    while offset < to {
        let count = (to - offset).min(ZEROS.len() as u64);
        file.write_at(offset, &ZEROS[..count as usize])?;
        offset += count;
    }
    Ok(())
}

/// A segment under its name, with its writer.
pub(super) struct OpenSegment {
    file: Box<dyn DiskFile>,
    name: String,
    pub(super) header: SegmentHeader,
    pub(super) key: RecordKey,
    /// End of what was written and synced.
    pub(super) position: u64,
    /// Durable zeros reach to here.
    pub(super) filled: u64,
}

impl OpenSegment {
    /// Makes zeros durable up to `upto`. When there is no space, nothing has changed that matters.
    pub(super) fn fill(&mut self, upto: u64, usage: Usage) -> Result<(), WalError> {
        if upto <= self.filled {
            return Ok(());
        }
        write_zeros(&mut *self.file, self.filled, upto)
            .map_err(|error| write_failed(&self.name, error, usage))?;
        if !planted::is(Bug::NoSyncOfZeros) {
            self.file.sync().map_err(|error| WalError::disk(&self.name, error))?;
        }
        self.filled = upto;
        Ok(())
    }

    /// Writes records, which end below `filled`, and makes them durable, with more zeros up to `upto` when
    /// there is space. When there is none for the records (on a file system that never overwrites in place),
    /// the same bytes may be written again.
    pub(super) fn commit(
        &mut self,
        records: &[u8],
        upto: u64,
        usage: Usage,
    ) -> Result<(), WalError> {
        self.file
            .write_at(self.position, records)
            .map_err(|error| write_failed(&self.name, error, usage))?;
        let ahead = match write_zeros(&mut *self.file, self.filled, upto) {
            Ok(()) => upto.max(self.filled),
            // These records have their room. Those that have none will be told so.
            Err(DiskError::Full { .. }) => self.filled,
            Err(error) => return Err(WalError::disk(&self.name, error)),
        };
        if !planted::is(Bug::NoSyncOfGroup) {
            self.file.sync().map_err(|error| WalError::disk(&self.name, error))?;
        }
        self.position += records.len() as u64;
        self.filled = ahead;
        Ok(())
    }
}
