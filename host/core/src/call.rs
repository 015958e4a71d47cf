//! One call: what it was given, and what it has done so far, held aside until it returns ok.
//!
//! The host side of every import of the contract is a method here, so that a sandbox only translates
//! types. Owns the checks on what may be called when and how much one call may emit. Knows nothing of
//! Wasm, queues or threads.

use std::sync::Arc;

use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::column::{BytesColumn, Layout};
use crate::describe::Description;
use crate::failure::{FaultCode, GuestFault};
use crate::limits::{Limits, RANDOM_BYTES_MAX};
use crate::state::TaskState;

/// What one emit costs the host beside its columns.
const EMIT_OVERHEAD_BYTES: usize = 256;

/// What a call is for; decides which imports are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// `describe` at admission: no import is allowed.
    Describe,
    /// `open`.
    Open,
    /// `process` on a batch of a keyed (or not) input.
    Process {
        /// Whether keyed state may be used.
        keyed: bool,
    },
    /// `close`.
    Close,
}

/// Where the keys of emitted records come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The records carry no key.
    None,
    /// `key_of` points into the keys of the input.
    InputKeys,
    /// `key_of` points into these keys (empty: one key for each record).
    NewKeys(BytesColumn),
}

/// Records that a call emits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputBatch {
    /// Where the keys come from.
    pub keys: KeySource,
    /// Index of its key for each record.
    pub key_of: Vec<u32>,
    /// Values, in the layout of the output's description.
    pub values: BytesColumn,
    /// Event times; empty when all are 0.
    pub timestamps: Vec<i64>,
}

/// The records that a `process` call works on.
#[derive(Clone, Debug, Default)]
pub struct CallInput {
    /// Keyed input: the distinct keys. Otherwise one key per record, or none.
    pub dictionary: Arc<Dictionary>,
    /// For each record the index of its key; empty when records carry no key.
    pub key_of: Vec<u32>,
    /// Values, in variable layout.
    pub values: BytesColumn,
    /// Event times; empty when all are 0.
    pub timestamps: Vec<i64>,
}

/// What is fixed for all calls of a task.
#[derive(Clone, Debug)]
pub struct CallRules {
    /// The operator.
    pub description: Arc<Description>,
    /// For each output whether an edge needs its records to carry keys.
    pub output_needs_key: Vec<bool>,
    /// The limits of the sandbox.
    pub limits: Arc<Limits>,
    /// Key of the random generator: job seed, operator, task and incarnation, hashed.
    pub random_key: [u8; 32],
}

/// The host's side of one call.
pub struct CallFrame {
    rules: Arc<CallRules>,
    phase: Phase,
    /// What the call works on; the sandbox shows it to the guest.
    pub input: CallInput,
    state: Option<Box<TaskState>>,
    emitted: Vec<Vec<Batch>>,
    emitted_records: usize,
    emitted_bytes: usize,
    metrics: Vec<(u32, f64)>,
    clock_ms: i64,
    call: u64,
    random_at: u64,
}

type Checked<T> = Result<T, GuestFault>;

fn fault<T>(code: FaultCode, message: impl Into<String>) -> Checked<T> {
    Err(GuestFault::new(code, message))
}

impl CallFrame {
    /// A frame for the calls of one task.
    pub fn new(rules: Arc<CallRules>, state: Option<Box<TaskState>>) -> Self {
        let emitted = rules.description.outputs.iter().map(|_| Vec::new()).collect();
        Self {
            rules,
            phase: Phase::Describe,
            input: CallInput::default(),
            state,
            emitted,
            emitted_records: 0,
            emitted_bytes: 0,
            metrics: Vec::new(),
            clock_ms: 0,
            call: 0,
            random_at: 0,
        }
    }

    /// Begins a call: what the frame held of an older one is gone. `call` numbers the calls of the task.
    pub fn begin(&mut self, phase: Phase, call: u64, clock_ms: i64) {
        self.phase = phase;
        self.call = call;
        self.clock_ms = self.clock_ms.max(clock_ms);
        self.forget();
    }

