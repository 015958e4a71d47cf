//! The distinct keys of a batch.
//!
//! Owns the table that finds a key's second appearance, by the hash that routing computed. It is as large as the
//! batch and used again for the next, so it lies in a near cache, and a key that occurs often is looked for in
//! the state only once. Knows nothing of slots.

use crate::batch::Dictionary;

/// Finds keys that occurred before in the same call.
#[derive(Default)]
pub(super) struct Distinct {
    /// By open addressing, the upper half of the hash of a distinct key, and below it the key's index plus one; 0 is
    /// free. Cleared for every call.
    places: Vec<u64>,
    /// For each key of the batch its index, where it is known.
    known: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

/// The part of a place, and of a hash, that says that the keys may be the same.
const TAG: u64 = !0 << 32;

impl Distinct {
    /// Makes `distinct` the keys that the records of a batch have, in order of first appearance, and `rewritten` the
    /// index of each record's key among them. `key_of` is as in a batch.
    pub(super) fn rewrite(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        distinct: &mut Dictionary,
        rewritten: &mut Vec<u32>,
    ) {
        let (keys, hashes) = (&dictionary.keys, &dictionary.hashes);
        distinct.keys.data.reserve(keys.data.len());
        distinct.keys.ends.reserve(keys.len());
        distinct.hashes.reserve(keys.len());
        self.places.clear();
        self.places.resize((keys.len() * 2).next_power_of_two(), 0);
        if key_of.is_empty() {
            let each = keys.iter().zip(hashes);
            rewritten.extend(each.map(|(key, &hash)| self.index(hash, key, distinct)));
            return;
        }
        let mut known = std::mem::take(&mut self.known);
        known.clear();
        known.resize(keys.len(), UNKNOWN);
        rewritten.extend(key_of.iter().map(|&key| {
            let index = &mut known[key as usize];
            if *index == UNKNOWN {
                *index = self.index(hashes[key as usize], keys.get(key as usize), distinct);
            }
            *index
        }));
        self.known = known;
    }

    /// The index of a key among the distinct keys of the call, to which it is added when it is new.
    #[inline(always)]
    fn index(&mut self, hash: u64, key: &[u8], distinct: &mut Dictionary) -> u32 {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        while self.places[at] != 0 {
            let place = self.places[at];
            if place & TAG == hash & TAG {
                let index = place as u32 - 1;
                if distinct.keys.get(index as usize) == key {
                    return index;
                }
            }
            at = (at + 1) & mask;
        }
        self.add(at, hash, key, distinct)
    }

    #[inline(always)]
    fn add(&mut self, at: usize, hash: u64, key: &[u8], distinct: &mut Dictionary) -> u32 {
        let index = distinct.hashes.len() as u32;
        distinct.keys.push(key);
        distinct.hashes.push(hash);
        self.places[at] = hash & TAG | u64::from(index + 1);
        index
    }
}
