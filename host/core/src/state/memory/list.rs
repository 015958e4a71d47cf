//! The list of one slot: chunks, appended to at the end, dropped when all their items have expired.
//!
//! Owns the numbering of chunks and which of them changed since the last snapshot. Chunks are the unit of
//! a snapshot: numbered in order for as long as the list is there, and a chunk of the same number in a
//! newer snapshot stands in place of the older. Knows nothing of slots and keys.
//!
//! Invariants: a chunk that is frozen and not encoded is not changed (its items are appended to a new one;
//! when its expiries change, or it is dropped, it is set aside as it was), so that nothing of a list is
//! ever copied because of a snapshot but expiries; `bytes` is the sum over what is held.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ITEM_OVERHEAD_BYTES;
use super::budget::Budget;
use super::marks::{Layers, Marks, Tracker};
use super::parts::Parts;
use crate::column::BytesColumn;
use crate::limits::KIB;
use crate::snapshot::{Item, put_chunk, put_entry};
use crate::state::{ExpiresAt, NEVER};

/// A list chunk takes no more items once it has this many bytes.
const CHUNK_BYTES: usize = 64 * KIB;
/// A chunk that earlier snapshots hold takes more items while it is smaller: writing it again costs less
/// than chunks of few items.
const REOPENED_BYTES_MAX: usize = 4 * KIB;

#[derive(Default)]
pub(super) struct List {
    chunks: VecDeque<Chunk>,
    /// Number of the next chunk.
    next: u64,
    bytes: u64,
    /// What changed since when; none while nothing is tracked.
    tracking: Option<Box<Tracking>>,
}

/// A clone shares the items.
#[derive(Clone)]
struct Chunk {
    number: u64,
    items: Arc<BytesColumn>,
    /// Expiry per item; empty when no item of the chunk expires.
    expires: Vec<ExpiresAt>,
}

#[derive(Default)]
struct Tracking {
    marks: Layers<ListMarks>,
    walk: Walk,
}

/// What of a list changed.
struct ListMarks {
    /// Chunks with this number and above.
    from: u64,
    /// The list was made anew: chunks of earlier snapshots are no part of it.
    cleared: bool,
    /// Chunks were dropped.
    trimmed: bool,
}

/// The encoder's way through the frozen chunks.
#[derive(Default)]
struct Walk {
    /// Chunks with a number below are done or not to be encoded.
    next: u64,
    /// Chunks with this number and above are not frozen.
    end: u64,
    /// The head to write first: cleared, and the first number of the list when it was frozen.
    head: Option<(bool, u64)>,
}

impl Default for ListMarks {
    fn default() -> Self {
        Self { from: u64::MAX, cleared: false, trimmed: false }
    }
}

impl Marks for ListMarks {
    fn merge(&mut self, other: Self) {
        self.from = self.from.min(other.from);
        self.cleared |= other.cleared;
        self.trimmed |= other.trimmed;
    }
}

impl Chunk {
    fn bytes(&self) -> u64 {
        (self.items.bytes() + size_of_val(&*self.expires)) as u64 + ITEM_OVERHEAD_BYTES
    }

    fn is_live(&self, now_ms: i64) -> bool {
        self.expires.is_empty() || self.expires.iter().any(|expires| *expires > now_ms)
    }
}

impl List {
    /// A list that no snapshot holds yet.
    pub(super) fn new(tracker: &Tracker) -> Self {
        let mut list = Self::default();
        if tracker.on {
            list.catch_up(tracker).dirty = ListMarks { from: 0, cleared: true, trimmed: false };
        }
        list
    }

    /// Bytes of all items, with the overhead of holding them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Brings the marks up to date; to be called, while tracking is on, before the list changes.
    fn catch_up(&mut self, tracker: &Tracker) -> &mut Layers<ListMarks> {
        let first = self.chunks.front().map_or(self.next, |chunk| chunk.number);
        let tracking = self.tracking.get_or_insert_default();
        if tracking.marks.catch_up(tracker) && tracker.in_flight {
            let frozen = &tracking.marks.frozen;
            let has_head = !tracker.full && (frozen.cleared || frozen.trimmed);
            tracking.walk = Walk {
                next: if tracker.full { 0 } else { frozen.from },
                end: self.next,
                head: has_head.then_some((frozen.cleared, first)),
            };
        }
        &mut tracking.marks
    }

