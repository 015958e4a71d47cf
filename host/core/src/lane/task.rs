//! One operator on one lane: turns a batch at the head of its queues into a call, and the call's
//! output into routed batches.
//!
//! Owns the order of a call: resolve keys, cut to what one call may read, call, then commit state,
//! metrics and output together. Knows nothing of queues.

use std::sync::Arc;

use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::call::{CallFrame, CallInput, CallRules, Phase};
use crate::counters::TaskCounters;
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::ids::Now;
use crate::limits::CALL_STATE_BYTES_MAX;
use crate::operator::{BadRecord, OpenContext, OperatorInstance};
use crate::state::{Resolved, TaskState};

/// Slots looked at for expired items after each call.
const EXPIRE_SLOTS_PER_CALL: usize = 256;

/// What an operator's task is made of.
pub struct OperatorParts {
    /// The code.
    pub instance: Box<dyn OperatorInstance>,
    /// What is fixed for all its calls.
    pub rules: Arc<CallRules>,
    /// Its keyed state, when it describes any keyed input.
    pub state: Option<Box<TaskState>>,
    /// What it learns when opened.
    pub context: OpenContext,
}

pub(super) struct OperatorTask {
    instance: Box<dyn OperatorInstance>,
    rules: Arc<CallRules>,
    context: OpenContext,
    pub(super) frame: Box<CallFrame>,
    pub(super) calls: u64,
    /// The task's clock: processing time that never goes back.
    pub(super) clock_ms: i64,
    /// Due time of the next look for expired items, in wall milliseconds.
    expire_at_ms: Option<i64>,
}

impl OperatorTask {
    pub(super) fn new(parts: OperatorParts) -> Self {
        let OperatorParts { instance, rules, state, context } = parts;
        let frame = Box::new(CallFrame::new(rules.clone(), state));
        Self { instance, rules, context, frame, calls: 0, clock_ms: 0, expire_at_ms: None }
    }

    /// Goes on from a checkpoint.
    pub(super) fn resume(&mut self, restored: super::RestoredTask) {
        (self.clock_ms, self.calls) = (restored.clock_ms, restored.calls);
    }

    /// What the operator keeps in its own memory.
    pub(super) fn save(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        Ok(None)
    }

    pub(super) fn open(&mut self, now: Now, counters: &TaskCounters) -> Result<(), Failure> {
        self.begin(Phase::Open, now);
        self.instance.open(&mut self.frame, &self.context)?;
        self.publish(counters, &mut |_, _| {});
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        now: Now,
        counters: &TaskCounters,
        emit: &mut dyn FnMut(usize, Batch),
    ) -> Result<(), Failure> {
        self.begin(Phase::Close, now);
        self.instance.close(&mut self.frame)?;
        self.publish(counters, emit);
        Ok(())
    }

    fn begin(&mut self, phase: Phase, now: Now) {
        self.calls += 1;
        self.clock_ms = self.clock_ms.max(now.wall_ms);
        self.frame.input = CallInput::default();
        self.frame.begin(phase, self.calls, self.clock_ms);
    }

    /// Calls the operator on a batch of input `input`; on success its state is committed and its
    /// output handed to `emit`. Answers the records that are left, in order of their turn from the
    /// back, when one call may not read the state of them all.
    pub(super) fn process(
        &mut self,
        input: usize,
        batch: Batch,
        now: Now,
        counters: &TaskCounters,
        emit: &mut dyn FnMut(usize, Batch),
    ) -> Result<Vec<Batch>, Failure> {
        if !self.rules.description.inputs[input].keyed {
            self.begin(Phase::Process { keyed: false }, now);
            self.frame.input = unkeyed_input(batch);
            self.call(input, counters, emit)?;
            return Ok(Vec::new());
        }
        self.begin(Phase::Process { keyed: true }, now);
        let (batch, resolved, left) = self.resolve(batch)?;
        self.frame.input = CallInput {
            dictionary: Arc::new(resolved.dictionary),
            key_of: resolved.key_of,
            values: batch.values,
            timestamps: batch.timestamps,
        };
        let outcome = self.call(input, counters, emit);
        if outcome.is_err()
            && let Some(state) = self.frame.state_mut()
        {
            state.abort();
        }
        outcome.map(|()| left)
    }

