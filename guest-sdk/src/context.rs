//! What operator code can do while records are processed.
//!
//! Owns the buffers of a call: state, output and metrics; they reach the host between records or
//! at the end of the call, never in the middle of a record. Invariant: the serial number grows
//! with every record and never repeats, so that a buffer knows by one comparison whether the
//! record at hand has touched it.
//!
//! What runs for every record is inlined by force, here and in the buffers: in compiled code each
//! function begins with a check of the time limit, and together that was a quarter of the cost.

use std::marker::PhantomData;

use crate::batch::{BadRecord, InputBatch, Record};
use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::bindings::tidemill::operator::types::{BytesColumn, KeySource, OutputBatch};
use crate::codec::{Codec, Encode};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::host;
use crate::metrics::MetricBuffer;
use crate::output::{EmitKey, NO_SLOT, Output, OutputBuffer};
use crate::state::{StateBuffers, ValueColumn, ValueState};

/// State, outputs, metrics, time and chance, for the record at hand.
#[derive(Debug)]
pub struct Context {
    pub(crate) current: Current,
    pub(crate) states: StateBuffers,
    pub(crate) metrics: MetricBuffer,
    outputs: Vec<OutputBuffer>,
    keys: KeyPlaces,
    /// Something has grown so large that it should leave after this record.
    pub(crate) flush_wanted: bool,
    now_ms: Option<i64>,
}

/// The record at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) serial: u64,
    pub(crate) slot: u32,
    timestamp_ms: i64,
}

/// Where the keys of the batch lie in memory. The batch is borrowed as long as its records are
/// processed: a slice at the same place and of the same length is the same key, without a look at
/// its bytes.
#[derive(Debug, Default)]
struct KeyPlaces {
    start: usize,
    ends: Vec<u32>,
}

impl KeyPlaces {
    fn set(&mut self, keys: &BytesColumn) {
        self.start = keys.data.as_ptr().addr();
        self.ends.clone_from(&keys.ends);
    }

    #[inline]
    fn is_at(&self, slot: u32, key: &[u8]) -> bool {
        let slot = slot as usize;
        let end = self.ends[slot] as usize;
        let start = if slot == 0 { 0 } else { self.ends[slot - 1] as usize };
        key.len() == end - start && key.as_ptr().addr() == self.start + start
    }
}

impl Context {
    pub(crate) fn new(description: &raw::Description) -> Self {
        let outputs = (0..)
            .zip(&description.outputs)
            .map(|(index, output)| OutputBuffer::new(index, output.value_width))
            .collect();
        Self {
            current: Current { serial: 0, slot: NO_SLOT, timestamp_ms: 0 },
            states: StateBuffers::new(&description.states),
            metrics: MetricBuffer::new(&description.metrics),
            outputs,
            keys: KeyPlaces::default(),
            flush_wanted: false,
            now_ms: None,
        }
    }

