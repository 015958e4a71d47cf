//! What a call emits: the checks on it, and how much it may be.
//!
//! Owns the import `output.emit`. Invariant: a batch that is kept here has whole columns, keys where its
//! output needs them, and is within the limits of the call.

use std::sync::Arc;

use super::{CallFrame, Checked, KeySource, OutputBatch, Phase, fault};
use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::column::Layout;
use crate::failure::FaultCode;

/// What one emit costs the host beside its columns.
const EMIT_OVERHEAD_BYTES: usize = 256;
/// What it costs for each queue beyond the first that the batch goes into, most of it time: a call may emit tens of thousands, and an
/// output have hundreds of edges.
const QUEUE_OVERHEAD_BYTES: usize = 16;

impl CallFrame {
    /// Import `output.emit`.
    ///
    /// # Errors
    /// A [`GuestFault`](crate::failure::GuestFault) for a bad index or column, a missing key, or a limit passed.
    pub fn emit(&mut self, output: u32, mut batch: OutputBatch) -> Checked<()> {
        if !matches!(self.phase, Phase::Process { .. } | Phase::Close) {
            return fault(
                FaultCode::NotAllowedHere,
                "emit is allowed in `process` and `close` only",
            );
        }
        let index = output as usize;
        let Some(description) = self.rules.description.outputs.get(index) else {
            let count = self.rules.description.outputs.len();
            let message = format!("emit to output {output} of {count} described outputs");
            return fault(FaultCode::UnknownIndex, message);
        };
        let records =
            batch.values.validate(Layout::of(description.value_width), "emitted values")?;
        if records == 0 {
            return Ok(());
        }
        if !batch.timestamps.is_empty() && batch.timestamps.len() != records {
            let message = format!("{} timestamps for {records} records", batch.timestamps.len());
            return fault(FaultCode::BadColumn, message);
        }
        if let Some(width) = description.value_width {
            batch.values.spread(width);
        }
        self.check_size("value", batch.values.longest(), self.rules.limits.value_bytes)?;
        let columns = batch.values.bytes() + batch.timestamps.len() * 8 + batch.key_of.len() * 4;
        let key_bytes = match &batch.keys {
            KeySource::None => 0,
            KeySource::NewKeys(keys) => keys.bytes(),
            KeySource::InputKeys => self.input_key_bytes(&batch.key_of, columns),
        };
        let more_queues = self.rules.outputs[index].queues.saturating_sub(1);
        let overhead = EMIT_OVERHEAD_BYTES + more_queues * QUEUE_OVERHEAD_BYTES;
        self.charge(records, columns + key_bytes + overhead)?;
        let keys = self.emitted_keys(index, records, batch.keys, batch.key_of)?;
        let batch = Batch { keys, values: batch.values, timestamps: batch.timestamps };
        self.emitted[index].push(batch);
        Ok(())
    }

    fn emitted_keys(
        &self,
        output: usize,
        records: usize,
        source: KeySource,
        key_of: Vec<u32>,
    ) -> Checked<RecordKeys> {
        let dictionary = match source {
            KeySource::None if self.rules.outputs[output].needs_key => {
                let name = &self.rules.description.outputs[output].name;
                let message =
                    format!("output {name:?} feeds a keyed input, so its records need keys");
                return fault(FaultCode::MissingKey, message);
            }
            KeySource::None => return Ok(RecordKeys::None),
            KeySource::InputKeys => self.input.dictionary.clone(),
            KeySource::NewKeys(keys) => {
                keys.validate(Layout::Variable, "emitted keys")?;
                self.check_size("key", keys.longest(), self.rules.limits.key_bytes)?;
                Arc::new(Dictionary { keys, hashes: Vec::new() })
            }
        };
        let keys = dictionary.keys.len();
        let covered = if key_of.is_empty() { keys } else { key_of.len() };
        if covered != records {
            return fault(FaultCode::BadColumn, format!("{covered} keys for {records} records"));
        }
        let out_of_range = key_of.iter().fold(0, |max, key| max.max(*key)) as usize;
        if !key_of.is_empty() && out_of_range >= keys {
            return fault(FaultCode::BadColumn, format!("key index {out_of_range} of {keys} keys"));
        }
        Ok(RecordKeys::Of { dictionary, key_of })
    }

    /// What keys of the input may come to that are emitted beside so many bytes of other columns. They are shared here, and
    /// copied on their way to others by each emit once more: the key of each record, but no more than all keys of the batch. Where
    /// all of them are no more than the other columns, they count as a whole, and none is looked at.
    fn input_key_bytes(&self, key_of: &[u32], columns: usize) -> usize {
        let keys = &self.input.dictionary.keys;
        let all = keys.data.len();
        if all <= columns || key_of.is_empty() {
            return all;
        }
        // An index out of range is refused later.
        let bytes = |key: &u32| {
            if (*key as usize) < keys.len() { keys.get(*key as usize).len() } else { 0 }
        };
        key_of.iter().map(bytes).sum::<usize>().min(all)
    }

    fn check_size(&self, what: &str, longest: usize, limit: usize) -> Checked<()> {
        if longest > limit {
            let message =
                format!("an emitted {what} of {longest} bytes; at most {limit} are allowed");
            return fault(FaultCode::ItemTooLarge, message);
        }
        Ok(())
    }

    fn charge(&mut self, records: usize, bytes: usize) -> Checked<()> {
        self.emitted_records += records;
        self.emitted_bytes += bytes;
        let limits = &self.rules.limits;
        let emitted = [
            (self.emitted_records, "records", limits.emit_records),
            (self.emitted_bytes, "bytes", limits.emit_bytes),
        ];
        match emitted.into_iter().find(|(emitted, _, limit)| emitted > limit) {
            None => Ok(()),
            Some((emitted, what, limit)) => fault(
                FaultCode::EmitLimit,
                format!("{emitted} {what} emitted in one call; at most {limit} are allowed"),
            ),
        }
    }
}
