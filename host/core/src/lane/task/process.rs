//! The call of `process`: on a batch, and on its parts when the batch is too much or fails as a whole.
//!
//! Owns the order of a call: resolve keys, cut to what one call may read, call, apply the policy to what
//! was rejected, then commit state, metrics, output and dead letters together; and the way from a failed
//! call to the record that is to blame. Invariants: each step commits at most one call; parts of a batch
//! commit in the order of its records; a record is blamed only for the death of a new sandbox that had no
//! other record.

use std::sync::Arc;

use super::blame::Blamed;
use super::recovery::{Attempt, Origin, Part, Verdict, verdict};
use super::{Emit, OperatorTask};
use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::call::{CallFrame, CallInput, Phase};
use crate::counters::TaskCounters;
use crate::failure::{Failure, FaultCode, GuestFault, Remedy};
use crate::ids::Now;
use crate::limits::CALL_STATE_BYTES_MAX;
use crate::operator::BadRecord;
use crate::planted::{self, Bug};
use crate::poison::PoisonCause;
use crate::state::Resolved;

impl OperatorTask {
    /// Calls the operator on a batch of input `input`; on success its state is committed and its
    /// output handed to `emit`. Answers the records that are left, in order of their turn from the
    /// back: when one call may not read the state of them all, or when the call failed and may succeed
    /// on fewer. They must come back, the last one first, before any other batch and any barrier.
    pub(in crate::lane) fn process(
        &mut self,
        input: usize,
        batch: Batch,
        now: Now,
        counters: &TaskCounters,
        emit: &mut Emit<'_>,
    ) -> Result<Vec<Batch>, Failure> {
        let origin = match self.held.take(batch.len())? {
            Some(origin) => origin,
            None => self.new_origin(now),
        };
        let (mut batch, mut left, mut repeated) = (batch, Vec::new(), false);
        loop {
            self.ensure_open(origin.clock_ms, counters)?;
            let was_used = std::mem::replace(&mut self.is_used, true);
            self.begin_process(input, origin, batch, &mut left)?;
            let records_called = self.frame.input_len();
            let called = self.call(input, now, counters, emit);
            counters.add_cost(self.frame.take_cost());
            let Err(failure) = called else {
                self.target.went_well(records_called);
                break;
            };
            self.abort();
            if !origin.is_part && !repeated {
                TaskCounters::add(&counters.failed_batches, 1);
            }
            let fault = self.give_up_instance(failure)?;
            batch = take_input(&mut self.frame);
            let records = batch.len();
            let attempt = Attempt { records, is_part: origin.is_part, was_used, repeated };
            match verdict(fault.code.remedy(), attempt) {
                Verdict::Repeat => repeated = true,
                Verdict::Halve => {
                    if fault.code.remedy() == Remedy::Halve {
                        self.target.was_too_much(records);
                    }
                    left.extend(origin.halves(&batch));
                    break;
                }
                Verdict::Blame => {
                    self.blame_alone(&batch, origin, &fault, now, counters, emit)?;
                    break;
                }
                Verdict::Fail => return Err(fault.into()),
            }
            TaskCounters::add(&counters.retries, 1);
        }
        let left = self.held.hold(left);
        if origin.is_part && self.held.has_none_of(origin.call) {
            let was_one_blamed = self.blame.take_blamed();
            self.target.whole_is_done(was_one_blamed);
            if !was_one_blamed {
                TaskCounters::add(&counters.batch_splits, 1);
            }
        }
        Ok(left)
    }

    /// Begins a call on the batch, or on as many of its first records as one call may have and read; adds the rest to `left`.
    fn begin_process(
        &mut self,
        input: usize,
        origin: Origin,
        mut batch: Batch,
        left: &mut Vec<Part>,
    ) -> Result<(), Failure> {
        let most = self.target.records();
        if batch.len() > most {
            left.push(origin.cut(&batch, most));
            batch = batch.slice(0, most);
        }
        let described = self.rules.description.inputs.get(input);
        let keyed = described.is_some_and(|input| input.keyed);
        let Origin { call, clock_ms, first_record, .. } = origin;
        self.frame.begin_part(Phase::Process { keyed }, call, first_record, clock_ms);
        self.frame.input = if keyed {
            let (batch, resolved) = self.resolve(origin, batch, left)?;
            CallInput {
                dictionary: Arc::new(resolved.dictionary),
                key_of: resolved.key_of,
                values: batch.values,
                timestamps: batch.timestamps,
            }
        } else {
            unkeyed_input(batch)
        };
        Ok(())
    }

