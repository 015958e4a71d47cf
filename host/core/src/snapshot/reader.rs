//! Opening a snapshot file and reading its blocks.
//!
//! Owns the checks that do not need the whole file: magic, version, header, footer, index, one block at a
//! time. Whether the file is byte for byte the one that the manifest names is [`verify`]'s question.

use super::block::{
    BLOCK_HEADER_BYTES, BlockHeader, FOOTER_BYTES, Footer, INDEX_ENTRY_BYTES, decode_index,
};
use super::error::SnapshotError;
use super::header::{CRC_BYTES, PREFIX_BYTES, SnapshotHeader};
use crate::checksum::holds;
use crate::disk::DiskFile;
use crate::limits::{KEY_GROUPS_MAX, MIB};

/// What a file must be.
#[derive(Clone, Copy, Debug)]
pub struct Expectations<'a> {
    /// Its length.
    pub bytes: u64,
    /// The job's identity.
    pub identity: &'a str,
    /// Name of the operator.
    pub operator: &'a str,
    /// Key groups of the job.
    pub key_groups: u32,
    /// Seed of the key hash.
    pub hash_seed: u64,
    /// It holds all of the task's state.
    pub is_base: bool,
}

/// An open snapshot file.
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    pub(super) name: String,
    header: SnapshotHeader,
    /// For each key group with entries the block in which it begins.
    pub(super) index: Vec<(u16, u64)>,
    pub(super) entries: u64,
    /// Where the blocks end.
    pub(super) blocks_end: u64,
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Fills `buffer` from `offset` on.
fn read_exact(
    file: &dyn DiskFile,
    name: &str,
    offset: u64,
    buffer: &mut [u8],
) -> Result<(), SnapshotError> {
    match file.read_at(offset, buffer)? == buffer.len() {
        true => Ok(()),
        false => Err(damaged(name, offset, "it is cut short")),
    }
}

pub(super) fn damaged(name: &str, offset: u64, what: &str) -> SnapshotError {
    SnapshotError::Damaged { name: name.to_owned(), offset, what: what.to_owned() }
}

impl SnapshotReader {
    /// Opens a file; `name` is for messages.
    ///
    /// # Errors
    /// It is no snapshot, not a whole one, or not what is expected.
    pub fn open(
        file: Box<dyn DiskFile>,
        name: &str,
        expected: Option<&Expectations<'_>>,
    ) -> Result<Self, SnapshotError> {
        let length = file.length()?;
        let mut bytes = vec![0; PREFIX_BYTES];
        let prefix = file.read_at(0, &mut bytes)?;
        let body = SnapshotHeader::decode_prefix(&bytes[..prefix], name)?;
        let blocks_start = (PREFIX_BYTES + body + CRC_BYTES) as u64;
        if blocks_start + FOOTER_BYTES as u64 > length {
            return Err(damaged(name, length, "it is cut short"));
        }
        bytes.resize(PREFIX_BYTES + body + CRC_BYTES, 0);
        read_exact(&*file, name, 0, &mut bytes)?;
        let header = SnapshotHeader::decode(&bytes, name)?;
        let footer_offset = length - FOOTER_BYTES as u64;
        let mut bytes = [0; FOOTER_BYTES];
        read_exact(&*file, name, footer_offset, &mut bytes)?;
        let footer = Footer::decode(&bytes).map_err(|what| damaged(name, footer_offset, what))?;
        let index = read_index(&*file, name, &footer, blocks_start..footer_offset)?;
        let name = name.to_owned();
        let (entries, blocks_end) = (footer.entries, footer.index_offset);
        let reader = Self { file, name, header, index, entries, blocks_end };
        if let Some(expected) = expected {
            reader.check(expected, length)?;
        }
        Ok(reader)
    }

