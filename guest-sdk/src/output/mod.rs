//! Emitted records, gathered as columns and handed over a column at a time.
//!
//! Knows nothing of state. Invariants: the records of one output leave in the order in which they
//! were emitted, whatever their kinds of key; what a record emits leaves only after the record
//! was processed, so that it can be taken back; a buffer that has left is used again.

mod segment;

use crate::bindings::tidemill::operator::types::OutputBatch;
use crate::codec::Encode;
use crate::error::{Error, Result};
use crate::host;
use crate::limits::{CALL_EMITTED_BYTES_MAX, CALL_EMITTED_RECORDS_MAX, KEY_BYTES_MAX};
use segment::{KeyKind, Segment};

/// One of the outputs of the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output(pub(crate) u32);

impl Output {
    /// The output that was described first; the one that is meant where none is named.
    pub const FIRST: Self = Self(0);
}

/// Where the key of an emitted record comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EmitKey<'k> {
    /// A key of the batch at hand, so that nothing is copied or hashed again; none for [`NO_SLOT`].
    Slot(u32),
    New(&'k [u8]),
}

/// No key of the batch at hand.
pub(crate) const NO_SLOT: u32 = u32::MAX;

impl EmitKey<'_> {
    #[inline(always)]
    fn kind(self) -> KeyKind {
        match self {
            Self::Slot(NO_SLOT) => KeyKind::None,
            Self::Slot(_) => KeyKind::Input,
            Self::New(_) => KeyKind::New,
        }
    }
}

/// How far an output was filled before the newest record that emitted to it.
#[derive(Debug, Default)]
struct Mark {
    serial: u64,
    /// In the segment that was open then.
    records: usize,
    sealed: Sealed,
}

/// What a record has added in segments that were sealed while it was processed.
#[derive(Debug, Default)]
struct Sealed {
    /// The record; what follows is of none but this one.
    serial: u64,
    /// Segments that were sealed before.
    before: usize,
    records: usize,
    bytes: usize,
}

/// What is waiting to leave at one output.
#[derive(Debug)]
pub(crate) struct OutputBuffer {
    output: u32,
    width: Option<u32>,
    /// Full, or followed by records with another kind of key.
    sealed: Vec<Segment>,
    open: Segment,
    mark: Mark,
    spare: Vec<Segment>,
}

impl OutputBuffer {
    pub(crate) fn new(output: u32, width: Option<u32>) -> Self {
        Self {
            output,
            width,
            sealed: Vec::new(),
            open: Segment::new(width),
            mark: Mark::default(),
            spare: Vec::new(),
        }
    }

    /// Adds a record; `serial` numbers the record that is being processed. Sets `ready` when
    /// something should leave. A value or key that is refused adds nothing.
    #[inline(always)]
    pub(crate) fn push<T: Encode + ?Sized>(
        &mut self,
        serial: u64,
        key: EmitKey<'_>,
        timestamp_ms: i64,
        value: &T,
        ready: &mut bool,
    ) -> Result<()> {
        if self.mark.serial != serial {
            self.mark.serial = serial;
            self.mark.records = self.open.records;
        }
        if let EmitKey::Slot(slot) = key
            && T::WIDTH.is_some()
        {
            return match self.open.place(key.kind(), timestamp_ms, T::WIDTH) {
                Some(place) => {
                    value.encode_over(place.item)?;
                    (*place.key, *place.records) = (slot, place.next);
                    Ok(())
                }
                None => self.push_otherwise(key, timestamp_ms, value, ready),
            };
        }
        self.push_looking(key, timestamp_ms, value, ready)
    }

    /// What happens once in many records: the kind of the keys or the width changes, event time begins, room is short.
    /// [`Self::push_looking`] in a call of its own; by a closure that is not inlined it took two per cent more instructions.
    #[cold]
    #[inline(never)]
    fn push_otherwise<T: Encode + ?Sized>(
        &mut self,
        key: EmitKey<'_>,
        timestamp_ms: i64,
        value: &T,
        ready: &mut bool,
    ) -> Result<()> {
        self.push_looking(key, timestamp_ms, value, ready)
    }

