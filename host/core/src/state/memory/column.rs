//! The items of one state in one key group, by dense slot.
//!
//! Owns the three shapes (value, list, map), where they lie, and reading them; `changes` changes them and
//! `encode` puts them into a snapshot. Knows nothing of keys. Invariant: `bytes` is the sum over what is
//! held; an item whose expiry is not after `now` is never returned.

use prefetch_index::prefetch_index;

use super::capture::Capture;
use super::list::List;
use super::map::Map;
use super::marks::Tracker;
use crate::column::Layout;
use crate::describe::{StateDescription, StateKind};
use crate::snapshot::Buffers;
use crate::state::{ExpiresAt, NEVER};

/// Widest fixed-width value that lies in a dense column; a wider one lies on the heap, so that a slot
/// without it takes no room.
const DENSE_WIDTH_MAX: u32 = 64;

/// Longest value that is copied in one size that fits all.
const SHORT_BYTES: usize = 16;

/// The items of one state in one key group.
pub(super) struct StateColumn {
    pub(super) layout: Layout,
    pub(super) items: Items,
    /// Expiry per slot, for value states with a time to live; empty otherwise.
    pub(super) expires: Vec<ExpiresAt>,
    pub(super) has_ttl: bool,
    pub(super) bytes: u64,
    pub(super) capture: Capture,
}

pub(super) enum Items {
    FixedValues { present: Vec<u64>, data: Vec<u8> },
    Values(Vec<Option<Box<[u8]>>>),
    Lists(Vec<Option<Box<List>>>),
    Maps(Vec<Option<Box<Map>>>),
}

