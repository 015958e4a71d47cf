//! Records of one output and one kind of key, as columns with room behind them.
//!
//! Knows nothing of outputs, nor when records leave. What most records have (a value of fixed width, a key of the batch
//! at hand) is written into places that are there already, at one index for all columns: to grow and check each
//! column for each record was a third of what the SDK costs. Invariant: outside of a call of this module there are more places
//! in `key_of` than records, as many in `timestamps` once there is event time, and one less in `values` with a width: who
//! finds a place there has not found the last one, after which there is more to do.

use super::EmitKey;
use crate::bindings::tidemill::operator::types::{KeySource, OutputBatch};
use crate::codec::Encode;
use crate::column::Column;
use crate::error::{Error, Result};
use crate::host;
use crate::limits::{EMIT_BYTES_TARGET, EMIT_RECORDS_TARGET, VALUE_BYTES_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    None,
    Input,
    New,
}

#[derive(Debug)]
pub(super) struct Segment {
    kind: KeyKind,
    pub(super) records: usize,
    /// Width of the values; 0 where it varies.
    width: usize,
    /// Both in one, so that one look tells whether a record is like those before.
    shape: u32,
    /// Those of records with new keys.
    keys: Column,
    /// Of all records; what is there for records without a key of the batch is never read.
    key_of: Vec<u32>,
    values: Column,
    /// Empty while all are 0.
    timestamps: Vec<i64>,
}

#[inline(always)]
fn shape(kind: KeyKind, width: u32) -> u32 {
    // A width has fewer than 30 bits: that of a value is at most a MiB.
    width << 2 | kind as u32
}

/// Where a record goes whose value is of fixed width and whose key is of the batch at hand.
pub(super) struct Place<'s> {
    pub(super) item: &'s mut [u8],
    pub(super) key: &'s mut u32,
    /// How many records there are, and will be.
    pub(super) records: &'s mut usize,
    pub(super) next: usize,
}

impl Segment {
    pub(super) fn new(width: Option<u32>) -> Self {
        let mut segment = Self {
            kind: KeyKind::None,
            records: 0,
            width: width.unwrap_or(0) as usize,
            shape: shape(KeyKind::None, width.unwrap_or(0)),
            keys: Column::new(None),
            key_of: Vec::new(),
            values: Column::new(width),
            timestamps: Vec::new(),
        };
        segment.make_room(1);
        segment
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The records from here on, which are the first, have keys of this kind.
    pub(super) fn set_kind(&mut self, kind: KeyKind) {
        self.kind = kind;
        self.shape = shape(kind, self.width as u32);
    }

    /// Bytes of keys and values.
    pub(super) fn bytes(&self) -> usize {
        let values = if self.width == 0 { self.values.bytes() } else { self.records * self.width };
        self.keys.bytes() + values
    }

    /// Bytes of the first `records` records.
    pub(super) fn bytes_before(&self, records: usize) -> usize {
        let keys = if self.kind == KeyKind::New { self.keys.bytes_before(records) } else { 0 };
        keys + if self.width == 0 {
            self.values.bytes_before(records)
        } else {
            records * self.width
        }
    }

    /// The place of the next record, with its event time in it, if there is one and it is not the last: then there is nothing
    /// to look at but the value and the slot. All that is read of the segment is read before anything is written: the compiler
    /// cannot know that to write to a column leaves the rest as it is.
    #[inline(always)]
    pub(super) fn place(
        &mut self,
        kind: KeyKind,
        timestamp_ms: i64,
        width: Option<u32>,
    ) -> Option<Place<'_>> {
        let Self { records, key_of, values, timestamps, .. } = self;
        let (at, width) = (*records, width?);
        if width == 0 || self.shape != shape(kind, width) {
            return None;
        }
        let start = at * width as usize;
        let item = values.raw.data.get_mut(start..start + width as usize)?;
        let key = key_of.get_mut(at)?;
        match timestamps.get_mut(at) {
            Some(timestamp) => *timestamp = timestamp_ms,
            None if timestamp_ms != 0 => return None,
            None => {}
        }
        Some(Place { item, key, next: at + 1, records })
    }

