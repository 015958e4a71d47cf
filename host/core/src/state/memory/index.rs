//! The index of a key table: hash -> slot, by open addressing.
//!
//! Owns buckets and nothing else: whether a slot's key is the one that is looked for is the caller's to compare,
//! and so is keeping each slot in it once. It is our own because a batch is looked up in steps ([`Index::prefetch`],
//! later [`Index::home`] and [`Index::candidate`]): the memory fetches the buckets of many keys at once rather
//! than one after the other, which is most of the cost of a large table.
//!
//! A bucket is `tag u32 | slot + 1 u32`, 0 when it is free. Bits 16..48 of a hash choose the key group, so within a
//! table the top ones of them are all the same: they are the tag, and the other 32 bits choose the bucket. Probing is
//! linear. Invariant: no free bucket lies between a slot's home bucket and its own.

use prefetch_index::prefetch_index;

/// Buckets of the smallest index that holds anything.
const BUCKETS_MIN: usize = 8;

#[derive(Default)]
pub(super) struct Index {
    /// Empty or a power of two.
    buckets: Vec<u64>,
    len: usize,
}

/// Where the search for a hash goes on.
#[derive(Clone, Copy, Default)]
pub(super) struct Probe {
    at: usize,
    bucket: u64,
}

#[inline]
fn tag(hash: u64) -> u64 {
    u64::from((hash >> 16) as u32) << 32
}

/// The bits of a hash that say nothing of its key group.
#[inline]
fn place(hash: u64) -> usize {
    hash.rotate_left(16) as u32 as usize
}

impl Index {
    /// Has the memory fetch the bucket that a search will begin at.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch_index(&self.buckets[..], place(hash) & self.buckets.len().wrapping_sub(1));
    }

    /// The first bucket to look at.
    #[inline]
    pub(super) fn home(&self, hash: u64) -> Probe {
        let at = place(hash) & self.buckets.len().wrapping_sub(1);
        Probe { at, bucket: self.buckets.get(at).copied().unwrap_or(0) }
    }

    /// The next slot that may have the hash, from the probe on; `None` when there is none.
    #[inline]
    pub(super) fn candidate(&self, hash: u64, probe: &mut Probe) -> Option<u32> {
        let tag = tag(hash);
        while probe.bucket != 0 {
            let bucket = probe.bucket;
            probe.at = (probe.at + 1) & (self.buckets.len() - 1);
            probe.bucket = self.buckets[probe.at];
            if bucket & !0xffff_ffff == tag {
                return Some(bucket as u32 - 1);
            }
        }
        None
    }

    /// Adds a slot that is not in it. `hash_of` answers the hash of a slot that is in it.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 4 > self.buckets.len() * 3 {
            self.resize((self.len + 1) * 2, hash_of);
        }
        self.put(hash, slot);
        self.len += 1;
    }

    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, more: usize, hash_of: impl Fn(u32) -> u64) {
        if (self.len + more) * 4 > self.buckets.len() * 3 {
            self.resize((self.len + more) * 4 / 3, hash_of);
        }
    }

    fn resize(&mut self, buckets: usize, hash_of: impl Fn(u32) -> u64) {
        let buckets = buckets.max(BUCKETS_MIN).next_power_of_two();
        let old = std::mem::replace(&mut self.buckets, vec![0; buckets]);
        for bucket in old.into_iter().filter(|bucket| *bucket != 0) {
            let slot = bucket as u32 - 1;
            self.put(hash_of(slot), slot);
        }
    }

    #[inline]
    fn put(&mut self, hash: u64, slot: u32) {
        let mask = self.buckets.len() - 1;
        let mut at = place(hash) & mask;
        while self.buckets[at] != 0 {
            at = (at + 1) & mask;
        }
        self.buckets[at] = tag(hash) | (u64::from(slot) + 1);
    }

    /// Takes a slot out, if it is there, and moves those behind it that would not be found any more.
    pub(super) fn remove(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        let Some(mask) = self.buckets.len().checked_sub(1) else {
            return;
        };
        let wanted = tag(hash) | (u64::from(slot) + 1);
        let mut gap = place(hash) & mask;
        while self.buckets[gap] != wanted {
            if self.buckets[gap] == 0 {
                return;
            }
            gap = (gap + 1) & mask;
        }
        self.len -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let bucket = self.buckets[at];
            if bucket == 0 {
                break;
            }
            let home = place(hash_of(bucket as u32 - 1)) & mask;
            // It may move to the gap unless its home lies behind the gap.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.buckets[gap] = bucket;
                gap = at;
            }
        }
        self.buckets[gap] = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn find(index: &Index, hashes: &BTreeMap<u32, u64>, hash: u64) -> Vec<u32> {
        let mut probe = index.home(hash);
        let mut found = Vec::new();
        while let Some(slot) = index.candidate(hash, &mut probe) {
            if hashes[&slot] == hash {
                found.push(slot);
            }
        }
        found.sort_unstable();
        found
    }

    proptest! {
        /// Hashes of which many collide, slots put in and taken out: each is found as long as it is in.
        #[test]
        fn every_slot_is_found_from_its_insertion_to_its_removal(
            steps in prop::collection::vec((any::<bool>(), 0u32..60, 0u64..9, 0u64..3), 1..400),
        ) {
            let (mut index, mut hashes) = (Index::default(), BTreeMap::new());
            for (inserts, slot, low, middle) in steps {
                let hash = low | middle << 20 | (low & 1) << 63;
                match (inserts, hashes.get(&slot).copied()) {
                    (true, None) => {
                        index.insert(hash, slot, |slot| hashes[&slot]);
                        hashes.insert(slot, hash);
                    }
                    (false, Some(hash)) => {
                        index.remove(hash, slot, |slot| hashes[&slot]);
                        hashes.remove(&slot);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len, hashes.len());
                for hash in hashes.values() {
                    let with = hashes.iter().filter(|(_, other)| *other == hash);
                    let expected: Vec<u32> = with.map(|(slot, _)| *slot).collect();
                    prop_assert_eq!(find(&index, &hashes, *hash), expected);
                }
            }
        }
    }

    #[test]
    fn an_empty_index_finds_nothing_and_removes_nothing() {
        let mut index = Index::default();
        let mut probe = index.home(7);
        assert_eq!(index.candidate(7, &mut probe), None);
        index.remove(7, 0, |_| 7);
        index.reserve(100, |_| 7);
        let mut probe = index.home(7);
        assert_eq!(index.candidate(7, &mut probe), None);
    }
}
