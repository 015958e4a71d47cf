//! The keys of one key group: hash -> dense slot.
//!
//! Owns slot numbers: which are in use, which are free, and how many states of a slot hold something.
//! Knows nothing of the items, nor why a slot that holds nothing is still in use. Invariant: a slot in
//! `index` is in use; a freed slot is in `free` once; outside of a restore every slot in use is in `index`.
//!
//! A table does not shrink: freed slots are used again. Those beyond as many as are in use count as well, until the table can be
//! given back as a whole, so that no task holds far more than it is counted for.

use std::cmp::Ordering;

use prefetch_index::prefetch_index;

use super::index::Index;
use super::marks::SlotSet;

/// Longest key that lies in its entry rather than on the heap. Makes an entry 32 bytes.
const INLINE_BYTES: usize = 22;
/// What an entry costs beside its key: the entry, its buckets (a table is at most three quarters full) and its count.
const ENTRY_OVERHEAD_BYTES: u64 =
    (size_of::<Entry>() + size_of::<u64>() * 2 + size_of::<u16>()) as u64;

/// A table that had fewer slots is kept when none is in use any more: they come and go.
const SPENT_SLOTS_MIN: usize = 64;

pub(super) struct KeyTable {
    index: Index,
    entries: Vec<Entry>,
    /// Slots below this are in `index`. Those above came in a restore, in ascending order of hash and key.
    indexed: usize,
    /// For each slot how many states hold something there.
    holding: Vec<u16>,
    free: Vec<u32>,
    /// Slots that hold nothing and wait for their marks to go.
    waiting: SlotSet,
    held: u64,
    heap_bytes: u64,
    /// Keys of slots, once for each state that holds something there: as often as a snapshot in flight may have them.
    named_bytes: u64,
    /// Freed slots that count.
    spare: u64,
    /// Bytes of a slot in the dense columns of all states.
    slot_bytes: u64,
}

/// Half a cache line, and never part of two.
#[repr(align(32))]
struct Entry {
    hash: u64,
    key: Key,
}

/// The first slot that may be a key's, or none.
#[derive(Clone, Copy, Default)]
pub(super) struct Candidate(Option<u32>);

enum Key {
    Inline {
        len: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Heap(Box<[u8]>),
    /// The slot is free.
    Free,
}

impl Key {
    fn new(key: &[u8]) -> Self {
        match key.len() {
            len @ 0..=INLINE_BYTES => {
                let mut bytes = [0; INLINE_BYTES];
                bytes[..len].copy_from_slice(key);
                Self::Inline { len: len as u8, bytes }
            }
            _ => Self::Heap(key.into()),
        }
    }

    #[inline]
    fn is(&self, key: &[u8]) -> bool {
        match self {
            Self::Inline { len, bytes } => usize::from(*len) == key.len() && is_prefix(key, bytes),
            Self::Heap(bytes) => **bytes == *key,
            Self::Free => false,
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..*len as usize],
            Self::Heap(bytes) => bytes,
            Self::Free => &[],
        }
    }

    fn heap_bytes(&self) -> u64 {
        match self {
            Self::Heap(bytes) => bytes.len() as u64,
            Self::Inline { .. } | Self::Free => 0,
        }
    }
}

/// Whether `bytes` begin with `key`. Short keys are compared in words: a call would cost more than the comparison.
#[inline]
fn is_prefix(key: &[u8], bytes: &[u8; INLINE_BYTES]) -> bool {
    if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        let end = key.len();
        return *first == bytes[..8]
            && *last == bytes[end - 8..end]
            && (end <= 16 || key[8..end - 8] == bytes[8..end - 8]);
    }
    if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        return *first == bytes[..4] && *last == bytes[key.len() - 4..key.len()];
    }
    key.iter().zip(bytes).all(|(a, b)| a == b)
}

