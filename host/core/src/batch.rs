//! Batches: column-wise runs of records, the unit that crosses edges and the Wasm boundary.
//!
//! Owns what a batch is and takes, and its partitioning; cutting is `cut`'s, merging `builder`'s. Knows nothing of queues, lanes' threads or
//! operators. Invariants: `key_of` (or the dictionary itself, when `key_of` is empty) covers exactly
//! the records; `timestamps` is empty or covers exactly the records; a dictionary's hashes are empty
//! or cover exactly its keys and were computed with the job's seed.

mod builder;
mod cut;

use std::sync::Arc;

use crate::column::BytesColumn;
use crate::ids::LaneId;
use crate::key_group::{Assignment, hash_key, key_group};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
pub use builder::BatchBuilder;
pub use cut::Cut;

/// What a batch costs beside its columns: itself, what shares its dictionary, the allocator's part of each column.
const HOLDER_BYTES: usize = 256;

/// The keys that the records of a batch point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    /// The keys; not necessarily distinct until a keyed input has resolved them.
    pub keys: BytesColumn,
    /// The hash of each key, or empty while nobody has needed them.
    pub hashes: Vec<u64>,
}

impl Dictionary {
    /// Computes the hashes unless they are there already.
    pub fn ensure_hashes(&mut self, seed: u64) {
        if self.hashes.is_empty() {
            self.hashes = self.keys.iter().map(|key| hash_key(seed, key)).collect();
        }
    }
}

/// A dictionary that others share, without hashes and with them.
#[derive(Debug)]
pub struct Hashed {
    bare: Arc<Dictionary>,
    hashed: Arc<Dictionary>,
}

/// The keys of a batch's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RecordKeys {
    /// The records carry no key.
    #[default]
    None,
    /// Record `i` has key `key_of[i]` of the dictionary; key `i` when `key_of` is empty.
    Of {
        /// Shared, so that cutting a batch or sending it along two edges copies no key.
        dictionary: Arc<Dictionary>,
        /// Index into the dictionary for each record, or empty.
        key_of: Vec<u32>,
    },
}

/// A run of records in columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records' keys.
    pub keys: RecordKeys,
    /// The records' values, in variable layout.
    pub values: BytesColumn,
    /// Event times in milliseconds since the Unix epoch; empty when all are 0.
    pub timestamps: Vec<i64>,
}

