//! The parts that lanes are built from: readers, sandboxes, state, writers.
//!
//! Owns how a plan and a basis become the arguments of the core's lanes. Starts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::call::{CallRules, OutputRule};
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::connector::Wake;
use tidemill_core::graph::{EdgeKind, NodeKind};
use tidemill_core::ids::{LaneId, NodeId};
use tidemill_core::lane::{BarrierMode, LaneParts, LaneSettings, OperatorParts};
use tidemill_core::operator::OpenContext;
use tidemill_core::poison::{OnPoison, PoisonRules};
use tidemill_core::quota::Account;
use tidemill_core::state::TaskState;
use tidemill_sandbox::TaskIdentity;

use crate::config::{self, CheckpointingMode, PoisonPlan};
use crate::spawner;

use super::basis::{self, Basis};
use super::lane_line::LaneLine;
use super::migrate::Progress;
use super::restore::{RestoredTask, Restoring};
use super::uploads::SnapshotSeed;
use super::{Job, JobError};

/// Keyed state by task.
pub(super) type States = BTreeMap<(NodeId, LaneId), Box<TaskState>>;

/// What all lanes share.
pub(super) fn lane_settings(job: &Job, basis: &Basis) -> LaneSettings {
    LaneSettings {
        assignment: basis.assignment.clone(),
        hash_seed: basis.manifest.hash_seed,
        target: job.plan.batch,
        linger_us: job.plan.linger_us,
        queue_bytes: job.plan.queue_bytes,
        barriers: match job.plan.checkpoints.mode {
            CheckpointingMode::ExactlyOnce => BarrierMode::Aligned,
            CheckpointingMode::AtLeastOnce => BarrierMode::Unaligned,
        },
        restored: basis.manifest.checkpoint,
    }
}

/// What the snapshot files of the incarnation have in common.
pub(super) fn snapshot_seed(job: &Job, basis: &Basis) -> SnapshotSeed {
    SnapshotSeed {
        identity: basis.manifest.identity.clone(),
        incarnation: basis.manifest.incarnation,
        hash_seed: basis.manifest.hash_seed,
        key_groups: basis.assignment.groups(),
        roles: basis::roles(job),
    }
}

/// The keyed state of all tasks as of the basis, migrated where it is of an older schema version; `None` when the
/// job was stopped meanwhile. The tasks of a lane are restored by a thread of their own.
pub(super) fn restore_states(
    job: &Job,
    basis: &Basis,
    checkpoints: &CheckpointStore,
    progress: &Progress,
) -> Result<Option<States>, JobError> {
    let restoring = Restoring { job, basis, checkpoints, progress };
    let restoring = &restoring;
    let lanes = (0..job.plan.parallelism).map(LaneId);
    std::thread::scope(|scope| {
        let threads: Vec<_> = lanes
            .map(|lane| {
                let builder = spawner::builder("restore")?;
                builder.spawn_scoped(scope, move || restore_lane(restoring, lane))
            })
            .collect();
        let mut states = Some(States::new());
        for thread in threads {
            let thread =
                thread.map_err(|error| JobError::no_thread("to restore a lane", &error))?;
            let restored = thread.join();
            let panicked = |_| JobError::Host("restoring state panicked".to_owned());
            let restored = restored.map_err(panicked)??;
            states = states.zip(restored).map(|(mut states, mut restored)| {
                states.append(&mut restored);
                states
            });
        }
        Ok(states)
    })
}

/// The keyed state of the tasks of one lane; `None` when the job was stopped meanwhile.
fn restore_lane(restoring: &Restoring<'_>, lane: LaneId) -> Result<Option<States>, JobError> {
    let Restoring { job, basis, .. } = restoring;
    let mut states = States::new();
    let nodes = job.graph.nodes.iter().enumerate().skip(job.plan.sources.len());
    let operators = job.plan.operators.iter().zip(&job.components);
    for ((index, node), (plan, component)) in nodes.zip(operators) {
        let NodeKind::Operator(description) = &node.kind else {
            continue;
        };
        if !description.inputs.iter().any(|input| input.keyed) {
            continue;
        }
        let limits = &Arc::new(plan.limits.clone());
        let from = basis.tasks.get(&(NodeId(index), lane));
        let task = RestoredTask { operator: &node.name, lane, component, description, limits };
        let backend = match from {
            Some(from) => restoring.restore(from, &task)?,
            None => Some(restoring.empty(&task)),
        };
        let Some(backend) = backend else {
            return Ok(None);
        };
        // Any operator with a keyed input has keyed state, if only to resolve keys.
        let states_of = description.states.clone().into();
        let mut state = Box::new(TaskState::new(Box::new(backend), states_of, limits.clone()));
        state.share(job.tenant.usage());
        state.track(from.is_some_and(|from| from.continues && !from.chains.is_empty()));
        states.insert((NodeId(index), lane), state);
    }
    Ok(Some(states))
}