impl KeyTable {
    /// An empty table whose slots take `slot_bytes` in the columns beside it.
    pub(super) fn new(slot_bytes: u64) -> Self {
        Self {
            index: Index::default(),
            entries: Vec::new(),
            indexed: 0,
            holding: Vec::new(),
            free: Vec::new(),
            waiting: SlotSet::default(),
            held: 0,
            heap_bytes: 0,
            named_bytes: 0,
            spare: 0,
            slot_bytes,
        }
    }

    /// The first step of looking for a key: has the memory fetch the bucket that its hash leads to.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The second step: reads the bucket, and has the memory fetch the entry that it leads to.
    #[inline]
    pub(super) fn candidate(&self, hash: u64) -> Candidate {
        let candidate = self.index.candidate(hash, &mut self.index.home(hash));
        if let Some(slot) = candidate {
            self.prefetch_entry(slot as usize);
        }
        Candidate(candidate)
    }

    /// Has the memory fetch the key of a slot.
    #[inline]
    pub(super) fn prefetch_entry(&self, slot: usize) {
        prefetch_index(&self.entries[..], slot);
    }

    /// The third step: the slot of the key, and whether it was made now. Other keys may have been made since the second
    /// step, but not this one, and none may have been freed.
    #[inline]
    pub(super) fn resolve(&mut self, hash: u64, key: &[u8], candidate: Candidate) -> (u32, bool) {
        let Candidate(Some(slot)) = candidate else {
            return (self.insert(hash, key), true);
        };
        if self.is(slot, hash, key) {
            return (slot, false);
        }
        // Two keys of one tag. The index may have been made anew since, so it is searched from the start.
        let mut probe = self.index.home(hash);
        while let Some(slot) = self.index.candidate(hash, &mut probe) {
            if self.is(slot, hash, key) {
                return (slot, false);
            }
        }
        (self.insert(hash, key), true)
    }

    #[inline]
    fn is(&self, slot: u32, hash: u64, key: &[u8]) -> bool {
        let entry = &self.entries[slot as usize];
        entry.hash == hash && entry.key.is(key)
    }