    /// Emits to the first output, with the key of the record at hand, or none where it has none.
    #[inline(always)]
    pub fn emit<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.to(Output::FIRST).emit(value)
    }

    /// Emits to the first output with this key. The key of the record at hand is recognised, and
    /// then neither copied nor hashed again.
    #[inline(always)]
    pub fn emit_keyed<K, T>(&mut self, key: &K, value: &T) -> Result<()>
    where
        K: AsRef<[u8]> + ?Sized,
        T: Encode + ?Sized,
    {
        self.to(Output::FIRST).emit_keyed(key, value)
    }

    /// Emits to the first output without a key.
    #[inline(always)]
    pub fn emit_unkeyed<T: Encode + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.to(Output::FIRST).emit_unkeyed(value)
    }

    /// Emits to an output; event time is that of the record at hand.
    #[inline(always)]
    pub fn to(&mut self, output: Output) -> Emission<'_> {
        let timestamp_ms = self.current.timestamp_ms;
        Emission { ctx: self, output, timestamp_ms }
    }

    /// Processing time in milliseconds since the Unix epoch: the same during the whole call, and
    /// the same when the call is made again.
    pub fn now_ms(&mut self) -> i64 {
        *self.now_ms.get_or_insert_with(host::now)
    }

    /// Bytes of chance: the same when the call is made again.
    pub fn random(&mut self, len: u32) -> Vec<u8> {
        host::random(len)
    }

    /// Begins a call on a batch.
    pub(crate) fn begin(&mut self, batch: &InputBatch) {
        self.begin_without_records(if batch.is_keyed() { batch.slots() } else { 0 });
        self.keys.set(batch.keys());
    }

    /// Begins a call; `slots` is 0 where no state can be used.
    pub(crate) fn begin_without_records(&mut self, slots: u32) {
        self.leave_record();
        self.current.timestamp_ms = 0;
        self.flush_wanted = false;
        self.now_ms = None;
        self.states.begin(slots);
    }

    /// Ends a call: everything that was buffered goes to the host.
    pub(crate) fn commit(&mut self) {
        self.states.flush();
        for output in &mut self.outputs {
            output.flush();
        }
        self.metrics.flush();
    }

    /// Ends a call that failed: the host drops what it has, and so does the guest.
    pub(crate) fn discard(&mut self) {
        self.states.begin(0);
        for output in &mut self.outputs {
            output.discard();
        }
        self.metrics.discard();
    }

    #[inline(always)]
    fn enter_record(&mut self, record: &Record<'_>) {
        self.current = Current {
            serial: self.current.serial + 1,
            slot: record.slot().unwrap_or(NO_SLOT),
            timestamp_ms: record.timestamp_ms(),
        };
    }

    fn leave_record(&mut self) {
        self.current.serial += 1;
        self.current.slot = NO_SLOT;
    }

    /// Takes back what a bad record has done, and lists it; hands a fatal verdict back.
    #[cold]
    #[inline(never)]
    fn refuse_record(
        &mut self,
        index: u32,
        verdict: Error,
        bad: &mut Vec<BadRecord>,
    ) -> Result<()> {
        if verdict.is_fatal() {
            return Err(verdict);
        }
        let serial = self.current.serial;
        self.states.undo(serial);
        for output in &mut self.outputs {
            output.undo(serial);
        }
        bad.push(BadRecord::new(index, verdict.into_message()));
        Ok(())
    }

    #[cold]
    fn flush_full(&mut self) {
        self.flush_wanted = false;
        for output in &mut self.outputs {
            output.flush_sealed();
        }
        self.states.flush_full();
    }
}

/// Records on their way to one output.
#[derive(Debug)]
#[must_use]
pub struct Emission<'c> {
    ctx: &'c mut Context,
    output: Output,
    timestamp_ms: i64,
}

impl Emission<'_> {
    /// Sets the event time of the records, in milliseconds since the Unix epoch.
    #[inline]
    pub fn at_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }

    /// Emits with the key of the record at hand, or none where it has none.
    #[inline(always)]
    pub fn emit<T: Encode + ?Sized>(self, value: &T) -> Result<()> {
        let slot = self.ctx.current.slot;
        self.push(EmitKey::Slot(slot), value)
    }

    /// Emits with this key. The key of the record at hand is recognised, and then neither copied
    /// nor hashed again.
    #[inline(always)]
    pub fn emit_keyed<K, T>(self, key: &K, value: &T) -> Result<()>
    where
        K: AsRef<[u8]> + ?Sized,
        T: Encode + ?Sized,
    {
        let key = key.as_ref();
        let slot = self.ctx.current.slot;
        if slot != NO_SLOT && self.ctx.keys.is_at(slot, key) {
            return self.push(EmitKey::Slot(slot), value);
        }
        self.push(EmitKey::New(key), value)
    }

    /// Emits without a key.
    #[inline(always)]
    pub fn emit_unkeyed<T: Encode + ?Sized>(self, value: &T) -> Result<()> {
        self.push(EmitKey::Slot(NO_SLOT), value)
    }

    #[inline(always)]
    fn push<T: Encode + ?Sized>(self, key: EmitKey<'_>, value: &T) -> Result<()> {
        let Self { ctx, output, timestamp_ms } = self;
        let Some(buffer) = ctx.outputs.get_mut(output.0 as usize) else {
            return Err(no_output(output));
        };
        buffer.push(ctx.current.serial, key, timestamp_ms, value, &mut ctx.flush_wanted)
    }
}

