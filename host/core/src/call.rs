//! One call: what it was given, and what it has done so far, held aside until it returns ok.
//!
//! The host side of every import of the contract is a method here, so that a sandbox only translates
//! types. Owns the checks on what may be called when and how much one call may emit. Knows nothing of
//! Wasm, queues or threads.

mod emit;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::batch::{Batch, Dictionary};
use crate::column::BytesColumn;
use crate::describe::Description;
use crate::failure::{FaultCode, GuestFault};
use crate::limits::{Limits, RANDOM_BYTES_MAX};
use crate::state::TaskState;

/// Room for so many metric values is kept from call to call.
const METRICS_KEPT: usize = 1024;

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
    /// `save` or `restore` of an operator that keeps state in its own memory.
    Snapshot,
    /// `migrate`, which depends on nothing but its arguments: only the log is allowed.
    Migrate,
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

/// What becomes of the records of an output.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputRule {
    /// An edge needs them to carry keys.
    pub needs_key: bool,
    /// Queues that a batch may have to be put into: one for each edge and each lane that it leads to.
    pub queues: usize,
}

/// What is fixed for all calls of a task.
#[derive(Clone, Debug)]
pub struct CallRules {
    /// The operator.
    pub description: Arc<Description>,
    /// For each output what becomes of its records.
    pub outputs: Vec<OutputRule>,
    /// The limits of the sandbox.
    pub limits: Arc<Limits>,
    /// Key of the random generator: job seed, operator, task and incarnation, hashed.
    pub random_key: [u8; 32],
}

/// What calls have cost, for the account of whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCost {
    /// Host calls made.
    pub host_calls: u64,
    /// Bytes copied into and out of the sandbox.
    pub copied_bytes: u64,
    /// Linear memory of the sandbox, in bytes.
    pub memory_bytes: u64,
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
    /// Where the records of the call begin in the batch that the call was made for first.
    first_record: u32,
    random_at: u64,
    /// Of all calls since it was taken last, failed ones too.
    cost: CallCost,
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
            first_record: 0,
            random_at: 0,
            cost: CallCost::default(),
        }
    }

    /// The guest has made a host call that copied so many bytes.
    pub fn host_called(&mut self, copied_bytes: usize) {
        self.cost.host_calls += 1;
        self.cost.copied_bytes += copied_bytes as u64;
    }

    /// The sandbox has left a call that it was given so many bytes for, with as much memory.
    pub fn left(&mut self, given_bytes: usize, memory_bytes: u64) {
        self.cost.copied_bytes += given_bytes as u64;
        self.cost.memory_bytes = self.cost.memory_bytes.max(memory_bytes);
    }

    /// Takes what calls have cost since the last time.
    pub fn take_cost(&mut self) -> CallCost {
        std::mem::take(&mut self.cost)
    }

    /// Begins a call: what the frame held of an older one is gone. `call` numbers the calls of the task.
    pub fn begin(&mut self, phase: Phase, call: u64, clock_ms: i64) {
        self.begin_part(phase, call, 0, clock_ms);
    }

    /// Begins a call on a part of the batch of call `call`, which failed as a whole; `first_record` is
    /// where the part begins. It has the clock of the whole, and chance of its own.
    pub fn begin_part(&mut self, phase: Phase, call: u64, first_record: u32, clock_ms: i64) {
        self.phase = phase;
        self.call = call;
        self.first_record = first_record;
        self.clock_ms = self.clock_ms.max(clock_ms);
        self.forget();
    }

    /// Forgets what the call has emitted and measured, so that it can be made again.
    pub fn forget(&mut self) {
        // Batches of a call that failed; one that ended well has none left.
        self.emitted.iter_mut().for_each(|emitted| *emitted = Vec::new());
        self.emitted_records = 0;
        self.emitted_bytes = 0;
        self.metrics.clear();
        self.metrics.shrink_to(METRICS_KEPT);
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
            (
                Phase::Describe | Phase::Open | Phase::Close | Phase::Snapshot | Phase::Migrate,
                _,
            ) => fault(FaultCode::NotAllowedHere, "keyed state may only be used inside `process`"),
        }
    }

    /// Import `metrics.put`.
    ///
    /// # Errors
    /// A [`GuestFault`] for an unknown metric, outside of `open`, `process` and `close`, or for too many
    /// in one call.
    pub fn put_metric(&mut self, metric: u32, value: f64) -> Checked<()> {
        self.check_call("metrics")?;
        if self.phase == Phase::Snapshot {
            // Whether and when a checkpoint is taken must not show in an operator's figures.
            let message = "metrics may not be used in `save` and `restore`";
            return fault(FaultCode::NotAllowedHere, message);
        }
        let count = self.rules.description.metrics.len();
        if metric as usize >= count {
            let message = format!("metric {metric} of {count} described metrics");
            return fault(FaultCode::UnknownIndex, message);
        }
        if self.metrics.len() >= self.rules.limits.emit_records {
            let limit = self.rules.limits.emit_records;
            let message = format!(
                "{} metric values in one call; at most {limit} are allowed",
                self.metrics.len() + 1
            );
            return fault(FaultCode::EmitLimit, message);
        }
        self.metrics.push((metric, value));
        Ok(())
    }

    /// Import `clock.now`: milliseconds since the Unix epoch, the same for the whole call.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] in `describe` and `migrate`.
    pub fn clock(&self) -> Checked<i64> {
        self.check_call("the clock")?;
        Ok(self.clock_ms)
    }

    /// The call's clock for WASI, which answers fixed values in `describe` and `migrate`.
    pub fn wasi_clock_ms(&self) -> i64 {
        self.clock_ms
    }

    /// Import `random.bytes`.
    ///
    /// # Errors
    /// [`FaultCode::NotAllowedHere`] in `describe` and `migrate`, [`FaultCode::HostCallLimit`] for too
    /// many at once.
    pub fn random(&mut self, len: u32) -> Checked<Vec<u8>> {
        self.check_call("random")?;
        self.wasi_random(u64::from(len))
    }

    /// The call's random bytes for WASI, which answers fixed values in `describe` and `migrate`.
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
        hasher.update(&self.call.to_le_bytes()).update(&self.first_record.to_le_bytes());
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
            Phase::Open
            | Phase::Process { .. }
            | Phase::Close
            | Phase::Snapshot
            | Phase::Migrate => Ok(()),
        }
    }

    /// Whether an import that depends on the call at hand is allowed.
    fn check_call(&self, what: &str) -> Checked<()> {
        if self.phase == Phase::Migrate {
            let message = format!("{what} may not be used in `migrate`");
            return fault(FaultCode::NotAllowedHere, message);
        }
        self.check_described(what)
    }
}
