//! One incarnation of a job: everything that a process holds in memory and a crash takes away.
//!
//! Owns how a basis becomes lanes, in the order of the product: sinks cleaned up -> first manifest written, for a
//! new job -> input log begun -> state restored, every file verified first -> lanes built.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tidemill_core::call::{CallRules, OutputRule};
use tidemill_core::checkpoint::basis::Basis;
use tidemill_core::checkpoint::coordinator::Coordinator;
use tidemill_core::checkpoint::ledger::{Ledger, MergeTask};
use tidemill_core::checkpoint::manifest::{Manifest, SnapshotFile};
use tidemill_core::connector::{BatchTarget, Wake};
use tidemill_core::counters::TaskCounters;
use tidemill_core::disk::Disk;
use tidemill_core::ids::{CheckpointId, KeyGroup, LaneId, NodeId};
use tidemill_core::lane::{Lane, LaneParts, LaneSettings, OperatorParts, build_lanes};
use tidemill_core::limits::Limits;
use tidemill_core::operator::OpenContext;
use tidemill_core::poison::PoisonRules;
use tidemill_core::snapshot::{
    Expectations, Restore, SnapshotError, SnapshotReader, compare_states, verify,
};
use tidemill_core::state::memory::MemoryBackend;
use tidemill_core::state::{EncodeBudget, TaskState};
use tidemill_core::transaction::{SinkNames, clean_up};

use crate::basis::{KEY_GROUPS, roles};
use crate::chance::Chance;
use crate::disk::SimDisk;
use crate::env::Env;
use crate::gate::Gate;
use crate::keeper::{Keeper, Places};
use crate::log::SimLog;
use crate::mail::{Command, Flag, Mailbox};
use crate::operator::Script;
use crate::plan::{Kind, Plan};
use crate::receiver::Process;
use crate::rng::Rng;
use crate::sink::{SharedIo, SimSink, SinkIo};
use crate::source::SimSource;
use crate::trouble::{Trouble, blame};
use crate::uploads::{SnapshotSeed, Uploads};

/// A lane and what waits for it.
pub struct SimLane {
    pub(crate) lane: Lane,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) awake: Arc<Flag>,
    /// It has said that all its tasks have ended.
    pub(crate) has_ended: bool,
}

/// A gate and whom to wake when it opens.
pub struct LaneGate {
    pub(crate) gate: Gate,
    pub(crate) lane: usize,
}

/// Everything of a process.
pub struct Incarnation {
    pub(crate) lanes: Vec<SimLane>,
    pub(crate) coordinator: Coordinator,
    pub(crate) ledger: Ledger,
    pub(crate) keeper: Keeper,
    /// The input log, if any source is logged.
    pub(crate) log: Option<SimLog>,
    pub(crate) uploads: Uploads,
    pub(crate) mailbox: Mailbox,
    pub(crate) gates: Vec<LaneGate>,
    pub(crate) sinks: Vec<SharedIo>,
    /// A merge to be made, and the newest checkpoint when it began.
    pub(crate) merge: Option<(MergeTask, CheckpointId)>,
    /// It is not done before.
    pub(crate) merge_at_turn: u64,
    /// A merge is under way, or nobody has heard yet that it is done.
    pub(crate) is_merging: bool,
    /// Counters of all sources.
    pub(crate) sources: Vec<Arc<TaskCounters>>,
    /// Records read when the coordinator was last told that there are new ones.
    pub(crate) read: u64,
    pub(crate) began_us: u64,
    /// A checkpoint was triggered and is neither done nor given up.
    pub(crate) in_flight: Option<CheckpointId>,
    /// Turns in which nothing could be done, since the last in which something was.
    pub(crate) idle: u32,
    /// Jumps of time since something was done.
    pub(crate) jumps: u32,
}

/// The names of a sink's files.
pub fn sink_names(plan: &Plan, node: usize) -> SinkNames {
    SinkNames::new("job", plan.name(node)).expect("names without slashes")
}

/// Whether a node writes files.
pub fn is_sink(plan: &Plan, node: usize) -> bool {
    matches!(plan.kinds[node], Kind::Sink | Kind::CountsSink)
}

/// Removes what older incarnations left unfinished.
///
/// # Errors
/// The machine is off.
pub fn clean_up_sinks(plan: &Plan, places: &Places) -> Result<(), Trouble> {
    for node in (0..plan.kinds.len()).filter(|node| is_sink(plan, *node)) {
        clean_up(&places.sink(plan.name(node)), &sink_names(plan, node), &BTreeSet::new())
            .map_err(|error| blame(&places.disk, "clean-up", error))?;
    }
    Ok(())
}