    /// Adds a record, whose key is of the kind of this segment; answers whether the segment is full now. A value that is
    /// refused adds nothing.
    #[inline(always)]
    pub(super) fn push<T: Encode + ?Sized>(
        &mut self,
        key: EmitKey<'_>,
        timestamp_ms: i64,
        value: &T,
    ) -> Result<bool> {
        let is_fixed = T::WIDTH.is_some_and(|width| width != 0 && self.width == width as usize);
        if is_fixed {
            value.encode_over(self.item())?;
        } else if T::WIDTH.is_none() && self.width == 0 {
            self.push_varying(value)?;
        } else {
            self.push_unlike(value)?;
        }
        match key {
            EmitKey::Slot(slot) => self.key_of[self.records] = slot,
            EmitKey::New(bytes) => self.keys.push_bytes(bytes),
        }
        if timestamp_ms != 0 || !self.timestamps.is_empty() {
            self.put_timestamp(timestamp_ms);
        }
        self.records += 1;
        if self.records == self.key_of.len() && !self.grow() {
            return Ok(true);
        }
        // What is of fixed width is full by the number of records.
        let varies = matches!(key, EmitKey::New(_)) || !is_fixed;
        Ok(varies && self.bytes() >= EMIT_BYTES_TARGET)
    }

    #[inline(always)]
    fn push_varying<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        let start = self.values.bytes();
        self.values.push(value)?;
        let bytes = self.values.bytes() - start;
        if bytes > VALUE_BYTES_MAX {
            self.values.truncate(self.records);
            return Err(value_too_long(bytes));
        }
        Ok(())
    }

    /// A value whose type says another width than the column; its bytes may be as many.
    #[cold]
    fn push_unlike<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        if self.width == 0 {
            return self.push_varying(value);
        }
        let mut item = Column::new(Some(self.width as u32));
        item.push(value)?;
        self.item().copy_from_slice(&item.raw.data);
        Ok(())
    }

    /// Where the value of the next record goes, which is of fixed width.
    fn item(&mut self) -> &mut [u8] {
        let (start, end) = (self.records * self.width, (self.records + 1) * self.width);
        let data = &mut self.values.raw.data;
        if data.len() < end {
            data.resize(end, 0);
        }
        &mut data[start..end]
    }

    #[inline(always)]
    fn put_timestamp(&mut self, timestamp_ms: i64) {
        if self.timestamps.is_empty() {
            self.begin_timestamps();
        }
        self.timestamps[self.records] = timestamp_ms;
    }

    #[cold]
    fn begin_timestamps(&mut self) {
        self.timestamps.resize(self.key_of.len(), 0);
    }

    /// Makes room for more records, up to those that should leave together; answers whether there is any.
    #[cold]
    fn grow(&mut self) -> bool {
        let room = self.room_max().min(self.key_of.len() * 2);
        if room <= self.records {
            return false;
        }
        self.make_room(room);
        true
    }

    /// Records that should leave together at most.
    fn room_max(&self) -> usize {
        match self.width {
            0 => EMIT_RECORDS_TARGET,
            width => EMIT_RECORDS_TARGET.min(EMIT_BYTES_TARGET.div_ceil(width)),
        }
    }

    fn make_room(&mut self, room: usize) {
        self.key_of.resize(room, 0);
        if !self.timestamps.is_empty() {
            self.timestamps.resize(room, 0);
        }
        if self.width != 0 {
            self.values.raw.data.resize((room - 1) * self.width, 0);
        }
    }

    pub(super) fn truncate(&mut self, records: usize) {
        self.records = records;
        self.keys.truncate(records);
        if self.width == 0 {
            self.values.truncate(records);
        } else {
            // It may have been full.
            self.values.raw.data.truncate((self.key_of.len() - 1) * self.width);
        }
        if records == 0 {
            self.timestamps.clear();
        }
    }

    /// Hands the records over, of which there is at least one, and is empty again, with its buffers kept.
    pub(super) fn emit(&mut self, output: u32) {
        self.key_of.truncate(self.records);
        self.timestamps.truncate(self.records);
        if self.width != 0 {
            self.values.raw.data.truncate(self.records * self.width);
        }
        let mut keys = match self.kind {
            KeyKind::None => KeySource::None,
            KeyKind::Input => KeySource::InputKeys,
            KeyKind::New => KeySource::NewKeys(std::mem::take(&mut self.keys.raw)),
        };
        let key_of = &mut self.key_of;
        let mut batch = OutputBatch {
            keys,
            key_of: if self.kind == KeyKind::Input { std::mem::take(key_of) } else { Vec::new() },
            values: std::mem::take(&mut self.values.raw),
            timestamps: std::mem::take(&mut self.timestamps),
        };
        host::emit(output, &batch);
        if self.kind == KeyKind::Input {
            std::mem::swap(key_of, &mut batch.key_of);
        }
        OutputBatch { keys, values: self.values.raw, timestamps: self.timestamps, .. } = batch;
        if let KeySource::NewKeys(raw) = keys {
            self.keys.raw = raw;
        }
        // With one place more as many records as these will not make it grow.
        self.make_room(self.room_max().min(self.records + 1));
        self.clear();
    }

    pub(super) fn clear(&mut self) {
        self.truncate(0);
    }
}

#[cold]
fn value_too_long(bytes: usize) -> Error {
    Error::bad_record(format!("a value of {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed"))
}
