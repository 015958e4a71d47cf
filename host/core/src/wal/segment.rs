//! The first page of a segment, and the names of segments.
//!
//! Owns the page's layout (little-endian):
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | magic `TIDEMWAL` |
//! | 8..12 | format, major and minor |
//! | 16..24 | number of the segment, from 1 |
//! | 24..32 | LSN of its first record |
//! | 32..40 | incarnation that made it |
//! | 40..56 | salt: makes the key of its records' tags |
//! | 56..80 | the segment before it: number (0: the log begins here), last LSN, last tag |
//! | 80..88 | no input lies before this segment from this LSN on |
//! | 4092..4096 | CRC-32 (IEEE) of all before |
//!
//! All else is zero. Segments that the previous one's number leaves out were replaced by this one.

use crate::checksum::holds;
use crate::ids::Incarnation;

use super::error::WalError;
use super::record::{u16_at, u32_at, u64_at};

/// First bytes of every segment.
const MAGIC: [u8; 8] = *b"TIDEMWAL";
/// Version of the format that this code writes. A reader refuses a newer major.
pub const FORMAT: (u16, u16) = (1, 0);
/// Bytes of the first page.
pub(super) const PAGE_BYTES: u64 = 4096;
/// No log comes near; what claims more is damaged.
const LSN_MAX: u64 = u64::MAX / 2;
const PAGE: usize = PAGE_BYTES as usize;
const CRC_AT: usize = PAGE - 4;

/// The end of the segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) segment: u64,
    pub(super) last_lsn: u64,
    pub(super) last_tag: u64,
}

/// What a first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u64,
    pub(super) base_lsn: u64,
    /// No input lies before this segment from here on. So input that is needed from here on is all there.
    pub(super) input_floor: u64,
    pub(super) incarnation: Incarnation,
    pub(super) salt: [u8; 16],
    /// `None`: nothing before this segment is part of the log.
    pub(super) previous: Option<Previous>,
}

impl SegmentHeader {
    /// The page.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        page[..8].copy_from_slice(&MAGIC);
        page[8..10].copy_from_slice(&FORMAT.0.to_le_bytes());
        page[10..12].copy_from_slice(&FORMAT.1.to_le_bytes());
        page[16..24].copy_from_slice(&self.segment.to_le_bytes());
        page[24..32].copy_from_slice(&self.base_lsn.to_le_bytes());
        page[32..40].copy_from_slice(&self.incarnation.0.to_le_bytes());
        page[40..56].copy_from_slice(&self.salt);
        if let Some(previous) = self.previous {
            page[56..64].copy_from_slice(&previous.segment.to_le_bytes());
            page[64..72].copy_from_slice(&previous.last_lsn.to_le_bytes());
            page[72..80].copy_from_slice(&previous.last_tag.to_le_bytes());
        }
        page[80..88].copy_from_slice(&self.input_floor.to_le_bytes());
        let crc = Self::checksum(&page);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// What the page of `file`, which is named as segment `segment`, says.
    pub(super) fn decode(page: &[u8], file: &str, segment: u64) -> Result<Self, WalError> {
        let corrupt = |what: &str| {
            let lsn = page.get(24..32).map_or(0, |bytes| u64_at(bytes, 0));
            Err(WalError::Corrupt { file: file.to_owned(), offset: 0, lsn, what: what.to_owned() })
        };
        if page.len() < PAGE {
            return corrupt("it is shorter than its first page");
        }
        if page[..8] != MAGIC {
            // With the magic put right, is it one? Then it is damaged, and not somebody else's file.
            let is_ours = holds(Self::checksum(page) == u32_at(page, CRC_AT));
            return match is_ours || page.iter().all(|byte| *byte == 0) {
                true => corrupt("its first bytes are not those of a segment"),
                false => Err(WalError::Foreign { file: file.to_owned() }),
            };
        }
        let (major, minor) = (u16_at(page, 8), u16_at(page, 10));
        // A newer format may place its checks elsewhere, so its number is believed.
        if major > FORMAT.0 {
            let what = format!("WAL format {major}.{minor}");
            return Err(WalError::Newer { file: file.to_owned(), what });
        }
        if !holds(Self::checksum(page) == u32_at(page, CRC_AT)) {
            return corrupt("the checksum of its first page does not match");
        }
        let mut salt = [0; 16];
        salt.copy_from_slice(&page[40..56]);
        let previous = Previous {
            segment: u64_at(page, 56),
            last_lsn: u64_at(page, 64),
            last_tag: u64_at(page, 72),
        };
        let header = Self {
            segment: u64_at(page, 16),
            base_lsn: u64_at(page, 24),
            input_floor: u64_at(page, 80),
            incarnation: Incarnation(u64_at(page, 32)),
            salt,
            previous: (previous.segment != 0).then_some(previous),
        };
        if header.segment != segment {
            return corrupt(&format!(
                "it is segment {} by its content: it was renamed or copied",
                header.segment
            ));
        }
        let follows = previous.last_lsn.checked_add(1) == Some(header.base_lsn)
            && previous.segment < header.segment;
        let is_sound = header.input_floor > 0
            && header.input_floor <= header.base_lsn
            && header.base_lsn < LSN_MAX;
        match is_sound && (header.previous.is_none() || follows) {
            true => Ok(header),
            false => corrupt("the numbers in its first page contradict each other"),
        }
    }

    /// Checksum of a page that has the right magic.
    fn checksum(page: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&MAGIC);
        hasher.update(&page[8..CRC_AT]);
        hasher.finalize()
    }

    /// The tag that the first record's `prev_tag` is taken from.
    pub(super) fn first_tag(&self) -> u64 {
        self.previous.map_or(0, |previous| previous.last_tag)
    }
}

/// The name of a segment, in the log's directory. Sorts by number.
pub fn segment_name(segment: u64) -> String {
    format!("wal-{segment:020}.log")
}

/// The number that a name stands for, if it is a segment's.
pub(super) fn parse_segment_name(name: &str) -> Option<u64> {
    let number = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    (number > 0 && number < LSN_MAX && segment_name(number) == name).then_some(number)
}

/// The name of a segment in the making. Its salt keeps two that race from touching each other's.
pub(super) fn temporary_name(segment: u64, salt: &[u8; 16]) -> String {
    format!("wal-{segment:020}-{:032x}.tmp", u128::from_be_bytes(*salt))
}

/// Whether a name is that of a segment in the making.
pub(super) fn is_temporary_name(name: &str) -> bool {
    let parts = name
        .strip_prefix("wal-")
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(number, salt)| {
        number.len() == 20
            && salt.len() == 32
            && number.bytes().all(|byte| byte.is_ascii_digit())
            && salt.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A name with its directory.
pub(super) fn in_directory(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        _ => format!("{directory}/{name}"),
    }
}