    /// The slot of a key, made if need be.
    #[inline]
    pub(super) fn find_or_insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let candidate = self.candidate(hash);
        self.resolve(hash, key, candidate).0
    }

    /// Makes room for so many keys in all.
    pub(super) fn reserve(&mut self, keys: usize) {
        let more = keys.saturating_sub(self.entries.len());
        self.entries.reserve(more);
        self.holding.reserve(more);
    }

    /// The slot of a key that is put back, made if need be. Keys that come to an empty table in ascending order of
    /// hash and key, as snapshot files have them, are not looked for: they cannot be there yet. They are put into the
    /// index together, which is several times faster than one by one between other work, because the memory
    /// fetches many places at once. [`KeyTable::index_rest`] must follow before anything else is asked.
    #[inline]
    pub(super) fn restore(&mut self, hash: u64, key: &[u8]) -> u32 {
        if self.indexed < self.entries.len() || self.entries.is_empty() {
            let order = self.entries.last().map_or(Ordering::Less, |last| {
                last.hash.cmp(&hash).then_with(|| last.key.bytes().cmp(key))
            });
            match order {
                Ordering::Less => return self.append(hash, key),
                Ordering::Equal => return (self.entries.len() - 1) as u32,
                Ordering::Greater => self.index_rest(),
            }
        }
        self.find_or_insert(hash, key)
    }

    fn append(&mut self, hash: u64, key: &[u8]) -> u32 {
        let entry = Entry { hash, key: Key::new(key) };
        self.heap_bytes += entry.key.heap_bytes();
        self.entries.push(entry);
        self.holding.push(0);
        (self.entries.len() - 1) as u32
    }

    /// Puts the keys into the index that a restore left for later.
    pub(super) fn index_rest(&mut self) {
        let entries = &self.entries;
        let hash_of = |slot: u32| entries[slot as usize].hash;
        self.index.reserve(entries.len() - self.indexed, hash_of);
        for (slot, entry) in entries.iter().enumerate().skip(self.indexed) {
            self.index.insert(entry.hash, slot as u32, hash_of);
        }
        self.indexed = entries.len();
    }

    /// The key of a slot in use.
    #[inline]
    pub(super) fn key(&self, slot: usize) -> &[u8] {
        self.entries[slot].key.bytes()
    }

    /// The key of a slot in use where it is short: the first of these bytes, and how many.
    #[inline]
    pub(super) fn short_key(&self, slot: usize) -> Option<(&[u8; INLINE_BYTES], usize)> {
        match &self.entries[slot].key {
            Key::Inline { len, bytes } => Some((bytes, usize::from(*len))),
            Key::Heap(_) | Key::Free => None,
        }
    }

    fn insert(&mut self, hash: u64, key: &[u8]) -> u32 {
        let entry = Entry { hash, key: Key::new(key) };
        self.heap_bytes += entry.key.heap_bytes();
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                self.note_spare();
                slot
            }
            None => {
                self.entries.push(entry);
                self.holding.push(0);
                self.indexed = self.entries.len();
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.index.insert(hash, slot, |slot| entries[slot as usize].hash);
        slot
    }

    /// Records that a state of `slot` went from holding something (`before`) to `after`.
    #[inline]
    pub(super) fn note(&mut self, slot: u32, before: bool, after: bool) {
        if before == after {
            return;
        }
        let holding = &mut self.holding[slot as usize];
        let key_bytes = self.entries[slot as usize].key.bytes().len() as u64;
        if after {
            *holding += 1;
            self.held += u64::from(*holding == 1);
            self.named_bytes += key_bytes;
        } else {
            *holding -= 1;
            self.held -= u64::from(*holding == 0);
            self.named_bytes -= key_bytes;
        }
    }

    /// Whether a slot is in use and holds nothing.
    #[inline]
    pub(super) fn is_bare(&self, slot: u32) -> bool {
        // One that was given back with the whole table is not there.
        let holds_nothing = self.holding.get(slot as usize) == Some(&0);
        holds_nothing && !matches!(self.entries[slot as usize].key, Key::Free)
    }

    /// Notes that a bare slot waits for its marks to go; answers whether it did not wait yet.
    pub(super) fn wait(&mut self, slot: u32) -> bool {
        let is_new = !self.waiting.contains(slot as usize);
        self.waiting.insert(slot as usize);
        is_new
    }

    /// Notes that a slot waits no longer.
    pub(super) fn stop_waiting(&mut self, slot: u32) {
        self.waiting.remove(slot as usize);
    }

    /// Frees a bare slot.
    pub(super) fn free(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        self.heap_bytes -= entry.key.heap_bytes();
        entry.key = Key::Free;
        let hash = entry.hash;
        let entries = &self.entries;
        self.index.remove(hash, slot, |slot| entries[slot as usize].hash);
        self.free.push(slot);
        self.note_spare();
    }

    fn note_spare(&mut self) {
        let (free, in_use) = (self.free.len(), self.in_use());
        let is_small = in_use == 0 && free < SPENT_SLOTS_MIN;
        self.spare = if is_small { 0 } else { free.saturating_sub(in_use) as u64 };
    }

    /// Whether no slot is in use of so many that the table is worth giving back.
    pub(super) fn is_spent(&self) -> bool {
        self.in_use() == 0 && self.slots() >= SPENT_SLOTS_MIN
    }

    /// Gives all slots back: none is in use.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.slot_bytes);
    }

    /// Slots ever handed out; all slot numbers are below it.
    pub(super) fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Slots with a key, whether they hold something or not.
    pub(super) fn in_use(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Keys that hold something.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// What a key adds to `bytes`.
    pub(super) fn bytes_of(&self, key: &[u8]) -> u64 {
        let heap_bytes = if key.len() > INLINE_BYTES { key.len() as u64 } else { 0 };
        ENTRY_OVERHEAD_BYTES + self.slot_bytes + heap_bytes
    }

    /// What freed slots add to `bytes`.
    #[inline]
    pub(super) fn spare_bytes(&self) -> u64 {
        self.spare * (ENTRY_OVERHEAD_BYTES + self.slot_bytes)
    }

    /// Bytes of keys, table and the slots of the keys in dense columns.
    pub(super) fn bytes(&self) -> u64 {
        let of_slots = self.in_use() as u64 * (ENTRY_OVERHEAD_BYTES + self.slot_bytes);
        of_slots + self.spare_bytes() + self.heap_bytes + self.named_bytes
    }

    /// What of `bytes` is due to states that hold something.
    #[inline]
    pub(super) fn named_bytes(&self) -> u64 {
        self.named_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_at_half_a_cache_line() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn a_key_of_any_length_is_told_from_one_that_differs_in_any_byte() {
        for length in 0..=40 {
            let key: Vec<u8> = (1..=length).collect();
            let stored = Key::new(&key);
            assert!(stored.is(&key) && stored.bytes() == key);
            for index in 0..key.len() {
                let mut other = key.clone();
                other[index] ^= 0x80;
                assert!(!stored.is(&other), "byte {index} of {length}");
            }
            assert!(!stored.is(&[&key[..], &[0]].concat()));
        }
    }

    #[test]
    fn keys_that_are_put_back_get_one_slot_each_in_whatever_order_they_come() {
        let mut keys = KeyTable::new(8);
        let order = [(1, b"a"), (1, b"b"), (1, b"b"), (7, b"c"), (3, b"d"), (7, b"c"), (9, b"e")];
        let slots = order.map(|(hash, key)| keys.restore(hash, key));
        assert_eq!(slots, [0, 1, 1, 2, 3, 2, 4]);
        keys.index_rest();
        for ((hash, key), slot) in order.into_iter().zip(slots) {
            assert_eq!(keys.find_or_insert(hash, key), slot);
        }
        assert_eq!(keys.in_use(), 5);
    }

    #[test]
    fn what_was_put_back_in_order_is_found_once_it_is_indexed() {
        let mut keys = KeyTable::new(8);
        for hash in 0..1000 {
            assert_eq!(keys.restore(hash * 3, b"k"), hash as u32);
        }
        keys.index_rest();
        for hash in 0..1000 {
            assert_eq!(keys.find_or_insert(hash * 3, b"k"), hash as u32);
        }
        assert_eq!(keys.find_or_insert(1, b"k"), 1000);
    }

    #[test]
    fn freed_slots_beyond_as_many_as_are_in_use_count_until_they_are_given_back() {
        let mut keys = KeyTable::new(8);
        for hash in 0..1000 {
            keys.find_or_insert(hash, b"k");
        }
        let all = keys.bytes();
        (0..500).for_each(|slot| keys.free(slot));
        assert_eq!(keys.bytes() * 2, all);
        (500..999).for_each(|slot| keys.free(slot));
        assert_eq!(keys.bytes(), all / 1000 * 999);
        assert!(!keys.is_spent());
        keys.free(999);
        assert_eq!(keys.bytes(), all);
        assert!(keys.is_spent());
        keys.reset();
        assert!(keys.bytes() == 0 && !keys.is_spent() && !keys.is_bare(5));
        assert_eq!(keys.find_or_insert(7, b"k"), 0);
    }

    #[test]
    fn a_bare_slot_is_freed_once_and_used_again() {
        let mut keys = KeyTable::new(8);
        let long = vec![7; 100];
        assert_eq!(keys.find_or_insert(9, &long), 0);
        assert!(keys.is_bare(0));
        keys.free(0);
        assert!(!keys.is_bare(0));
        assert_eq!((keys.bytes(), keys.held()), (0, 0));
        assert_eq!(keys.find_or_insert(5, b"new"), 0);
        assert_eq!(keys.find_or_insert(9, &long), 1);
        keys.note(1, false, true);
        assert!(!keys.is_bare(1));
        assert_eq!((keys.held(), keys.find_or_insert(9, &long)), (1, 1));
    }
}
