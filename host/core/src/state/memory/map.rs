//! The map of one slot, ordered by key bytes.
//!
//! Owns its entries and which of them changed since the last snapshot. Knows nothing of slots and keys.
//!
//! Invariants: an entry that is frozen and not encoded is encoded before it changes, so a snapshot never
//! copies a map; the encoder goes through it in key order, and what was encoded ahead of it is remembered
//! until it comes by, as long as it would come by; `bytes` is what is held, as of the last change.
//!
//! Marks hold keys, and a map that is filled and emptied in turn has marks of far more keys than entries. So marks of changed
//! entries never take more than the entries: by then the map is marked as a whole, and a snapshot writes all of it, which is
//! less. What a snapshot in flight keeps of an earlier, larger map counts for what it takes beyond the entries.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::ITEM_OVERHEAD_BYTES;
use super::budget::Budget;
use super::marks::{Layers, Marks, Tracker};
use super::parts::Parts;
use crate::snapshot::{Item, put_entry};
use crate::state::{ExpiresAt, NEVER};

#[derive(Default)]
pub(super) struct Map {
    entries: BTreeMap<Box<[u8]>, MapItem>,
    /// What a snapshot has of a long owner's key with each entry, which counts for each.
    owner_bytes: u64,
    /// Of the entries.
    entry_bytes: u64,
    /// What the map counts for, as of its last change.
    bytes: u64,
    /// What changed since when; none while nothing is tracked.
    tracking: Option<Box<Tracking>>,
    /// Where the search for expired entries stands, if it is inside.
    search: Option<Box<Search>>,
}

/// A search for expired entries.
struct Search {
    /// Entries up to this one were looked at.
    last: Box<[u8]>,
    /// The earliest expiry of those that are left.
    next: ExpiresAt,
}

/// What a slice of a search has found.
pub(super) struct Found {
    /// Entries that have expired.
    pub(super) due: Vec<Box<[u8]>>,
    /// The earliest expiry of all others; when the search has come to the end.
    pub(super) next: Option<ExpiresAt>,
}

/// The value of a map entry and its expiry.
type MapItem = (Box<[u8]>, ExpiresAt);

#[derive(Default)]
struct Tracking {
    marks: Layers<MapMarks>,
    walk: Walk,
}

/// What of a map changed.
#[derive(Default)]
struct MapMarks {
    /// Everything: the map was made anew, and entries of earlier snapshots are no part of it.
    cleared: bool,
    /// These entries; empty when everything did.
    entries: BTreeSet<Box<[u8]>>,
    /// What `entries` take.
    bytes: u64,
}

/// The encoder's way through the frozen entries.
#[derive(Default)]
struct Walk {
    /// All entries are frozen, not those of the marks only.
    all: bool,
    /// That earlier entries are gone is to be written first.
    head: bool,
    /// Entries up to this one are done.
    last: Option<Box<[u8]>>,
    /// While all entries are frozen: those behind `last` that are done, or were not there when the map was frozen.
    ahead: BTreeSet<Box<[u8]>>,
}

impl Marks for MapMarks {
    fn merge(&mut self, mut other: Self) {
        if self.cleared || other.cleared {
            return self.clear();
        }
        if self.entries.len() < other.entries.len() {
            std::mem::swap(self, &mut other);
        }
        other.entries.into_iter().for_each(|key| self.insert(key));
    }
}

impl MapMarks {
    fn insert(&mut self, key: Box<[u8]>) {
        let bytes = mark_bytes(&key);
        self.bytes += if self.entries.insert(key) { bytes } else { 0 };
    }

    fn remove(&mut self, key: &[u8]) {
        self.bytes -= if self.entries.remove(key) { mark_bytes(key) } else { 0 };
    }

    /// Everything changed.
    fn clear(&mut self) {
        *self = Self { cleared: true, ..Self::default() };
    }
}

