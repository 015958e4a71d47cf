//! The map of one slot, ordered by key bytes.
//!
//! Owns its entries and which of them changed since the last snapshot. Knows nothing of slots and keys.
//!
//! Invariants: an entry that is frozen and not encoded is encoded before it changes, so a snapshot never
//! copies a map; the encoder goes through it in key order, and what was encoded ahead of it is remembered
//! until it comes by; `bytes` is the sum over what is held.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::ITEM_OVERHEAD_BYTES;
use super::budget::Budget;
use super::marks::{Layers, Marks, Tracker};
use super::parts::Parts;
use crate::snapshot::{Item, put_entry};
use crate::state::ExpiresAt;

#[derive(Default)]
pub(super) struct Map {
    entries: BTreeMap<Box<[u8]>, MapItem>,
    bytes: u64,
    /// What changed since when; none while nothing is tracked.
    tracking: Option<Box<Tracking>>,
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
    /// Entries behind `last` that are done, or were not there when the map was frozen.
    ahead: BTreeSet<Box<[u8]>>,
}

impl Marks for MapMarks {
    fn merge(&mut self, mut other: Self) {
        self.cleared |= other.cleared;
        if self.cleared {
            self.entries = BTreeSet::new();
            return;
        }
        if self.entries.len() < other.entries.len() {
            std::mem::swap(&mut self.entries, &mut other.entries);
        }
        self.entries.extend(other.entries);
    }
}

impl Walk {
    /// Entries behind this one are still to come.
    fn from(&self) -> Bound<&[u8]> {
        self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded)
    }
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
    /// A map that no snapshot holds yet.
    pub(super) fn new(tracker: &Tracker) -> Self {
        let mut map = Self::default();
        if tracker.on {
            map.catch_up(tracker).marks.dirty.cleared = true;
        }
        map
    }

    /// Bytes of all entries, with the overhead of holding them.
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
            let is_frozen = walk.all || marks.frozen.entries.contains(key);
            if is_behind && is_frozen && walk.ahead.insert(key.into()) {
                let item = self.entries.get(key);
                if item.is_some() || !walk.all {
                    put(out, owner, key, item);
                }
            }
        }
        if !marks.dirty.cleared && !marks.dirty.entries.contains(key) {
            marks.dirty.entries.insert(key.into());
        }
    }

    /// Sets or removes an entry.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>, expires_at: ExpiresAt) {
        let old = match value {
            Some(value) => {
                self.bytes += entry_bytes(key, value);
                self.entries.insert(key.into(), (value.into(), expires_at))
            }
            None => self.entries.remove(key),
        };
        self.bytes -= old.map_or(0, |(old, _)| entry_bytes(key, &old));
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

    /// Keys of the entries that have expired, and the earliest expiry of the others; `now_ms` when there
    /// are no others.
    pub(super) fn expired(&self, now_ms: i64) -> (Vec<Box<[u8]>>, ExpiresAt) {
        let mut next = None;
        let mut due = Vec::new();
        for (key, (_, expires)) in &self.entries {
            if *expires <= now_ms {
                due.push(key.clone());
            } else {
                next = Some(next.map_or(*expires, |next: i64| next.min(*expires)));
            }
        }
        (due, next.unwrap_or(now_ms))
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
