//! Writing a snapshot file.
//!
//! Owns sorting, packing, and the order of writes: header, blocks, index, footer, each byte once, at rising
//! offsets, in writes of 256 KiB or more but the last. A finished file is durable, and may be named in a
//! manifest, only after [`make_durable`]: content synced -> directory synced. A file that is cut anywhere has no
//! footer and is refused. The hash of a key, by which entries are sorted, is worked out here, so that no file is
//! written whose entries its own header would call out of order.

use std::cmp::Ordering;

use blake3::Hasher;

use super::block::{BLOCK_BYTES, Footer, SECTION_BYTES, put_block, put_section};
use super::entry::{ENTRY_BYTES_MAX, RawEntry};
use super::error::SnapshotError;
use super::header::SnapshotHeader;
use super::{Section, Segment};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::key_group::{hash_key, key_group};
use crate::limits::KIB;
use crate::planted::{self, Bug};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 256 * KIB;

/// Entries between two pauses.
const PAUSE_ENTRIES: u64 = 1024;

/// Writes one snapshot file, on a background thread.
pub struct SnapshotWriter {
    file: Box<dyn DiskFile>,
    name: String,
    states: usize,
    key_groups: u32,
    hash_seed: u64,
    /// Not yet written.
    buffer: Vec<u8>,
    written_bytes: u64,
    hasher: Hasher,
    /// Content of the block at hand.
    raw: Vec<u8>,
    scratch: Vec<u8>,
    /// Section of the newest entry.
    section: Option<Section>,
    index: Vec<(u16, u64)>,
    entries: u64,
    /// Parts of one section that wait to be sorted together.
    parts: Vec<Segment>,
    pause: fn(),
}

/// A file that was written. Not durable until it is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 digest of its content.
    pub digest: [u8; 32],
    /// Entries in it.
    pub entries: u64,
}

/// Makes a finished file in the root of `disk` durable, so that a manifest may name it.
///
/// # Errors
/// The disk fails; what is durable is not known then.
pub fn make_durable(disk: &dyn Disk, file: &mut dyn DiskFile) -> Result<(), DiskError> {
    if !planted::is(Bug::NoSyncOfSnapshotFile) {
        file.sync()?;
    }
    if planted::is(Bug::NoDirectorySyncOfSnapshotFile) {
        return Ok(());
    }
    disk.sync_dir("")
}

/// Where an entry lies in the parts of its section.
#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    part: u32,
    start: u32,
    bytes: u32,
}

/// Sorts places by hash, then as `compare` says. Hashes of a key group are spread evenly over their top bits, so
/// that dealing by those leaves next to nothing to compare; if they are not, it is a sort like any other.
fn sorted(
    places: Vec<Place>,
    compare: impl Fn(&Place, &Place) -> Ordering,
    pause: fn(),
) -> Vec<Place> {
    /// The bits of a hash that have no part in its key group.
    const TOP_BITS: u32 = 16;
    let bits = places.len().checked_ilog2().unwrap_or(0).clamp(1, TOP_BITS);
    let bucket = |place: &Place| (place.hash >> (u64::BITS - bits)) as usize;
    let mut starts = vec![0u32; 1 << bits];
    places.iter().for_each(|place| starts[bucket(place)] += 1);
    let mut next = 0;
    for start in &mut starts {
        next += std::mem::replace(start, next);
    }
    let mut dealt = places.clone();
    for places in places.chunks(PAUSE_ENTRIES as usize) {
        for place in places {
            let start = &mut starts[bucket(place)];
            dealt[*start as usize] = *place;
            *start += 1;
        }
        pause();
    }
    let mut left = PAUSE_ENTRIES as usize;
    for bucket in dealt.chunk_by_mut(|a, b| bucket(a) == bucket(b)) {
        if bucket.len() > 1 {
            bucket.sort_unstable_by(&compare);
        }
        left = left.saturating_sub(bucket.len());
        if left == 0 {
            left = PAUSE_ENTRIES as usize;
            pause();
        }
    }
    dealt
}