impl Walk {
    /// Entries behind this one are still to come.
    fn from(&self) -> Bound<&[u8]> {
        self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
    }
}

/// Entries that one slice of a search for expired ones looks at.
const SEARCH_ENTRIES: usize = 1024;
/// Bytes of an owner's key that an entry's overhead makes up for.
const SHORT_OWNER_BYTES: usize = 64;

fn mark_bytes(key: &[u8]) -> u64 {
    key.len() as u64 + ITEM_OVERHEAD_BYTES
}

fn entry_bytes(key: &[u8], value: &[u8]) -> u64 {
    key.len() as u64 + value.len() as u64 + 2 * ITEM_OVERHEAD_BYTES
}

/// Encodes what the map has for `sub`, or that it has nothing.
fn put(out: &mut Parts, key: &[u8], sub: &[u8], item: Option<&MapItem>) {
    let entry = match item {
        Some((bytes, expires_at)) => Item::MapEntry { key: sub, bytes, expires_at: *expires_at },
        None => Item::MapEntryGone { key: sub },
    };
    put_entry(out.next(), key, entry);
}

impl Map {
    /// A map of a slot whose key has so many bytes.
    pub(super) fn of(owner: &[u8]) -> Self {
        let owner_bytes = owner.len().saturating_sub(SHORT_OWNER_BYTES) as u64;
        Self { owner_bytes, ..Self::default() }
    }

    /// The same, which no snapshot holds yet.
    pub(super) fn new(owner: &[u8], tracker: &Tracker) -> Self {
        let mut map = Self::of(owner);
        if tracker.on {
            map.catch_up(tracker).marks.dirty.clear();
        }
        map
    }

    /// What the map counts for, as of its last change: all entries, with the overhead of holding them, or what marks take if that is
    /// more.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Brings the marks up to date; to be called, while tracking is on, before the map changes.
    fn catch_up(&mut self, tracker: &Tracker) -> &mut Tracking {
        let tracking = self.tracking.get_or_insert_default();
        if tracking.marks.catch_up(tracker) {
            let is_cleared = tracking.marks.frozen.cleared;
            tracking.walk = Walk {
                all: tracker.full || is_cleared,
                head: is_cleared && !tracker.full,
                ..Walk::default()
            };
        }
        tracking
    }

    /// Marks an entry that is about to change. When the map is frozen and not encoded, `frozen` says where
    /// the entry is to be encoded first, if it has not been.
    pub(super) fn touch(
        &mut self,
        key: &[u8],
        tracker: &Tracker,
        frozen: Option<(&[u8], &mut Parts)>,
    ) {
        if !tracker.on {
            return;
        }
        self.catch_up(tracker);
        let Some(Tracking { marks, walk }) = self.tracking.as_deref_mut() else {
            return;
        };
        if let Some((owner, out)) = frozen {
            let is_behind = walk.last.as_deref().is_none_or(|last| key > last);
            let item = self.entries.get(key);
            if is_behind && !walk.all && marks.frozen.entries.contains(key) {
                put(out, owner, key, item);
                // The encoder does not come by it any more. An aborted snapshot gives no mark back that is made anew below.
                marks.frozen.remove(key);
            } else if is_behind && walk.all && !walk.ahead.contains(key) {
                if item.is_some() {
                    put(out, owner, key, item);
                }
                walk.ahead.insert(key.into());
            }
        }
        if !marks.dirty.cleared && !marks.dirty.entries.contains(key) {
            marks.dirty.insert(key.into());
        }
    }