    /// Appends items. `is_frozen`: the list is frozen and not encoded.
    pub(super) fn append(
        &mut self,
        items: &BytesColumn,
        expires_at: ExpiresAt,
        tracker: &Tracker,
        is_frozen: bool,
    ) {
        let mut dirty_from = 0;
        if tracker.on {
            dirty_from = self.catch_up(tracker).dirty.from;
        }
        let closed_below = match (&self.tracking, is_frozen) {
            (Some(tracking), true) => tracking.walk.end,
            _ => 0,
        };
        let has_room = |chunk: &Chunk, item: &[u8], dirty_from: u64| {
            let bytes = chunk.items.bytes();
            let is_dirty = chunk.number >= dirty_from;
            bytes + item.len() <= if is_dirty { CHUNK_BYTES } else { REOPENED_BYTES_MAX }
                && chunk.number >= closed_below
                && chunk.expires.is_empty() == (expires_at == NEVER)
        };
        for item in items.iter() {
            if !self.chunks.back().is_some_and(|chunk| has_room(chunk, item, dirty_from)) {
                let items = Arc::default();
                self.chunks.push_back(Chunk { number: self.next, items, expires: Vec::new() });
                self.next += 1;
                self.bytes += ITEM_OVERHEAD_BYTES;
            }
            let Some(chunk) = self.chunks.back_mut() else {
                return;
            };
            Arc::make_mut(&mut chunk.items).push(item);
            self.bytes += (item.len() + size_of::<u32>()) as u64;
            if expires_at != NEVER {
                chunk.expires.push(expires_at);
                self.bytes += size_of::<ExpiresAt>() as u64;
            }
            dirty_from = dirty_from.min(chunk.number);
        }
        if let (Some(tracking), true) = (&mut self.tracking, tracker.on) {
            tracking.marks.dirty.from = dirty_from;
        }
    }

    /// Puts back a chunk of a snapshot; chunks come in the order of their numbers. Answers whether this
    /// one did.
    pub(super) fn restore(
        &mut self,
        number: u64,
        items: BytesColumn,
        expires: Vec<ExpiresAt>,
    ) -> bool {
        let is_in_order = number >= self.next && number != u64::MAX;
        if is_in_order {
            let chunk = Chunk { number, items: Arc::new(items), expires };
            self.bytes += chunk.bytes();
            self.next = number + 1;
            self.chunks.push_back(chunk);
        }
        is_in_order
    }

    pub(super) fn len(&self, now_ms: i64) -> u64 {
        let live = |chunk: &Chunk| match chunk.expires.len() {
            0 => chunk.items.len(),
            _ => chunk.expires.iter().filter(|expires| **expires > now_ms).count(),
        };
        self.chunks.iter().map(|chunk| live(chunk) as u64).sum()
    }

    pub(super) fn read(&self, now_ms: i64, start: u64, each: &mut dyn FnMut(&[u8]) -> bool) {
        let mut skip = start;
        for chunk in &self.chunks {
            let items = chunk.items.len();
            if chunk.expires.is_empty() && skip >= items as u64 {
                skip -= items as u64;
                continue;
            }
            for index in 0..items {
                if chunk.expires.get(index).is_some_and(|expires| *expires <= now_ms) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if !each(chunk.items.get(index)) {
                    return;
                }
            }
        }
    }

    /// Whether a refresh would change anything.
    pub(super) fn would_refresh(&self, now_ms: i64, expires_at: ExpiresAt) -> bool {
        let mut expiries = self.chunks.iter().flat_map(|chunk| &chunk.expires);
        expiries.any(|expires| *expires > now_ms && *expires != expires_at)
    }