/// The parts of every lane.
pub(super) fn lane_parts(
    job: &mut Job,
    basis: &Basis,
    lines: &[Arc<LaneLine>],
    mut states: States,
) -> Result<Vec<LaneParts>, JobError> {
    let mut parts = Vec::new();
    for (lane, line) in lines.iter().enumerate() {
        parts.push(parts_of_lane(job, basis, LaneId(lane), line, &mut states)?);
    }
    Ok(parts)
}

fn parts_of_lane(
    job: &mut Job,
    basis: &Basis,
    lane: LaneId,
    line: &Arc<LaneLine>,
    states: &mut States,
) -> Result<LaneParts, JobError> {
    let waker = || line.waker.clone() as Arc<dyn Wake>;
    let account: Arc<dyn Account> = job.tenant.clone();
    let mut parts = LaneParts::default();
    let mut nodes = (0..job.graph.nodes.len()).map(NodeId);
    let connector = |name: &str, error| JobError::Connector { node: name.to_owned(), error };
    for ((plan, source), node) in job.plan.sources.iter().zip(&job.sources).zip(&mut nodes) {
        let reader = match job.input_log.reader(node.0, lane.0, waker()) {
            Some(logged) => Ok(logged),
            None => source.reader(lane.0, job.plan.parallelism, waker(), account.clone()),
        };
        parts.sources.insert(node, reader.map_err(|error| connector(&plan.name, error))?);
    }
    for (index, node) in (0..job.plan.operators.len()).zip(&mut nodes) {
        let state = states.remove(&(node, lane));
        parts.operators.insert(node, operator_parts(job, basis, index, node, lane, line, state)?);
        if basis.tasks.get(&(node, lane)).is_some_and(|task| task.closed) {
            parts.closed.insert(node);
        }
    }
    for ((plan, sink), node) in job.plan.sinks.iter().zip(&mut job.sinks).zip(&mut nodes) {
        let none = Vec::new();
        let writer_states = basis.writers.get(&(node, lane)).unwrap_or(&none);
        let writer = sink.writer(lane.0, waker(), &account, writer_states);
        parts.sinks.insert(node, writer.map_err(|error| connector(&plan.name, error))?);
    }
    Ok(parts)
}

fn operator_parts(
    job: &Job,
    basis: &Basis,
    index: usize,
    node: NodeId,
    lane: LaneId,
    line: &LaneLine,
    state: Option<Box<TaskState>>,
) -> Result<OperatorParts, JobError> {
    let plan = &job.plan.operators[index];
    let NodeKind::Operator(description) = &job.graph.nodes[node.0].kind else {
        return Err(JobError::Host("the graph and the plan disagree".to_owned()));
    };
    let description = Arc::new(description.clone());
    let output = |output| {
        let edges = || job.graph.edges_from(node, output).map(|(_, edge)| edge.kind);
        let queues = |kind| if kind == EdgeKind::Forward { 1 } else { job.plan.parallelism };
        OutputRule {
            needs_key: edges().any(|kind| kind == EdgeKind::Keyed),
            queues: edges().map(queues).sum(),
        }
    };
    let incarnation = basis.manifest.incarnation;
    let rules = Arc::new(CallRules {
        outputs: (0..description.outputs.len()).map(output).collect(),
        random_key: random_key(&basis.manifest.identity, &plan.name, lane.0, incarnation.0),
        description,
        limits: Arc::new(plan.limits.clone()),
    });
    let (tenant, task) = (job.tenant.usage().clone(), lane.0 as u32);
    let identity = TaskIdentity::new(tenant, &job.plan.name, &plan.name, task);
    let stop = line.calls.clone();
    let surroundings = job.surroundings[index].clone();
    let factory = job.components[index].factory(rules.clone(), identity, surroundings, stop);
    let context = OpenContext {
        tenant: job.plan.tenant.clone(),
        job: job.plan.name.clone(),
        operator_id: plan.name.clone(),
        task: lane.0 as u32,
        parallelism: job.plan.parallelism as u32,
        incarnation: incarnation.0,
        config: plan.config.clone(),
    };
    let start = basis.tasks.get(&(node, lane)).map(|task| task.start.clone()).unwrap_or_default();
    Ok(OperatorParts { factory, rules, state, context, poison: poison_rules(plan.poison), start })
}

fn poison_rules(plan: PoisonPlan) -> PoisonRules {
    PoisonRules {
        on_poison: match plan.on_poison {
            config::OnPoison::Fail => OnPoison::Fail,
            config::OnPoison::Skip => OnPoison::Skip,
            config::OnPoison::DeadLetter => OnPoison::DeadLetter,
        },
        limit_per_minute: plan.limit_per_minute,
    }
}

/// The key of a task's random generator.
fn random_key(identity: &str, operator: &str, task: usize, incarnation: u64) -> [u8; 32] {
    let name = format!("{identity}\0{operator}\0{task}\0{incarnation}");
    blake3::derive_key("tidemill 0.1 operator random", name.as_bytes())
}
