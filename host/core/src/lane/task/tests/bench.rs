//! A task with a scripted operator, run as a node runs it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use super::super::{OperatorParts, OperatorTask, TaskStart};
use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::call::{CallFrame, CallRules, KeySource, OutputBatch, OutputRule, Phase};
use crate::column::BytesColumn;
use crate::counters::TaskCounters;
use crate::describe::{
    Description, InputDescription, OutputDescription, StateDescription, StateKind,
};
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::ids::{KeyGroup, Now};
use crate::limits::Limits;
use crate::operator::{BadRecord, InstanceFactory, OpenContext, OperatorInstance};
use crate::poison::{OnPoison, PoisonRules};
use crate::state::TaskState;
use crate::state::memory::MemoryBackend;

pub(super) const KEYED: usize = 0;
pub(super) const UNKEYED: usize = 1;
pub(super) const DEAD_LETTERS: usize = 1;

/// A call as the operator saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) records: Vec<u8>,
    pub(super) clock_ms: i64,
    pub(super) chance: Vec<u8>,
    /// Number of the instance, from 1.
    pub(super) instance: usize,
}

/// What dies of what: the records of a call and the calls of the instance before.
pub(super) type Kills = fn(&[u8], usize) -> Option<FaultCode>;

pub(super) struct Script {
    pub(super) kills: Kills,
    /// The record that is rejected.
    pub(super) rejects: Option<u8>,
    /// The instance that cannot be opened.
    pub(super) bad_opening: usize,
    pub(super) has_snapshot: bool,
    pub(super) calls: Mutex<Vec<Seen>>,
    pub(super) instances: Mutex<usize>,
    pub(super) closed: AtomicU64,
}

impl Script {
    pub(super) fn killing(kills: Kills) -> Self {
        Self {
            kills,
            rejects: None,
            bad_opening: 0,
            has_snapshot: false,
            calls: Mutex::default(),
            instances: Mutex::default(),
            closed: AtomicU64::new(0),
        }
    }
}

struct Factory(Arc<Script>);

impl InstanceFactory for Factory {
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure> {
        let mut instances = self.0.instances.lock().unwrap();
        *instances += 1;
        let (script, number) = (self.0.clone(), *instances);
        Ok(Box::new(Scripted { script, number, calls: 0, memory: Vec::new() }))
    }

    fn has_snapshot(&self) -> bool {
        self.0.has_snapshot
    }
}

/// Appends each record to the list of its key, passes it on, and then dies if it has to.
struct Scripted {
    script: Arc<Script>,
    number: usize,
    calls: usize,
    memory: Vec<u8>,
}

impl OperatorInstance for Scripted {
    fn open(&mut self, frame: &mut Box<CallFrame>, _: &OpenContext) -> Result<(), Failure> {
        assert_eq!((frame.phase(), frame.input_len()), (Phase::Open, 0));
        match self.number == self.script.bad_opening {
            true => Err(GuestFault::new(FaultCode::Trap, "in open").into()),
            false => Ok(()),
        }
    }

    fn process(
        &mut self,
        frame: &mut Box<CallFrame>,
        input: u32,
    ) -> Result<Vec<BadRecord>, Failure> {
        let records: Vec<u8> = frame.input.values.iter().map(|value| value[0]).collect();
        let (clock_ms, chance) = (frame.clock()?, frame.random(8)?);
        let seen = Seen { records: records.clone(), clock_ms, chance, instance: self.number };
        self.script.calls.lock().unwrap().push(seen);
        let rejected = |record: &u8| Some(*record) == self.script.rejects;
        let kept: Vec<usize> = (0..records.len()).filter(|r| !rejected(&records[*r])).collect();
        let key_of: Vec<u32> = kept.iter().map(|record| frame.input.key_of[*record]).collect();
        let mut values = BytesColumn::default();
        kept.iter().for_each(|record| values.push(&[records[*record]]));
        if input as usize == KEYED {
            frame.state()?.list_append(0, &key_of, &values)?;
        }
        let keys = KeySource::InputKeys;
        frame.emit(0, OutputBatch { keys, key_of, values, timestamps: Vec::new() })?;
        self.memory.extend(&records);
        self.calls += 1;
        if let Some(code) = (self.script.kills)(&records, self.calls - 1) {
            return Err(GuestFault::new(code, "as the script says").into());
        }
        let bad = (0..records.len()).filter(|record| rejected(&records[*record]));
        let bad = bad.map(|r| BadRecord { index: r as u32, reason: "not this".to_owned() });
        Ok(bad.collect())
    }

    fn close(&mut self, _: &mut Box<CallFrame>) -> Result<(), Failure> {
        self.script.closed.fetch_add(1, Relaxed);
        match (self.script.kills)(&[], self.calls) {
            Some(code) => Err(GuestFault::new(code, "in close").into()),
            None => Ok(()),
        }
    }

    fn save(&mut self, frame: &mut Box<CallFrame>) -> Result<Vec<u8>, Failure> {
        assert_eq!(frame.phase(), Phase::Snapshot);
        match (self.script.kills)(b"save", self.calls) {
            Some(code) => Err(GuestFault::new(code, "in save").into()),
            None => Ok(self.memory.clone()),
        }
    }

