//! One source, one keyed operator, one sink, on one lane.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::call::{CallRules, OutputRule};
use tidemill_core::checkpoint::{CheckpointListener, SnapshotUpload, TaskAck, UploadTask};
use tidemill_core::column::BytesColumn;
use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, Prepared, SinkWriter, SourcePoll, SourceReader,
    Wake,
};
use tidemill_core::describe::Description;
use tidemill_core::graph::{EdgeSpec, GraphSpec, NodeSpec, NodeSpecKind};
use tidemill_core::ids::{CheckpointId, LaneId, NodeId, Now};
use tidemill_core::key_group::Assignment;
use tidemill_core::lane::{
    BarrierMode, Lane, LaneParts, LaneSettings, OperatorParts, StepOutcome, TaskStart, build_lanes,
};
use tidemill_core::limits::Limits;
use tidemill_core::operator::{InstanceFactory, OpenContext, OperatorInstance};
use tidemill_core::poison::PoisonRules;
use tidemill_core::state::TaskState;
use tidemill_core::state::memory::MemoryBackend;
use tidemill_sandbox::{Component, EngineSettings, Sandboxes, Surroundings, TaskIdentity};

const KEY_GROUPS: u32 = 128;
/// The operator's node.
const OPERATOR: NodeId = NodeId(1);
/// Records of a batch, as a job has by default.
pub const BATCH_RECORDS: usize = 4096;

struct NoWake;

impl Wake for NoWake {
    fn wake(&self) {}
}

/// Hands out copies of batches made beforehand.
struct Replay {
    batches: Arc<Vec<Batch>>,
    next: usize,
}

impl SourceReader for Replay {
    fn poll(&mut self, _: BatchTarget, _: Now) -> Result<SourcePoll, ConnectorError> {
        let batch = self.batches.get(self.next).cloned();
        self.next += 1;
        Ok(batch.map_or(SourcePoll::Ended, SourcePoll::Batch))
    }

    fn is_ready(&mut self) -> bool {
        true
    }

    fn stop(&mut self) {
        self.next = self.batches.len();
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        Vec::new()
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

/// No checkpoint is triggered, so nobody has anything to say.
struct Nobody;

impl CheckpointListener for Nobody {
    fn acknowledge(&self, _: TaskAck) {}

    fn begin_upload(&self, _: UploadTask) -> Box<dyn SnapshotUpload> {
        unreachable!("nothing is triggered")
    }
}

/// Hands what it gets to a function.
struct Each<F>(F);

impl<F: FnMut(Batch) + Send> SinkWriter for Each<F> {
    fn has_room(&mut self) -> bool {
        true
    }

    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError> {
        let bytes = batch.values.data.len();
        (self.0)(batch);
        Ok(bytes)
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<(), ConnectorError> {
        Ok(())
    }

    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError> {
        Ok(None)
    }
}

/// Batches of `records` records in all, with keys drawn evenly from `keys` decimal numbers.
pub fn keyed_batches(records: usize, keys: u64) -> Arc<Vec<Batch>> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let batch = |_| {
        let mut column = BytesColumn::default();
        let mut values = BytesColumn::default();
        for _ in 0..BATCH_RECORDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            column.push((random % keys).to_string().as_bytes());
            values.push(b"");
        }
        let dictionary = Arc::new(Dictionary { keys: column, hashes: Vec::new() });
        let keys = RecordKeys::Of { dictionary, key_of: Vec::new() };
        Batch { keys, values, timestamps: Vec::new() }
    };
    Arc::new((0..records.div_ceil(BATCH_RECORDS)).map(batch).collect())
}

/// An operator's component, admitted.
///
/// # Panics
/// When it is not built; `cargo xtask bench` builds it.
pub fn component(name: &str) -> Component {
    component_in(&EngineSettings::default(), name)
}

/// The same, in an engine with other settings.
///
/// # Panics
/// When it is not built; `cargo xtask bench` builds it.
pub fn component_in(settings: &EngineSettings, name: &str) -> Component {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."));
    let target = target.unwrap_or_else(|| root.join("target"));
    let path = target.join("wasm32-wasip2/operator").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; build it with `cargo xtask bench`", path.display())
    });
    let sandboxes = Sandboxes::new(settings, None).expect("an engine");
    sandboxes.admit(&bytes).expect("the operator is admitted")
}

/// What is fixed for the calls of an operator.
pub fn rules(description: &Arc<Description>) -> Arc<CallRules> {
    Arc::new(CallRules {
        outputs: vec![OutputRule::default(); description.outputs.len()],
        random_key: [0; 32],
        limits: Arc::new(Limits::default()),
        description: description.clone(),
    })
}

/// Makes sandboxes of a component.
pub fn sandboxes(component: &Component) -> Box<dyn InstanceFactory> {
    let rules = rules(component.description());
    component.factory(rules, TaskIdentity::default(), Surroundings::default(), Arc::default())
}