impl SnapshotWriter {
    /// Begins a file, which must be empty. `name` is for messages.
    ///
    /// # Errors
    /// The header is too large.
    pub fn new(
        file: Box<dyn DiskFile>,
        name: &str,
        header: &SnapshotHeader,
    ) -> Result<Self, SnapshotError> {
        Ok(Self {
            file,
            name: name.to_owned(),
            states: header.states.len(),
            key_groups: header.key_groups,
            hash_seed: header.hash_seed,
            buffer: header.encode(name)?,
            written_bytes: 0,
            hasher: Hasher::new(),
            raw: Vec::with_capacity(BLOCK_BYTES),
            scratch: Vec::new(),
            section: None,
            index: Vec::new(),
            entries: 0,
            parts: Vec::new(),
            pause: || (),
        })
    }

    /// Calls `pause` after each part of the work, which takes some 0.1 ms: a thread that gives way there does not keep a
    /// core from another for longer.
    #[must_use]
    pub fn pausing(self, pause: fn()) -> Self {
        Self { pause, ..self }
    }

    /// Takes a segment. Segments come by ascending key group and state; those of the same come one after
    /// the other, and are held until the next one's first to be sorted as one.
    ///
    /// # Errors
    /// [`SnapshotError::BadSegment`], or the device fails; the file is of no use then.
    pub fn add(&mut self, segment: Segment) -> Result<(), SnapshotError> {
        let place = |segment: &Segment| Section { group: segment.group, state: segment.state };
        if self.parts.last().is_some_and(|last| place(last) != place(&segment)) {
            self.sort_parts()?;
        }
        self.parts.push(segment);
        Ok(())
    }

    /// Ends the file, and hands it back to be synced.
    ///
    /// # Errors
    /// As [`SnapshotWriter::add`].
    pub fn finish(mut self) -> Result<(Written, Box<dyn DiskFile>), SnapshotError> {
        self.sort_parts()?;
        self.end_block()?;
        let index_offset = self.position();
        let mut index = Vec::new();
        for (group, offset) in &self.index {
            index.extend_from_slice(&group.to_le_bytes());
            index.extend_from_slice(&offset.to_le_bytes());
        }
        let mut footer = Footer {
            index_offset,
            index_count: self.index.len() as u32,
            index_crc: crc32fast::hash(&index),
            entries: self.entries,
            digest: [0; 32],
        };
        self.buffer.extend_from_slice(&index);
        self.buffer.extend_from_slice(&footer.head());
        // The digest in the footer is that of all before it, the manifest's that of the whole file.
        self.hasher.update(&self.buffer);
        footer.digest = *self.hasher.finalize().as_bytes();
        let rest = footer.encode().split_off(footer.head().len());
        self.hasher.update(&rest);
        self.buffer.extend_from_slice(&rest);
        self.file.write_at(self.written_bytes, &self.buffer)?;
        let digest = *self.hasher.finalize().as_bytes();
        let written = Written { bytes: self.position(), digest, entries: self.entries };
        Ok((written, self.file))
    }

    fn position(&self) -> u64 {
        self.written_bytes + self.buffer.len() as u64
    }

    fn bad(&self, what: &str) -> SnapshotError {
        SnapshotError::BadSegment { name: self.name.clone(), what: what.to_owned() }
    }