impl Incarnation {
    /// The incarnation that begins from a basis.
    ///
    /// # Errors
    /// The machine goes off, or the checkpoint cannot be restored.
    pub fn start(
        env: &mut Env,
        process: &Process,
        basis: Basis,
        chance: &Chance,
    ) -> Result<Self, Trouble> {
        clean_up_sinks(&env.plan, &env.places)?;
        if basis.is_new {
            let written = env.places.checkpoints.write_manifest(&basis.manifest);
            written.map_err(|error| blame(&env.places.disk, "first manifest", error))?;
        }
        let lanes = basis.assignment.lanes();
        let log = SimLog::open(env, process, &basis.manifest, lanes)?;
        let Env { plan, places, rng, now_us, .. } = env;
        let (plan, places, now_us) = (&*plan, &*places, *now_us);
        let flags: Vec<Arc<Flag>> = (0..lanes).map(|_| Arc::default()).collect();
        flags.iter().for_each(|flag| flag.wake());
        let mailbox = Mailbox::default();
        let seed = snapshot_seed(plan, &basis);
        let checkpoints = places.disk.rooted("checkpoints");
        let waiting = plan.waiting_bytes_max;
        let uploads = Uploads::new(checkpoints, seed, flags.clone(), mailbox.clone(), waiting);
        let mut builder = Builder {
            plan,
            basis: &basis,
            places,
            flags: &flags,
            log: log.as_ref(),
            gates: Vec::new(),
            sinks: Vec::new(),
        };
        let mut parts = Vec::new();
        for lane in 0..lanes {
            parts.push(builder.parts(lane, chance, rng)?);
        }
        let Builder { gates, sinks, .. } = builder;
        let restored = basis.manifest.checkpoint;
        let settings = lane_settings(plan, &basis);
        let wakers: Vec<Arc<dyn Wake>> =
            flags.iter().map(|flag| flag.clone() as Arc<dyn Wake>).collect();
        let built = build_lanes(&plan.graph, &settings, parts, &wakers, &uploads.listener());
        let is_source = |(node, _): &(usize, _)| plan.kinds[*node] == Kind::Source;
        let sources = built.iter().flat_map(|lane| lane.counters().enumerate().filter(is_source));
        let sources = sources.map(|(_, counters)| counters.clone()).collect();
        let lane =
            |(lane, awake)| SimLane { lane, commands: VecDeque::new(), awake, has_ended: false };
        let nodes = plan.kinds.len();
        let coordinator = Coordinator::new(chance.settings.clone(), nodes, lanes, restored, 0);
        Ok(Self {
            lanes: built.into_iter().zip(flags).map(lane).collect(),
            coordinator,
            ledger: Ledger::new(basis.manifest, roles(plan)),
            keeper: Keeper::default(),
            log,
            uploads,
            mailbox,
            gates,
            sinks,
            merge: None,
            merge_at_turn: 0,
            is_merging: false,
            sources,
            read: 0,
            began_us: now_us,
            in_flight: None,
            idle: 0,
            jumps: 0,
        })
    }
}

fn lane_settings(plan: &Plan, basis: &Basis) -> LaneSettings {
    LaneSettings {
        assignment: basis.assignment.clone(),
        hash_seed: basis.manifest.hash_seed,
        target: BatchTarget { records: plan.batch_records, bytes: 1000 },
        linger_us: 10,
        queue_bytes: plan.queue_bytes,
        barriers: plan.mode,
        restored: basis.manifest.checkpoint,
    }
}

fn snapshot_seed(plan: &Plan, basis: &Basis) -> SnapshotSeed {
    SnapshotSeed {
        identity: basis.manifest.identity.clone(),
        incarnation: basis.manifest.incarnation,
        hash_seed: basis.manifest.hash_seed,
        key_groups: KEY_GROUPS,
        roles: roles(plan),
    }
}

/// Makes the parts of all lanes.
struct Builder<'a> {
    plan: &'a Plan,
    basis: &'a Basis,
    places: &'a Places,
    flags: &'a [Arc<Flag>],
    log: Option<&'a SimLog>,
    gates: Vec<LaneGate>,
    sinks: Vec<SharedIo>,
}

