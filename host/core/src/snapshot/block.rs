//! Blocks, index and footer of a snapshot file, as bytes.
//!
//! Owns their encoding and the bounds that are checked before anything is allocated. Knows nothing of the
//! entries in a block but where a section begins.

use crate::checksum::holds;

use super::Section;
use super::entry::{ENTRY_BYTES_MAX, Front};

/// Bytes of entries that a block takes; one entry alone may be larger.
pub(super) const BLOCK_BYTES: usize = 64 * crate::limits::KIB;
/// `stored length u32 | raw length u32 | codec u8 | CRC u32 of the nine bytes before and the content`.
pub(super) const BLOCK_HEADER_BYTES: usize = 13;
/// `SECTION | key group u16 | state u16`, between entries: the entries behind it belong there.
pub(super) const SECTION_BYTES: usize = 5;
/// No tag of an entry.
pub(super) const SECTION: u8 = 0x7f;
const RAW_BYTES_MAX: usize = ENTRY_BYTES_MAX + SECTION_BYTES;

const PLAIN: u8 = 0;
const LZ4: u8 = 1;

pub(super) const INDEX_ENTRY_BYTES: usize = 10;
/// Bytes of the footer before its digest.
pub(super) const FOOTER_HEAD_BYTES: usize = 8 + 4 + 4 + 8;
pub(super) const FOOTER_BYTES: usize = FOOTER_HEAD_BYTES + 32 + 4 + 8;
const END_MAGIC: [u8; 8] = *b"PANSEDIT";

/// What the header of a block says.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockHeader {
    pub(super) stored_bytes: usize,
    raw_bytes: usize,
    codec: u8,
    crc: u32,
}

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) index_offset: u64,
    pub(super) index_count: u32,
    pub(super) index_crc: u32,
    pub(super) entries: u64,
    /// BLAKE3 of everything before it.
    pub(super) digest: [u8; 32],
}

pub(super) fn put_section(raw: &mut Vec<u8>, section: Section) {
    raw.push(SECTION);
    raw.extend_from_slice(&section.group.to_le_bytes());
    raw.extend_from_slice(&section.state.to_le_bytes());
}

/// The section that `bytes` begin with; `None` when they begin with something else.
pub(super) fn section(bytes: &[u8]) -> Option<Section> {
    let mut front = Front(bytes);
    if front.array() != Some([SECTION]) {
        return None;
    }
    let group = u16::from_le_bytes(front.array()?);
    let state = u16::from_le_bytes(front.array()?);
    Some(Section { group, state })
}

/// Appends a block that holds `raw` to `out`; `scratch` is for the compressed bytes.
pub(super) fn put_block(out: &mut Vec<u8>, raw: &[u8], scratch: &mut Vec<u8>) {
    scratch.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    // An error means that there is no room, which the size above excludes; then it is stored as it is.
    let compressed = lz4_flex::block::compress_into(raw, scratch).unwrap_or(raw.len());
    let (codec, stored) = match compressed < raw.len() {
        true => (LZ4, &scratch[..compressed]),
        false => (PLAIN, raw),
    };
    let start = out.len();
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(&(raw.len() as u32).to_le_bytes());
    out.push(codec);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start..]);
    crc.update(stored);
    out.extend_from_slice(&crc.finalize().to_le_bytes());
    out.extend_from_slice(stored);
}