    /// Sorts the parts of a section and writes them.
    fn sort_parts(&mut self) -> Result<(), SnapshotError> {
        let parts = std::mem::take(&mut self.parts);
        let Some(first) = parts.first() else {
            return Ok(());
        };
        let section = Section { group: first.group, state: first.state };
        let mut places = Vec::with_capacity(parts.iter().map(|part| part.entries as usize).sum());
        for (number, part) in (0u32..).zip(&parts) {
            self.place_entries(part, number, &mut places)?;
            (self.pause)();
        }
        let slice = |place: &Place| {
            let start = place.start as usize;
            &parts[place.part as usize].bytes[start..start + place.bytes as usize]
        };
        let compare = |a: &Place, b: &Place| {
            let decode = |place| RawEntry::decode(slice(place), |_| place.hash);
            let whole = || Some(decode(a)?.compare(&decode(b)?));
            // Entries were decoded when they were placed, so there is an order.
            a.hash.cmp(&b.hash).then_with(|| whole().unwrap_or(Ordering::Equal))
        };
        let places = sorted(places, compare, self.pause);
        let mut before: Option<&Place> = None;
        for place in &places {
            if before.is_some_and(|before| compare(before, place).is_eq()) {
                return Err(self.bad("two entries say the same thing"));
            }
            self.push(section, slice(place))?;
            before = Some(place);
        }
        Ok(())
    }

    fn place_entries(
        &self,
        part: &Segment,
        number: u32,
        places: &mut Vec<Place>,
    ) -> Result<(), SnapshotError> {
        let mut rest = &part.bytes[..];
        while !rest.is_empty() {
            let start = u32::try_from(part.bytes.len() - rest.len());
            let (Some(entry), Ok(start)) =
                (RawEntry::decode(rest, |key| hash_key(self.hash_seed, key)), start)
            else {
                return Err(self.bad("a segment does not hold entries"));
            };
            let bytes = entry.bytes.len();
            if bytes > ENTRY_BYTES_MAX {
                return Err(self.bad("an entry is larger than any may be"));
            }
            if key_group(entry.hash, self.key_groups).0 != part.group {
                return Err(self.bad("a key lies in another key group than its hash"));
            }
            places.push(Place { hash: entry.hash, part: number, start, bytes: bytes as u32 });
            rest = &rest[bytes..];
        }
        Ok(())
    }

    /// Writes an entry, which must follow the one before it in order.
    pub(super) fn push(&mut self, section: Section, entry: &[u8]) -> Result<(), SnapshotError> {
        if self.section.is_some_and(|last| section < last) {
            return Err(self.bad("sections are out of order"));
        }
        if usize::from(section.state) >= self.states {
            return Err(self.bad("a section of an unknown state"));
        }
        let is_full = self.raw.len() + SECTION_BYTES + entry.len() > BLOCK_BYTES;
        if is_full && !self.raw.is_empty() {
            self.end_block()?;
        }
        if self.raw.is_empty() || self.section != Some(section) {
            put_section(&mut self.raw, section);
        }
        self.section = Some(section);
        if self.index.last().is_none_or(|(group, _)| *group != section.group) {
            self.index.push((section.group, self.position()));
        }
        self.raw.extend_from_slice(entry);
        self.entries += 1;
        if self.entries.is_multiple_of(PAUSE_ENTRIES) {
            (self.pause)();
        }
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), SnapshotError> {
        if self.raw.is_empty() {
            return Ok(());
        }
        put_block(&mut self.buffer, &self.raw, &mut self.scratch);
        self.raw.clear();
        (self.pause)();
        if self.buffer.len() >= WRITE_BYTES {
            self.hasher.update(&self.buffer);
            self.file.write_at(self.written_bytes, &self.buffer)?;
            self.written_bytes += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_sorted_whatever_their_hashes() {
        const fn spread(n: u32) -> u64 {
            (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        }
        let hashes: [fn(u32) -> u64; 4] =
            [spread, |n| spread(n) >> 17, |n| u64::from(n % 7) << 62, |_| u64::MAX];
        for hash in hashes {
            for count in [0, 1, 2, 3, 1000, 70_000] {
                let place = |n| Place { hash: hash(n), part: 0, start: spread(n) as u32, bytes: 0 };
                let mut places: Vec<Place> = (0..count).map(place).collect();
                let key = |place: &Place| (place.hash, place.start);
                let found = sorted(places.clone(), |a, b| key(a).cmp(&key(b)), || ());
                places.sort_by_key(key);
                assert!(found.iter().map(key).eq(places.iter().map(key)), "{count} places");
            }
        }
    }
}
