//! One operator on one lane: turns a batch at the head of its queues into a call, and the call's
//! output into routed batches.
//!
//! Owns the life of the operator's instances, and every call but `process`, which is in [`process`]. What
//! follows when a call fails is decided in [`recovery`]; what becomes of a record that is to blame, in
//! [`blame`]. Knows nothing of queues.
//!
//! Invariants: an instance that failed is dropped before anything else is done; nothing of a failed call
//! is seen; a call that is made again has the clock, the chance and the input of the first time.

mod blame;
mod process;
mod recovery;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::batch::Batch;
use crate::call::{CallFrame, CallInput, CallRules, Phase};
use crate::counters::TaskCounters;
use crate::failure::{Failure, FaultCode, GuestFault, Remedy};
use crate::ids::Now;
use crate::operator::{InstanceFactory, OpenContext, OperatorInstance, SAVED_BYTES_MAX};
use crate::poison::PoisonRules;
use crate::state::TaskState;
use blame::Blame;
use recovery::{Attempt, CallTarget, HeldParts, Origin, Verdict, verdict};

/// Slots looked at for expired items after each call.
const EXPIRE_SLOTS_PER_CALL: usize = 256;

/// What an operator's task is made of.
pub struct OperatorParts {
    /// Makes the code, and makes it again when it died.
    pub factory: Box<dyn InstanceFactory>,
    /// What is fixed for all its calls.
    pub rules: Arc<CallRules>,
    /// Its keyed state, when it describes any keyed input.
    pub state: Option<Box<TaskState>>,
    /// What it learns when opened.
    pub context: OpenContext,
    /// What becomes of records that it cannot process. Where they are dead-lettered, something must be
    /// fed by them ([`Graph::has_dead_letters`](crate::graph::Graph::has_dead_letters)).
    pub poison: PoisonRules,
    /// Where it goes on from.
    pub start: TaskStart,
}

/// What a task goes on from beside its keyed state. The default is that of a new job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskStart {
    /// The task's clock, in milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Calls made so far.
    pub calls: u64,
    /// What the operator itself saved, if it keeps state in its own memory.
    pub saved: Option<Vec<u8>>,
}

/// Where the effects of a call go.
type Emit<'a> = dyn FnMut(usize, Batch) + 'a;

pub(super) struct OperatorTask {
    factory: Box<dyn InstanceFactory>,
    /// `None` before the first `open`, and after a failure until the next call.
    pub(super) instance: Option<Box<dyn OperatorInstance>>,
    /// The instance has returned from a call other than `open`, so its memory may hold what earlier
    /// records left there.
    is_used: bool,
    rules: Arc<CallRules>,
    context: OpenContext,
    pub(super) frame: Box<CallFrame>,
    pub(super) calls: u64,
    /// The task's clock: processing time that never goes back.
    pub(super) clock_ms: i64,
    /// What the first instance is to take back.
    saved: Option<Vec<u8>>,
    /// Where the parts come from that the node holds for this task.
    held: HeldParts,
    /// How many records its calls may have.
    target: CallTarget,
    blame: Blame,
    /// Due time of the next look for expired items, in wall milliseconds.
    expire_at_ms: Option<i64>,
}

impl OperatorTask {
    pub(super) fn new(parts: OperatorParts) -> Self {
        let OperatorParts { factory, rules, state, context, poison, start } = parts;
        Self {
            factory,
            instance: None,
            is_used: false,
            frame: Box::new(CallFrame::new(rules.clone(), state)),
            rules,
            context,
            calls: start.calls,
            clock_ms: start.clock_ms,
            saved: start.saved,
            held: HeldParts::default(),
            target: CallTarget::default(),
            blame: Blame::new(poison),
            expire_at_ms: None,
        }
    }

    pub(super) fn open(&mut self, now: Now, counters: &TaskCounters) -> Result<(), Failure> {
        self.clock_ms = self.clock_ms.max(now.wall_ms);
        self.ensure_open(self.clock_ms, counters)?;
        let Some(saved) = self.saved.take() else { return Ok(()) };
        let Some(instance) = self.instance.as_mut().filter(|_| self.factory.has_snapshot()) else {
            let message = "the checkpoint holds state from the operator's own memory, and this component \
                           cannot restore it: it does not export `snapshot`";
            return Err(Failure::Fatal(message.to_owned()));
        };
        self.calls += 1;
        self.frame.begin(Phase::Snapshot, self.calls, self.clock_ms);
        instance.restore(&mut self.frame, &saved)
    }