    /// Begins a call of state on as many of the batch's first records as one call may read; answers
    /// them and their keys, and adds the rest to `left`.
    fn resolve(
        &mut self,
        origin: Origin,
        mut batch: Batch,
        left: &mut Vec<Part>,
    ) -> Result<(Batch, Resolved), Failure> {
        loop {
            let RecordKeys::Of { dictionary, key_of } = &batch.keys else {
                return Err(Failure::Host("a record without key reached a keyed input".to_owned()));
            };
            let Some(state) = self.frame.state_mut() else {
                return Err(Failure::Host("a keyed input has no state for its keys".to_owned()));
            };
            let resolved = state.begin(dictionary, key_of, origin.clock_ms)?;
            if batch.len() == 1 || state.value_bytes() <= CALL_STATE_BYTES_MAX {
                return Ok((batch, resolved));
            }
            state.abort();
            let half = batch.len() / 2;
            left.push(origin.cut(&batch, half));
            batch = batch.slice(0, half);
        }
    }

    /// Makes the call that was begun. After an error it must be aborted.
    fn call(
        &mut self,
        input: usize,
        now: Now,
        counters: &TaskCounters,
        emit: &mut Emit<'_>,
    ) -> Result<(), Failure> {
        let instance = self.instance.as_mut().ok_or_else(super::not_open)?;
        let bad = instance.process(&mut self.frame, input as u32)?;
        check_answer(&bad, self.frame.input_len())?;
        // The policy comes before the commit: where it ends the job, the call must leave no effect.
        let letters = if bad.is_empty() { None } else { self.judge_rejected(&bad, now)? };
        if let Phase::Process { keyed: true } = self.frame.phase()
            && let Some(state) = self.frame.state_mut()
        {
            state.commit();
        }
        self.publish(counters, emit);
        self.send_letters(bad.len(), letters, counters, emit);
        Ok(())
    }

    fn judge_rejected(&mut self, bad: &[BadRecord], now: Now) -> Result<Option<Batch>, Failure> {
        let clock_ms = self.frame.wasi_clock_ms();
        let batch = take_input(&mut self.frame);
        let blamed = bad.iter().map(|bad| Blamed {
            index: bad.index as usize,
            cause: PoisonCause::Rejected,
            reason: &bad.reason,
        });
        let judged = self.blame.judge(&self.context, clock_ms, &batch, blamed, now);
        if judged.is_err() {
            // The call may be made again, on fewer of its records.
            self.frame.input = unkeyed_input(batch);
        }
        judged
    }

    /// Applies the policy to a record that brought a sandbox down by itself. It is the whole call, so its
    /// dead letter is all that the call comes to.
    fn blame_alone(
        &mut self,
        batch: &Batch,
        origin: Origin,
        fault: &GuestFault,
        now: Now,
        counters: &TaskCounters,
        emit: &mut Emit<'_>,
    ) -> Result<(), Failure> {
        let cause = PoisonCause::Fault(fault.code);
        let blamed = [Blamed { index: 0, cause, reason: &fault.message }];
        let letters =
            self.blame.judge(&self.context, origin.clock_ms, batch, blamed.into_iter(), now)?;
        if origin.is_part {
            self.blame.note_blamed();
        }
        self.send_letters(1, letters, counters, emit);
        Ok(())
    }

    fn send_letters(
        &self,
        records: usize,
        letters: Option<Batch>,
        counters: &TaskCounters,
        emit: &mut Emit<'_>,
    ) {
        if records > 0 {
            TaskCounters::add(&counters.poison, records as u64);
        }
        if let Some(letters) = letters {
            emit(self.rules.description.outputs.len(), letters);
        }
    }

    /// Forgets everything that the call at hand has done.
    fn abort(&mut self) {
        if let Phase::Process { keyed: true } = self.frame.phase()
            && let Some(state) = self.frame.state_mut()
        {
            if planted::is(Bug::FailedCallStateKept) {
                state.commit();
            }
            state.abort();
        }
        self.frame.forget();
    }
}

/// The input of a call on records that have no access to state. With keys, `key_of` is never empty.
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

/// The records of the call at hand as a batch again; the frame has none then.
fn take_input(frame: &mut CallFrame) -> Batch {
    let CallInput { dictionary, key_of, values, timestamps } = std::mem::take(&mut frame.input);
    let keys =
        if key_of.is_empty() { RecordKeys::None } else { RecordKeys::Of { dictionary, key_of } };
    Batch { keys, values, timestamps }
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
