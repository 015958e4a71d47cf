//! A chain of snapshot files as one stream: newer entries win.
//!
//! Owns what a chain means: that the newest entry of an item counts, that a mark on a map or list hides the
//! entries of older files, and that a chain that begins with a base needs neither marks nor tombstones any
//! more. Memory is one block per file, whatever their size.

use super::Section;
use super::cursor::Cursor;
use super::entry::{Item, RawEntry, put_entry};
use super::error::SnapshotError;
use super::header::SnapshotHeader;
use super::reader::SnapshotReader;
use super::writer::{SnapshotWriter, Written};
use crate::disk::DiskFile;
use crate::ids::KeyGroup;

/// The entries of a chain, merged, in the order of a file.
pub(super) struct Merged {
    /// Oldest first.
    cursors: Vec<Cursor>,
    /// Where each cursor stands; side by side, because they are looked through for every item.
    heads: Vec<Head>,
    is_base: bool,
    now_ms: i64,
    /// Cursors at the item at hand, oldest first: as many as `at_hand_count` of them.
    at_hand: Vec<usize>,
    at_hand_count: usize,
    current: Current,
    /// The list or map whose mark was seen last.
    marked: Marked,
}

/// Where the entry at hand of a cursor stands, up to entries of one hash: key group, state and hash as one
/// number. Behind the last entry it is above all.
type Head = u128;

const END: Head = Head::MAX;

fn head(cursor: &Cursor) -> Head {
    let head = |(section, entry): (Section, RawEntry<'_>)| {
        Head::from(section.group) << 80 | Head::from(section.state) << 64 | Head::from(entry.hash)
    };
    cursor.entry().map_or(END, head)
}

enum Current {
    None,
    /// The entry of this cursor.
    Cursor(usize),
    /// `Marked::entry`: the marks of several files in one.
    Mark(Section),
}

/// What the files say of older entries of a key as a whole.
#[derive(Default)]
struct Marked {
    section: Option<Section>,
    hash: u64,
    key: Vec<u8>,
    /// Entries of files before this one are hidden.
    oldest: usize,
    /// List chunks with a number below this are hidden.
    first: u64,
    /// The marks as one entry.
    entry: Vec<u8>,
}

impl Merged {
    /// The entries of `chain` (oldest first) in the given key groups, or in all. What had expired by
    /// `now_ms` is left out when the chain begins with a base.
    pub(super) fn new(
        chain: Vec<SnapshotReader>,
        groups: Option<&[KeyGroup]>,
        now_ms: i64,
    ) -> Result<Self, SnapshotError> {
        let is_base = chain.first().is_some_and(|first| first.header().is_base);
        for pair in chain.windows(2) {
            check_link(&pair[0], &pair[1])?;
        }
        let mut cursors: Vec<Cursor> =
            chain.into_iter().map(|reader| Cursor::new(reader, groups)).collect();
        cursors.iter_mut().try_for_each(Cursor::advance)?;
        let heads = cursors.iter().map(head).collect();
        let (at_hand, at_hand_count) = (vec![0; cursors.len()], 0);
        let (current, marked) = (Current::None, Marked::default());
        Ok(Self { cursors, heads, is_base, now_ms, at_hand, at_hand_count, current, marked })
    }

    /// The entry at hand and where it belongs; none before the first and behind the last.
    pub(super) fn entry(&self) -> Option<(Section, RawEntry<'_>)> {
        match self.current {
            Current::None => None,
            Current::Cursor(cursor) => self.cursors.get(cursor)?.entry(),
            Current::Mark(section) => {
                let Marked { entry, hash, .. } = &self.marked;
                Some((section, RawEntry::decode(entry, |_| *hash)?))
            }
        }
    }

    /// The newest file, whose name stands for the chain in messages.
    pub(super) fn newest(&self) -> Option<&SnapshotReader> {
        self.cursors.last().map(|cursor| &cursor.reader)
    }

    /// Moves to the next entry; answers `false` behind the last.
    pub(super) fn advance(&mut self) -> Result<bool, SnapshotError> {
        loop {
            for &at in &self.at_hand[..self.at_hand_count] {
                let cursor = &mut self.cursors[at];
                cursor.advance()?;
                self.heads[at] = head(cursor);
            }
            self.gather();
            let Some(newest) = self.at_hand[..self.at_hand_count].last().copied() else {
                self.current = Current::None;
                return Ok(false);
            };
            self.current = self.choose(newest);
            if !matches!(self.current, Current::None) {
                return Ok(true);
            }
        }
    }

    /// Finds the cursors at the smallest item. Which of them are is a matter of chance, so that no branch depends on it.
    fn gather(&mut self) {
        let least = self.heads.iter().min().copied().unwrap_or(END);
        let mut count = 0;
        for (at, head) in self.heads.iter().enumerate() {
            self.at_hand[count] = at;
            count += usize::from(*head == least);
        }
        self.at_hand_count = if least == END { 0 } else { count };
        if self.at_hand_count > 1 {
            self.narrow();
        }
    }