    /// Forgets what the call has emitted and measured, so that it can be made again.
    pub fn forget(&mut self) {
        self.emitted.iter_mut().for_each(Vec::clear);
        self.emitted_records = 0;
        self.emitted_bytes = 0;
        self.metrics.clear();
        self.random_at = 0;
    }

    /// The task's keyed state, if it has any; for the caller between `begin` and `commit`.
    pub fn state_mut(&mut self) -> Option<&mut TaskState> {
        self.state.as_deref_mut()
    }

    /// Takes what the call emitted: for each output the batches in order.
    pub fn take_emitted(&mut self) -> impl Iterator<Item = (usize, Batch)> {
        self.emitted.iter_mut().enumerate().flat_map(|(output, batches)| {
            std::mem::take(batches).into_iter().map(move |b| (output, b))
        })
    }

    /// What the call measured: metric index and value, in order.
    pub fn metrics(&self) -> &[(u32, f64)] {
        &self.metrics
    }

    /// Records that the call works on.
    pub fn input_len(&self) -> usize {
        self.input.values.len()
    }

    /// Whether the values of input `input` have a fixed width, so that the guest gets no ends.
    pub fn input_is_fixed(&self, input: u32) -> bool {
        let described = self.rules.description.inputs.get(input as usize);
        described.is_some_and(|input| input.value_width.is_some())
    }

    /// The limits of the task.
    pub fn limits(&self) -> &Limits {
        &self.rules.limits
    }

    /// What the call is for.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Keyed state, for a state import.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] outside `process` of a keyed input.
    pub fn state(&mut self) -> Checked<&mut TaskState> {
        match (self.phase, self.state.as_deref_mut()) {
            (Phase::Process { keyed: true }, Some(state)) => Ok(state),
            (Phase::Process { keyed: true }, None) => {
                fault(FaultCode::UnknownIndex, "the operator described no state")
            }
            (Phase::Process { keyed: false }, _) => fault(
                FaultCode::NotAllowedHere,
                "keyed state belongs to the key at hand, and this input is not keyed",
            ),
            (Phase::Describe | Phase::Open | Phase::Close, _) => {
                fault(FaultCode::NotAllowedHere, "keyed state may only be used inside `process`")
            }
        }
    }

    /// Import `output.emit`.
    ///
    /// # Errors
    /// A [`GuestFault`] for a bad index or column, a missing key, or a limit passed.
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
        let key_bytes = match &batch.keys {
            KeySource::NewKeys(keys) => keys.bytes(),
            // The input's keys are shared, not copied.
            KeySource::None | KeySource::InputKeys => 0,
        };
        let columns = batch.values.bytes() + batch.timestamps.len() * 8 + batch.key_of.len() * 4;
        self.charge(records, columns + key_bytes + EMIT_OVERHEAD_BYTES)?;
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
            KeySource::None if self.rules.output_needs_key[output] => {
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
        if self.emitted_records > limits.emit_records {
            let message = format!("over {} records emitted in one call", limits.emit_records);
            return fault(FaultCode::EmitLimit, message);
        }
        if self.emitted_bytes > limits.emit_bytes {
            let message = format!("over {} bytes emitted in one call", limits.emit_bytes);
            return fault(FaultCode::EmitLimit, message);
        }
        Ok(())
    }

    /// Import `metrics.put`.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown metric, in `describe`, or for too many in one call.
    pub fn put_metric(&mut self, metric: u32, value: f64) -> Checked<()> {
        self.check_described("metrics")?;
        let count = self.rules.description.metrics.len();
        if metric as usize >= count {
            let message = format!("metric {metric} of {count} described metrics");
            return fault(FaultCode::UnknownIndex, message);
        }
        if self.metrics.len() >= self.rules.limits.emit_records {
            let message = format!("over {} metric values in one call", self.metrics.len());
            return fault(FaultCode::EmitLimit, message);
        }
        self.metrics.push((metric, value));
        Ok(())
    }

