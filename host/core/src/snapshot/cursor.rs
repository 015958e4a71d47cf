//! Going through the entries of one snapshot file in order.
//!
//! Owns the position in the file and one block of it. Checks, entry by entry, what merging relies on: the
//! order, that a key's hash lies in the key group it is filed under, and that states exist. The hash is not in the
//! file; it is worked out here, once for each entry.

use std::cmp::Ordering;

use super::Section;
use super::block::{SECTION_BYTES, section};
use super::entry::{EntryParts, RawEntry};
use super::error::SnapshotError;
use super::header::SnapshotHeader;
use super::reader::{SnapshotReader, damaged};
use crate::ids::KeyGroup;
use crate::key_group::{hash_key, key_group};

/// A position in a file: before the first entry, at one, or behind the last.
pub(super) struct Cursor {
    pub(super) reader: SnapshotReader,
    /// The key groups still to come, with the blocks in which they begin, last first.
    plan: Vec<(u16, u64)>,
    /// The key group at hand.
    group: Option<u16>,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// Where the block at hand begins; none before the first.
    block: Option<u64>,
    next_block: u64,
    /// Where in `raw` to go on.
    next: usize,
    section: Section,
    /// The entry at hand: where in `raw` it begins, and its parts.
    entry: Option<(usize, EntryParts)>,
    /// The newest entry of the section, when it lies in an earlier block, and its parts.
    carried: Vec<u8>,
    carried_parts: Option<EntryParts>,
    /// Entries left to come when everything is read.
    expected: Option<u64>,
}

impl Cursor {
    /// Before the first entry of the given key groups, or of all.
    pub(super) fn new(reader: SnapshotReader, groups: Option<&[KeyGroup]>) -> Self {
        let mut sorted = groups.unwrap_or_default().to_vec();
        sorted.sort_unstable();
        let is_wanted = |group| groups.is_none() || sorted.binary_search(&KeyGroup(group)).is_ok();
        let wanted = reader.index.iter().rev().filter(|(group, _)| is_wanted(*group));
        let plan: Vec<(u16, u64)> = wanted.copied().collect();
        let expected = (plan.len() == reader.index.len()).then_some(reader.entries);
        Self {
            reader,
            plan,
            group: None,
            stored: Vec::new(),
            raw: Vec::new(),
            block: None,
            next_block: 0,
            next: 0,
            section: Section { group: 0, state: 0 },
            entry: None,
            carried: Vec::new(),
            carried_parts: None,
            expected,
        }
    }

    /// The entry at hand and where it belongs.
    #[inline]
    pub(super) fn entry(&self) -> Option<(Section, RawEntry<'_>)> {
        let (start, parts) = self.entry.as_ref()?;
        Some((self.section, parts.of(&self.raw[*start..])?))
    }

    fn damaged(&self, what: &str) -> SnapshotError {
        damaged(&self.reader.name, self.block.unwrap_or(0), what)
    }

    /// Moves to the next entry, or behind the last.
    pub(super) fn advance(&mut self) -> Result<(), SnapshotError> {
        loop {
            if self.group.is_none() && !self.begin_group()? {
                self.entry = None;
                return self.check_count();
            }
            if self.next < self.raw.len() && section(&self.raw[self.next..]).is_none() {
                return self.take_entry();
            }
            if self.next >= self.raw.len() {
                if self.next_block == self.reader.blocks_end {
                    self.group = None;
                    continue;
                }
                self.load(self.next_block)?;
            }
            let section = self.peek_section()?;
            match Some(section.group) == self.group {
                true => self.enter(section)?,
                false => self.group = None,
            }
        }
    }

    /// Finds the beginning of the next wanted key group; answers `false` when there is none.
    fn begin_group(&mut self) -> Result<bool, SnapshotError> {
        let Some((group, offset)) = self.plan.pop() else {
            return Ok(false);
        };
        if self.block != Some(offset) {
            self.load(offset)?;
        }
        while self.next < self.raw.len() {
            if let Some(section) = section(&self.raw[self.next..]) {
                if section.group == group {
                    self.group = Some(group);
                    return Ok(true);
                }
                self.next += SECTION_BYTES;
                continue;
            }
            // Entries that nobody wants need no hash.
            match EntryParts::find(&self.raw[self.next..], |_| 0) {
                Some(parts) => self.next += parts.end,
                None => break,
            }
        }
        Err(self.damaged("a key group is not where the index says"))
    }

    fn load(&mut self, offset: u64) -> Result<(), SnapshotError> {
        if let Some((start, parts)) = self.entry.take() {
            self.carried.clear();
            self.carried.extend_from_slice(&self.raw[start..start + parts.end]);
            self.carried_parts = Some(parts);
        }
        self.block = Some(offset);
        self.next_block = self.reader.read_block(offset, &mut self.stored, &mut self.raw)?;
        self.next = 0;
        self.peek_section().map(|_| ())
    }

    fn peek_section(&self) -> Result<Section, SnapshotError> {
        section(&self.raw[self.next..]).ok_or_else(|| self.damaged("a section is missing"))
    }

    fn enter(&mut self, section: Section) -> Result<(), SnapshotError> {
        let is_known = usize::from(section.state) < self.reader.header().states.len();
        // A block repeats the section that it goes on with.
        let goes_on = section == self.section && self.next == 0;
        let is_behind = section > self.section || self.is_before_first();
        if !is_known || !(goes_on || is_behind) {
            return Err(self.damaged("sections are out of order"));
        }
        if !goes_on {
            self.carried_parts = None;
            self.entry = None;
        }
        self.section = section;
        self.next += SECTION_BYTES;
        Ok(())
    }

    fn is_before_first(&self) -> bool {
        self.section == Section { group: 0, state: 0 }
            && self.entry.is_none()
            && self.carried_parts.is_none()
    }

    fn take_entry(&mut self) -> Result<(), SnapshotError> {
        let bytes = &self.raw[self.next..];
        let SnapshotHeader { hash_seed, key_groups, .. } = *self.reader.header();
        let Some(parts) = EntryParts::find(bytes, |key| hash_key(hash_seed, key)) else {
            return Err(self.damaged("an entry makes no sense"));
        };
        if !self.follows(&parts) {
            return Err(self.damaged("entries are out of order"));
        }
        if key_group(parts.hash, key_groups).0 != self.section.group {
            return Err(self.damaged("a key lies in another key group than its hash"));
        }
        self.entry = Some((self.next, parts));
        self.next += parts.end;
        if let Some(expected) = &mut self.expected {
            *expected = expected.wrapping_sub(1);
        }
        Ok(())
    }

    /// Whether the entry at `next` stands behind the newest of its section.
    fn follows(&self, parts: &EntryParts) -> bool {
        let (bytes, previous) = match &self.entry {
            Some((start, previous)) => (&self.raw[*start..], previous),
            None => match &self.carried_parts {
                Some(previous) => (&self.carried[..], previous),
                None => return true,
            },
        };
        let whole = || Some(previous.of(bytes)?.compare(&parts.of(&self.raw[self.next..])?));
        previous.hash < parts.hash
            || previous.hash == parts.hash && whole().is_some_and(Ordering::is_lt)
    }

    fn check_count(&self) -> Result<(), SnapshotError> {
        match self.expected.is_none_or(|left| left == 0) {
            true => Ok(()),
            false => Err(self.damaged("it has another number of entries than its footer says")),
        }
    }
}
