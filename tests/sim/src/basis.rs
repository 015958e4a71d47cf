//! What an incarnation begins from, as the product derives it: a manifest that fits the lanes of now.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::checkpoint::ledger::NodeRole;
use tidemill_core::checkpoint::manifest::{Manifest, SnapshotFile, SourceSnapshot, TaskSnapshot};
use tidemill_core::ids::{CheckpointId, Incarnation, LaneId, NodeId};
use tidemill_core::key_group::Assignment;
use tidemill_core::lane::TaskStart;
use tidemill_core::planted::{self, Bug};

use crate::plan::{Kind, Plan};
use crate::source::first_positions;
use crate::trouble::{Violation, violation};

/// Key groups of every simulated job.
pub const KEY_GROUPS: u32 = 16;

/// What an incarnation begins from.
pub struct Basis {
    /// The job comes into being: the manifest is its first, and not written yet.
    pub is_new: bool,
    /// The checkpoint, with the chains of those tasks that go on with their own files.
    pub manifest: Manifest,
    /// Which lane owns each key group.
    pub assignment: Arc<Assignment>,
    /// For each operator's task in the checkpoint, where it lies.
    pub tasks: BTreeMap<(NodeId, LaneId), TaskBasis>,
    /// For each sink's task the states of the writers that it goes on from.
    pub writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>>,
}

/// What an operator's task begins from.
#[derive(Clone, Debug, Default)]
pub struct TaskBasis {
    /// Chains of snapshot files, base first, each of one task of then.
    pub chains: Vec<Vec<SnapshotFile>>,
    /// Its clock, its calls, what the operator itself saved.
    pub start: TaskStart,
    /// `close` has run.
    pub closed: bool,
    /// The chain is this task's own and no other's, so it is gone on with.
    pub continues: bool,
}

/// The roles of all nodes.
pub fn roles(plan: &Plan) -> Vec<NodeRole> {
    let role = |node: usize| {
        let name = plan.name(node).to_owned();
        match (plan.kinds[node], plan.description(node)) {
            (Kind::Source, _) => NodeRole::Source { name },
            (_, Some(description)) => {
                let (component, states) = (String::new(), description.states.clone());
                NodeRole::Operator { name, component, states }
            }
            (_, None) => NodeRole::Sink { directory: name.clone(), name },
        }
    };
    (0..plan.kinds.len()).map(role).collect()
}

/// The basis of a job that has none.
pub fn first(plan: &Plan, lanes: usize, incarnation: Incarnation, hash_seed: u64) -> Basis {
    let assignment = Assignment::initial(KEY_GROUPS, lanes);
    let source = |node: usize| SourceSnapshot {
        name: plan.name(node).to_owned(),
        partitions: first_positions(plan),
    };
    let manifest = Manifest {
        job: "job".to_owned(),
        identity: format!("{hash_seed:016x}"),
        files_identity: None,
        checkpoint: CheckpointId(0),
        incarnation,
        created_ms: 0,
        written_by: "simulator".to_owned(),
        finished: false,
        hash_seed,
        owners: assignment.owners().to_vec(),
        parallelism: lanes as u32,
        plan: String::new(),
        wal_start: None,
        sources: plan.nodes_of(Kind::Source).map(source).collect(),
        operators: Vec::new(),
        sinks: Vec::new(),
    };
    let assignment = Arc::new(assignment);
    let (tasks, writers) = (BTreeMap::new(), BTreeMap::new());
    Basis { is_new: true, manifest, assignment, tasks, writers }
}

/// The basis of a job that goes on from a checkpoint.
///
/// # Errors
/// The manifest contradicts itself.
pub fn resume(
    plan: &Plan,
    mut manifest: Manifest,
    lanes: usize,
    incarnation: Incarnation,
) -> Result<Basis, Violation> {
    let damaged = || violation("manifest", "it names a lane or task that there is not");
    let before = Assignment::recorded(manifest.owners.clone(), manifest.parallelism as usize);
    let before = before.ok_or_else(damaged)?;
    let assignment = if before.lanes() == lanes { before.clone() } else { before.rescaled(lanes) };
    let same_lanes = before == assignment;
    let mut tasks = BTreeMap::new();
    for snapshot in &mut manifest.operators {
        let node = (0..plan.kinds.len()).find(|node| plan.name(*node) == snapshot.name);
        let node = NodeId(node.ok_or_else(damaged)?);
        for lane in (0..lanes).map(LaneId) {
            let task = match same_lanes {
                true => own_task(&snapshot.tasks, lane).ok_or_else(damaged)?,
                false => dealt_task(&snapshot.tasks),
            };
            tasks.insert((node, lane), task);
        }
        if !same_lanes && !planted::is(Bug::ChainKeptAfterRescale) {
            // The next snapshots are whole, so no chain is gone on with.
            snapshot.tasks.clear();
        }
    }
    let writers = writers(plan, &manifest, lanes);
    manifest.incarnation = incarnation;
    manifest.owners = assignment.owners().to_vec();
    manifest.parallelism = lanes as u32;
    let assignment = Arc::new(assignment);
    Ok(Basis { is_new: false, manifest, assignment, tasks, writers })
}

fn own_task(tasks: &[TaskSnapshot], lane: LaneId) -> Option<TaskBasis> {
    let own = tasks.iter().find(|task| task.lane as usize == lane.0)?.clone();
    let TaskSnapshot { closed, clock_ms, calls, files, saved, .. } = own;
    let start = TaskStart { clock_ms, calls, saved };
    let chains = if files.is_empty() { Vec::new() } else { vec![files] };
    Some(TaskBasis { chains, start, closed, continues: true })
}

/// A key group may come from any task of then, so each task of now looks into all of their files.
fn dealt_task(tasks: &[TaskSnapshot]) -> TaskBasis {
    let start = TaskStart {
        clock_ms: tasks.iter().map(|task| task.clock_ms).max().unwrap_or(0),
        calls: tasks.iter().map(|task| task.calls).max().unwrap_or(0),
        saved: None,
    };
    let closed = tasks.iter().all(|task| task.closed);
    let chains = tasks.iter().map(|task| task.files.clone());
    let chains = chains.filter(|chain| !chain.is_empty()).collect();
    let continues = planted::is(Bug::ChainKeptAfterRescale);
    TaskBasis { chains, start, closed, continues }
}

/// Writers of lanes that are gone are gone on with by others.
fn writers(
    plan: &Plan,
    manifest: &Manifest,
    lanes: usize,
) -> BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> {
    let mut writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> = BTreeMap::new();
    for node in (0..plan.kinds.len()).map(NodeId) {
        let snapshot = manifest.sinks.iter().find(|sink| sink.name == plan.name(node.0));
        for task in snapshot.into_iter().flat_map(|sink| &sink.tasks) {
            let lane = LaneId(task.lane as usize % lanes);
            writers.entry((node, lane)).or_default().push(task.state.clone());
        }
    }
    writers
}