/// A sandbox of a component.
///
/// # Panics
/// When it cannot be instantiated.
pub fn sandbox(component: &Component) -> Box<dyn OperatorInstance> {
    let rules = rules(component.description());
    let identity = TaskIdentity::default();
    component
        .instantiate(rules, &identity, &Surroundings::default(), Arc::default())
        .expect("a sandbox")
}

/// Runs all batches through the operator on one lane, from open to close.
///
/// # Panics
/// When the job fails.
pub fn run(
    description: &Arc<Description>,
    factory: Box<dyn InstanceFactory>,
    batches: &Arc<Vec<Batch>>,
) {
    finish(&mut lane(description, factory, batches, PoisonRules::default(), &[]));
}

/// Steps a lane to its end.
///
/// # Panics
/// When the job fails.
pub fn finish(lane: &mut Lane) {
    while lane.step(Now::default()).expect("the job does not fail") != StepOutcome::Finished {}
}

/// Steps a lane until its operator is open and has made so many calls.
///
/// # Panics
/// When the job fails, or comes to its end before.
pub fn step_calls(lane: &mut Lane, calls: usize) {
    // Its first step opens it.
    let mut steps = 0;
    while steps < 1 + calls {
        match lane.step(Now::default()).expect("the job does not fail") {
            StepOutcome::Finished => panic!("the job is over after {steps} steps of its operator"),
            StepOutcome::Progress(OPERATOR) => steps += 1,
            _ => {}
        }
    }
}

/// Runs all batches through the operator; answers the bytes of all values that came out, one behind the other.
///
/// # Panics
/// When the job fails.
pub fn outputs(
    description: &Arc<Description>,
    factory: Box<dyn InstanceFactory>,
    batches: &Arc<Vec<Batch>>,
) -> Vec<u8> {
    let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
    let into = Arc::clone(&kept);
    let keep = move |batch: Batch| {
        into.lock().expect("nobody panics with it").extend(batch.values.data);
    };
    finish(&mut lane_to(
        Box::new(Each(keep)),
        description,
        factory,
        batches,
        PoisonRules::default(),
        &[],
    ));
    let mut values = kept.lock().expect("the lane has not panicked");
    std::mem::take(&mut *values)
}

/// A lane with the operator, so configured, between a source of these batches and a sink that throws everything
/// away.
///
/// # Panics
/// The operator's description makes no valid graph.
pub fn lane(
    description: &Arc<Description>,
    factory: Box<dyn InstanceFactory>,
    batches: &Arc<Vec<Batch>>,
    poison: PoisonRules,
    config: &[(String, String)],
) -> Lane {
    lane_to(
        Box::new(Each(|batch| drop(std::hint::black_box(batch)))),
        description,
        factory,
        batches,
        poison,
        config,
    )
}

fn lane_to(
    sink: Box<dyn SinkWriter>,
    description: &Arc<Description>,
    factory: Box<dyn InstanceFactory>,
    batches: &Arc<Vec<Batch>>,
    poison: PoisonRules,
    config: &[(String, String)],
) -> Lane {
    let edge = |from: &str| EdgeSpec { input: None, from: from.to_owned(), kind: None };
    let node = |name: &str, kind, inputs| NodeSpec { name: name.to_owned(), kind, inputs };
    let nodes = vec![
        node("in", NodeSpecKind::Source { keyed: true }, Vec::new()),
        node("op", NodeSpecKind::Operator(Box::new((**description).clone())), vec![edge("in")]),
        node("out", NodeSpecKind::Sink, vec![edge("op")]),
    ];
    let graph = GraphSpec { nodes }.validate().expect("a valid graph");
    let assignment = Arc::new(Assignment::initial(KEY_GROUPS, 1));
    let rules = rules(description);
    let owned = assignment.owned_by(LaneId(0));
    let backend = MemoryBackend::new(&description.states, KEY_GROUPS, owned);
    let states = description.states.clone().into();
    let state = TaskState::new(Box::new(backend), states, rules.limits.clone());
    let context = OpenContext { config: config.to_vec(), ..OpenContext::default() };
    let operator = OperatorParts {
        factory,
        rules,
        state: Some(Box::new(state)),
        context,
        poison,
        start: TaskStart::default(),
    };
    let mut parts = LaneParts::default();
    parts.sources.insert(NodeId(0), Box::new(Replay { batches: batches.clone(), next: 0 }));
    parts.operators.insert(OPERATOR, operator);
    parts.sinks.insert(NodeId(2), sink);
    let settings = LaneSettings {
        assignment,
        hash_seed: 1,
        target: BatchTarget { records: BATCH_RECORDS, bytes: 256 * 1024 },
        linger_us: 1000,
        queue_bytes: 1 << 20,
        barriers: BarrierMode::Aligned,
        restored: CheckpointId(0),
    };
    let listener: Arc<dyn CheckpointListener> = Arc::new(Nobody);
    let mut lanes = build_lanes(&graph, &settings, vec![parts], &[Arc::new(NoWake)], &listener);
    lanes.remove(0)
}
