//! Builds the batches of a source.
//!
//! Owns the columns while they grow and the decision when a batch is full. Knows nothing of where
//! records come from. Invariants: a batch keeps the limits on a batch; with keys, there are as many
//! as values; after `take` nothing is left.

use std::sync::Arc;

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::column::BytesColumn;
use tidemill_core::connector::BatchTarget;
use tidemill_core::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, KIB};

/// Bytes of one record's key; the same as the default limit of a sandbox.
pub(super) const KEY_BYTES_MAX: usize = 4 * KIB;

/// A batch in the making.
#[derive(Debug)]
pub(super) struct Records {
    /// Values; whoever pushes one pushes its key as well, if there are keys.
    pub(super) values: BytesColumn,
    /// Keys; one for each value, or none at all.
    pub(super) keys: BytesColumn,
    /// Event times; one for each value, or none at all.
    pub(super) timestamps: Vec<i64>,
    is_keyed: bool,
    is_timed: bool,
    records_max: usize,
    bytes_max: usize,
    is_closed: bool,
    /// Sizes of the last batch: the next will not be very different.
    records: usize,
    value_bytes: usize,
    key_bytes: usize,
}

impl Records {
    pub(super) fn new(is_keyed: bool, is_timed: bool) -> Self {
        Self {
            values: BytesColumn::default(),
            keys: BytesColumn::default(),
            timestamps: Vec::new(),
            is_keyed,
            is_timed,
            records_max: 1,
            bytes_max: 1,
            is_closed: false,
            records: 0,
            value_bytes: 0,
            key_bytes: 0,
        }
    }

    /// Prepares for a batch of about `target`.
    pub(super) fn begin(&mut self, target: BatchTarget) {
        self.records_max = target.records.clamp(1, BATCH_RECORDS_MAX);
        self.bytes_max = target.bytes.clamp(1, BATCH_BYTES_MAX);
        if self.value_bytes == 0 {
            return; // The first batch is the smallest; it grows by doubling.
        }
        let room = |last: usize| last + last / 8;
        // No more than is likely: a batch that waits somewhere takes what it has room for.
        let records = room(self.records).min(self.records_max);
        self.values.ends.reserve(records);
        self.values.data.reserve(room(self.value_bytes));
        if self.is_keyed {
            self.keys.ends.reserve(records);
            self.keys.data.reserve(room(self.key_bytes));
        }
        if self.is_timed {
            self.timestamps.reserve(records);
        }
    }

    /// Bytes of keys and values so far.
    #[inline]
    pub(super) fn bytes(&self) -> usize {
        self.values.data.len() + self.keys.data.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether no more may join: the target is reached, or a record was told to wait.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.is_closed || self.values.len() >= self.records_max || self.bytes() >= self.bytes_max
    }

    /// Whether a record of `bytes` bytes of value may join, leaving room for its key. When not, the
    /// batch counts as full: the record is the first of the next one.
    #[inline]
    pub(super) fn fits(&mut self, bytes: usize) -> bool {
        let fits = !self.is_full() && (self.is_empty() || self.is_within_limits(bytes));
        self.is_closed = !fits;
        fits
    }

    /// As `fits`, for a record whose value is at the end of the data already.
    #[inline]
    pub(super) fn fits_as_it_is(&mut self) -> bool {
        let fits = self.is_empty() || self.is_within_limits(0);
        self.is_closed = !fits;
        fits
    }

    /// Whether `bytes` more bytes of value and a key would keep the limit on a batch.
    #[inline]
    pub(super) fn is_within_limits(&self, bytes: usize) -> bool {
        let key = if self.is_keyed { KEY_BYTES_MAX } else { 0 };
        self.bytes() + bytes + key <= BATCH_BYTES_MAX
    }

    /// Takes back what a record left behind that could not be finished, so that the batch holds those
    /// before it and nothing else.
    pub(super) fn cut_unfinished(&mut self) {
        let records = self.values.len();
        self.values.data.truncate(self.values.ends.last().map_or(0, |&end| end as usize));
        self.keys.ends.truncate(records);
        self.keys.data.truncate(self.keys.ends.last().map_or(0, |&end| end as usize));
        self.timestamps.truncate(records);
    }

    /// The batch, unless it is empty.
    pub(super) fn take(&mut self) -> Option<Batch> {
        self.is_closed = false;
        if self.is_empty() {
            return None;
        }
        (self.value_bytes, self.key_bytes) = (self.values.data.len(), self.keys.data.len());
        self.records = self.values.len();
        let values = std::mem::take(&mut self.values);
        let timestamps = std::mem::take(&mut self.timestamps);
        let keys = if self.is_keyed {
            let dictionary =
                Dictionary { keys: std::mem::take(&mut self.keys), hashes: Vec::new() };
            RecordKeys::Of { dictionary: Arc::new(dictionary), key_of: Vec::new() }
        } else {
            RecordKeys::None
        };
        Some(Batch { keys, values, timestamps })
    }
}
