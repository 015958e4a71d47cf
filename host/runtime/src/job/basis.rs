//! What an incarnation begins from: a manifest that fits the plan and the lanes of now.
//!
//! Owns the comparison of a plan with a checkpoint, and how tasks of one parallelism become tasks of another.
//! Reads no snapshot file. What may change between two runs: parallelism, component versions (their states must
//! match), configuration, limits, operators without state. What may not: the number of key groups, the
//! partitions of sources, an operator with state that is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidemill_core::checkpoint::ledger::NodeRole;
use tidemill_core::checkpoint::manifest::{
    Manifest, OperatorSnapshot, SnapshotFile, SourceSnapshot, TaskSnapshot,
};
use tidemill_core::connector::ConnectorError;
use tidemill_core::describe::StateDescription;
use tidemill_core::graph::NodeKind;
use tidemill_core::ids::{CheckpointId, Incarnation, LaneId, NodeId};
use tidemill_core::key_group::Assignment;
use tidemill_core::lane::TaskStart;
use tidemill_core::snapshot::{StateDifference, compare_states};

use super::chance;
use super::{InputLog, Job, JobError};
use crate::config::SourcePlan;
use crate::connectors::Source;

/// What an incarnation begins from.
pub(super) struct Basis {
    /// The job comes into being: the manifest is its first, and not written yet.
    pub(super) is_new: bool,
    /// The checkpoint, with the chains of those tasks that go on with their own files.
    pub(super) manifest: Manifest,
    /// Which lane owns each key group.
    pub(super) assignment: Arc<Assignment>,
    /// For each operator's task with state in the checkpoint, where it lies.
    pub(super) tasks: BTreeMap<(NodeId, LaneId), TaskBasis>,
    /// For each sink's task the states of the writers that it goes on from.
    pub(super) writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>>,
}

/// What an operator's task begins from.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskBasis {
    /// Chains of snapshot files, base first, each of one task of then.
    pub(super) chains: Vec<Vec<SnapshotFile>>,
    /// The states that they hold.
    pub(super) states: Vec<StateDescription>,
    /// Its clock, its calls, what the operator itself saved.
    pub(super) start: TaskStart,
    /// `close` has run.
    pub(super) closed: bool,
    /// The chain is this task's own and no other's, so it is gone on with.
    pub(super) continues: bool,
}

/// The roles of all nodes, in the order of the graph: sources, operators, sinks.
pub(super) fn roles(job: &Job) -> Vec<NodeRole> {
    let (sources, operators) = (&job.plan.sources, &job.plan.operators);
    let role = |(index, node): (usize, &tidemill_core::graph::Node)| match &node.kind {
        NodeKind::Source => NodeRole::Source { name: node.name.clone() },
        NodeKind::Operator(description) => NodeRole::Operator {
            name: node.name.clone(),
            component: job.components[index - sources.len()].facts().digest.clone(),
            states: description.states.clone(),
        },
        NodeKind::Sink => NodeRole::Sink {
            name: node.name.clone(),
            directory: match job.sinks[index - sources.len() - operators.len()].directory() {
                Some(directory) => directory.display().to_string(),
                None => String::new(),
            },
        },
    };
    job.graph.nodes.iter().enumerate().map(role).collect()
}