#[cold]
fn no_output(output: Output) -> Error {
    Error::fatal(format!("the description has no output {}", output.0))
}

/// What an operator that works on whole batches can do.
#[derive(Debug)]
pub struct BatchContext {
    pub(crate) context: Context,
}

impl BatchContext {
    /// Processes the records one after the other. A record that is bad is taken back as if it had
    /// not come, and is listed in the answer.
    #[inline]
    pub fn for_each(
        &mut self,
        batch: &InputBatch,
        mut process: impl FnMut(Record<'_>, &mut Context) -> Result<()>,
    ) -> Result<Vec<BadRecord>> {
        let ctx = &mut self.context;
        let mut bad = Vec::new();
        for index in 0..batch.len() {
            let record = batch.record(index);
            ctx.enter_record(&record);
            if let Err(verdict) = process(record, ctx) {
                ctx.refuse_record(index, verdict, &mut bad)?;
            }
            if ctx.flush_wanted {
                ctx.flush_full();
            }
        }
        ctx.leave_record();
        Ok(bad)
    }

    /// The context for one record of the batch: its key and event time. What is done with it is
    /// not taken back when an error follows.
    #[inline]
    pub fn at(&mut self, batch: &InputBatch, record: u32) -> &mut Context {
        if self.context.flush_wanted {
            self.context.flush_full();
        }
        self.context.enter_record(&batch.record(record));
        &mut self.context
    }

    /// The context without a record: for metrics, time and chance, and for records without a key.
    pub fn context(&mut self) -> &mut Context {
        self.context.leave_record();
        &mut self.context
    }

    /// The items of a value state for all slots of the batch.
    pub fn value_column<T: Codec>(&mut self, state: &ValueState<T>) -> ValueColumn<'_, T> {
        let Context { current, states, .. } = &mut self.context;
        ValueColumn {
            cache: &mut states.values[state.index],
            serial: current.serial,
            item: PhantomData,
        }
    }

    /// Emits whole columns, behind everything that was emitted to the output before.
    ///
    /// # Errors
    /// Fatal if the columns differ in length, or there is no such output.
    pub fn emit_columns(&mut self, output: Output, columns: OutputColumns) -> Result<()> {
        let batch = columns.into_raw()?;
        let Some(buffer) = self.context.outputs.get_mut(output.0 as usize) else {
            return Err(no_output(output));
        };
        buffer.emit_batch(&batch);
        Ok(())
    }
}

/// Records to emit, as columns.
#[derive(Debug)]
pub struct OutputColumns {
    /// Where their keys come from.
    pub keys: OutputKeys,
    /// Their values; of the width with which the output was described.
    pub values: Column,
    /// Their event times in milliseconds since the Unix epoch; empty when all are 0.
    pub timestamps_ms: Vec<i64>,
}

/// Where the keys of emitted columns come from.
#[derive(Debug)]
pub enum OutputKeys {
    /// The records have no keys.
    None,
    /// For each record the slot of its key in the batch at hand.
    Slots(Vec<u32>),
    /// For each record its key.
    New(Column),
}

impl OutputColumns {
    fn into_raw(self) -> Result<OutputBatch> {
        let Self { keys, values, timestamps_ms } = self;
        let records = values.len();
        let same = match &keys {
            OutputKeys::None => true,
            OutputKeys::Slots(slots) => slots.len() == records,
            OutputKeys::New(keys) => keys.len() == records,
        };
        if !same || !(timestamps_ms.is_empty() || timestamps_ms.len() == records) {
            return Err(Error::fatal("the columns to emit differ in length"));
        }
        let (keys, key_of) = match keys {
            OutputKeys::None => (KeySource::None, Vec::new()),
            OutputKeys::Slots(slots) => (KeySource::InputKeys, slots),
            OutputKeys::New(keys) => (KeySource::NewKeys(keys.raw), Vec::new()),
        };
        Ok(OutputBatch { keys, key_of, values: values.raw, timestamps: timestamps_ms })
    }
}
