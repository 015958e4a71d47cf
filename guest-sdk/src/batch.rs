//! The records that came in with one call.
//!
//! Owns the input columns for the length of the call; knows nothing of state or output.
//! Invariant: a record has a key when its batch is keyed, and then its slot is below the number
//! of distinct keys; the host guarantees both and a breach is a panic.

use crate::bindings::tidemill::operator::types;
use crate::codec::{Codec, Fixed};
use crate::column;
use crate::error::{Error, Result};
use crate::limits::REASON_BYTES_MAX;

/// One of the inputs of the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Input(pub(crate) u32);

impl Input {
    /// The input that was described first.
    pub const FIRST: Self = Self(0);
}

/// The records of one call, in order of arrival, as columns.
#[derive(Debug)]
pub struct InputBatch {
    input: Input,
    raw: types::InputBatch,
    width: Option<u32>,
    keyed: bool,
    /// Each record has a key of its own, by its index.
    has_key_each: bool,
    len: u32,
}

impl InputBatch {
    pub(crate) fn new(
        input: Input,
        raw: types::InputBatch,
        keyed: bool,
        width: Option<u32>,
    ) -> Self {
        let len = column::offset(column::items(&raw.values, width));
        let is_whole = |items: usize| items == 0 || items == len as usize;
        assert!(is_whole(raw.key_of.len()) && is_whole(raw.timestamps.len()), "columns differ");
        let has_key_each = raw.key_of.is_empty() && !raw.keys.ends.is_empty();
        Self { input, raw, width, keyed, has_key_each, len }
    }

    pub(crate) fn keys(&self) -> &types::BytesColumn {
        &self.raw.keys
    }

    /// The input at which the records arrived.
    pub fn input(&self) -> Input {
        self.input
    }

    /// Number of records; a batch is never empty.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the input is keyed, so that state can be used.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Number of keys: of distinct ones where the input is keyed.
    pub fn slots(&self) -> u32 {
        column::offset(self.raw.keys.ends.len())
    }

    /// The key of a slot.
    #[inline]
    pub fn slot_key(&self, slot: u32) -> &[u8] {
        column::item(&self.raw.keys, None, slot as usize)
    }

    /// Index of a record's key among the keys of the batch; `None` where it has no key.
    #[inline]
    pub fn slot_of(&self, record: u32) -> Option<u32> {
        match self.raw.key_of.get(record as usize) {
            Some(&slot) => Some(slot),
            // With a list it is one for all records.
            None => self.has_key_each.then_some(record),
        }
    }

    /// The value of a record.
    #[inline]
    pub fn value(&self, record: u32) -> &[u8] {
        column::item(&self.raw.values, self.width, record as usize)
    }

    /// The values of all records, for an input that was described with the width of `T`.
    ///
    /// # Errors
    /// Fatal if the input was described otherwise.
    pub fn values_of<T: Fixed>(&self) -> Result<impl ExactSizeIterator<Item = T>> {
        if self.width.map(|width| width as usize) != Some(T::BYTES) {
            return Err(Error::fatal(format!(
                "the input is not described as values of {} bytes",
                T::BYTES
            )));
        }
        Ok(self.raw.values.data.chunks_exact(T::BYTES).map(T::read))
    }

    /// Event time of a record, in milliseconds since the Unix epoch.
    #[inline]
    pub fn timestamp_ms(&self, record: u32) -> i64 {
        // With any it is one for each record.
        self.raw.timestamps.get(record as usize).copied().unwrap_or(0)
    }

    /// One record of the batch.
    #[inline]
    pub fn record(&self, index: u32) -> Record<'_> {
        assert!(index < self.len, "record {index} of a batch of {}", self.len);
        Record { batch: self, index }
    }

    /// The records, in order of arrival.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len).map(|index| self.record(index))
    }
}

/// One record that came in.
#[derive(Clone, Copy, Debug)]
pub struct Record<'b> {
    batch: &'b InputBatch,
    index: u32,
}

impl<'b> Record<'b> {
    /// The input at which the record arrived.
    #[inline]
    pub fn input(&self) -> Input {
        self.batch.input
    }

    /// Index of the record in its batch.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Index of the key among the keys of the batch; `None` where the record has no key.
    #[inline]
    pub fn slot(&self) -> Option<u32> {
        self.batch.slot_of(self.index)
    }

    /// The key; empty where the record has none.
    #[inline]
    pub fn key(&self) -> &'b [u8] {
        self.slot().map_or(&[], |slot| self.batch.slot_key(slot))
    }

    /// The key as text; a bad record where it is not UTF-8.
    pub fn key_str(&self) -> Result<&'b str> {
        Ok(str::from_utf8(self.key())?)
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &'b [u8] {
        self.batch.value(self.index)
    }

    /// The value as text; a bad record where it is not UTF-8.
    pub fn value_str(&self) -> Result<&'b str> {
        Ok(str::from_utf8(self.value())?)
    }

    /// The value as a `T`; a bad record where it is none.
    #[inline]
    pub fn value_as<T: Codec>(&self) -> Result<T> {
        Ok(T::decode(self.value())?)
    }

    /// Event time, in milliseconds since the Unix epoch.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.batch.timestamp_ms(self.index)
    }
}

/// A record that could not be processed; it left no effect in state or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Index of the record in its batch.
    pub index: u32,
    /// Why; cut when it is long.
    pub reason: String,
}

impl BadRecord {
    /// Reports the record at `index`.
    pub fn new(index: u32, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > REASON_BYTES_MAX {
            let mut end = REASON_BYTES_MAX;
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            reason.truncate(end);
        }
        Self { index, reason }
    }
}