    /// Gives all live items a new expiry. Answers the frozen chunks as they were when the list `is_frozen`
    /// and not encoded: they take its place in the snapshot. That copies expiries, which this goes through
    /// anyway, and no items.
    pub(super) fn refresh(
        &mut self,
        now_ms: i64,
        expires_at: ExpiresAt,
        tracker: &Tracker,
        is_frozen: bool,
    ) -> Option<Box<Self>> {
        let mut image = None;
        if tracker.on {
            self.catch_up(tracker).dirty.from = 0;
            image = is_frozen.then(|| self.image());
        }
        for expires in self.chunks.iter_mut().flat_map(|chunk| &mut chunk.expires) {
            if *expires > now_ms {
                *expires = expires_at;
            }
        }
        image
    }

    /// The rest of the frozen chunks, and the encoder's way through them.
    fn image(&mut self) -> Box<Self> {
        let mut image = Self::default();
        if let Some(tracking) = &mut self.tracking {
            let range = tracking.walk.next..tracking.walk.end;
            let frozen = self.chunks.iter().filter(|chunk| range.contains(&chunk.number));
            image.chunks = frozen.cloned().collect();
            let walk = std::mem::take(&mut tracking.walk);
            image.tracking = Some(Box::new(Tracking { walk, marks: Layers::default() }));
        }
        Box::new(image)
    }

    /// Earliest expiry of all items, and whether a chunk is to be dropped at `now_ms`.
    pub(super) fn expiry(&self, now_ms: i64) -> (ExpiresAt, bool) {
        let live = self.chunks.iter().flat_map(|chunk| &chunk.expires).filter(|e| **e > now_ms);
        let is_due = self.chunks.iter().any(|chunk| !chunk.is_live(now_ms));
        (live.copied().min().unwrap_or(NEVER), is_due)
    }

    /// Drops chunks of which every item has expired. Answers those of them that are frozen when the list
    /// `is_frozen` and not encoded.
    pub(super) fn expire(
        &mut self,
        now_ms: i64,
        tracker: &Tracker,
        is_frozen: bool,
    ) -> Option<Box<Self>> {
        let mut frozen = 0..0;
        if tracker.on {
            self.catch_up(tracker).dirty.trimmed = true;
        }
        if let (Some(tracking), true) = (&self.tracking, is_frozen) {
            frozen = tracking.walk.next..tracking.walk.end;
        }
        let mut dropped = Self::default();
        for _ in 0..self.chunks.len() {
            let Some(chunk) = self.chunks.pop_front() else {
                break;
            };
            if chunk.is_live(now_ms) {
                self.chunks.push_back(chunk);
                continue;
            }
            self.bytes -= chunk.bytes();
            if frozen.contains(&chunk.number) {
                dropped.chunks.push_back(chunk);
            }
        }
        if dropped.is_empty() {
            return None;
        }
        let walk = Walk { next: frozen.start, end: frozen.end, head: None };
        dropped.tracking = Some(Box::new(Tracking { walk, marks: Layers::default() }));
        Some(Box::new(dropped))
    }

    /// Readies a list that is taken out of its slot while frozen and not encoded.
    pub(super) fn detach(&mut self, tracker: &Tracker) {
        self.catch_up(tracker);
    }

    /// Encodes frozen chunks as far as the budget goes; answers whether that is all of them.
    pub(super) fn encode(&mut self, key: &[u8], budget: &mut Budget, out: &mut Parts) -> bool {
        let Some(tracking) = &mut self.tracking else {
            return true;
        };
        let walk = &mut tracking.walk;
        if let Some((cleared, first)) = walk.head.take() {
            put_entry(out.next(), key, Item::ListHead { cleared, first });
        }
        let start = self.chunks.partition_point(|chunk| chunk.number < walk.next);
        for chunk in self.chunks.range(start..) {
            if chunk.number >= walk.end {
                break;
            }
            if budget.is_spent() {
                return false;
            }
            put_chunk(out.next(), key, chunk.number, &chunk.items, &chunk.expires);
            budget.spend(chunk.items.bytes());
            walk.next = chunk.number + 1;
        }
        true
    }

    /// As [`List::encode`], for a list that stands in its slot.
    pub(super) fn encode_in_place(
        &mut self,
        key: &[u8],
        tracker: &Tracker,
        budget: &mut Budget,
        out: &mut Parts,
    ) -> bool {
        self.catch_up(tracker);
        self.encode(key, budget, out)
    }
}
