//! The segments of a log that is written, as a whole.
//!
//! Owns rotation, trimming and the quota. Order:
//! - rotation: waiting records synced -> seal -> synced -> the next segment made, as `open_segment` says.
//! - trim: segments removed, oldest first.
//!
//! Invariants: a rotation that found no space is taken up again by the next one; the newest segment is never
//! removed.

use super::begin::segment_salt;
use super::error::{FullOf, WalError};
use super::open_segment::Draft;
use super::record::Kind;
use super::recover::Closed;
use super::segment::{PAGE_BYTES, Previous, SegmentHeader, in_directory, segment_name};
use super::sizes::Usage;
use super::writer::WalWriter;

/// What a trim removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Segments.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

impl WalWriter {
    /// Removes segments whose input all lies below `below_lsn`, never the newest. When the quota presses
    /// and nothing at all is needed any more, a new segment is begun so that the newest can go, too.
    ///
    /// # Errors
    /// A failure of the disk.
    pub fn trim(&mut self, below_lsn: u64) -> Result<Trimmed, WalError> {
        self.check_failure()?;
        let is_needless = self.last_input_lsn < below_lsn && self.holds_input && !self.is_closed;
        if is_needless && self.usage().is_pressing() {
            let rotated = self.sync_waiting().and_then(|()| self.rotate());
            match self.settle(rotated) {
                // It stays until there is room for another.
                Ok(()) | Err(WalError::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let trimmed = self.remove_below(below_lsn);
        self.settle(trimmed)
    }

    fn remove_below(&mut self, below_lsn: u64) -> Result<Trimmed, WalError> {
        let mut trimmed = Trimmed::default();
        let is_needless = |closed: &&Closed| closed.last_input_lsn < below_lsn;
        while let Some(closed) = self.older.front().filter(is_needless) {
            let name = in_directory(&self.directory, &segment_name(closed.header.segment));
            // Not synced: a needless segment that comes back after a crash, alone or with others, is a
            // leftover, or waits for the next trim.
            self.disk.remove(&name).map_err(|error| WalError::disk(&name, error))?;
            trimmed.segments += 1;
            trimmed.bytes += closed.bytes;
            self.older.pop_front();
        }
        Ok(trimmed)
    }

    /// How much of the quota is used.
    pub fn usage(&self) -> Usage {
        let used_bytes = self.older_bytes() + self.open.filled;
        Usage { used_bytes, quota_bytes: self.sizes.quota_bytes }
    }

    fn older_bytes(&self) -> u64 {
        self.older.iter().map(|closed| closed.bytes).sum()
    }

    fn full(&self) -> WalError {
        let Usage { used_bytes, quota_bytes } = self.usage();
        WalError::Full { of: FullOf::Quota, used_bytes, quota_bytes }
    }

    /// End of the open segment's records, those that wait included.
    pub(super) fn end(&self) -> u64 {
        self.open.position + self.waiting.len() as u64
    }

    /// Sees to it that the open segment, or the quota, has room for an input record.
    pub(super) fn make_room(&mut self, framed: u64) -> Result<(), WalError> {
        let older = self.older_bytes();
        let is_over = self.holds_input && self.end() + framed > self.sizes.segment_bytes;
        if self.is_sealed || is_over {
            let next = self.sizes.filled_for_input(PAGE_BYTES + framed);
            let kept = self.open.filled.max(self.sizes.filled_for_input(self.end()));
            if older + kept + next > self.sizes.quota_bytes {
                return Err(self.full());
            }
            self.sync_waiting()?;
            return self.rotate();
        }
        let filled = self.open.filled.max(self.sizes.filled_for_input(self.end() + framed));
        match older + filled > self.sizes.quota_bytes {
            true => Err(self.full()),
            false => Ok(()),
        }
    }

    /// Ends the open segment and begins the next. Nothing waits.
    pub(super) fn rotate(&mut self) -> Result<(), WalError> {
        self.seal_segment()?;
        let tail = self.durable;
        let closed = Closed {
            header: self.open.header,
            tail,
            last_input_lsn: self.last_input_lsn,
            bytes: self.open.filled,
        };
        let segment = closed.header.segment + 1;
        let header = SegmentHeader {
            segment,
            base_lsn: tail.lsn + 1,
            input_floor: self.last_input_lsn + 1,
            incarnation: closed.header.incarnation,
            salt: segment_salt(&self.salt, segment),
            previous: Some(Previous {
                segment: closed.header.segment,
                last_lsn: tail.lsn,
                last_tag: tail.tag,
            }),
        };
        let (disk, sizes, usage) = (&*self.disk, self.sizes, self.usage());
        let made = Draft::create(disk, &self.directory, header, usage)
            .and_then(|draft| draft.publish(disk, |end| sizes.filled_for_input(end)));
        match made {
            Ok(open) => self.open = open,
            Err(error) => {
                Draft::discard(disk, &self.directory, &header);
                return Err(error);
            }
        }
        self.older.push_back(closed);
        self.is_sealed = false;
        self.holds_input = false;
        Ok(())
    }

    /// Seals the open segment, unless it is sealed. Nothing waits.
    pub(super) fn seal_segment(&mut self) -> Result<(), WalError> {
        if !self.is_sealed {
            self.write_alone(Kind::Seal)?;
            self.is_sealed = true;
        }
        Ok(())
    }

    /// Up to where the next group's zeros are written together with this group, so that it seldom needs a
    /// sync of its own: twice this group, within the segment and the quota.
    pub(super) fn fill_ahead(&self) -> u64 {
        let step = self.sizes.fill_bytes;
        let ahead = (2 * self.waiting.len() as u64).max(step).min(self.sizes.fill_ahead_bytes);
        let wanted = self.sizes.filled_for_input(self.end() + ahead);
        let of_segment = self.sizes.filled_for_input(self.sizes.segment_bytes);
        let of_quota = self.sizes.quota_bytes.saturating_sub(self.older_bytes()) / step * step;
        wanted.min(of_segment).min(of_quota).max(self.open.filled)
    }
}