    fn restore(&mut self, _: &mut Box<CallFrame>, saved: &[u8]) -> Result<(), Failure> {
        self.memory = saved.to_vec();
        Ok(())
    }
}

fn description() -> Description {
    let input =
        |name: &str, keyed| InputDescription { name: name.into(), keyed, value_width: None };
    let state = StateDescription {
        name: "seen".to_owned(),
        kind: StateKind::List,
        width: None,
        schema_version: 1,
        ttl: None,
    };
    Description {
        name: "scripted".to_owned(),
        version: "1".to_owned(),
        inputs: vec![input("keyed", true), input("unkeyed", false)],
        outputs: vec![OutputDescription { name: "out".to_owned(), value_width: None }],
        states: vec![state],
        metrics: Vec::new(),
    }
}

/// A task, what it emitted, and the parts that its node would hold.
pub(super) struct Bench {
    pub(super) script: Arc<Script>,
    pub(super) task: OperatorTask,
    pub(super) counters: TaskCounters,
    pub(super) out: Vec<u8>,
    pub(super) letters: Vec<String>,
    pub(super) now: Now,
}

pub(super) fn bench_from(
    script: Script,
    on_poison: OnPoison,
    limit: u32,
    start: TaskStart,
) -> Bench {
    let script = Arc::new(script);
    let limits = Arc::new(Limits::default());
    let backend = MemoryBackend::new(&description().states, 1, [KeyGroup(0)].into_iter());
    let state = TaskState::new(Box::new(backend), description().states.into(), limits.clone());
    let rules = CallRules {
        description: Arc::new(description()),
        outputs: vec![OutputRule::default()],
        limits,
        random_key: [7; 32],
    };
    let parts = OperatorParts {
        factory: Box::new(Factory(script.clone())),
        rules: Arc::new(rules),
        state: Some(Box::new(state)),
        context: OpenContext { operator_id: "op".to_owned(), task: 3, ..OpenContext::default() },
        poison: PoisonRules { on_poison, limit_per_minute: limit },
        start,
    };
    let (task, counters) = (OperatorTask::new(parts), TaskCounters::default());
    let now = Now { monotonic_us: 0, wall_ms: 1000 };
    Bench { script, task, counters, out: Vec::new(), letters: Vec::new(), now }
}

/// A bench that dead-letters.
pub(super) fn bench(script: Script) -> Bench {
    let mut bench = bench_from(script, OnPoison::DeadLetter, 1000, TaskStart::default());
    bench.task.open(bench.now, &bench.counters).unwrap();
    bench
}

fn batch(records: &[u8]) -> Batch {
    let mut batch = Batch::default();
    let mut dictionary = Dictionary::default();
    for record in records {
        batch.values.push(&[*record]);
        dictionary.keys.push(&[b'k', record % 4]);
    }
    dictionary.ensure_hashes(0);
    batch.keys = RecordKeys::Of { dictionary: Arc::new(dictionary), key_of: Vec::new() };
    batch
}

impl Bench {
    /// Runs a batch as a node does: parts that are left go first, the last one first.
    pub(super) fn run(&mut self, input: usize, records: &[u8]) -> Result<(), Failure> {
        let mut pending = vec![batch(records)];
        while let Some(batch) = pending.pop() {
            let (out, letters) = (&mut self.out, &mut self.letters);
            let mut emit = |output, batch: Batch| match output {
                DEAD_LETTERS => {
                    assert!(!batch.is_keyed());
                    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                    letters.extend(batch.values.iter().map(text));
                }
                _ => out.extend(&batch.values.data),
            };
            self.now.monotonic_us += 1000;
            self.now.wall_ms += 1;
            pending.extend(self.task.process(input, batch, self.now, &self.counters, &mut emit)?);
        }
        Ok(())
    }

    /// Every record that has an effect in state, sorted.
    pub(super) fn state(&mut self) -> Vec<u8> {
        let keys = batch(&[0, 1, 2, 3]);
        let RecordKeys::Of { dictionary, key_of } = &keys.keys else { unreachable!() };
        let state = self.task.frame.state_mut().unwrap();
        let slots = state.begin(dictionary, key_of, 0).unwrap().slots.len() as u32;
        let lists = (0..slots).map(|slot| state.list_read(0, slot, 0).unwrap().data);
        let mut found: Vec<u8> = lists.flatten().collect();
        state.abort();
        found.sort_unstable();
        found
    }

    /// Retries, batch splits, poison, instantiations.
    pub(super) fn counts(&self) -> [u64; 4] {
        let TaskCounters { retries, batch_splits, poison, instantiations, .. } = &self.counters;
        [retries, batch_splits, poison, instantiations].map(|counter| counter.load(Relaxed))
    }

    pub(super) fn calls(&self) -> Vec<Vec<u8>> {
        self.script.calls.lock().unwrap().iter().map(|seen| seen.records.clone()).collect()
    }
}

pub(super) fn has(records: &[u8], record: u8) -> bool {
    records.contains(&record)
}