    /// Makes and opens an instance unless there is one. Its failures are the operator's, no record's.
    fn ensure_open(&mut self, clock_ms: i64, counters: &TaskCounters) -> Result<(), Failure> {
        if self.instance.is_some() {
            return Ok(());
        }
        let mut instance = self.factory.instantiate()?;
        TaskCounters::add(&counters.instantiations, 1);
        self.calls += 1;
        self.frame.input = CallInput::default();
        self.frame.begin(Phase::Open, self.calls, clock_ms);
        instance.open(&mut self.frame, &self.context)?;
        counters.publish(&self.rules.description.metrics, self.frame.metrics());
        self.instance = Some(instance);
        self.is_used = false;
        Ok(())
    }

    pub(super) fn close(
        &mut self,
        now: Now,
        counters: &TaskCounters,
        emit: &mut Emit<'_>,
    ) -> Result<(), Failure> {
        let origin = self.new_origin(now);
        let mut repeated = false;
        loop {
            self.ensure_open(origin.clock_ms, counters)?;
            self.frame.input = CallInput::default();
            self.frame.begin(Phase::Close, origin.call, origin.clock_ms);
            let was_used = std::mem::replace(&mut self.is_used, true);
            let instance = self.instance.as_mut().ok_or_else(not_open)?;
            let Err(failure) = instance.close(&mut self.frame) else {
                self.publish(counters, emit);
                return Ok(());
            };
            let fault = self.give_up_instance(failure)?;
            let attempt = Attempt { records: 1, is_part: false, was_used, repeated };
            match verdict(fault.code.remedy(), attempt) {
                Verdict::Repeat => repeated = true,
                // There is no record to blame.
                Verdict::Halve | Verdict::Blame | Verdict::Fail => return Err(fault.into()),
            }
            TaskCounters::add(&counters.retries, 1);
        }
    }

    /// All that an operator keeps in its own memory; `None` for one that keeps nothing there.
    ///
    /// # Errors
    /// [`Failure::Lost`] when its sandbox died of it, [`FaultCode::SaveLimit`] when it is too much.
    pub(super) fn save(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if !self.factory.has_snapshot() {
            return Ok(None);
        }
        if let Some(saved) = &self.saved {
            // It had ended in the checkpoint that the job started from, and was never opened.
            return Ok(Some(saved.clone()));
        }
        self.calls += 1;
        self.frame.input = CallInput::default();
        self.frame.begin(Phase::Snapshot, self.calls, self.clock_ms);
        match self.instance.as_mut().ok_or_else(not_open)?.save(&mut self.frame) {
            Ok(saved) if saved.len() > SAVED_BYTES_MAX => {
                let message = format!(
                    "`save` answered {} bytes; at most {SAVED_BYTES_MAX} are allowed: keep less, or \
                     keep it in keyed state",
                    saved.len()
                );
                Err(GuestFault::new(FaultCode::SaveLimit, message).into())
            }
            Ok(saved) => Ok(Some(saved)),
            Err(failure) => Err(self.give_up_instance(failure)?.into()),
        }
    }

    /// A new call at `now`.
    fn new_origin(&mut self, now: Now) -> Origin {
        self.calls += 1;
        self.clock_ms = self.clock_ms.max(now.wall_ms);
        Origin { call: self.calls, clock_ms: self.clock_ms, first_record: 0, is_part: false }
    }

    /// Drops the instance after a failed call. Answers the fault if another instance may do better.
    fn give_up_instance(&mut self, failure: Failure) -> Result<GuestFault, Failure> {
        self.instance = None;
        match failure {
            Failure::Guest(fault) if fault.code.remedy() == Remedy::None => Err(fault.into()),
            Failure::Guest(fault) if self.factory.has_snapshot() => Err(Failure::Lost { fault }),
            Failure::Guest(fault) => Ok(fault),
            other => Err(other),
        }
    }

    fn publish(&mut self, counters: &TaskCounters, emit: &mut Emit<'_>) {
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

fn not_open() -> Failure {
    Failure::Host("an operator was called before it was opened".to_owned())
}