    /// Import `clock.now`: milliseconds since the Unix epoch, the same for the whole call.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] in `describe`.
    pub fn clock(&self) -> Checked<i64> {
        self.check_described("the clock")?;
        Ok(self.clock_ms)
    }

    /// The call's clock for WASI, which answers fixed values in `describe`.
    pub fn wasi_clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Import `random.bytes`.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] in `describe`, [`FaultCode::HostCallLimit`] for too many at once.
    pub fn random(&mut self, len: u32) -> Checked<Vec<u8>> {
        self.check_described("random")?;
        self.wasi_random(u64::from(len))
    }

    /// The call's random bytes for WASI, which answers fixed values in `describe`.
    ///
    /// # Errors
    /// [`FaultCode::HostCallLimit`] for too many at once.
    pub fn wasi_random(&mut self, len: u64) -> Checked<Vec<u8>> {
        if len > u64::from(RANDOM_BYTES_MAX) {
            let message =
                format!("{len} random bytes asked for; at most {RANDOM_BYTES_MAX} at once");
            return fault(FaultCode::HostCallLimit, message);
        }
        let mut bytes = vec![0; len as usize];
        let mut hasher = blake3::Hasher::new_keyed(&self.rules.random_key);
        hasher.update(&self.call.to_le_bytes());
        let mut stream = hasher.finalize_xof();
        stream.set_position(self.random_at);
        stream.fill(&mut bytes);
        self.random_at += len;
        Ok(bytes)
    }

    /// Import `log.write`: only whether it is allowed; the sandbox writes the line.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] in `describe`.
    pub fn check_described(&self, what: &str) -> Checked<()> {
        match self.phase {
            Phase::Describe => {
                fault(FaultCode::NotAllowedHere, format!("{what} may not be used in `describe`"))
            }
            Phase::Open | Phase::Process { .. } | Phase::Close => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::{InputDescription, OutputDescription};

    fn frame(limits: Limits) -> CallFrame {
        let output = |name: &str, value_width| OutputDescription { name: name.into(), value_width };
        let description = Description {
            inputs: vec![InputDescription { name: "in".into(), keyed: false, value_width: None }],
            outputs: vec![output("keyed", None), output("fixed", Some(2))],
            ..Description::default()
        };
        let rules = CallRules {
            description: Arc::new(description),
            output_needs_key: vec![true, false],
            limits: Arc::new(limits),
            random_key: [3; 32],
        };
        let mut frame = CallFrame::new(Arc::new(rules), None);
        frame.begin(Phase::Process { keyed: false }, 1, 1000);
        frame
    }

    fn column(items: &[&str]) -> BytesColumn {
        let mut column = BytesColumn::default();
        items.iter().for_each(|item| column.push(item.as_bytes()));
        column
    }

    fn batch(keys: KeySource, key_of: &[u32], values: &[&str]) -> OutputBatch {
        OutputBatch { keys, key_of: key_of.to_vec(), values: column(values), timestamps: vec![] }
    }

    fn refusal(outcome: Checked<()>) -> FaultCode {
        outcome.expect_err("it must be refused").code
    }

    #[test]
    fn emits_that_break_the_contract_are_refused_by_code() {
        let mut frame = frame(Limits { key_bytes: 4, value_bytes: 8, ..Limits::default() });
        let new_keys = |keys: &[&str]| KeySource::NewKeys(column(keys));
        let mut emit = |output, batch| refusal(frame.emit(output, batch));
        assert_eq!(emit(2, batch(KeySource::None, &[], &["v"])), FaultCode::UnknownIndex);
        assert_eq!(emit(0, batch(KeySource::None, &[], &["v"])), FaultCode::MissingKey);
        assert_eq!(emit(0, batch(new_keys(&["k"]), &[], &["v", "w"])), FaultCode::BadColumn);
        assert_eq!(emit(0, batch(new_keys(&["k"]), &[1], &["v"])), FaultCode::BadColumn);
        assert_eq!(emit(0, batch(KeySource::InputKeys, &[0], &["v"])), FaultCode::BadColumn);
        assert_eq!(emit(0, batch(new_keys(&["long key"]), &[], &["v"])), FaultCode::ItemTooLarge);
        assert_eq!(
            emit(0, batch(new_keys(&["k"]), &[], &["a long value"])),
            FaultCode::ItemTooLarge
        );
        assert_eq!(emit(1, batch(KeySource::None, &[], &["vv"])), FaultCode::BadColumn);
        let mut untimely = batch(new_keys(&["k"]), &[], &["v"]);
        untimely.timestamps = vec![1, 2];
        assert_eq!(emit(0, untimely), FaultCode::BadColumn);
    }

    #[test]
    fn emitting_under_the_keys_of_the_input_copies_and_charges_no_key() {
        let mut frame = frame(Limits::default());
        let mut dictionary = Dictionary::default();
        (0..4096).for_each(|key: u32| dictionary.keys.push(&key.to_le_bytes()));
        frame.input.dictionary = Arc::new(dictionary);
        for key in 0..4096 {
            frame.emit(0, batch(KeySource::InputKeys, &[key], &["v"])).unwrap();
        }
        assert_eq!(frame.take_emitted().count(), 4096);
    }

    #[test]
    fn a_call_may_emit_so_much_and_no_more() {
        let mut by_records = frame(Limits { emit_records: 2, ..Limits::default() });
        let mut by_bytes = frame(Limits { emit_bytes: 1000, ..Limits::default() });
        let three = || OutputBatch {
            keys: KeySource::None,
            key_of: vec![],
            values: BytesColumn { data: vec![0; 6], ends: vec![] },
            timestamps: vec![],
        };
        assert_eq!(refusal(by_records.emit(1, three())), FaultCode::EmitLimit);
        let emits = (0..10).take_while(|_| by_bytes.emit(1, three()).is_ok()).count();
        assert_eq!(emits, 3);
        by_bytes.forget();
        assert!(by_bytes.emit(1, three()).is_ok());
    }

    #[test]
    fn random_bytes_are_the_same_when_a_call_is_made_again_and_others_in_the_next() {
        let mut frame = frame(Limits::default());
        let first = (frame.random(5).unwrap(), frame.random(5).unwrap());
        assert_ne!(first.0, first.1);
        frame.forget();
        assert_eq!((frame.random(5).unwrap(), frame.random(5).unwrap()), first);
        frame.begin(Phase::Process { keyed: false }, 2, 900);
        assert_ne!(frame.random(5).unwrap(), first.0);
        assert_eq!(frame.clock().unwrap(), 1000, "the clock never goes back");
        assert_eq!(refusal(frame.random(RANDOM_BYTES_MAX + 1).map(drop)), FaultCode::HostCallLimit);
    }

    #[test]
    fn each_import_has_its_place() {
        let mut frame = frame(Limits::default());
        assert_eq!(refusal(frame.state().map(drop)), FaultCode::NotAllowedHere);
        frame.begin(Phase::Open, 2, 0);
        assert_eq!(refusal(frame.state().map(drop)), FaultCode::NotAllowedHere);
        let emitted = frame.emit(0, batch(KeySource::None, &[], &["v"]));
        assert_eq!(refusal(emitted), FaultCode::NotAllowedHere);
        assert_eq!(refusal(frame.put_metric(0, 1.0)), FaultCode::UnknownIndex);
        frame.begin(Phase::Describe, 3, 0);
        assert_eq!(refusal(frame.clock().map(drop)), FaultCode::NotAllowedHere);
        assert_eq!(refusal(frame.random(1).map(drop)), FaultCode::NotAllowedHere);
        assert_eq!(refusal(frame.check_described("the log")), FaultCode::NotAllowedHere);
    }
}