    /// Adds a record of any kind.
    #[inline(always)]
    fn push_looking<T: Encode + ?Sized>(
        &mut self,
        key: EmitKey<'_>,
        timestamp_ms: i64,
        value: &T,
        ready: &mut bool,
    ) -> Result<()> {
        if self.open.kind() != key.kind() {
            self.change_kind(key.kind(), ready)?;
        }
        if let EmitKey::New(bytes) = key
            && bytes.len() > KEY_BYTES_MAX
        {
            return Err(key_too_long(bytes.len()));
        }
        match self.open.push(key, timestamp_ms, value) {
            Ok(false) => Ok(()),
            Ok(true) => self.seal(ready),
            Err(error) => Err(error),
        }
    }

    /// Hands a batch over behind everything that was emitted before.
    pub(crate) fn emit_batch(&mut self, batch: &OutputBatch) {
        self.flush();
        host::emit(self.output, batch);
    }

    /// Takes back what the record with this number has emitted.
    pub(crate) fn undo(&mut self, serial: u64) {
        if self.mark.serial != serial {
            return;
        }
        let Sealed { serial: sealed_by, before, .. } = self.mark.sealed;
        if sealed_by == serial && self.sealed.len() > before {
            self.sealed.truncate(before + 1);
            if let Some(segment) = self.sealed.pop() {
                self.open = segment;
            }
        }
        self.open.truncate(self.mark.records);
    }

    /// Hands over what is sealed.
    pub(crate) fn flush_sealed(&mut self) {
        for mut segment in self.sealed.drain(..) {
            segment.emit(self.output);
            if self.spare.len() < 2 {
                self.spare.push(segment);
            }
        }
    }

    /// Hands over everything.
    pub(crate) fn flush(&mut self) {
        self.flush_sealed();
        if self.open.records > 0 {
            self.open.emit(self.output);
        }
    }

    /// Forgets everything.
    pub(crate) fn discard(&mut self) {
        self.sealed.clear();
        self.open.clear();
        self.mark = Mark::default();
    }

    #[cold]
    fn change_kind(&mut self, kind: KeyKind, ready: &mut bool) -> Result<()> {
        if self.open.records > 0 {
            self.seal(ready)?;
        }
        self.open.set_kind(kind);
        Ok(())
    }

    /// Closes the open segment. A single record that emits more than a call may is refused here:
    /// it could not be processed in any batch.
    #[cold]
    fn seal(&mut self, ready: &mut bool) -> Result<()> {
        *ready = true;
        let Mark { serial, records, sealed } = &mut self.mark;
        if sealed.serial == *serial {
            sealed.records += self.open.records;
            sealed.bytes += self.open.bytes();
        } else {
            *sealed = Sealed {
                serial: *serial,
                before: self.sealed.len(),
                records: self.open.records - *records,
                bytes: self.open.bytes() - self.open.bytes_before(*records),
            };
        }
        let is_too_much =
            sealed.records > CALL_EMITTED_RECORDS_MAX || sealed.bytes > CALL_EMITTED_BYTES_MAX;
        let mut next = self.spare.pop().unwrap_or_else(|| Segment::new(self.width));
        next.set_kind(self.open.kind());
        self.sealed.push(std::mem::replace(&mut self.open, next));
        if is_too_much {
            return Err(Error::bad_record(format!(
                "the record emits more than {CALL_EMITTED_RECORDS_MAX} records \
                 or {CALL_EMITTED_BYTES_MAX} bytes"
            )));
        }
        Ok(())
    }
}

#[cold]
fn key_too_long(bytes: usize) -> Error {
    Error::bad_record(format!("a key of {bytes} bytes; at most {KEY_BYTES_MAX} are allowed"))
}