impl Builder<'_> {
    fn gate(&mut self, lane: usize) -> Gate {
        let gate = Gate::default();
        self.gates.push(LaneGate { gate: gate.clone(), lane });
        gate
    }

    fn parts(&mut self, lane: usize, chance: &Chance, rng: &mut Rng) -> Result<LaneParts, Trouble> {
        let mut parts = LaneParts::default();
        let (plan, basis) = (self.plan, self.basis);
        let manifest = &basis.manifest;
        for index in 0..plan.kinds.len() {
            let (node, at) = (NodeId(index), (NodeId(index), LaneId(lane)));
            let waker = || self.flags[lane].clone();
            let logged = self.log.and_then(|log| log.reader(index, lane, waker()));
            if let Some(reader) = logged {
                parts.sources.insert(node, reader);
            } else if plan.kinds[index] == Kind::Source {
                let recorded = manifest.sources.iter().find(|s| s.name == plan.name(index));
                let recorded = recorded.map(|s| &*s.partitions).unwrap_or_default();
                let lanes = basis.assignment.lanes();
                let gate = self.gate(lane);
                let source = SimSource::new(plan, index, recorded, lane, lanes, gate);
                parts.sources.insert(node, Box::new(source));
            } else if is_sink(plan, index) {
                let (disk, names) = (self.places.sink(plan.name(index)), sink_names(plan, index));
                let (from, waker) =
                    ((manifest.incarnation, manifest.checkpoint), self.flags[lane].clone());
                let io = SinkIo::new(disk, names, from, lane, plan.file_bytes, waker);
                self.sinks.push(io.clone());
                let states = basis.writers.get(&at).map(|states| &**states).unwrap_or_default();
                let sink = SimSink::new(io, self.gate(lane), states);
                parts.sinks.insert(node, Box::new(sink));
            } else {
                let operator = self.operator(index, lane, chance, rng)?;
                parts.operators.insert(node, operator);
                if basis.tasks.get(&at).is_some_and(|task| task.closed) {
                    parts.closed.insert(node);
                }
            }
        }
        Ok(parts)
    }

    fn operator(
        &self,
        node: usize,
        lane: usize,
        chance: &Chance,
        rng: &mut Rng,
    ) -> Result<OperatorParts, Trouble> {
        let (plan, basis) = (self.plan, self.basis);
        let description = plan.description(node).cloned().unwrap_or_default();
        let limits = Arc::new(Limits::default());
        let task = basis.tasks.get(&(NodeId(node), LaneId(lane)));
        let mut state = None;
        if description.inputs.iter().any(|input| input.keyed) {
            let owned = basis.assignment.owned_by(LaneId(lane));
            let memory = MemoryBackend::new(&description.states, KEY_GROUPS, owned);
            let states = description.states.clone().into();
            let mut fresh = TaskState::new(Box::new(memory), states, limits.clone());
            // State in simulation is small: with the product's slices no write would ever come between two.
            fresh
                .set_slice(EncodeBudget { entries: plan.slice_entries, ..EncodeBudget::default() });
            for chain in task.into_iter().flat_map(|task| &task.chains) {
                self.restore(&mut fresh, chain, node, lane)
                    .map_err(|error| blame(&self.places.disk, "restore", error))?;
            }
            fresh.track(task.is_some_and(|task| task.continues && !task.chains.is_empty()));
            state = Some(Box::new(fresh));
        }
        let rules = CallRules {
            outputs: vec![OutputRule { needs_key: true, queues: 1 }; description.outputs.len()],
            random_key: [0; 32],
            limits,
            description: Arc::new(description),
        };
        Ok(OperatorParts {
            factory: Box::new(Script::new(plan, node, chance.deaths(plan, node, rng))),
            rules: Arc::new(rules),
            state,
            context: OpenContext::default(),
            poison: PoisonRules::default(),
            start: task.map(|task| task.start.clone()).unwrap_or_default(),
        })
    }

    fn restore(
        &self,
        state: &mut TaskState,
        chain: &[SnapshotFile],
        node: usize,
        lane: usize,
    ) -> Result<(), SnapshotError> {
        let groups: Vec<KeyGroup> = self.basis.assignment.owned_by(LaneId(lane)).collect();
        let described = self.plan.description(node).map(|d| &*d.states).unwrap_or_default();
        let disk = self.places.disk.rooted("checkpoints");
        let operator = self.plan.name(node);
        let readers = open_chain(&disk, chain, &self.basis.manifest, operator)?;
        let ids = compare_states(described, described).ids;
        let mut restore = Restore::new(readers, &groups, ids)?;
        while !state.restore(&mut restore, EncodeBudget::default())? {}
        Ok(())
    }
}

/// Opens the files of a chain, every one verified first.
///
/// # Errors
/// A file is missing, damaged, or another than the manifest says.
pub fn open_chain(
    disk: &SimDisk,
    chain: &[SnapshotFile],
    manifest: &Manifest,
    operator: &str,
) -> Result<Vec<SnapshotReader>, SnapshotError> {
    let open = |file: &SnapshotFile| {
        verify(&*disk.open(&file.name)?, &file.name, file.bytes, &file.digest)?;
        let expected = Expectations {
            bytes: file.bytes,
            identity: &manifest.identity,
            operator,
            key_groups: KEY_GROUPS,
            hash_seed: manifest.hash_seed,
            is_base: file.is_base,
        };
        SnapshotReader::open(disk.open(&file.name)?, &file.name, Some(&expected))
    };
    chain.iter().map(open).collect()
}
