//! How records become calls of the operator.

use std::collections::HashMap;
use std::panic::{self, AssertUnwindSafe};

use super::columns::LimitHit;
use super::imports::with_host;
use super::model::{Model, next_random};
use super::{Batches, Harness, Rejected};
use crate::bindings::tidemill::operator::types::{BadRecord, Failure, InputBatch};
use crate::column::Column;
use crate::error::{Error, Result};
use crate::limits::SAVED_BYTES_MAX;
use crate::operator::{Operator, Running};
use crate::snapshot::Snapshot;

/// Key, value and event time.
type Sent<'r> = (Option<&'r [u8]>, &'r [u8], i64);

/// How the state of an operator's own memory outlives its instance.
pub(super) struct Saving<O> {
    save: fn(&mut Running<O>) -> Result<Vec<u8>, Failure>,
    restore: fn(&mut Running<O>, &[u8]) -> Result<(), Failure>,
    pub(super) saved: Option<Vec<u8>>,
}

impl<O: Snapshot> Saving<O> {
    pub(super) fn new() -> Self {
        Self { save: Running::save, restore: Running::restore, saved: None }
    }
}

impl Batches {
    fn next(&mut self) -> usize {
        match self {
            Self::Exactly(records) => *records,
            Self::UpTo { max, chance } => 1 + next_random(chance) as usize % *max,
        }
    }
}

impl<O: Operator> Harness<O> {
    pub(super) fn ensure_open(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        self.model_mut().begin_open();
        let context = self.context.clone();
        let opened = with_host(&mut self.model, || Running::open(context));
        let mut running = opened.map_err(fatal)?;
        if let Some(Saving { restore, saved, .. }) = &self.saving {
            if !self.model().description.states.is_empty() {
                let message = "an operator with a snapshot may not describe keyed state";
                return Err(Error::fatal(message));
            }
            if let Some(saved) = saved {
                with_host(&mut self.model, || restore(&mut running, saved)).map_err(fatal)?;
            }
        }
        self.running = Some(running);
        Ok(())
    }

    /// Saves an operator that keeps state in its own memory.
    fn save(&mut self) -> Result<()> {
        let (Some(saving), Some(running)) = (&mut self.saving, &mut self.running) else {
            return Ok(());
        };
        let save = saving.save;
        let saved = with_host(&mut self.model, || save(running)).map_err(fatal)?;
        if saved.len() > SAVED_BYTES_MAX {
            return Err(Error::fatal("more than 16 MiB were saved"));
        }
        saving.saved = Some(saved);
        Ok(())
    }

    pub(super) fn run<'r>(
        &mut self,
        input: &str,
        records: impl Iterator<Item = Sent<'r>>,
    ) -> Result<()> {
        let inputs = &self.model().description.inputs;
        let Some(index) = inputs.iter().position(|described| described.name == input) else {
            return Err(Error::fatal(format!("no input `{input}` in the description")));
        };
        let records: Vec<_> = records.collect();
        if inputs[index].keyed && records.iter().any(|(key, _, _)| key.is_none()) {
            return Err(Error::fatal(format!("input `{input}` is keyed, the records are not")));
        }
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(self.batches.next().min(rest.len()));
            self.run_batch(index, batch)?;
            rest = after;
        }
        Ok(())
    }

    /// One call, or several where the host would have to halve the batch.
    fn run_batch(&mut self, input: usize, records: &[Sent<'_>]) -> Result<()> {
        self.ensure_open()?;
        let (batch, keys) = columns(self.model(), input, records);
        let keyed = self.model().description.inputs[input].keyed;
        self.model_mut().begin_process(keys, keyed);
        let running = self.running.as_mut().expect("the operator is open");
        let call = || running.process(input as u32, batch);
        let answer = with_host(&mut self.model, || panic::catch_unwind(AssertUnwindSafe(call)));
        match answer {
            Ok(Ok(bad)) => self.commit(input, records, bad),
            Ok(Err(failure)) => {
                self.abort();
                Err(fatal(failure))
            }
            Err(payload) => {
                self.abort();
                match payload.downcast::<LimitHit>() {
                    // The host would go back to the newest checkpoint, and meet the limit again.
                    Ok(limit) if self.saving.is_some() => Err(Error::fatal(limit.0)),
                    Ok(limit) => self.run_halves(input, records, limit.0),
                    Err(payload) => panic::resume_unwind(payload),
                }
            }
        }
    }

    fn run_halves(&mut self, input: usize, records: &[Sent<'_>], limit: String) -> Result<()> {
        if let [record] = records {
            self.reject(input, record, limit);
            return Ok(());
        }
        let (first, second) = records.split_at(records.len() / 2);
        self.run_batch(input, first)?;
        self.run_batch(input, second)
    }

    pub(super) fn run_close(&mut self) -> Result<()> {
        self.ensure_open()?;
        self.model_mut().begin_close();
        let running = self.running.as_mut().expect("the operator is open");
        match with_host(&mut self.model, || running.close()) {
            Ok(()) => {
                self.model_mut().commit();
                Ok(())
            }
            Err(failure) => {
                self.abort();
                Err(fatal(failure))
            }
        }
    }

    fn commit(&mut self, input: usize, records: &[Sent<'_>], bad: Vec<BadRecord>) -> Result<()> {
        self.model_mut().commit();
        let mut before = None;
        for BadRecord { index, reason } in bad {
            assert!(before < Some(index), "trap: bad records out of order");
            before = Some(index);
            let record = records.get(index as usize).expect("trap: no such bad record");
            self.reject(input, record, reason);
        }
        self.save()?;
        if !self.keep_instance {
            self.running = None;
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.model_mut().abort();
        self.running = None;
    }

    fn reject(&mut self, input: usize, (key, value, _): &Sent<'_>, reason: String) {
        let input = self.model().description.inputs[input].name.clone();
        let key = key.map(<[u8]>::to_vec);
        self.rejected.push(Rejected { input, key, value: value.to_vec(), reason });
    }

    pub(super) fn model(&self) -> &Model {
        self.model.as_ref().expect("no operator code is running")
    }

    pub(super) fn model_mut(&mut self) -> &mut Model {
        self.model.as_mut().expect("no operator code is running")
    }
}

fn fatal(Failure::Fatal(message): Failure) -> Error {
    Error::fatal(message)
}

/// The columns of a batch, and its keys: distinct ones where the input is keyed.
fn columns(model: &Model, input: usize, records: &[Sent<'_>]) -> (InputBatch, Vec<Vec<u8>>) {
    let about = &model.description.inputs[input];
    let mut values = Column::new(about.value_width);
    let mut keys = Vec::new();
    let mut slots = HashMap::new();
    let mut key_of = Vec::new();
    let mut timestamps = Vec::new();
    for &(key, value, timestamp_ms) in records {
        assert!(
            about.value_width.is_none_or(|width| width as usize == value.len()),
            "input `{}` is described with values of another width",
            about.name
        );
        values.push_bytes(value);
        timestamps.push(timestamp_ms);
        let Some(key) = key else { continue };
        let next = keys.len() as u32;
        let slot = if about.keyed { *slots.entry(key).or_insert(next) } else { next };
        if slot == next {
            keys.push(key.to_vec());
        }
        key_of.push(slot);
    }
    if timestamps.iter().all(|&timestamp_ms| timestamp_ms == 0) {
        timestamps.clear();
    }
    let mut column = Column::new(None);
    for key in &keys {
        column.push_bytes(key);
    }
    (InputBatch { keys: column.raw, key_of, values: values.raw, timestamps }, keys)
}
