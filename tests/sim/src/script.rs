//! Scripted sources, sinks and operators, and what they saw.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::call::{CallFrame, KeySource, OutputBatch, Phase};
use tidemill_core::column::{BytesColumn, Layout, OptionalColumn};
use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, SinkWriter, SourcePoll, SourceReader,
};
use tidemill_core::failure::Failure;
use tidemill_core::ids::Now;
use tidemill_core::operator::{BadRecord, OpenContext, OperatorInstance};

/// A switch that the world flips: a source has records, a sink has room.
pub type Switch = Arc<AtomicBool>;

/// How often a sink saw each value.
pub type Seen = Arc<Mutex<BTreeMap<Vec<u8>, u64>>>;

/// A source of records with value `s<source>:<n>` and key `n % keys`.
pub struct ScriptedSource {
    /// Index of the source.
    pub source: usize,
    /// The numbers that are left.
    pub numbers: std::vec::IntoIter<usize>,
    /// Keys in all.
    pub keys: usize,
    /// Whether there is something to read now.
    pub open: Switch,
}

impl SourceReader for ScriptedSource {
    fn poll(&mut self, target: BatchTarget, _: Now) -> Result<SourcePoll, ConnectorError> {
        let mut batch = Batch::default();
        let mut keys = BytesColumn::default();
        for number in self.numbers.by_ref().take(target.records) {
            batch.values.push(format!("s{}:{number}", self.source).as_bytes());
            keys.push(format!("k{}", number % self.keys).as_bytes());
        }
        self.open.store(false, SeqCst);
        if batch.is_empty() {
            return Ok(SourcePoll::Ended);
        }
        let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
        batch.keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
        Ok(SourcePoll::Batch(batch))
    }

    fn is_ready(&mut self) -> bool {
        self.open.load(SeqCst)
    }

    fn stop(&mut self) {
        self.numbers = Vec::new().into_iter();
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        Vec::new()
    }
}

/// A sink that sometimes has no room.
pub struct ScriptedSink {
    /// What it saw.
    pub seen: Seen,
    /// Whether it has room now.
    pub open: Switch,
}

impl SinkWriter for ScriptedSink {
    fn has_room(&mut self) -> bool {
        self.open.load(SeqCst)
    }

    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError> {
        self.open.store(false, SeqCst);
        let mut seen = self.seen.lock().expect("no sink panics");
        batch.values.iter().for_each(|value| *seen.entry(value.to_vec()).or_default() += 1);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn is_settled(&mut self) -> Result<bool, ConnectorError> {
        Ok(self.open.load(SeqCst))
    }
}

/// What an operator's tasks saw, over all lanes.
#[derive(Default)]
pub struct OperatorLog {
    /// Records taken in.
    pub taken: AtomicU64,
    /// Calls of `close`.
    pub closed: AtomicU64,
    /// Last count per key, of keyed inputs.
    pub counts: Mutex<BTreeMap<Vec<u8>, u64>>,
}

/// Emits each record `fan_out` times under its own key; counts records per key in state on keyed
/// inputs.
pub struct ScriptedOperator {
    /// Copies of each record.
    pub fan_out: usize,
    /// For each input whether it is keyed.
    pub keyed: Vec<bool>,
    /// What it saw.
    pub log: Arc<OperatorLog>,
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
        assert_eq!(frame.phase(), Phase::Process { keyed: self.keyed[input as usize] });
        self.log.taken.fetch_add(frame.input_len() as u64, SeqCst);
        if self.keyed[input as usize] {
            self.count(frame)?;
        }
        for _ in 0..self.fan_out {
            let values = frame.input.values.clone();
            let key_of = frame.input.key_of.clone();
            let keys = KeySource::InputKeys;
            frame.emit(0, OutputBatch { keys, key_of, values, timestamps: Vec::new() })?;
        }
        Ok(Vec::new())
    }

    fn close(&mut self, _: &mut Box<CallFrame>) -> Result<(), Failure> {
        self.log.closed.fetch_add(1, SeqCst);
        Ok(())
    }
}

impl ScriptedOperator {
    fn count(&self, frame: &mut CallFrame) -> Result<(), Failure> {
        let dictionary = frame.input.dictionary.clone();
        let key_of = frame.input.key_of.clone();
        let state = frame.state()?;
        let before = state.value_read(0)?;
        let layout = Layout::Fixed(8);
        let mut counts: Vec<u64> = (0..dictionary.keys.len())
            .map(|slot| before.item(layout, slot).map_or(0, read_u64))
            .collect();
        key_of.iter().for_each(|slot| counts[*slot as usize] += 1);
        let mut after = OptionalColumn::default();
        let mut log = self.log.counts.lock().expect("no operator panics");
        for (slot, count) in counts.iter().enumerate() {
            after.push(layout, slot, Some(&count.to_le_bytes()));
            log.insert(dictionary.keys.get(slot).to_vec(), *count);
        }
        state.value_write(0, (0..counts.len() as u32).collect(), after)?;
        Ok(())
    }
}

fn read_u64(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("a fixed width of eight bytes"))
}
