//! Goes through a segment, record after record.
//!
//! Owns the checks that make a record the next one: its tag, its LSN, the chain, its payload. It does not
//! decide what a record that fails them means; that is `recover`. Invariant: nothing is answered beyond the
//! first record that fails, and nothing is believed (a length least of all) before its tag was checked.

use super::error::WalError;
use super::record::{
    Kind, PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, RecordHeader, RecordKey, Tail, framed_bytes,
};
use super::segment::{PAGE_BYTES, SegmentHeader, in_directory, segment_name};
use super::window::Window;
use crate::checksum::holds;
use crate::disk::Disk;
use crate::planted::{self, Bug};

/// A record that passed every check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) header: RecordHeader,
    /// Where it begins.
    pub(super) offset: u64,
}

/// Why there is no next record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nothing was written here, as far as the header goes.
    Unwritten,
    /// The header is not the one of the next record.
    Header,
    /// The header is; the payload is not the one that was written.
    Payload,
    /// The file ends where there must be more of it.
    CutShort,
}

impl Stop {
    /// For messages.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Unwritten => "the record that belongs here is missing",
            Self::Header => "the header of the record is damaged",
            Self::Payload => "the content of the record is damaged",
            Self::CutShort => "the file was cut short",
        }
    }
}

/// A segment that is being read.
pub(super) struct Walk {
    pub(super) header: SegmentHeader,
    pub(super) window: Window,
    pub(super) key: RecordKey,
    /// Where the next record begins.
    pub(super) offset: u64,
    /// The record before it.
    pub(super) tail: Tail,
}

impl Walk {
    /// Opens a segment and reads its first page.
    pub(super) fn open(disk: &dyn Disk, directory: &str, segment: u64) -> Result<Self, WalError> {
        let name = in_directory(directory, &segment_name(segment));
        let mut window = Window::open(disk, name.clone())?;
        let header = SegmentHeader::decode(window.first_bytes(PAGE_BYTES)?, &name, segment)?;
        let key = RecordKey::new(&header.salt);
        let tail = Tail { lsn: header.base_lsn.saturating_sub(1), tag: header.first_tag() };
        Ok(Self { header, window, key, offset: PAGE_BYTES, tail })
    }

    /// The next record, or why there is none.
    pub(super) fn next(&mut self) -> Result<Result<Found, Stop>, WalError> {
        let offset = self.offset;
        let length = self.window.length();
        let bytes = self.window.bytes(offset, RECORD_HEADER_BYTES)?;
        // Its writer had made more zeros than these durable behind the record before.
        if (bytes.len() as u64) < RECORD_HEADER_BYTES {
            return Ok(Err(Stop::CutShort));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(Err(Stop::Unwritten));
        }
        let header = RecordHeader::read(bytes);
        let follows = header.lsn == self.tail.lsn + 1 && header.prev_tag == self.tail.tag as u32;
        if !follows || !header.is_genuine(bytes, &self.key) {
            return Ok(Err(Stop::Header));
        }
        let payload_bytes = u64::from(header.payload_bytes);
        // Its own writer made it, and had made zeros durable up to its end before.
        if payload_bytes > PAYLOAD_BYTES_MAX || offset + framed_bytes(payload_bytes) > length {
            return Ok(Err(Stop::CutShort));
        }
        let payload = self.window.bytes(offset + RECORD_HEADER_BYTES, payload_bytes)?;
        let is_whole = holds(crc32fast::hash(payload) == header.payload_crc);
        let is_whole = is_whole || planted::is(Bug::TornRecordAccepted);
        if payload.len() as u64 != payload_bytes || !is_whole {
            return Ok(Err(Stop::Payload));
        }
        let Some(kind) = header.kind() else {
            let what = format!("{} at byte {offset}", header.describe_kind());
            return Err(WalError::Newer { file: self.window.name().to_owned(), what });
        };
        self.offset = offset + header.framed_bytes();
        self.tail = Tail { lsn: header.lsn, tag: header.tag };
        Ok(Ok(Found { kind, header, offset }))
    }

    /// The payload of a record that was found.
    pub(super) fn payload(&mut self, found: &Found) -> Result<&[u8], WalError> {
        let length = u64::from(found.header.payload_bytes);
        self.window.bytes(found.offset + RECORD_HEADER_BYTES, length)
    }

    /// Damage at the place of the next record.
    pub(super) fn corrupt(&self, what: impl Into<String>) -> WalError {
        WalError::Corrupt {
            file: self.window.name().to_owned(),
            offset: self.offset,
            lsn: self.tail.lsn + 1,
            what: what.into(),
        }
    }

    /// Looks behind the place of the next record for one that promises that it was durable; answers where.
    /// Nothing found there is ever replayed: it only proves damage.
    pub(super) fn find_promise(&mut self) -> Result<Option<u64>, WalError> {
        let expected = self.tail.lsn + 1;
        let mut offset = self.offset + 8;
        while offset + RECORD_HEADER_BYTES <= self.window.length() {
            // No more records than this lie in between, so a greater LSN is not one of this segment.
            let lsn_max = expected + (offset - self.offset) / 8;
            let bytes = self.window.bytes(offset, RECORD_HEADER_BYTES)?;
            if (bytes.len() as u64) < RECORD_HEADER_BYTES {
                break;
            }
            let header = RecordHeader::read(bytes);
            let is_later = header.lsn > expected && header.lsn <= lsn_max;
            let promises = header.synced_upto >= expected && header.synced_upto < header.lsn;
            // The tag last: it is what costs.
            if is_later && promises && header.is_genuine(bytes, &self.key) {
                return Ok(Some(offset));
            }
            offset += 8;
        }
        Ok(None)
    }

    /// Bytes from the place of the next record up to the last one that is not zero.
    pub(super) fn written_behind(&mut self) -> Result<u64, WalError> {
        let mut last = self.offset;
        let mut offset = self.offset;
        while offset < self.window.length() {
            let bytes = self.window.bytes(offset, 64 * 1024)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
                last = offset + at as u64 + 1;
            }
            offset += bytes.len() as u64;
        }
        Ok(last - self.offset)
    }
}
