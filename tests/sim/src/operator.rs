//! Scripted operators: what each kind does in a call, and when its sandbox dies.
//!
//! Deaths come after the call has done all its work, so that a host that keeps anything of a failed call is
//! found out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill_core::call::{CallFrame, KeySource, OutputBatch, Phase};
use tidemill_core::column::{BytesColumn, Layout, OptionalColumn};
use tidemill_core::failure::{Failure, FaultCode, GuestFault};
use tidemill_core::operator::{BadRecord, InstanceFactory, OpenContext, OperatorInstance};

use crate::model::{CLOSE_KEY, close_value, count_value};
use crate::plan::{Kind, Plan};

const COUNT: Layout = Layout::Fixed(8);

/// How a sandbox dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Of a trap, once.
    Trap,
    /// Of a trap, and again when the call is repeated.
    TrapTwice,
    /// Of a limit, on a batch that is too much.
    Limit,
    /// Of a trap in `close`, once.
    AtClose,
}

/// The deaths that await a task: each after so many calls more.
pub type Deaths = Arc<Mutex<VecDeque<(u64, Death)>>>;

/// What the instances of one task have in common.
#[derive(Clone)]
pub struct Script {
    kind: Kind,
    node: usize,
    fan_out: usize,
    emits_at_close: bool,
    /// For each input whether it is keyed.
    keyed: Vec<bool>,
    deaths: Deaths,
}

impl Script {
    /// The script of an operator's tasks.
    pub fn new(plan: &Plan, node: usize, deaths: VecDeque<(u64, Death)>) -> Self {
        let inputs = plan.description(node).map(|description| &description.inputs);
        Self {
            kind: plan.kinds[node],
            node,
            fan_out: plan.fan_out[node],
            emits_at_close: plan.emits_at_close[node],
            keyed: inputs.into_iter().flatten().map(|input| input.keyed).collect(),
            deaths: Arc::new(Mutex::new(deaths)),
        }
    }

    /// Whether the instance dies at the end of a call on so many records.
    fn dies(&self, records: usize) -> Result<(), GuestFault> {
        let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((left, death)) = deaths.front_mut() else { return Ok(()) };
        if *death == Death::AtClose {
            return Ok(());
        }
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Ok(());
        }
        let death = *death;
        deaths.pop_front();
        let fault = |code| Err(GuestFault::new(code, "as the script says"));
        match death {
            Death::TrapTwice if records > 1 => {
                deaths.push_front((1, Death::Trap));
                fault(FaultCode::Trap)
            }
            Death::Limit if records > 1 => fault(FaultCode::EmitLimit),
            Death::Trap | Death::TrapTwice | Death::Limit | Death::AtClose => {
                fault(FaultCode::Trap)
            }
        }
    }

    fn dies_at_close(&self) -> Result<(), GuestFault> {
        let mut deaths = self.deaths.lock().unwrap_or_else(PoisonError::into_inner);
        match deaths.iter().position(|(_, death)| *death == Death::AtClose) {
            Some(at) => {
                deaths.remove(at);
                Err(GuestFault::new(FaultCode::Trap, "as the script says"))
            }
            None => Ok(()),
        }
    }
}

impl InstanceFactory for Script {
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(ScriptedOperator { script: self.clone(), memory: 0 }))
    }

    fn has_snapshot(&self) -> bool {
        self.kind == Kind::Memory
    }
}

struct ScriptedOperator {
    script: Script,
    /// Records taken by this task, for [`Kind::Memory`].
    memory: u64,
}

impl OperatorInstance for ScriptedOperator {
    fn open(&mut self, _: &mut Box<CallFrame>, _: &OpenContext) -> Result<(), Failure> {
        Ok(())
    }

    fn process(
        &mut self,
        frame: &mut Box<CallFrame>,
        input: u32,
    ) -> Result<Vec<BadRecord>, Failure> {
        let keyed = self.script.keyed[input as usize];
        assert_eq!(frame.phase(), Phase::Process { keyed });
        self.memory += frame.input_len() as u64;
        match self.script.kind {
            Kind::Count if keyed => count(frame, self.script.node)?,
            Kind::Toggle if keyed => toggle(frame)?,
            _ => {}
        }
        for _ in 0..self.script.fan_out {
            let (values, key_of) = (frame.input.values.clone(), frame.input.key_of.clone());
            let keys = KeySource::InputKeys;
            frame.emit(0, OutputBatch { keys, key_of, values, timestamps: Vec::new() })?;
        }
        self.script.dies(frame.input_len())?;
        Ok(Vec::new())
    }

