//! The bytes of a record.
//!
//! Owns the layout (little-endian, every record begins at a multiple of 8):
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | tag: keyed BLAKE3 of the 32 bytes after it, its first 64 bits |
//! | 8..16 | LSN |
//! | 16..24 | `synced_upto`: all up to this LSN was durable when the record was made |
//! | 24..28 | the low half of the tag before it |
//! | 28..32 | bytes of the payload |
//! | 32..36 | CRC-32 (IEEE) of the payload |
//! | 36..38 | kind; 0 is space that was never written |
//! | 38..40 | flags, 0 for now |
//! | 40.. | payload, then zeros up to a multiple of 8 |
//!
//! The key comes from the segment's salt: whoever sends input cannot put bytes into a payload that would
//! pass for a record, and records of another segment do not pass in this one. Two checks, because a damaged
//! payload must leave its length and the chain readable.

use crate::checksum::holds;

/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: u64 = 40;
/// Bytes of the largest payload.
pub const PAYLOAD_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of an input record's payload before its names and body.
pub(super) const INPUT_PREFIX_BYTES: u64 = 16;
/// Kinds with this bit may be passed over by a reader that does not know them.
const IGNORABLE: u16 = 0x8000;
const HEADER: usize = RECORD_HEADER_BYTES as usize;
const KEY_CONTEXT: &str = "tidemill wal 1 record header";

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Logged input.
    Input,
    /// A start of the job; the payload is its number.
    Incarnation,
    /// Nothing was written for a while. Promises all before it.
    Idle,
    /// The last record of a segment.
    Seal,
    /// Of a later minor format, which may be passed over.
    Ignorable(u16),
}

impl Kind {
    fn code(self) -> u16 {
        match self {
            Self::Input => 1,
            Self::Incarnation => 2,
            Self::Idle => 3,
            Self::Seal => 4,
            Self::Ignorable(code) => code,
        }
    }

    fn of(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::Input),
            2 => Some(Self::Incarnation),
            3 => Some(Self::Idle),
            4 => Some(Self::Seal),
            _ if code & IGNORABLE != 0 => Some(Self::Ignorable(code)),
            _ => None,
        }
    }
}

/// Key of a segment's tags.
pub(super) struct RecordKey([u8; 32]);

impl RecordKey {
    pub(super) fn new(salt: &[u8; 16]) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, salt))
    }

    fn tag(&self, rest: &[u8]) -> u64 {
        u64_at(blake3::keyed_hash(&self.0, rest).as_bytes(), 0)
    }
}

/// A record's header as it lies in the file; nothing about it is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub(super) tag: u64,
    pub(super) lsn: u64,
    pub(super) synced_upto: u64,
    pub(super) prev_tag: u32,
    pub(super) payload_bytes: u32,
    pub(super) payload_crc: u32,
    code: u16,
    flags: u16,
}

impl RecordHeader {
    /// Reads the first [`RECORD_HEADER_BYTES`] of `bytes`, which must be there.
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self {
            tag: u64_at(bytes, 0),
            lsn: u64_at(bytes, 8),
            synced_upto: u64_at(bytes, 16),
            prev_tag: u32_at(bytes, 24),
            payload_bytes: u32_at(bytes, 28),
            payload_crc: u32_at(bytes, 32),
            code: u16_at(bytes, 36),
            flags: u16_at(bytes, 38),
        }
    }

    /// Whether the header whose bytes these are was written under this key.
    pub(super) fn is_genuine(&self, bytes: &[u8], key: &RecordKey) -> bool {
        self.code != 0 && holds(key.tag(&bytes[8..HEADER]) == self.tag)
    }

    /// What the record is, when this code knows it. A flag may change what a record means.
    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::of(self.code).filter(|_| self.flags == 0)
    }

    /// For messages.
    pub(super) fn describe_kind(&self) -> String {
        format!("a record of kind {} with flags {}", self.code, self.flags)
    }

    /// Bytes of the whole record.
    pub(super) fn framed_bytes(&self) -> u64 {
        framed_bytes(u64::from(self.payload_bytes))
    }
}

/// Bytes of a record with a payload of `payload_bytes`.
pub(super) const fn framed_bytes(payload_bytes: u64) -> u64 {
    RECORD_HEADER_BYTES + payload_bytes.next_multiple_of(8)
}

/// The last record of a log: what the next one follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) lsn: u64,
    pub(super) tag: u64,
}

/// Appends a record after `tail` to `buffer`; answers the new tail. The payload, in parts, has at most
/// [`PAYLOAD_BYTES_MAX`].
pub(super) fn push_record(
    buffer: &mut Vec<u8>,
    key: &RecordKey,
    tail: Tail,
    synced_upto: u64,
    kind: Kind,
    payload: &[&[u8]],
) -> Tail {
    let start = buffer.len();
    buffer.resize(start + HEADER, 0);
    for part in payload {
        buffer.extend_from_slice(part);
    }
    let payload = &buffer[start + HEADER..];
    let (length, crc) = (payload.len(), crc32fast::hash(payload));
    buffer.resize(start + framed_bytes(length as u64) as usize, 0);
    let lsn = tail.lsn + 1;
    let header = &mut buffer[start..start + HEADER];
    header[8..16].copy_from_slice(&lsn.to_le_bytes());
    header[16..24].copy_from_slice(&synced_upto.to_le_bytes());
    header[24..28].copy_from_slice(&(tail.tag as u32).to_le_bytes());
    header[28..32].copy_from_slice(&(length as u32).to_le_bytes());
    header[32..36].copy_from_slice(&crc.to_le_bytes());
    header[36..38].copy_from_slice(&kind.code().to_le_bytes());
    let tag = key.tag(&header[8..]);
    header[..8].copy_from_slice(&tag.to_le_bytes());
    Tail { lsn, tag }
}

/// What an input record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Input<'a> {
    pub(super) source: &'a str,
    pub(super) partition: &'a str,
    pub(super) seq: u64,
    pub(super) body: &'a [u8],
}

/// The first bytes of an input record's payload: lengths of the names (`u16` each), 4 zeros, the sequence number.
/// The names and the body follow.
pub(super) fn input_prefix(source_bytes: u16, partition_bytes: u16, seq: u64) -> [u8; 16] {
    let mut prefix = [0; INPUT_PREFIX_BYTES as usize];
    prefix[..2].copy_from_slice(&source_bytes.to_le_bytes());
    prefix[2..4].copy_from_slice(&partition_bytes.to_le_bytes());
    prefix[8..].copy_from_slice(&seq.to_le_bytes());
    prefix
}

/// The input that a payload holds; `None` when it does not hold one.
pub(super) fn read_input(payload: &[u8]) -> Option<Input<'_>> {
    let (prefix, rest) = payload.split_at_checked(INPUT_PREFIX_BYTES as usize)?;
    let (source, rest) = rest.split_at_checked(usize::from(u16_at(prefix, 0)))?;
    let (partition, body) = rest.split_at_checked(usize::from(u16_at(prefix, 2)))?;
    Some(Input {
        source: str::from_utf8(source).ok()?,
        partition: str::from_utf8(partition).ok()?,
        seq: u64_at(prefix, 8),
        body,
    })
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