impl Batch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the records carry keys.
    pub fn is_keyed(&self) -> bool {
        matches!(self.keys, RecordKeys::Of { .. })
    }

    /// Memory that the batch holds, in bytes; a shared dictionary counts in full.
    pub fn bytes(&self) -> usize {
        let keys = match &self.keys {
            RecordKeys::None => 0,
            RecordKeys::Of { dictionary, key_of } => {
                dictionary.keys.bytes() + dictionary.hashes.len() * 8 + key_of.len() * 4
            }
        };
        keys + self.values.bytes() + self.timestamps.len() * 8
    }

    /// Memory that the batch takes, in bytes, with room that is not used and what it costs to hold it; a shared dictionary counts in
    /// full.
    pub fn held_bytes(&self) -> usize {
        let keys = match &self.keys {
            RecordKeys::None => 0,
            RecordKeys::Of { dictionary, key_of } => {
                dictionary.keys.held_bytes()
                    + dictionary.hashes.capacity() * 8
                    + key_of.capacity() * 4
            }
        };
        HOLDER_BYTES + keys + self.values.held_bytes() + self.timestamps.capacity() * 8
    }

    /// Splits off what is more than a sink should write at once: keys that records share are written with each of them, and come to
    /// far more than they take here.
    pub fn split_to_write(self) -> (Self, Option<Self>) {
        let RecordKeys::Of { key_of, .. } = &self.keys else { return (self, None) };
        if key_of.is_empty() || self.len() <= 1 {
            return (self, None);
        }
        let mut bytes = 0;
        let is_within = |record: &usize| {
            bytes += self.values.get(*record).len() + self.key(*record).map_or(0, <[u8]>::len);
            bytes <= BATCH_BYTES_MAX
        };
        let first = (0..self.len()).take_while(is_within).count().max(1);
        if first == self.len() {
            return (self, None);
        }
        (self.slice(0, first), Some(self.slice(first, self.len())))
    }

    /// The key of record `index`, if the records carry keys.
    pub fn key(&self, index: usize) -> Option<&[u8]> {
        match &self.keys {
            RecordKeys::None => None,
            RecordKeys::Of { dictionary, key_of } if key_of.is_empty() => {
                Some(dictionary.keys.get(index))
            }
            RecordKeys::Of { dictionary, key_of } => {
                Some(dictionary.keys.get(key_of[index] as usize))
            }
        }
    }

    /// The event time of record `index`.
    pub fn timestamp(&self, index: usize) -> i64 {
        self.timestamps.get(index).copied().unwrap_or(0)
    }

    /// Computes the hashes of the keys, unless they are there or there are no keys.
    pub fn ensure_hashes(&mut self, seed: u64) {
        self.ensure_shared_hashes(seed, &mut None);
    }

    /// As [`ensure_hashes`](Self::ensure_hashes), for one of several batches that may share a dictionary: they share its hashed
    /// copy as well, which `last` has from the batch before. A call may emit tens of thousands that all point into the keys of
    /// its input, and each would have a copy of its own.
    pub fn ensure_shared_hashes(&mut self, seed: u64, last: &mut Option<Hashed>) {
        let RecordKeys::Of { dictionary, .. } = &mut self.keys else { return };
        if !dictionary.hashes.is_empty() || dictionary.keys.is_empty() {
            return;
        }
        if let Some(own) = Arc::get_mut(dictionary) {
            return own.ensure_hashes(seed);
        }
        if let Some(last) = last.as_ref().filter(|last| Arc::ptr_eq(&last.bare, dictionary)) {
            *dictionary = last.hashed.clone();
            return;
        }
        let bare = dictionary.clone();
        Arc::make_mut(dictionary).ensure_hashes(seed);
        *last = Some(Hashed { bare, hashed: dictionary.clone() });
    }

    /// Whether its records use few of the keys that it points into, so that it is better sent on with those alone.
    pub fn uses_few_keys(&self) -> bool {
        match &self.keys {
            RecordKeys::Of { dictionary, key_of } if !key_of.is_empty() => {
                dictionary.keys.len() > cut::DENSE_KEYS_PER_RECORD * key_of.len()
            }
            RecordKeys::Of { .. } | RecordKeys::None => false,
        }
    }

    /// Whether the batch keeps the limits on a batch.
    pub fn is_within_limits(&self) -> bool {
        self.len() <= BATCH_RECORDS_MAX
            && (self.len() <= 1 || self.values.data.len() + self.key_bytes() <= BATCH_BYTES_MAX)
    }

    fn key_bytes(&self) -> usize {
        match &self.keys {
            RecordKeys::None => 0,
            RecordKeys::Of { dictionary, .. } => dictionary.keys.data.len(),
        }
    }

    /// Splits the records by the lane that owns their key: `each(lane, part)` once for every lane
    /// that gets any. Hashes must be there; the order of records is kept within a part.
    ///
    /// # Panics
    /// When the records carry no key or no hashes.
    pub fn partition(
        self: Arc<Self>,
        assignment: &Assignment,
        mut each: impl FnMut(LaneId, Arc<Self>),
    ) {
        let RecordKeys::Of { dictionary, key_of } = &self.keys else {
            panic!("a keyed edge carries keyed records")
        };
        assert_eq!(dictionary.hashes.len(), dictionary.keys.len(), "hashed before routing");
        if assignment.lanes() == 1 {
            return each(LaneId(0), self);
        }
        let groups = assignment.groups();
        let lanes = assignment.lanes();
        let mut parts: Vec<Part> = (0..lanes).map(|_| Part::share_of(&self, lanes)).collect();
        let mut places = vec![Place::NONE; dictionary.keys.len()];
        for record in 0..self.len() {
            let key = if key_of.is_empty() { record } else { key_of[record] as usize };
            let mut place = places[key];
            if place == Place::NONE {
                let hash = dictionary.hashes[key];
                let lane = assignment.owner(key_group(hash, groups)).0;
                let part = &mut parts[lane];
                place = Place { part: lane as u32, index: part.keys.len() as u32 };
                part.keys.push(dictionary.keys.get(key));
                part.hashes.push(hash);
                places[key] = place;
            }
            let part = &mut parts[place.part as usize];
            part.key_of.push(place.index);
            part.values.push(self.values.get(record));
            if !self.timestamps.is_empty() {
                part.timestamps.push(self.timestamps[record]);
            }
        }
        for (lane, part) in parts.into_iter().enumerate() {
            if !part.key_of.is_empty() {
                each(LaneId(lane), Arc::new(part.into_batch(true)));
            }
        }
    }
}

/// Where a key lies: in the part of which lane, and at which index there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    part: u32,
    index: u32,
}

impl Place {
    const NONE: Self = Self { part: u32::MAX, index: u32::MAX };
}

#[derive(Default)]
struct Part {
    keys: BytesColumn,
    hashes: Vec<u64>,
    key_of: Vec<u32>,
    values: BytesColumn,
    timestamps: Vec<i64>,
}