impl BlockHeader {
    /// The header in `bytes`; a block may be up to `room_bytes` long, with its header. Says what is wrong
    /// otherwise.
    pub(super) fn decode(
        bytes: &[u8; BLOCK_HEADER_BYTES],
        room_bytes: u64,
    ) -> Result<Self, &'static str> {
        let [a, b, c, d, e, f, g, h, codec, i, j, k, l] = *bytes;
        let stored_bytes = u32::from_le_bytes([a, b, c, d]) as usize;
        let raw_bytes = u32::from_le_bytes([e, f, g, h]) as usize;
        let crc = u32::from_le_bytes([i, j, k, l]);
        let is_sound = match codec {
            PLAIN => stored_bytes == raw_bytes,
            LZ4 => stored_bytes < raw_bytes,
            _ => return Err("a block has an unknown codec"),
        };
        if !is_sound || raw_bytes == 0 || raw_bytes > RAW_BYTES_MAX {
            return Err("a block has an impossible length");
        }
        if (BLOCK_HEADER_BYTES + stored_bytes) as u64 > room_bytes {
            return Err("a block is cut short");
        }
        Ok(Self { stored_bytes, raw_bytes, codec, crc })
    }

    /// Makes `raw` the content of the block, of which `stored` is what lies behind the header in `bytes`.
    pub(super) fn unpack(
        &self,
        bytes: &[u8; BLOCK_HEADER_BYTES],
        stored: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..BLOCK_HEADER_BYTES - 4]);
        crc.update(stored);
        if !holds(crc.finalize() == self.crc) {
            return Err("a block does not match its checksum");
        }
        raw.clear();
        if self.codec == PLAIN {
            raw.extend_from_slice(stored);
            return Ok(());
        }
        raw.resize(self.raw_bytes, 0);
        match lz4_flex::block::decompress_into(stored, raw) {
            Ok(length) if length == self.raw_bytes => Ok(()),
            _ => Err("a block cannot be decompressed"),
        }
    }
}

impl Footer {
    /// The footer's bytes before its digest.
    pub(super) fn head(&self) -> [u8; FOOTER_HEAD_BYTES] {
        let mut head = [0; FOOTER_HEAD_BYTES];
        head[..8].copy_from_slice(&self.index_offset.to_le_bytes());
        head[8..12].copy_from_slice(&self.index_count.to_le_bytes());
        head[12..16].copy_from_slice(&self.index_crc.to_le_bytes());
        head[16..].copy_from_slice(&self.entries.to_le_bytes());
        head
    }

    /// The footer's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.head().to_vec();
        bytes.extend_from_slice(&self.digest);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(&END_MAGIC);
        bytes
    }

    /// The footer in `bytes`; says what is wrong otherwise.
    pub(super) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, &'static str> {
        let mut front = Front(bytes);
        let parts = (|| {
            let index_offset = u64::from_le_bytes(front.array()?);
            let index_count = u32::from_le_bytes(front.array()?);
            let index_crc = u32::from_le_bytes(front.array()?);
            let entries = u64::from_le_bytes(front.array()?);
            let digest = front.array()?;
            let footer = Self { index_offset, index_count, index_crc, entries, digest };
            Some((footer, u32::from_le_bytes(front.array()?), front.array::<8>()?))
        })();
        let Some((footer, crc, magic)) = parts else {
            return Err("its footer is cut short");
        };
        if magic != END_MAGIC {
            return Err("it does not end as a snapshot does: it was cut or is not complete");
        }
        match holds(crc32fast::hash(&bytes[..FOOTER_HEAD_BYTES + 32]) == crc) {
            true => Ok(footer),
            false => Err("its footer does not match its checksum"),
        }
    }
}

/// Checks an index and takes it apart: key groups strictly rise, offsets do not fall and lie in
/// `blocks`.
pub(super) fn decode_index(
    bytes: &[u8],
    blocks: std::ops::Range<u64>,
) -> Result<Vec<(u16, u64)>, &'static str> {
    let mut index: Vec<(u16, u64)> = Vec::with_capacity(bytes.len() / INDEX_ENTRY_BYTES);
    let mut front = Front(bytes);
    while let (Some(group), Some(offset)) = (front.array(), front.array()) {
        let (group, offset) = (u16::from_le_bytes(group), u64::from_le_bytes(offset));
        let follows = index.last().is_none_or(|(last, at)| *last < group && *at <= offset);
        if !follows || !blocks.contains(&offset) {
            return Err("its index is not in order");
        }
        index.push((group, offset));
    }
    Ok(index)
}
