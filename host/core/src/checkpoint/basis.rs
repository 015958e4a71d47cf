//! What an incarnation begins from: the tasks of a checkpoint, dealt to the lanes of now.
//!
//! Owns how tasks of one parallelism become tasks of another, and which of them go on with their own files.
//! Reads no snapshot file, and does not ask whether a plan may go with a checkpoint: whoever has the plan has
//! compared them. Invariants: a chain is gone on with only by the task that wrote it, with the same lanes and
//! states; whatever a checkpoint holds belongs to some task of now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::manifest::{Manifest, OperatorSnapshot, SnapshotFile, TaskSnapshot};
use crate::describe::StateDescription;
use crate::graph::{Graph, NodeKind};
use crate::ids::{Incarnation, LaneId, NodeId};
use crate::key_group::Assignment;
use crate::lane::TaskStart;
use crate::planted::{self, Bug};

/// What an incarnation begins from.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The job comes into being: the manifest is its first, and not written yet.
    pub is_new: bool,
    /// The checkpoint, with the chains of those tasks that go on with their own files.
    pub manifest: Manifest,
    /// Which lane owns each key group.
    pub assignment: Arc<Assignment>,
    /// For each operator's task with state in the checkpoint, where it lies.
    pub tasks: BTreeMap<(NodeId, LaneId), TaskBasis>,
    /// For each sink's task the states of the writers that it goes on from.
    pub writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>>,
}

/// What an operator's task begins from.
#[derive(Clone, Debug, Default)]
pub struct TaskBasis {
    /// Chains of snapshot files, base first, each of one task of then.
    pub chains: Vec<Vec<SnapshotFile>>,
    /// The states that they hold.
    pub states: Vec<StateDescription>,
    /// Its clock, its calls, what the operator itself saved.
    pub start: TaskStart,
    /// `close` has run.
    pub closed: bool,
    /// The chain is this task's own and no other's, so it is gone on with.
    pub continues: bool,
}

/// Why a checkpoint cannot be gone on from with these lanes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BasisError {
    /// It contradicts itself.
    #[error("the manifest cannot be used: {0}")]
    Damaged(&'static str),
    /// What is in an operator's own memory belongs to one lane.
    #[error(
        "operator {operator} keeps state in its own memory, which cannot be dealt to another number of lanes; \
         run it with parallelism {lanes}"
    )]
    InMemory {
        /// The operator.
        operator: String,
        /// The lanes of then.
        lanes: usize,
    },
}

impl Basis {
    /// The basis of a job that does not exist yet. `manifest` says what it is; its owners and lanes are set
    /// here.
    pub fn first(mut manifest: Manifest, key_groups: u32, lanes: usize) -> Self {
        let assignment = Assignment::initial(key_groups, lanes);
        manifest.owners = assignment.owners().to_vec();
        manifest.parallelism = lanes as u32;
        let (tasks, writers) = (BTreeMap::new(), BTreeMap::new());
        Self { is_new: true, manifest, assignment: Arc::new(assignment), tasks, writers }
    }

    /// The basis of a job that goes on from a checkpoint with so many lanes.
    ///
    /// # Errors
    /// See [`BasisError`].
    pub fn resume(
        graph: &Graph,
        mut manifest: Manifest,
        lanes: usize,
        incarnation: Incarnation,
    ) -> Result<Self, BasisError> {
        let before = Assignment::recorded(manifest.owners.clone(), manifest.parallelism as usize);
        let what = "its key groups belong to lanes that it has not";
        let before = before.ok_or(BasisError::Damaged(what))?;
        let assignment =
            if before.lanes() == lanes { before.clone() } else { before.rescaled(lanes) };
        let same_lanes = before == assignment;
        let is_own = same_lanes && manifest.files_identity.is_none();
        let mut tasks = BTreeMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let NodeKind::Operator(description) = &node.kind else { continue };
            let found = manifest.operators.iter_mut().find(|found| found.name == node.name);
            let Some(snapshot) = found else { continue };
            let continues = is_own && snapshot.states == description.states
                || planted::is(Bug::ChainKeptAfterRescale);
            for lane in (0..lanes).map(LaneId) {
                let task = match same_lanes {
                    true => own_task(snapshot, lane, continues)?,
                    false => dealt_task(snapshot, continues)?,
                };
                tasks.insert((NodeId(index), lane), task);
            }
            if !continues {
                // The next snapshots are whole, so no chain is gone on with.
                snapshot.tasks.clear();
            }
        }
        let writers = writers(graph, &manifest, lanes);
        manifest.incarnation = incarnation;
        manifest.owners = assignment.owners().to_vec();
        manifest.parallelism = lanes as u32;
        Ok(Self { is_new: false, manifest, assignment: Arc::new(assignment), tasks, writers })
    }
}

fn own_task(
    snapshot: &OperatorSnapshot,
    lane: LaneId,
    continues: bool,
) -> Result<TaskBasis, BasisError> {
    let own = snapshot.tasks.iter().find(|task| task.lane as usize == lane.0);
    let own = own.ok_or(BasisError::Damaged("a task is missing in it"))?.clone();
    let TaskSnapshot { closed, clock_ms, calls, files, saved, .. } = own;
    let start = TaskStart { clock_ms, calls, saved };
    let chains = if files.is_empty() { Vec::new() } else { vec![files] };
    Ok(TaskBasis { chains, states: snapshot.states.clone(), start, closed, continues })
}

/// A key group may come from any task of then, so each task of now looks into all of their files.
fn dealt_task(snapshot: &OperatorSnapshot, continues: bool) -> Result<TaskBasis, BasisError> {
    let tasks = &snapshot.tasks;
    if tasks.iter().any(|task| task.saved.is_some()) {
        let (operator, lanes) = (snapshot.name.clone(), tasks.len());
        return Err(BasisError::InMemory { operator, lanes });
    }
    let start = TaskStart {
        clock_ms: tasks.iter().map(|task| task.clock_ms).max().unwrap_or(0),
        calls: tasks.iter().map(|task| task.calls).max().unwrap_or(0),
        saved: None,
    };
    let closed = tasks.iter().all(|task| task.closed);
    let chains = tasks.iter().map(|task| task.files.clone());
    let chains = chains.filter(|chain| !chain.is_empty()).collect();
    Ok(TaskBasis { chains, states: snapshot.states.clone(), start, closed, continues })
}

/// Writers of lanes that are gone are gone on with by others.
fn writers(
    graph: &Graph,
    manifest: &Manifest,
    lanes: usize,
) -> BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> {
    let mut writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> = BTreeMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let snapshot = manifest.sinks.iter().find(|sink| sink.name == node.name);
        let is_sink = matches!(node.kind, NodeKind::Sink);
        for task in snapshot.filter(|_| is_sink).into_iter().flat_map(|sink| &sink.tasks) {
            let lane = LaneId(task.lane as usize % lanes);
            writers.entry((NodeId(index), lane)).or_default().push(task.state.clone());
        }
    }
    writers
}