    /// Sets or removes an entry.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>, expires_at: ExpiresAt) {
        let old = match value {
            Some(value) => {
                self.entry_bytes += entry_bytes(key, value) + self.owner_bytes;
                self.entries.insert(key.into(), (value.into(), expires_at))
            }
            None => self.entries.remove(key),
        };
        self.entry_bytes -= old.map_or(0, |(old, _)| entry_bytes(key, &old) + self.owner_bytes);
        self.bytes = self.entry_bytes;
        if let Some(Tracking { marks, walk }) = self.tracking.as_deref_mut() {
            if value.is_none() {
                // The encoder does not come by it. Written anew it is done again, by being no part of what was frozen.
                walk.ahead.remove(key);
            }
            if marks.dirty.bytes > self.entry_bytes {
                marks.dirty.clear();
            }
            self.bytes = self.bytes.max(marks.dirty.bytes + marks.frozen.bytes);
        }
    }

    /// Puts back an entry of a snapshot.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8], expires_at: ExpiresAt) {
        self.write(key, Some(value), expires_at);
    }

    /// Whether there is an entry `key`, expired or not.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether the entry `key` is alive and has another expiry.
    pub(super) fn would_refresh(&self, key: &[u8], now_ms: i64, expires_at: ExpiresAt) -> bool {
        let expires = self.entries.get(key).map(|(_, expires)| *expires);
        expires.is_some_and(|expires| expires > now_ms && expires != expires_at)
    }

    /// Gives the entry `key` a new expiry.
    pub(super) fn refresh(&mut self, key: &[u8], expires_at: ExpiresAt) {
        if let Some((_, expires)) = self.entries.get_mut(key) {
            *expires = expires_at;
        }
    }

    /// Looks for entries that have expired, at no more than [`SEARCH_ENTRIES`], from where the search stands.
    pub(super) fn search_expired(&mut self, now_ms: i64) -> Found {
        let (last, mut next) =
            self.search.take().map_or((None, NEVER), |search| (Some(search.last), search.next));
        let from = last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut due = Vec::new();
        let mut entries = self.entries.range::<[u8], _>((from, Bound::Unbounded));
        let mut newest = None;
        for (key, (_, expires)) in entries.by_ref().take(SEARCH_ENTRIES) {
            newest = Some(key);
            if *expires <= now_ms {
                due.push(key.clone());
            } else {
                next = next.min(*expires);
            }
        }
        if let (Some(newest), Some(_)) = (newest, entries.next()) {
            self.search = Some(Box::new(Search { last: newest.clone(), next }));
            return Found { due, next: None };
        }
        Found { due, next: Some(next) }
    }

    pub(super) fn get(&self, key: &[u8], now_ms: i64) -> Option<&[u8]> {
        self.entries.get(key).filter(|(_, expires)| *expires > now_ms).map(|(value, _)| &**value)
    }

    pub(super) fn scan(
        &self,
        start: &[u8],
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) {
        let range = self.entries.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        for (key, (value, expires)) in range {
            if *expires > now_ms && !each(key, value) {
                return;
            }
        }
    }

    /// Readies a map that is taken out of its slot while frozen and not encoded.
    pub(super) fn detach(&mut self, tracker: &Tracker) {
        self.catch_up(tracker);
    }

    /// Encodes frozen entries as far as the budget goes; answers whether that is all of them.
    pub(super) fn encode(&mut self, owner: &[u8], budget: &mut Budget, out: &mut Parts) -> bool {
        let Some(Tracking { marks, walk }) = self.tracking.as_deref_mut() else {
            return true;
        };
        if std::mem::take(&mut walk.head) {
            put_entry(out.next(), owner, Item::MapCleared);
        }
        let mut one = |key: &'_ [u8], item: Option<&MapItem>| {
            if walk.ahead.contains(key) {
                budget.look();
            } else {
                put(out, owner, key, item);
                let bytes = item.map_or(0, |(bytes, _)| bytes.len());
                budget.spend(owner.len() + key.len() + bytes);
            }
            budget.is_spent()
        };
        let range = (walk.from(), Bound::Unbounded);
        let last = if walk.all {
            let mut entries = self.entries.range::<[u8], _>(range);
            entries.find(|(key, item)| one(key, Some(item))).map(|(key, _)| key)
        } else {
            let mut keys = marks.frozen.entries.range::<[u8], _>(range);
            keys.find(|key| one(key, self.entries.get(&***key)))
        };
        // The budget may have ended with the last entry; the next slice finds nothing more then.
        let last = last.cloned();
        let is_done = last.is_none();
        walk.last = last.or(walk.last.take());
        is_done
    }

    /// As [`Map::encode`], for a map that stands in its slot.
    pub(super) fn encode_in_place(
        &mut self,
        owner: &[u8],
        tracker: &Tracker,
        budget: &mut Budget,
        out: &mut Parts,
    ) -> bool {
        self.catch_up(tracker);
        self.encode(owner, budget, out)
    }

    /// Takes a detached map apart as far as the budget goes, so that dropping it never takes long; answers
    /// whether nothing is left.
    pub(super) fn take_apart(&mut self, budget: &mut Budget) -> bool {
        while !budget.is_spent() {
            if self.entries.pop_first().is_none() {
                return true;
            }
            budget.look();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes an entry of a map that is not to be encoded first.
    fn change(map: &mut Map, tracker: &Tracker, key: u32, value: Option<&[u8]>) {
        map.touch(&key.to_be_bytes(), tracker, None);
        map.write(&key.to_be_bytes(), value, NEVER);
    }

    /// A map of so many entries that a snapshot holds.
    fn saved(entries: u32) -> (Map, Tracker) {
        let mut tracker = Tracker::default();
        tracker.turn_on();
        let mut map = Map::new(b"owner", &tracker);
        (0..entries).for_each(|key| change(&mut map, &tracker, key, Some(b"v")));
        tracker.freeze(false);
        tracker.settle(true);
        (map, tracker)
    }

    fn dirty(map: &Map) -> &MapMarks {
        &map.tracking.as_deref().unwrap().marks.dirty
    }

    #[test]
    fn marks_of_a_map_that_is_filled_and_emptied_never_take_more_than_its_entries() {
        let (mut map, tracker) = saved(1);
        let before = map.bytes();
        for key in 1..10_000 {
            change(&mut map, &tracker, key, Some(b""));
            change(&mut map, &tracker, key, None);
            assert!(dirty(&map).bytes <= map.entry_bytes);
        }
        assert_eq!(map.bytes(), before);
        assert!(dirty(&map).cleared && dirty(&map).entries.is_empty());
    }

    #[test]
    fn entries_of_an_owner_with_a_long_key_count_as_a_snapshot_has_them() {
        let mut map = Map::of(&[7; 4096]);
        let tracker = Tracker::default();
        (0..10).for_each(|key| change(&mut map, &tracker, key, Some(b"v")));
        assert!(map.bytes() >= 10 * (4096 + 5));
        (0..10).for_each(|key| change(&mut map, &tracker, key, None));
        assert_eq!(map.bytes(), 0);
    }

    #[test]
    fn a_map_of_which_some_entries_change_is_not_written_as_a_whole() {
        let (mut map, tracker) = saved(100);
        (50..150).for_each(|key| change(&mut map, &tracker, key, Some(b"w")));
        (0..30).for_each(|key| change(&mut map, &tracker, key, None));
        assert!(!dirty(&map).cleared);
        assert_eq!(dirty(&map).entries.len(), 130);
        assert_eq!(map.bytes(), 120 * entry_bytes(&[0; 4], b"w"));
    }

    #[test]
    fn marks_that_a_snapshot_keeps_of_a_larger_map_count_until_it_is_settled() {
        let (mut map, mut tracker) = saved(100);
        (0..100).for_each(|key| change(&mut map, &tracker, key, Some(b"w")));
        tracker.freeze(false);
        (1..100).for_each(|key| change(&mut map, &tracker, key, None));
        assert!(map.bytes() >= 100 * mark_bytes(&[0; 4]));
        tracker.settle(true);
        change(&mut map, &tracker, 0, Some(b"x"));
        assert_eq!(map.bytes(), entry_bytes(&[0; 4], b"x"));
    }
}