impl StateColumn {
    pub(super) fn new(description: &StateDescription, buffers: &Buffers) -> Self {
        let layout = Layout::of(description.width);
        let items = match (description.kind, layout) {
            (StateKind::Value, Layout::Fixed(width)) if width <= DENSE_WIDTH_MAX => {
                Items::FixedValues { present: Vec::new(), data: Vec::new() }
            }
            (StateKind::Value, _) => Items::Values(Vec::new()),
            (StateKind::List, _) => Items::Lists(Vec::new()),
            (StateKind::Map, _) => Items::Maps(Vec::new()),
        };
        let has_ttl = description.ttl.is_some();
        Self {
            layout,
            items,
            expires: Vec::new(),
            has_ttl,
            bytes: 0,
            capture: Capture::new(buffers),
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that the dense part of the column takes for each slot, whether it holds something or not.
    pub(super) fn slot_bytes(&self) -> u64 {
        let dense = match &self.items {
            Items::FixedValues { .. } => fixed_width(self.layout) + 1,
            Items::Values(_) => size_of::<Option<Box<[u8]>>>(),
            Items::Lists(_) | Items::Maps(_) => size_of::<Option<Box<List>>>(),
        };
        (dense + if self.has_ttl { size_of::<ExpiresAt>() } else { 0 }) as u64
    }

    /// Makes room so that `slot` can be written. Reading needs no room: what was never written takes
    /// none.
    #[inline]
    pub(super) fn reach(&mut self, slot: usize) {
        let slots = slot + 1;
        match &mut self.items {
            Items::FixedValues { present, data } => {
                let width = fixed_width(self.layout);
                if data.len() < slots * width {
                    data.resize(slots * width, 0);
                    present.resize(slots.div_ceil(64), 0);
                }
            }
            Items::Values(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Lists(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Maps(items) if items.len() < slots => items.resize_with(slots, || None),
            Items::Values(_) | Items::Lists(_) | Items::Maps(_) => {}
        }
        if self.has_ttl && self.expires.len() < slots {
            self.expires.resize(slots, NEVER);
        }
    }

    /// Gives back the room of all slots, of which none holds anything.
    pub(super) fn give_slots_back(&mut self) {
        match &mut self.items {
            Items::FixedValues { present, data } => (*present, *data) = (Vec::new(), Vec::new()),
            Items::Values(items) => *items = Vec::new(),
            Items::Lists(items) => *items = Vec::new(),
            Items::Maps(items) => *items = Vec::new(),
        }
        self.expires = Vec::new();
    }

    /// Makes room so that `slots` can be reached without moving what is there.
    pub(super) fn reserve(&mut self, slots: usize) {
        let more = slots.saturating_sub(self.slots());
        match &mut self.items {
            Items::FixedValues { present, data } => {
                data.reserve(more * fixed_width(self.layout));
                present.reserve(more.div_ceil(64));
            }
            Items::Values(items) => items.reserve(more),
            Items::Lists(items) => items.reserve(more),
            Items::Maps(items) => items.reserve(more),
        }
        if self.has_ttl {
            self.expires.reserve(more);
        }
    }

    /// Whether the slot holds anything, expired or not.
    #[inline]
    pub(super) fn holds(&self, slot: usize) -> bool {
        match &self.items {
            Items::FixedValues { present, .. } => {
                present.get(slot / 64).is_some_and(|bits| bits & (1 << (slot % 64)) != 0)
            }
            Items::Values(items) => items.get(slot).is_some_and(Option::is_some),
            Items::Lists(items) => items.get(slot).is_some_and(Option::is_some),
            Items::Maps(items) => items.get(slot).is_some_and(Option::is_some),
        }
    }

    /// Slots that were ever reached; none above holds anything.
    pub(super) fn slots(&self) -> usize {
        match &self.items {
            Items::FixedValues { present, .. } => present.len() * 64,
            Items::Values(items) => items.len(),
            Items::Lists(items) => items.len(),
            Items::Maps(items) => items.len(),
        }
    }

    /// Which of the slots `64 * word` and on hold something.
    pub(super) fn held(&self, word: usize) -> u64 {
        match &self.items {
            Items::FixedValues { present, .. } => present.get(word).copied().unwrap_or(0),
            _ => {
                (0..64).filter(|bit| self.holds(word * 64 + bit)).fold(0, |all, bit| all | 1 << bit)
            }
        }
    }

    /// Whether a snapshot to come, or the one in flight, needs the slot's key.
    pub(super) fn is_marked(&self, slot: usize, tracker: &Tracker) -> bool {
        self.capture.is_marked(slot, tracker)
    }

    pub(super) fn expiry(&self, slot: usize) -> ExpiresAt {
        self.expires.get(slot).copied().unwrap_or(NEVER)
    }

    /// The width of the values, where they lie side by side.
    pub(super) fn dense_width(&self) -> Option<usize> {
        match &self.items {
            Items::FixedValues { .. } => Some(fixed_width(self.layout)),
            _ => None,
        }
    }

    /// Bytes that reading the value of any slot takes, where all take the same: in a column of fixed width one that is not
    /// there takes as much as another. 0 for lists and maps, which are read in pages.
    pub(super) fn read_width(&self) -> Option<usize> {
        match (&self.items, self.layout) {
            (Items::Lists(_) | Items::Maps(_), _) => Some(0),
            (_, Layout::Fixed(width)) => Some(width as usize),
            (_, Layout::Variable) => None,
        }
    }

    /// Bytes that reading the value at `slot` takes.
    pub(super) fn read_bytes(&self, slot: usize) -> usize {
        self.read_width().unwrap_or_else(|| self.value_bytes(slot))
    }

    /// Has the memory fetch the item of a slot, or the place that leads to it.
    #[inline]
    pub(super) fn prefetch(&self, slot: usize) {
        match &self.items {
            Items::FixedValues { data, .. } => {
                prefetch_index(&data[..], slot * fixed_width(self.layout));
            }
            Items::Values(items) => prefetch_index(&items[..], slot),
            Items::Lists(items) => prefetch_index(&items[..], slot),
            Items::Maps(items) => prefetch_index(&items[..], slot),
        }
    }

    /// Bytes of the value at `slot`; 0 for lists and maps, which are read in pages.
    pub(super) fn value_bytes(&self, slot: usize) -> usize {
        match &self.items {
            Items::FixedValues { .. } => fixed_width(self.layout),
            Items::Values(items) => {
                items.get(slot).and_then(Option::as_ref).map_or(0, |item| item.len())
            }
            Items::Lists(_) | Items::Maps(_) => 0,
        }
    }

    #[inline]
    pub(super) fn value(&self, slot: usize, now_ms: i64) -> Option<&[u8]> {
        if self.has_ttl && self.expiry(slot) <= now_ms {
            return None;
        }
        match &self.items {
            Items::FixedValues { data, .. } => {
                let width = fixed_width(self.layout);
                self.holds(slot).then(|| &data[slot * width..(slot + 1) * width])
            }
            Items::Values(items) => items.get(slot)?.as_deref(),
            Items::Lists(_) | Items::Maps(_) => unreachable!("the kind was checked"),
        }
    }

    /// The value at `slot`, if it is short, does not expire, and others follow it: the first bytes of these, and how
    /// many.
    #[inline]
    pub(super) fn short_value(&self, slot: usize) -> Option<(&[u8; SHORT_BYTES], usize)> {
        let Items::FixedValues { data, .. } = &self.items else {
            return None;
        };
        let width = fixed_width(self.layout);
        if width > SHORT_BYTES || self.has_ttl || !self.holds(slot) {
            return None;
        }
        Some((data[slot * width..].first_chunk()?, width))
    }

    pub(super) fn list(&self, slot: usize) -> Option<&List> {
        match &self.items {
            Items::Lists(items) => items.get(slot)?.as_deref(),
            _ => unreachable!("the kind was checked"),
        }
    }

    pub(super) fn map(&self, slot: usize) -> Option<&Map> {
        match &self.items {
            Items::Maps(items) => items.get(slot)?.as_deref(),
            _ => unreachable!("the kind was checked"),
        }
    }
}

pub(super) fn fixed_width(layout: Layout) -> usize {
    match layout {
        Layout::Fixed(width) => width as usize,
        Layout::Variable => 0,
    }
}

/// Copies a value of fixed width. Usual widths are known to the compiler, which copies without a call.
#[inline]
pub(super) fn copy_dense(place: &mut [u8], value: &[u8]) {
    match place.len() {
        8 => place[..8].copy_from_slice(&value[..8]),
        16 => place[..16].copy_from_slice(&value[..16]),
        _ => place.copy_from_slice(value),
    }
}