    fn check(&self, expected: &Expectations<'_>, length: u64) -> Result<(), SnapshotError> {
        let header = &self.header;
        let kind = |is_base| if is_base { "a base" } else { "a delta" }.to_owned();
        let aspects = [
            ("length", expected.bytes.to_string(), length.to_string()),
            ("job identity", expected.identity.to_owned(), header.identity.clone()),
            ("operator", expected.operator.to_owned(), header.operator.clone()),
            ("key groups", expected.key_groups.to_string(), header.key_groups.to_string()),
            ("hash seed", expected.hash_seed.to_string(), header.hash_seed.to_string()),
            ("kind", kind(expected.is_base), kind(header.is_base)),
        ];
        match aspects.into_iter().find(|(_, expected, found)| expected != found) {
            Some((what, expected, found)) => {
                Err(SnapshotError::Mismatch { name: self.name.clone(), what, expected, found })
            }
            None => Ok(()),
        }
    }

    /// What the file says of itself.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Entries in it.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Makes `raw` the content of the block at `offset`; answers where the next one begins.
    pub(super) fn read_block(
        &self,
        offset: u64,
        stored: &mut Vec<u8>,
        raw: &mut Vec<u8>,
    ) -> Result<u64, SnapshotError> {
        let fail = |what: &'static str| damaged(&self.name, offset, what);
        let room_bytes = self.blocks_end.saturating_sub(offset);
        if room_bytes < BLOCK_HEADER_BYTES as u64 {
            return Err(fail("a block is cut short"));
        }
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        read_exact(&*self.file, &self.name, offset, &mut bytes)?;
        let header = BlockHeader::decode(&bytes, room_bytes).map_err(fail)?;
        stored.resize(header.stored_bytes, 0);
        let start = offset + BLOCK_HEADER_BYTES as u64;
        read_exact(&*self.file, &self.name, start, stored)?;
        header.unpack(&bytes, stored, raw).map_err(fail)?;
        Ok(start + header.stored_bytes as u64)
    }
}

fn read_index(
    file: &dyn DiskFile,
    name: &str,
    footer: &Footer,
    room: std::ops::Range<u64>,
) -> Result<Vec<(u16, u64)>, SnapshotError> {
    let fail = |what: &'static str| damaged(name, footer.index_offset, what);
    let index_bytes = u64::from(footer.index_count) * INDEX_ENTRY_BYTES as u64;
    let is_sound = footer.index_count <= KEY_GROUPS_MAX
        && footer.index_offset >= room.start
        && footer.index_offset.checked_add(index_bytes) == Some(room.end);
    if !is_sound {
        return Err(fail("its footer does not fit its length"));
    }
    let mut bytes = vec![0; index_bytes as usize];
    read_exact(file, name, footer.index_offset, &mut bytes)?;
    if !holds(crc32fast::hash(&bytes) == footer.index_crc) {
        return Err(fail("its index does not match its checksum"));
    }
    let index = decode_index(&bytes, room.start..footer.index_offset).map_err(fail)?;
    let begins = index.first().map_or(footer.index_offset, |(_, offset)| *offset);
    match begins == room.start {
        true => Ok(index),
        false => Err(fail("its index leaves blocks out")),
    }
}

/// Reads all of a file and compares it with what the manifest says of it.
///
/// # Errors
/// [`SnapshotError::Damaged`] when length or digest differ.
pub fn verify(
    file: &dyn DiskFile,
    name: &str,
    bytes: u64,
    digest: &[u8; 32],
) -> Result<(), SnapshotError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; MIB];
    let mut offset = 0;
    loop {
        let read = file.read_at(offset, &mut buffer)?;
        hasher.update(&buffer[..read]);
        offset += read as u64;
        if offset > bytes {
            return Err(damaged(name, bytes, "it is longer than it was written"));
        }
        if read < buffer.len() {
            break;
        }
    }
    if offset < bytes {
        return Err(damaged(name, offset, "it is shorter than it was written"));
    }
    match hasher.finalize().as_bytes() == digest {
        true => Ok(()),
        false => Err(damaged(name, 0, "its digest is not the one in the manifest")),
    }
}
