//! Cutting a batch into smaller ones.
//!
//! Owns which records and keys go into a part. Invariant: parts that nobody has asked for yet take no room, because all of them
//! together may be far larger than the batch: each brings the keys that it uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch, Dictionary, Part, RecordKeys};
use crate::column::BytesColumn;

/// With more keys than so many for each record, those of a part are looked up instead of kept in a table of all.
pub(super) const DENSE_KEYS_PER_RECORD: usize = 8;

/// The batches within the limits that a batch comes to, in order, each with the keys that it uses. One record alone may be
/// over the limit on bytes.
pub struct Cut {
    /// `None` when all of it was cut.
    batch: Option<Arc<Batch>>,
    /// The record that comes next.
    next: usize,
}

impl Cut {
    /// Nothing is cut yet.
    pub fn new(batch: Arc<Batch>) -> Self {
        Self { batch: Some(batch), next: 0 }
    }

    /// Bytes of what it is cut from, until it is over.
    pub(crate) fn bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.bytes())
    }
}

impl Iterator for Cut {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let batch = self.batch.take()?;
        if self.next == 0 && batch.is_within_limits() {
            return Some(Arc::unwrap_or_clone(batch));
        }
        let part;
        (part, self.next) = batch.part(self.next);
        if self.next < batch.len() {
            self.batch = Some(batch);
        }
        Some(part)
    }
}

impl Batch {
    /// Records `from..to` as a batch of their own, with the keys that they use.
    #[must_use]
    pub fn slice(&self, from: usize, to: usize) -> Self {
        match &self.keys {
            RecordKeys::Of { dictionary, key_of } if !key_of.is_empty() => {
                let mut cutter = Cutter::new(self, dictionary, key_of, to - from);
                (from..to).for_each(|record| cutter.push(record));
                cutter.part.into_batch(true)
            }
            keys => self.range(keys, from, to),
        }
    }

    /// As many records as a batch may have, from `from` on, and which comes next.
    fn part(&self, from: usize) -> (Self, usize) {
        let records = BATCH_RECORDS_MAX.min(self.len() - from);
        let mut next = from;
        match &self.keys {
            RecordKeys::Of { dictionary, key_of } if !key_of.is_empty() => {
                let mut cutter = Cutter::new(self, dictionary, key_of, records);
                while next < from + records && cutter.fits(next) {
                    cutter.push(next);
                    next += 1;
                }
                (cutter.part.into_batch(true), next)
            }
            keys => {
                let mut bytes = 0;
                while next < from + records {
                    bytes += self.values.get(next).len() + self.key(next).map_or(0, <[u8]>::len);
                    if next > from && bytes > BATCH_BYTES_MAX {
                        break;
                    }
                    next += 1;
                }
                (self.range(keys, from, next), next)
            }
        }
    }

    /// Records `from..to` of a batch in which each record has a key of its own, or none.
    fn range(&self, keys: &RecordKeys, from: usize, to: usize) -> Self {
        let of = |column: &BytesColumn| {
            let mut range = BytesColumn::default();
            range.extend_range(column, from, to);
            range
        };
        let keys = match keys {
            RecordKeys::None => RecordKeys::None,
            RecordKeys::Of { dictionary, .. } => {
                let hashes = dictionary.hashes.get(from..to).unwrap_or_default().to_vec();
                let dictionary = Arc::new(Dictionary { keys: of(&dictionary.keys), hashes });
                RecordKeys::Of { dictionary, key_of: Vec::new() }
            }
        };
        let timestamps = self.timestamps.get(from..to).unwrap_or_default().to_vec();
        Self { keys, values: of(&self.values), timestamps }
    }
}

/// Takes records into a part, in order; it brings each key once, and only keys in use, so that it is no larger than
/// its records.
struct Cutter<'a> {
    batch: &'a Batch,
    dictionary: &'a Dictionary,
    key_of: &'a [u32],
    part: Part,
    places: Places,
}

/// Where in the part the keys of the batch are.
enum Places {
    /// By their index; [`ABSENT`] for those that are not there.
    Dense(Vec<u32>),
    Sparse(BTreeMap<u32, u32>),
}

const ABSENT: u32 = u32::MAX;

impl Places {
    fn get(&self, key: u32) -> u32 {
        match self {
            Self::Dense(places) => places[key as usize],
            Self::Sparse(places) => places.get(&key).copied().unwrap_or(ABSENT),
        }
    }

    fn set(&mut self, key: u32, place: u32) {
        match self {
            Self::Dense(places) => places[key as usize] = place,
            Self::Sparse(places) => drop(places.insert(key, place)),
        }
    }
}

impl<'a> Cutter<'a> {
    /// An empty part for about so many records.
    fn new(
        batch: &'a Batch,
        dictionary: &'a Dictionary,
        key_of: &'a [u32],
        records: usize,
    ) -> Self {
        let keys = dictionary.keys.len();
        let places = match keys <= DENSE_KEYS_PER_RECORD * records {
            true => Places::Dense(vec![ABSENT; keys]),
            false => Places::Sparse(BTreeMap::new()),
        };
        Self { batch, dictionary, key_of, part: Part::default(), places }
    }

    /// Whether the part stays within the limit on bytes with one more record; an empty part takes any.
    fn fits(&self, record: usize) -> bool {
        let key = self.key_of[record];
        let more_keys = match self.places.get(key) {
            ABSENT => self.dictionary.keys.get(key as usize).len(),
            _ => 0,
        };
        let held = self.part.values.data.len() + self.part.keys.data.len();
        let more = self.batch.values.get(record).len() + more_keys;
        self.part.values.is_empty() || held + more <= BATCH_BYTES_MAX
    }

    fn push(&mut self, record: usize) {
        let key = self.key_of[record];
        let mut place = self.places.get(key);
        if place == ABSENT {
            place = self.part.keys.len() as u32;
            self.places.set(key, place);
            self.part.keys.push(self.dictionary.keys.get(key as usize));
            self.part.hashes.extend(self.dictionary.hashes.get(key as usize));
        }
        self.part.key_of.push(place);
        self.part.values.push(self.batch.values.get(record));
        self.part.timestamps.extend(self.batch.timestamps.get(record));
    }
}
