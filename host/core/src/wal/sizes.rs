//! How large the parts of a log are, and how much of its quota it uses.
//!
//! Owns the relations between the sizes. Invariant: a log whose older segments were trimmed has room in
//! its quota for one more record of the largest size, so a full log comes free when it is trimmed.

use super::error::WalError;
use super::record::{PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES};
use super::segment::PAGE_BYTES;

const MIB: u64 = 1024 * 1024;
/// A segment takes at most this share of the quota, and so does a record.
const SHARE: u64 = 8;

/// Sizes of a log, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A segment is sealed when the next record would take it above this. One record alone may.
    pub segment_bytes: u64,
    /// A file grows by multiples of this, zero-filled and synced before records are written there.
    pub fill_bytes: u64,
    /// How far ahead of the records a file is filled at most.
    pub fill_ahead_bytes: u64,
    /// Filled space behind the input records that only seals and idle records may use, so that a full disk
    /// does not keep a log from being closed.
    pub reserve_bytes: u64,
    /// What all files of the log may take up.
    pub quota_bytes: u64,
}

impl Sizes {
    /// The sizes of the product: segments of 64 MiB, filled by 1 MiB, at most 8 MiB ahead, 64 KiB in
    /// reserve; a small quota has smaller segments.
    ///
    /// # Errors
    /// [`WalError::QuotaTooSmall`] below 16 MiB.
    pub fn for_quota(quota_bytes: u64) -> Result<Self, WalError> {
        let sizes = Self {
            segment_bytes: (quota_bytes / SHARE).min(64 * MIB),
            fill_bytes: MIB,
            fill_ahead_bytes: 8 * MIB,
            reserve_bytes: 64 * 1024,
            quota_bytes,
        };
        sizes.check().map(|()| sizes)
    }

    /// Whether a log of these sizes can always go on once it is trimmed.
    pub(super) fn check(&self) -> Result<(), WalError> {
        // Two segments, each with one record of the largest size beyond its end, and each rounded up.
        let overhead = PAGE_BYTES + self.reserve_bytes + 2 * self.fill_bytes;
        let min_bytes = (overhead * 4).max(SHARE * self.segment_bytes);
        match self.quota_bytes < min_bytes || self.fill_bytes == 0 {
            true => Err(WalError::QuotaTooSmall { quota_bytes: self.quota_bytes, min_bytes }),
            false => Ok(()),
        }
    }

    /// Bytes of the largest payload of a record.
    pub(super) fn payload_bytes_max(&self) -> u64 {
        (self.quota_bytes / SHARE).min(PAYLOAD_BYTES_MAX)
    }

    /// Where a file must be filled to before records that end at `end` are written: there is always room for
    /// one more header, so that a reader who finds less knows that the file was cut short.
    pub(super) fn filled_for(&self, end: u64) -> u64 {
        (end + RECORD_HEADER_BYTES).next_multiple_of(self.fill_bytes)
    }

    /// As [`Self::filled_for`], when input records are among them.
    pub(super) fn filled_for_input(&self, end: u64) -> u64 {
        self.filled_for(end + self.reserve_bytes)
    }
}

/// How much of the quota is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files of the log.
    pub used_bytes: u64,
    /// Bytes that they may have.
    pub quota_bytes: u64,
}

impl Usage {
    /// Half of the quota or more is used: a checkpoint should make room.
    pub fn is_pressing(&self) -> bool {
        self.used_bytes >= self.quota_bytes / 2
    }
}