impl Part {
    /// Empty, with room for an even share of a batch and an eighth more.
    fn share_of(batch: &Batch, parts: usize) -> Self {
        let share = |count: usize| count.div_ceil(parts) * 9 / 8 + 1;
        let (keys, key_bytes) = match &batch.keys {
            RecordKeys::None => (0, 0),
            RecordKeys::Of { dictionary, .. } => {
                (dictionary.keys.len(), dictionary.keys.data.len())
            }
        };
        Self {
            keys: BytesColumn::with_capacity(share(keys), share(key_bytes)),
            hashes: Vec::with_capacity(share(keys)),
            key_of: Vec::with_capacity(share(batch.len())),
            values: BytesColumn::with_capacity(share(batch.len()), share(batch.values.data.len())),
            timestamps: Vec::with_capacity(share(batch.timestamps.len())),
        }
    }

    fn into_batch(mut self, keyed: bool) -> Batch {
        // Keys were thought to be spread evenly, and records few of many may be.
        fit(&mut self.keys.data);
        fit(&mut self.keys.ends);
        fit(&mut self.hashes);
        fit(&mut self.key_of);
        fit(&mut self.values.data);
        fit(&mut self.values.ends);
        fit(&mut self.timestamps);
        let dictionary = Arc::new(Dictionary { keys: self.keys, hashes: self.hashes });
        let key_of = self.key_of;
        Batch {
            keys: if keyed { RecordKeys::Of { dictionary, key_of } } else { RecordKeys::None },
            values: self.values,
            timestamps: self.timestamps,
        }
    }
}

