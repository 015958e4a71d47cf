//! Cutting a batch into smaller ones.
//!
//! Owns which records and keys go into a part. Invariant: a part that nobody has asked for yet takes no room, because all parts
//! together may be far larger than the batch: each brings the keys that it uses.

use std::borrow::Borrow;
use std::sync::Arc;

use super::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Batch, Part, Place, RecordKeys};

/// The batches within the limits that a batch comes to, in order, each with the keys that it uses. One record alone may be
/// over the limit on bytes.
pub struct Cut(State);

enum State {
    /// It is within the limits as it is.
    Whole(Arc<Batch>),
    /// The record that comes next.
    Parts(Box<Cutter<Arc<Batch>>>, usize),
    Over,
}

impl Cut {
    /// Nothing is cut yet.
    pub fn new(batch: Arc<Batch>) -> Self {
        Self(match batch.is_within_limits() {
            true => State::Whole(batch),
            false => State::Parts(Box::new(Cutter::new(batch)), 0),
        })
    }

    /// Bytes of what it is cut from, until it is over.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            State::Whole(batch) => batch.bytes(),
            State::Parts(cutter, _) => cutter.batch.bytes(),
            State::Over => 0,
        }
    }
}

impl Iterator for Cut {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Over => None,
            State::Whole(batch) => Some(Arc::unwrap_or_clone(batch)),
            State::Parts(mut cutter, mut next) => {
                let records = cutter.batch.len();
                while next < records && cutter.fits(next) {
                    cutter.push(next);
                    next += 1;
                }
                let part = cutter.take();
                if next < records {
                    self.0 = State::Parts(cutter, next);
                }
                Some(part)
            }
        }
    }
}

/// Takes records of a batch, in order, into parts of their own; each part brings a key once, and only
/// keys in use, so that no part is larger than its records.
pub(super) struct Cutter<B> {
    batch: B,
    part: Part,
    number: u32,
    /// For each key of the batch its place in the newest part that has it.
    places: Vec<Place>,
}

impl<B: Borrow<Batch>> Cutter<B> {
    pub(super) fn new(batch: B) -> Self {
        let keys = match &batch.borrow().keys {
            RecordKeys::None => 0,
            RecordKeys::Of { dictionary, .. } => dictionary.keys.len(),
        };
        Self { batch, part: Part::default(), number: 0, places: vec![Place::NONE; keys] }
    }

    fn key_index(key_of: &[u32], record: usize) -> usize {
        if key_of.is_empty() { record } else { key_of[record] as usize }
    }

    /// Whether the part stays within the limits with one more record; an empty part takes any.
    fn fits(&self, record: usize) -> bool {
        let key = match &self.batch.borrow().keys {
            RecordKeys::Of { dictionary, key_of } => {
                let key = Self::key_index(key_of, record);
                let known = self.places[key].part == self.number;
                if known { 0 } else { dictionary.keys.get(key).len() }
            }
            RecordKeys::None => 0,
        };
        let held = self.part.values.data.len() + self.part.keys.data.len();
        let more = self.batch.borrow().values.get(record).len() + key;
        let records = self.part.values.len();
        records == 0 || (records < BATCH_RECORDS_MAX && held + more <= BATCH_BYTES_MAX)
    }

    pub(super) fn push(&mut self, record: usize) {
        if let RecordKeys::Of { dictionary, key_of } = &self.batch.borrow().keys {
            let key = Self::key_index(key_of, record);
            if self.places[key].part != self.number {
                let index = self.part.keys.len() as u32;
                self.places[key] = Place { part: self.number, index };
                self.part.keys.push(dictionary.keys.get(key));
                self.part.hashes.extend(dictionary.hashes.get(key));
            }
            self.part.key_of.push(self.places[key].index);
        }
        self.part.values.push(self.batch.borrow().values.get(record));
        self.part.timestamps.extend(self.batch.borrow().timestamps.get(record));
    }

    pub(super) fn take(&mut self) -> Batch {
        self.number += 1;
        std::mem::take(&mut self.part).into_batch(self.batch.borrow().is_keyed())
    }
}