    /// Begins a call of state on as many of the batch's first records as one call may read; answers
    /// them, their keys, and the rest.
    fn resolve(&mut self, mut batch: Batch) -> Result<(Batch, Resolved, Vec<Batch>), Failure> {
        let clock_ms = self.clock_ms;
        let mut left = Vec::new();
        loop {
            let RecordKeys::Of { dictionary, key_of } = &batch.keys else {
                return Err(Failure::Host("a record without key reached a keyed input".to_owned()));
            };
            let Some(state) = self.frame.state_mut() else {
                return Err(Failure::Host("a keyed input has no state for its keys".to_owned()));
            };
            let resolved = state.begin(dictionary, key_of, clock_ms)?;
            if batch.len() == 1 || state.value_bytes().sum::<usize>() <= CALL_STATE_BYTES_MAX {
                return Ok((batch, resolved, left));
            }
            state.abort();
            let half = batch.len() / 2;
            left.push(batch.slice(half, batch.len()));
            batch = batch.slice(0, half);
        }
    }

    fn call(
        &mut self,
        input: usize,
        counters: &TaskCounters,
        emit: &mut dyn FnMut(usize, Batch),
    ) -> Result<(), Failure> {
        let bad = self.instance.process(&mut self.frame, input as u32)?;
        check_answer(&bad, self.frame.input_len())?;
        if let Some(first) = bad.first() {
            return Err(self.rejected(&bad, first));
        }
        if let Phase::Process { keyed: true } = self.frame.phase()
            && let Some(state) = self.frame.state_mut()
        {
            state.commit();
        }
        self.publish(counters, emit);
        Ok(())
    }

    fn rejected(&self, bad: &[BadRecord], first: &BadRecord) -> Failure {
        let value = self.frame.input.values.get(first.index as usize);
        let shown = String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned();
        let reason = format!("{} (value {shown:?})", first.reason);
        Failure::Rejected { records: bad.len(), reason }
    }

    fn publish(&mut self, counters: &TaskCounters, emit: &mut dyn FnMut(usize, Batch)) {
        counters.publish(&self.rules.description.metrics, self.frame.metrics());
        for (output, batch) in self.frame.take_emitted() {
            TaskCounters::add(&counters.records_out, batch.len() as u64);
            emit(output, batch);
        }
    }

    /// Removes some expired items, if any are due.
    pub(super) fn expire(&mut self, now: Now) {
        self.clock_ms = self.clock_ms.max(now.wall_ms);
        if let Some(state) = self.frame.state_mut() {
            self.expire_at_ms = state.expire(self.clock_ms, EXPIRE_SLOTS_PER_CALL);
        }
    }

    /// When the next item expires, as far as known.
    pub(super) fn expire_at_ms(&self) -> Option<i64> {
        self.expire_at_ms
    }

    pub(super) fn count_state(&mut self, counters: &TaskCounters) {
        use std::sync::atomic::Ordering::Relaxed;
        if let Some(state) = self.frame.state_mut() {
            let usage = state.usage();
            counters.keys.store(usage.keys, Relaxed);
            counters.state_bytes.store(usage.bytes, Relaxed);
        }
    }
}

fn unkeyed_input(batch: Batch) -> CallInput {
    let (dictionary, key_of) = match batch.keys {
        RecordKeys::None => (Arc::<Dictionary>::default(), Vec::new()),
        RecordKeys::Of { dictionary, key_of } if key_of.is_empty() => {
            let identity = (0..dictionary.keys.len() as u32).collect();
            (dictionary, identity)
        }
        RecordKeys::Of { dictionary, key_of } => (dictionary, key_of),
    };
    CallInput { dictionary, key_of, values: batch.values, timestamps: batch.timestamps }
}

fn check_answer(bad: &[BadRecord], records: usize) -> Result<(), GuestFault> {
    let mut seen = std::collections::BTreeSet::new();
    match bad.iter().find(|bad| bad.index as usize >= records || !seen.insert(bad.index)) {
        Some(bad) => Err(GuestFault::new(
            FaultCode::BadAnswer,
            format!("`process` reported record {} of {records} (or reported it twice)", bad.index),
        )),
        None => Ok(()),
    }
}