/// Gives back room that is far more than what is used.
fn fit<T>(column: &mut Vec<T>) {
    if column.capacity() > 2 * column.len() + 256 {
        column.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) type Flat = Vec<(Option<Vec<u8>>, Vec<u8>, i64)>;

    pub(super) fn flat(batch: &Batch) -> Flat {
        (0..batch.len())
            .map(|i| {
                (batch.key(i).map(<[u8]>::to_vec), batch.values.get(i).to_vec(), batch.timestamp(i))
            })
            .collect()
    }

    fn batches() -> impl Strategy<Value = Batch> {
        let keys = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 1..20);
        let records = prop::collection::vec(
            (any::<u16>(), prop::collection::vec(any::<u8>(), 0..9), 0i64..3),
            0..60,
        );
        (keys, records, 0..3, any::<bool>()).prop_map(|(keys, records, kind, timed)| {
            let mut batch = Batch::default();
            let mut dictionary = Dictionary::default();
            let mut key_of = Vec::new();
            for (key, value, timestamp) in &records {
                let index = *key as usize % keys.len();
                match kind {
                    1 => dictionary.keys.push(&keys[index]),
                    _ => key_of.push(index as u32),
                }
                batch.values.push(value);
                if timed {
                    batch.timestamps.push(*timestamp);
                }
            }
            if kind == 2 {
                keys.iter().for_each(|key| dictionary.keys.push(key));
            }
            if kind > 0 {
                let key_of = if kind == 1 { Vec::new() } else { key_of };
                batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of };
                batch.ensure_hashes(3);
            }
            batch
        })
    }

    proptest! {
        #[test]
        fn slices_put_together_are_the_batch(batch in batches(), at in 0usize..60) {
            let at = at.min(batch.len());
            let mut found = flat(&batch.slice(0, at));
            found.extend(flat(&batch.slice(at, batch.len())));
            prop_assert_eq!(found, flat(&batch));
        }

        #[test]
        fn what_is_split_to_be_written_is_the_batch(batch in batches()) {
            let (mut left, mut found) = (Some(batch.clone()), Flat::new());
            while let Some(batch) = left {
                let (first, rest) = batch.split_to_write();
                prop_assert!(!first.is_empty() || rest.is_none());
                found.extend(flat(&first));
                left = rest;
            }
            prop_assert_eq!(found, flat(&batch));
        }

        #[test]
        fn merging_keeps_records_and_order(parts in prop::collection::vec(batches(), 1..5)) {
            let mut builder = BatchBuilder::default();
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            for part in &parts {
                expected.extend(flat(part));
                if !builder.accepts(part) {
                    found.extend(flat(&builder.take()));
                }
                builder.append(part, 0, part.len());
            }
            found.extend(flat(&builder.take()));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn partitions_hold_every_record_once_on_the_lane_that_owns_it(batch in batches(), lanes in 1usize..5) {
            prop_assume!(batch.is_keyed());
            let assignment = Assignment::initial(16, lanes);
            let mut found: Flat = Vec::new();
            let mut expected = flat(&batch);
            Arc::new(batch).partition(&assignment, |lane, part| {
                for (key, value, timestamp) in flat(&part) {
                    let hash = hash_key(3, key.as_deref().unwrap_or_default());
                    assert_eq!(assignment.owner(key_group(hash, 16)), lane);
                    found.push((key, value, timestamp));
                }
            });
            found.sort();
            expected.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_large_batch_is_cut_within_the_limits() {
        let mut batch = Batch::default();
        for _ in 0..3 * BATCH_RECORDS_MAX {
            batch.values.push(&[1; 200]);
        }
        batch.values.push(&vec![2; 3 * BATCH_BYTES_MAX]);
        batch.values.push(b"last");
        let expected = flat(&batch);
        let mut found = Vec::new();
        let mut parts = 0;
        for part in Cut::new(Arc::new(batch)) {
            assert!(part.is_within_limits());
            found.extend(flat(&part));
            parts += 1;
        }
        assert_eq!(found, expected);
        assert_eq!(parts, 5 + 1 + 1);
    }

    #[test]
    fn parts_bring_only_the_keys_that_they_use_and_each_once() {
        let mut dictionary = Dictionary::default();
        (0..2000u32).for_each(|key| dictionary.keys.push(&vec![key as u8; 4096]));
        let mut batch = Batch::default();
        let key_of: Vec<u32> = (0..100_000).map(|record| record % 3).collect();
        key_of.iter().for_each(|_| batch.values.push(b""));
        batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of };
        let (expected, mut found, mut bytes) = (flat(&batch), Vec::new(), 0);
        for part in Cut::new(Arc::new(batch)) {
            assert!(part.is_within_limits());
            bytes += part.bytes();
            found.extend(flat(&part));
        }
        assert!(bytes < 2_000_000, "{bytes}");
        assert_eq!(found, expected);
    }
    #[test]
    fn records_that_share_a_long_key_are_written_in_parts() {
        let mut dictionary = Dictionary::default();
        dictionary.keys.push(&[1; 4096]);
        let mut batch = Batch::default();
        (0..8192u32).for_each(|record| batch.values.push(&record.to_le_bytes()));
        batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of: vec![0; 8192] };
        let (mut left, mut parts) = (Some(batch), 0);
        while let Some(batch) = left {
            let (first, rest) = batch.split_to_write();
            assert!(first.len() * 4100 <= BATCH_BYTES_MAX);
            (left, parts) = (rest, parts + 1);
        }
        assert_eq!(parts, 8192_usize.div_ceil(BATCH_BYTES_MAX / 4100));
    }

    fn keys(count: u8) -> BytesColumn {
        let mut keys = BytesColumn::default();
        (0..count).for_each(|key| keys.push(&[key]));
        keys
    }

    #[test]
    fn batches_that_share_their_keys_share_the_hashed_ones() {
        let dictionary = Arc::new(Dictionary { keys: keys(2), hashes: Vec::new() });
        let batch = |dictionary| Batch {
            keys: RecordKeys::Of { dictionary, key_of: vec![1] },
            values: keys(1),
            timestamps: Vec::new(),
        };
        let of = |batch: &Batch| match &batch.keys {
            RecordKeys::Of { dictionary, .. } => dictionary.clone(),
            RecordKeys::None => panic!("it has keys"),
        };
        let (mut first, mut second) = (batch(dictionary.clone()), batch(dictionary.clone()));
        let mut last = None;
        first.ensure_shared_hashes(3, &mut last);
        second.ensure_shared_hashes(3, &mut last);
        assert!(Arc::ptr_eq(&of(&first), &of(&second)));
        assert_eq!(of(&first).hashes, [hash_key(3, &[0]), hash_key(3, &[1])]);
        assert!(dictionary.hashes.is_empty(), "who else has it sees it as it was");
        let mut own = batch(Arc::new((*dictionary).clone()));
        let before = Arc::as_ptr(&of(&own));
        own.ensure_shared_hashes(3, &mut last);
        assert_eq!((Arc::as_ptr(&of(&own)), of(&own).hashes.len()), (before, 2), "not copied");
    }

    #[test]
    fn a_batch_that_uses_few_of_many_keys_is_told() {
        let dictionary = Arc::new(Dictionary { keys: keys(17), hashes: Vec::new() });
        let uses_few = |key_of| {
            let keys = RecordKeys::Of { dictionary: dictionary.clone(), key_of };
            Batch { keys, ..Batch::default() }.uses_few_keys()
        };
        assert!(uses_few(vec![3, 3]) && !uses_few(vec![3, 3, 3]) && !uses_few(Vec::new()));
    }
}
