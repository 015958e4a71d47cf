//! Merging runs of records into a batch.
//!
//! Owns which runs go together and which keys a run brings. Invariants: a batch comes to no more than the limits, and no run brings
//! more of its keys than its records use, each key as often as it is used or once.

use std::sync::Arc;

use super::{Batch, Dictionary, RecordKeys};
use crate::column::BytesColumn;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// Merges runs of records into one batch. All runs between two `take`s are of one kind: all with
/// keys or all without (see [`BatchBuilder::accepts`]).
#[derive(Default)]
pub struct BatchBuilder {
    keyed: bool,
    keys: BytesColumn,
    hashes: Vec<u64>,
    key_of: Vec<u32>,
    values: BytesColumn,
    timestamps: Vec<i64>,
}

impl BatchBuilder {
    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Bytes of keys and values so far.
    pub fn data_bytes(&self) -> usize {
        self.values.data.len() + self.keys.data.len()
    }

    /// Whether all of `batch` may join what is here: the same kind of keys (and hashed alike), and
    /// within the limits on a batch.
    pub fn accepts(&self, batch: &Batch) -> bool {
        if self.is_empty() {
            return true;
        }
        let alike = match &batch.keys {
            RecordKeys::None => !self.keyed,
            RecordKeys::Of { dictionary, .. } => {
                self.keyed && dictionary.hashes.is_empty() == self.hashes.is_empty()
            }
        };
        alike
            && self.len() + batch.len() <= BATCH_RECORDS_MAX
            && self.data_bytes() + batch.values.data.len() + batch.key_bytes() <= BATCH_BYTES_MAX
    }

    /// Appends records `from..to` of `batch`, of which the builder must accept the kind.
    pub fn append(&mut self, batch: &Batch, from: usize, to: usize) {
        if from >= to {
            return;
        }
        let before = self.len();
        if let RecordKeys::Of { dictionary, key_of } = &batch.keys {
            self.keyed = true;
            if !self.append_keys(dictionary, key_of, from, to) {
                return self.append(&batch.slice(from, to), 0, to - from);
            }
        }
        self.values.extend_range(&batch.values, from, to);
        if !batch.timestamps.is_empty() {
            self.timestamps.resize(before, 0);
            self.timestamps.extend_from_slice(&batch.timestamps[from..to]);
        } else if !self.timestamps.is_empty() {
            self.timestamps.resize(self.values.len(), 0);
        }
    }

    /// Appends the keys of these records, or says that each of them should come once: so no more is ever brought than the records
    /// use, each key as often as it is used or once.
    fn append_keys(
        &mut self,
        dictionary: &Dictionary,
        key_of: &[u32],
        from: usize,
        to: usize,
    ) -> bool {
        let base = self.keys.len() as u32;
        let take = |builder: &mut Self, first: usize, last: usize| {
            builder.keys.extend_range(&dictionary.keys, first, last);
            if !dictionary.hashes.is_empty() {
                builder.hashes.extend_from_slice(&dictionary.hashes[first..last]);
            }
        };
        if key_of.is_empty() {
            take(self, from, to);
            self.key_of.extend(base..base + (to - from) as u32);
            return true;
        }
        let (key_of, all) = (&key_of[from..to], dictionary.keys.data.len());
        let by_record: usize =
            key_of.iter().map(|key| dictionary.keys.get(*key as usize).len()).sum();
        let are_many = key_of.len() * 2 >= dictionary.keys.len();
        if are_many && by_record >= all {
            take(self, 0, dictionary.keys.len());
            self.key_of.extend(key_of.iter().map(|key| key + base));
        } else if by_record <= all {
            // Few records of a large dictionary: bring only the keys in use, one for each record
            // (a keyed input makes them distinct again).
            for &key in key_of {
                self.key_of.push(self.keys.len() as u32);
                take(self, key as usize, key as usize + 1);
            }
        } else {
            return false;
        }
        true
    }

    /// The batch so far; the builder is empty afterwards.
    pub fn take(&mut self) -> Batch {
        let Self { keyed, keys, hashes, key_of, values, timestamps } = std::mem::take(self);
        let keys = if keyed {
            RecordKeys::Of { dictionary: Arc::new(Dictionary { keys, hashes }), key_of }
        } else {
            RecordKeys::None
        };
        Batch { keys, values, timestamps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::flat;

    #[test]
    fn what_is_merged_brings_no_more_keys_than_its_records_use() {
        // The lengths of the keys of a dictionary, the keys of the records, and the bytes and number of keys that are to come.
        let cases: [(Vec<usize>, Vec<u32>, usize, usize); 4] = [
            ([vec![4096], vec![0; 8191]].concat(), vec![0; 4000], 4096, 1),
            ([vec![0; 32_000], vec![1]].concat(), vec![32_000; 2], 1, 1),
            ([vec![4096; 30], vec![1]].concat(), vec![30; 16], 16, 16),
            (vec![8; 4], vec![0, 1, 2, 3, 0], 32, 4),
        ];
        for (lengths, key_of, bytes, count) in cases {
            let mut dictionary = Dictionary::default();
            lengths.iter().for_each(|length| dictionary.keys.push(&vec![7; *length]));
            let mut batch = Batch::default();
            key_of.iter().for_each(|_| batch.values.push(b""));
            batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of };
            let mut builder = BatchBuilder::default();
            builder.append(&batch, 0, batch.len());
            assert_eq!((builder.keys.data.len(), builder.keys.len()), (bytes, count));
            assert_eq!(flat(&builder.take()), flat(&batch));
        }
    }
}
