//! A lane with one operator: what one step may do, and in which order.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::{
    BarrierMode, LaneParts, LaneSettings, OperatorParts, StepOutcome, TaskStart, build_lanes,
};
use crate::batch::{Batch, Dictionary, RecordKeys};
use crate::call::{CallFrame, CallRules, KeySource, OutputBatch, OutputRule};
use crate::checkpoint::{CheckpointListener, SnapshotUpload, TaskAck, UploadTask};
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::connector::{
    BatchTarget, ConnectorError, PartitionPosition, Prepared, SinkWriter, SourcePoll, SourceReader,
    Wake,
};
use crate::describe::{
    Description, InputDescription, OutputDescription, StateDescription, StateKind,
};
use crate::failure::Failure;
use crate::graph::{EdgeSpec, GraphSpec, NodeSpec, NodeSpecKind};
use crate::ids::{CheckpointId, LaneId, NodeId, Now};
use crate::key_group::Assignment;
use crate::limits::{CALL_STATE_BYTES_MAX, Limits, MIB};
use crate::operator::{BadRecord, InstanceFactory, OpenContext, OperatorInstance};
use crate::poison::PoisonRules;
use crate::state::TaskState;
use crate::state::memory::MemoryBackend;

const KEYS: usize = 32;

/// Keeps 1 MiB for each key, passes records on, and notes how many keys each call had.
struct Hoarder {
    calls: Arc<Mutex<Vec<usize>>>,
}

impl OperatorInstance for Hoarder {
    fn open(&mut self, _: &mut Box<CallFrame>, _: &OpenContext) -> Result<(), Failure> {
        Ok(())
    }

    fn process(&mut self, frame: &mut Box<CallFrame>, _: u32) -> Result<Vec<BadRecord>, Failure> {
        let slots = frame.input.dictionary.keys.len();
        self.calls.lock().unwrap().push(slots);
        let mut values = OptionalColumn::default();
        (0..slots).for_each(|s| values.push(Layout::Variable, s, Some(&vec![7; MIB])));
        frame.state()?.value_write(0, (0..slots as u32).collect(), values)?;
        let (values, key_of) = (frame.input.values.clone(), frame.input.key_of.clone());
        let keys = KeySource::InputKeys;
        frame.emit(0, OutputBatch { keys, key_of, values, timestamps: Vec::new() })?;
        Ok(Vec::new())
    }

    fn close(&mut self, _: &mut Box<CallFrame>) -> Result<(), Failure> {
        Ok(())
    }
}

impl InstanceFactory for Hoarder {
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(Self { calls: self.calls.clone() }))
    }
}

struct Rounds(usize);

impl SourceReader for Rounds {
    fn poll(&mut self, _: BatchTarget, _: Now) -> Result<SourcePoll, ConnectorError> {
        let Some(left) = self.0.checked_sub(1) else { return Ok(SourcePoll::Ended) };
        self.0 = left;
        let mut keys = BytesColumn::default();
        let mut batch = Batch::default();
        for key in 0..KEYS {
            keys.push(format!("k{key}").as_bytes());
            batch.values.push(format!("{left}:{key:02}").as_bytes());
        }
        let dictionary = Arc::new(Dictionary { keys, hashes: Vec::new() });
        batch.keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
        Ok(SourcePoll::Batch(batch))
    }

    fn is_ready(&mut self) -> bool {
        true
    }

    fn stop(&mut self) {
        self.0 = 0;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        Vec::new()
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.0 as u64)
    }
}

struct Collect {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl SinkWriter for Collect {
    fn has_room(&mut self) -> bool {
        true
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        self.seen.lock().unwrap().extend(batch.values.iter().map(<[u8]>::to_vec));
        Ok(batch.values.data.len())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(None)
    }
}

struct NoCheckpoints;

impl CheckpointListener for NoCheckpoints {
    fn acknowledge(&self, _: TaskAck) {}

    fn begin_upload(&self, _: UploadTask) -> Box<dyn SnapshotUpload> {
        unreachable!("nothing is triggered")
    }
}

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

fn description() -> Description {
    let state = StateDescription {
        name: "hoard".to_owned(),
        kind: StateKind::Value,
        width: None,
        schema_version: 1,
        ttl: None,
    };
    Description {
        name: "hoarder".to_owned(),
        version: "1".to_owned(),
        inputs: vec![InputDescription { name: "in".to_owned(), keyed: true, value_width: None }],
        outputs: vec![OutputDescription { name: "out".to_owned(), value_width: None }],
        states: vec![state],
        metrics: Vec::new(),
    }
}

#[test]
fn a_batch_with_too_much_state_is_called_in_parts_one_a_step_in_order() {
    let edge = |from: &str| EdgeSpec { input: None, from: from.to_owned(), kind: None };
    let node = |name: &str, kind, inputs| NodeSpec { name: name.to_owned(), kind, inputs };
    let nodes = vec![
        node("in", NodeSpecKind::Source { keyed: true }, Vec::new()),
        node("op", NodeSpecKind::Operator(Box::new(description())), vec![edge("in")]),
        node("out", NodeSpecKind::Sink, vec![edge("op")]),
    ];
    let graph = GraphSpec { nodes }.validate().unwrap();
    let (calls, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    let assignment = Arc::new(Assignment::initial(8, 1));
    let limits = Arc::new(Limits::default());
    let owned = assignment.owned_by(LaneId(0));
    let backend = MemoryBackend::new(&description().states, 8, owned);
    let state = TaskState::new(Box::new(backend), description().states.into(), limits.clone());
    let rules = Arc::new(CallRules {
        description: Arc::new(description()),
        outputs: vec![OutputRule::default()],
        limits,
        random_key: [0; 32],
    });
    let operator = OperatorParts {
        factory: Box::new(Hoarder { calls: calls.clone() }),
        rules,
        state: Some(Box::new(state)),
        context: OpenContext::default(),
        poison: PoisonRules::default(),
        start: TaskStart::default(),
    };
    let mut parts = LaneParts::default();
    parts.sources.insert(NodeId(0), Box::new(Rounds(2)));
    parts.operators.insert(NodeId(1), operator);
    parts.sinks.insert(NodeId(2), Box::new(Collect { seen: seen.clone() }));
    let settings = LaneSettings {
        assignment,
        hash_seed: 0,
        target: BatchTarget { records: 1, bytes: 1 },
        linger_us: 0,
        queue_bytes: 1,
        barriers: BarrierMode::Aligned,
        restored: CheckpointId(0),
    };
    let listener: Arc<dyn CheckpointListener> = Arc::new(NoCheckpoints);
    let mut lanes = build_lanes(&graph, &settings, vec![parts], &[Arc::new(NoWake)], &listener);
    let most_calls_a_step = AtomicUsize::new(0);
    loop {
        let before = calls.lock().unwrap().len();
        if lanes[0].step(Now::default()).unwrap() == StepOutcome::Finished {
            break;
        }
        let made = calls.lock().unwrap().len() - before;
        most_calls_a_step.fetch_max(made, SeqCst);
    }
    assert_eq!(most_calls_a_step.load(SeqCst), 1);
    let calls = calls.lock().unwrap();
    assert_eq!((calls[0], calls[1..].iter().sum::<usize>()), (KEYS, KEYS));
    assert!(calls[1..].iter().all(|slots| slots * MIB <= CALL_STATE_BYTES_MAX), "{calls:?}");
    let expected = (0..2).rev().flat_map(|round| (0..KEYS).map(move |k| format!("{round}:{k:02}")));
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, expected.map(String::into_bytes).collect::<Vec<_>>());
}