/// The basis of a job that has done nothing yet: an identity (that of an earlier start, if there was one), a
/// seed, the partitions that were listed.
pub(super) fn first(job: &Job, incarnation: Incarnation, identity: Option<String>) -> Basis {
    let assignment = Assignment::initial(job.plan.key_groups, job.plan.parallelism);
    let sources = job.plan.sources.iter().zip(&job.sources).enumerate();
    let sources = sources.map(|(index, (plan, source))| SourceSnapshot {
        name: plan.name.clone(),
        partitions: job.input_log.first_positions(index, source),
    });
    let manifest = Manifest {
        job: job.plan.name.clone(),
        identity: identity.unwrap_or_else(chance::identity),
        files_identity: None,
        checkpoint: CheckpointId(0),
        incarnation,
        created_ms: super::lane_thread::wall_ms(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        finished: false,
        hash_seed: chance::bits(),
        owners: assignment.owners().to_vec(),
        parallelism: job.plan.parallelism as u32,
        plan: job.plan.normalised(),
        wal_start: None,
        sources: sources.collect(),
        operators: Vec::new(),
        sinks: Vec::new(),
    };
    let assignment = Arc::new(assignment);
    let (tasks, writers) = (BTreeMap::new(), BTreeMap::new());
    Basis { is_new: true, manifest, assignment, tasks, writers }
}

/// The basis of a job that goes on from a checkpoint.
pub(super) fn resume(
    job: &mut Job,
    mut manifest: Manifest,
    incarnation: Incarnation,
) -> Result<Basis, JobError> {
    check_job(job, &manifest)?;
    check_sources(job, &manifest)?;
    check_operators(job, &manifest)?;
    job.resume_sources(&manifest.sources)?;
    let lanes = job.plan.parallelism;
    let before = Assignment::recorded(manifest.owners.clone(), manifest.parallelism as usize);
    let before = before.ok_or_else(|| damaged("its key groups belong to lanes that it has not"))?;
    let assignment = if before.lanes() == lanes { before.clone() } else { before.rescaled(lanes) };
    let mut tasks = BTreeMap::new();
    for (index, node) in job.graph.nodes.iter().enumerate() {
        let NodeKind::Operator(description) = &node.kind else {
            continue;
        };
        let Some(snapshot) = manifest.operators.iter_mut().find(|o| o.name == node.name) else {
            continue;
        };
        let is_same = before == assignment
            && snapshot.states == description.states
            && manifest.files_identity.is_none();
        for lane in (0..lanes).map(LaneId) {
            let task = task_basis(snapshot, lane, is_same, before == assignment)?;
            tasks.insert((NodeId(index), lane), task);
        }
        if !is_same {
            // The next snapshots are whole, so no chain is gone on with.
            snapshot.tasks.clear();
        }
    }
    let writers = writers(job, &manifest, lanes);
    manifest.incarnation = incarnation;
    manifest.written_by = env!("CARGO_PKG_VERSION").to_owned();
    manifest.owners = assignment.owners().to_vec();
    manifest.parallelism = lanes as u32;
    manifest.plan = job.plan.normalised();
    let assignment = Arc::new(assignment);
    Ok(Basis { is_new: false, manifest, assignment, tasks, writers })
}

fn task_basis(
    snapshot: &OperatorSnapshot,
    lane: LaneId,
    is_same: bool,
    same_lanes: bool,
) -> Result<TaskBasis, JobError> {
    let states = snapshot.states.clone();
    if same_lanes {
        let own = snapshot.tasks.iter().find(|task| task.lane as usize == lane.0);
        let own = own.ok_or_else(|| damaged("a task is missing in it"))?.clone();
        let TaskSnapshot { closed, clock_ms, calls, files, saved, .. } = own;
        let start = TaskStart { clock_ms, calls, saved };
        let chains = if files.is_empty() { Vec::new() } else { vec![files] };
        return Ok(TaskBasis { chains, states, start, closed, continues: is_same });
    }
    if snapshot.tasks.iter().any(|task| task.saved.is_some()) {
        return Err(JobError::Incompatible {
            problem: format!(
                "operator {} keeps state in its own memory, which cannot be dealt to another number of \
                 lanes",
                snapshot.name
            ),
            help: format!("run it with parallelism {}", snapshot.tasks.len()),
        });
    }
    // A key group may come from any task of then, so each task of now looks into all of their files.
    let start = TaskStart {
        clock_ms: snapshot.tasks.iter().map(|task| task.clock_ms).max().unwrap_or(0),
        calls: snapshot.tasks.iter().map(|task| task.calls).max().unwrap_or(0),
        saved: None,
    };
    let closed = snapshot.tasks.iter().all(|task| task.closed);
    let chains = snapshot.tasks.iter().map(|task| task.files.clone());
    let chains = chains.filter(|chain| !chain.is_empty()).collect();
    Ok(TaskBasis { chains, states, start, closed, continues: false })
}

/// Writers of lanes that are gone are gone on with by others.
fn writers(
    job: &Job,
    manifest: &Manifest,
    lanes: usize,
) -> BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> {
    let mut writers: BTreeMap<(NodeId, LaneId), Vec<Vec<u8>>> = BTreeMap::new();
    for (index, node) in job.graph.nodes.iter().enumerate() {
        let snapshot = manifest.sinks.iter().find(|sink| sink.name == node.name);
        let is_sink = matches!(node.kind, NodeKind::Sink);
        for task in snapshot.filter(|_| is_sink).into_iter().flat_map(|sink| &sink.tasks) {
            let lane = LaneId(task.lane as usize % lanes);
            writers.entry((NodeId(index), lane)).or_default().push(task.state.clone());
        }
    }
    writers
}

fn check_job(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    if manifest.job != job.plan.name {
        return Err(JobError::Incompatible {
            problem: format!("the checkpoint is of the job {:?}", manifest.job),
            help: "name the data directory of this job with --data-dir".to_owned(),
        });
    }
    if manifest.owners.len() != job.plan.key_groups as usize {
        return Err(JobError::Incompatible {
            problem: format!(
                "the job has {} key groups, and the job file says {}: the number is fixed when a job is \
                 created",
                manifest.owners.len(),
                job.plan.key_groups
            ),
            help: format!("set key-groups = {}, or begin anew with --fresh", manifest.owners.len()),
        });
    }
    Ok(())
}

fn check_sources(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    let (then, now): (Vec<&str>, Vec<&str>) = (
        manifest.sources.iter().map(|source| source.name.as_str()).collect(),
        job.plan.sources.iter().map(|source| source.name.as_str()).collect(),
    );
    let gone = then.iter().find(|name| !now.contains(name)).map(|name| format!("{name} is gone"));
    let new = now.iter().find(|name| !then.contains(name)).map(|name| format!("{name} is new"));
    match gone.or(new) {
        None => Ok(()),
        Some(what) => Err(JobError::Incompatible {
            problem: format!("the sources of a job are fixed when it is created: source {what}"),
            help: "put the job file's sources back, or begin anew with --fresh".to_owned(),
        }),
    }
}

fn check_operators(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    for snapshot in &manifest.operators {
        let node = job.graph.nodes.iter().find(|node| node.name == snapshot.name);
        let described = node.and_then(|node| match &node.kind {
            NodeKind::Operator(description) => Some(description),
            NodeKind::Source | NodeKind::Sink => None,
        });
        let holds =
            !snapshot.states.is_empty() || snapshot.tasks.iter().any(|task| task.saved.is_some());
        match described {
            None if holds && !job.options.allow_drop_state => {
                return Err(JobError::Incompatible {
                    problem: format!(
                        "operator {} is gone from the job file, and the checkpoint holds its state",
                        snapshot.name
                    ),
                    help: "put it back, or give its state up with --allow-drop-state".to_owned(),
                });
            }
            None => {}
            Some(description) => {
                check_states(&snapshot.name, &snapshot.states, &description.states, job)?;
            }
        }
    }
    Ok(())
}

fn check_states(
    operator: &str,
    then: &[StateDescription],
    now: &[StateDescription],
    job: &Job,
) -> Result<(), JobError> {
    for difference in compare_states(then, now).differences {
        let (problem, help) = match difference {
            StateDifference::Added { .. } => continue,
            StateDifference::Missing { .. } if job.options.allow_drop_state => continue,
            StateDifference::Missing { .. } => (
                difference.to_string(),
                "use a component that has it, or give it up with --allow-drop-state",
            ),
            StateDifference::Changed { .. } => (
                difference.to_string(),
                "use a component with the same states, or give the new state another name",
            ),
        };
        let problem = format!("operator {operator}: {problem}");
        return Err(JobError::Incompatible { problem, help: help.to_owned() });
    }
    Ok(())
}

fn damaged(what: &str) -> JobError {
    JobError::Checkpoint(format!("the manifest cannot be used: {what}"))
}

impl Job {
    /// Finds the partitions of a job that is created. A run does it by itself.
    ///
    /// # Errors
    /// [`JobError::Connector`] when there is nothing to read.
    pub fn list_sources(&mut self) -> Result<(), JobError> {
        let list = |plan: &SourcePlan| Source::list(&plan.name, &plan.settings);
        self.replace_sources(InputLog::is_received, list)
    }

    /// Makes sources that go on from their recorded positions.
    pub(super) fn resume_sources(&mut self, recorded: &[SourceSnapshot]) -> Result<(), JobError> {
        // What goes through the log is found by the log.
        self.replace_sources(InputLog::is_logged, |plan| {
            let recorded = recorded.iter().find(|source| source.name == plan.name);
            let partitions = recorded.map(|source| &*source.partitions).unwrap_or_default();
            Source::resume(&plan.name, &plan.settings, partitions)
        })
    }

    fn replace_sources(
        &mut self,
        is_kept: impl Fn(&InputLog, usize) -> bool,
        make: impl Fn(&SourcePlan) -> Result<Source, ConnectorError>,
    ) -> Result<(), JobError> {
        for (index, (plan, source)) in self.plan.sources.iter().zip(&mut self.sources).enumerate() {
            if !is_kept(&self.input_log, index) {
                let node = plan.name.clone();
                *source = make(plan).map_err(|error| JobError::Connector { node, error })?;
            }
        }
        Ok(())
    }
}