    fn close(&mut self, frame: &mut Box<CallFrame>) -> Result<(), Failure> {
        if self.script.emits_at_close {
            let (mut keys, mut values) = (BytesColumn::default(), BytesColumn::default());
            keys.push(CLOSE_KEY.as_bytes());
            values.push(close_value(self.script.node).as_bytes());
            let keys = KeySource::NewKeys(keys);
            let (key_of, timestamps) = (Vec::new(), Vec::new());
            frame.emit(0, OutputBatch { keys, key_of, values, timestamps })?;
        }
        Ok(self.script.dies_at_close()?)
    }

    fn save(&mut self, _: &mut Box<CallFrame>) -> Result<Vec<u8>, Failure> {
        Ok(self.memory.to_le_bytes().to_vec())
    }

    fn restore(&mut self, _: &mut Box<CallFrame>, saved: &[u8]) -> Result<(), Failure> {
        self.memory = read_count(saved);
        Ok(())
    }
}

/// Counts, lists and tallies the records of each key, and emits the running counts.
fn count(frame: &mut CallFrame, node: usize) -> Result<(), Failure> {
    let (dictionary, key_of) = (frame.input.dictionary.clone(), frame.input.key_of.clone());
    let values = frame.input.values.clone();
    let state = frame.state()?;
    let before = state.value_read(0)?;
    let slots = dictionary.keys.len();
    let mut counts: Vec<u64> =
        (0..slots).map(|slot| before.item(COUNT, slot).map_or(0, read_count)).collect();
    let mut emitted = BytesColumn::default();
    let mut seen: BTreeMap<(u32, &[u8]), u64> = BTreeMap::new();
    for (slot, value) in key_of.iter().zip(values.iter()) {
        let number = &mut counts[*slot as usize];
        *number += 1;
        let key = String::from_utf8_lossy(dictionary.keys.get(*slot as usize));
        emitted.push(count_value(node, &key, *number).as_bytes());
        *seen.entry((*slot, value)).or_default() += 1;
    }
    let mut after = OptionalColumn::default();
    for (slot, count) in counts.iter().enumerate() {
        after.push(COUNT, slot, Some(&count.to_le_bytes()));
    }
    state.value_write(0, (0..slots as u32).collect(), after)?;
    state.list_append(1, &key_of, &values)?;
    let (mut owners, mut keys) = (Vec::new(), BytesColumn::default());
    for (slot, value) in seen.keys() {
        owners.push(*slot);
        keys.push(value);
    }
    let tallies = state.map_read(2, &owners, &keys)?;
    let (mut written, mut odd) = (OptionalColumn::default(), OptionalColumn::default());
    for (at, more) in seen.values().enumerate() {
        let tally = tallies.item(COUNT, at).map_or(0, read_count) + more;
        written.push(COUNT, at, Some(&tally.to_le_bytes()));
        odd.push(Layout::Variable, at, (tally % 2 == 1).then_some(b"odd"));
    }
    state.map_write(2, &owners, &keys, &written)?;
    state.map_write(3, &owners, &keys, &odd)?;
    let (keys, timestamps) = (KeySource::InputKeys, Vec::new());
    frame.emit(1, OutputBatch { keys, key_of, values: emitted, timestamps })?;
    Ok(())
}

/// Holds the record of a key that holds none, and lets go of everything of one that does.
fn toggle(frame: &mut CallFrame) -> Result<(), Failure> {
    let key_of = frame.input.key_of.clone();
    let values = frame.input.values.clone();
    let state = frame.state()?;
    let before = state.value_read(0)?;
    let mut now: BTreeMap<u32, Option<&[u8]>> = BTreeMap::new();
    for (slot, value) in key_of.iter().zip(values.iter()) {
        let held = before.item(Layout::Variable, *slot as usize);
        let held = now.entry(*slot).or_insert(held);
        *held = if held.is_some() { None } else { Some(value) };
    }
    let mut written = OptionalColumn::default();
    for (at, held) in now.values().enumerate() {
        written.push(Layout::Variable, at, *held);
    }
    state.value_write(0, now.keys().copied().collect(), written)?;
    for (slot, held) in now {
        let was_held = before.is_present(slot as usize);
        let mut item = BytesColumn::default();
        held.into_iter().for_each(|held| item.push(held));
        if was_held {
            state.map_clear(2, slot)?;
            state.list_replace(1, slot, item.clone())?;
        } else if held.is_some() {
            state.list_append(1, &[slot], &item)?;
        }
        let mut entry = OptionalColumn::default();
        entry.push(Layout::Variable, 0, held);
        if held.is_some() {
            state.map_write(2, &[slot], &item, &entry)?;
        }
    }
    Ok(())
}

/// A count as it lies in state.
pub fn read_count(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