    /// Keeps those of the cursors at hand that are at the smallest item; all are at one hash.
    fn narrow(&mut self) {
        let Self { cursors, at_hand, at_hand_count, .. } = self;
        let entry = |at: &usize| cursors[*at].entry().map(|(_, entry)| entry);
        let mut entries = at_hand[..*at_hand_count].iter().filter_map(entry);
        let Some(mut smallest) = entries.next() else {
            return;
        };
        // As a rule all are at one item.
        let mut is_one = true;
        for entry in entries {
            let order = entry.compare(&smallest);
            is_one &= order.is_eq();
            if order.is_lt() {
                smallest = entry;
            }
        }
        if is_one {
            return;
        }
        let mut count = 0;
        for index in 0..*at_hand_count {
            let at = at_hand[index];
            at_hand[count] = at;
            count += usize::from(entry(&at).is_some_and(|entry| entry.compare(&smallest).is_eq()));
        }
        *at_hand_count = count;
    }

    /// What the item at hand comes to; nothing when it is hidden, gone or expired.
    fn choose(&mut self, newest: usize) -> Current {
        let Some((section, entry)) = self.cursors[newest].entry() else {
            return Current::None;
        };
        let expired = |expires_at| self.is_base && expires_at <= self.now_ms;
        let is_dropped = match entry.item() {
            Item::MapCleared | Item::ListHead { .. } => return self.choose_mark(newest),
            Item::ValueGone | Item::MapEntryGone { .. } => self.is_base,
            Item::Value { expires_at, .. } | Item::MapEntry { expires_at, .. } => {
                expired(expires_at)
            }
            Item::ListChunk { number, chunk } => {
                let is_trimmed = self.marked.is(section, &entry) && number < self.marked.first;
                is_trimmed || self.is_base && chunk.has_expired(self.now_ms)
            }
        };
        let is_hidden = newest < self.marked.oldest && self.marked.is(section, &entry);
        if is_dropped || is_hidden { Current::None } else { Current::Cursor(newest) }
    }

    /// Takes in the marks of all files on the key at hand; a base has no need to repeat them.
    fn choose_mark(&mut self, newest: usize) -> Current {
        let Some((section, entry)) = self.cursors[newest].entry() else {
            return Current::None;
        };
        let mut mark = Marked {
            section: Some(section),
            hash: entry.hash,
            key: entry.key.to_vec(),
            ..Marked::default()
        };
        let mut is_cleared = false;
        for &cursor in &self.at_hand[..self.at_hand_count] {
            let (cleared, first) = match self.cursors[cursor].entry().map(|(_, e)| e.item()) {
                Some(Item::MapCleared) => (true, 0),
                Some(Item::ListHead { cleared, first }) => (cleared, first),
                _ => continue,
            };
            if cleared {
                // Numbers began anew, so what older files trimmed says nothing.
                (is_cleared, mark.oldest, mark.first) = (true, cursor, 0);
            }
            mark.first = mark.first.max(first);
        }
        let item = match entry.item() {
            Item::MapCleared => Item::MapCleared,
            _ => Item::ListHead { cleared: is_cleared, first: mark.first },
        };
        put_entry(&mut mark.entry, &mark.key, item);
        self.marked = mark;
        if self.is_base { Current::None } else { Current::Mark(section) }
    }
}

impl Marked {
    /// Whether the marks are about the key of this entry.
    fn is(&self, section: Section, entry: &RawEntry<'_>) -> bool {
        self.section == Some(section) && self.hash == entry.hash && self.key == entry.key
    }
}

/// Checks that a delta can follow a file.
fn check_link(older: &SnapshotReader, newer: &SnapshotReader) -> Result<(), SnapshotError> {
    let mismatch = |what, expected: String, found: String| {
        Err(SnapshotError::Mismatch { name: newer.name.clone(), what, expected, found })
    };
    let (before, after) = (older.header(), newer.header());
    if after.is_base {
        return mismatch("kind", "a delta".to_owned(), "a base".to_owned());
    }
    if before.states != after.states {
        return mismatch("states", format!("those of {}", older.name), "others".to_owned());
    }
    let shape = |header: &SnapshotHeader| {
        format!("{} under hash seed {}", header.key_groups, header.hash_seed)
    };
    match shape(before) == shape(after) {
        true => Ok(()),
        false => mismatch("key groups", shape(before), shape(after)),
    }
}

/// Merges a chain (oldest first, at least one file) into one file that says the same: a base when the chain
/// begins with one, without what had expired by `now_ms`; a delta otherwise. The new file's header is that
/// of the newest file. Syncing it is the caller's, as for [`SnapshotWriter`], and `pause` is as in [`SnapshotWriter::pausing`].
///
/// # Errors
/// A file of the chain is damaged or does not follow the one before it, or the device fails.
pub fn merge(
    chain: Vec<SnapshotReader>,
    now_ms: i64,
    file: Box<dyn DiskFile>,
    name: &str,
    pause: fn(),
) -> Result<(Written, Box<dyn DiskFile>), SnapshotError> {
    let mut merged = Merged::new(chain, None, now_ms)?;
    let Some(newest) = merged.newest() else {
        let what = "there is nothing to merge".to_owned();
        return Err(SnapshotError::BadSegment { name: name.to_owned(), what });
    };
    let header = SnapshotHeader { is_base: merged.is_base, ..newest.header().clone() };
    let mut writer = SnapshotWriter::new(file, name, &header)?.pausing(pause);
    while merged.advance()? {
        if let Some((section, entry)) = merged.entry() {
            writer.push(section, entry.bytes)?;
        }
    }
    writer.finish()
}
