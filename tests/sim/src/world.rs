//! The world of a simulated job: one thread, virtual time, a seeded choice of who runs next.
//!
//! A lane that says it is idle is not stepped again until somebody wakes it: a lost wake-up shows as a
//! world in which nothing can happen any more.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tidemill_core::call::CallRules;
use tidemill_core::connector::{BatchTarget, Wake};
use tidemill_core::graph::NodeKind;
use tidemill_core::ids::{LaneId, NodeId, Now};
use tidemill_core::key_group::Assignment;
use tidemill_core::lane::{Lane, LaneParts, LaneSettings, OperatorParts, StepOutcome, build_lanes};
use tidemill_core::limits::Limits;
use tidemill_core::operator::OpenContext;
use tidemill_core::state::TaskState;
use tidemill_core::state::memory::MemoryBackend;

use crate::plan::Plan;
use crate::rng::Rng;
use crate::script::{OperatorLog, ScriptedOperator, ScriptedSink, ScriptedSource, Seen, Switch};

/// Steps after which a run counts as one that never ends.
const STEPS_MAX: u64 = 2_000_000;
const KEY_GROUPS: u32 = 16;

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}

/// A switch and whom to wake when it is flipped.
struct Gate {
    switch: Switch,
    lane: usize,
}

/// A job in a world.
pub struct World {
    plan: Plan,
    rng: Rng,
    lanes: Vec<Lane>,
    finished: Vec<bool>,
    awake: Vec<Arc<Flag>>,
    gates: Vec<Gate>,
    seen: BTreeMap<usize, Seen>,
    logs: BTreeMap<usize, Arc<OperatorLog>>,
    trace: String,
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::random(&mut rng);
        Self::with_plan(plan, rng)
    }

    /// A world that runs a given plan.
    pub fn with_plan(plan: Plan, rng: Rng) -> Self {
        let awake: Vec<Arc<Flag>> =
            (0..plan.lanes).map(|_| Arc::new(Flag(AtomicBool::new(true)))).collect();
        let mut world = Self {
            finished: vec![false; plan.lanes],
            lanes: Vec::new(),
            plan,
            rng,
            awake,
            gates: Vec::new(),
            seen: BTreeMap::new(),
            logs: BTreeMap::new(),
            trace: String::new(),
        };
        world.build();
        world
    }

    fn build(&mut self) {
        let assignment = Arc::new(Assignment::initial(KEY_GROUPS, self.plan.lanes));
        let settings = LaneSettings {
            assignment: assignment.clone(),
            hash_seed: 5,
            target: BatchTarget { records: self.plan.batch_records, bytes: 1000 },
            linger_us: 10,
            queue_bytes: self.plan.queue_bytes,
        };
        let parts = (0..self.plan.lanes).map(|lane| self.parts(lane, &assignment)).collect();
        let wakers: Vec<Arc<dyn Wake>> =
            self.awake.iter().map(|flag| flag.clone() as Arc<dyn Wake>).collect();
        self.lanes = build_lanes(&self.plan.graph, &settings, parts, &wakers);
    }

    fn gate(&mut self, lane: usize) -> Switch {
        let switch = Arc::new(AtomicBool::new(false));
        self.gates.push(Gate { switch: switch.clone(), lane });
        switch
    }

    fn parts(&mut self, lane: usize, assignment: &Assignment) -> LaneParts {
        let mut parts = LaneParts::default();
        for index in 0..self.plan.graph.nodes.len() {
            let node = NodeId(index);
            match self.plan.graph.nodes[index].kind.clone() {
                NodeKind::Source => {
                    let (lanes, partitions) = (self.plan.lanes, self.plan.partitions);
                    let mine = |number: &usize| number % partitions % lanes == lane;
                    let numbers: Vec<usize> = (0..self.plan.records).filter(mine).collect();
                    let source = ScriptedSource {
                        source: index,
                        numbers: numbers.into_iter(),
                        keys: self.plan.keys,
                        open: self.gate(lane),
                    };
                    parts.sources.insert(node, Box::new(source));
                }
                NodeKind::Sink => {
                    let seen = self.seen.entry(index).or_default().clone();
                    let sink = ScriptedSink { seen, open: self.gate(lane) };
                    parts.sinks.insert(node, Box::new(sink));
                }
                NodeKind::Operator(description) => {
                    let log = self.logs.entry(index).or_default().clone();
                    let keyed: Vec<bool> = description.inputs.iter().map(|i| i.keyed).collect();
                    let fan_out = self.plan.fan_out[index];
                    let limits = Arc::new(Limits::default());
                    let owned = assignment.owned_by(LaneId(lane));
                    let backend = MemoryBackend::new(&description.states, KEY_GROUPS, owned);
                    let states = description.states.clone().into();
                    let state = TaskState::new(Box::new(backend), states, limits.clone());
                    let rules = CallRules {
                        output_needs_key: vec![true],
                        random_key: [0; 32],
                        limits,
                        description: Arc::new(description),
                    };
                    let operator = OperatorParts {
                        instance: Box::new(ScriptedOperator { fan_out, keyed, log }),
                        rules: Arc::new(rules),
                        state: Some(Box::new(state)),
                        context: OpenContext::default(),
                    };
                    parts.operators.insert(node, operator);
                }
            }
        }
        parts
    }

    /// Runs to the end and answers the trace of the run.
    ///
    /// # Panics
    /// When the job gets stuck, fails, or passes a bound.
    pub fn run(&mut self) -> &str {
        for step in 0..STEPS_MAX {
            if self.finished.iter().all(|finished| *finished) {
                return &self.trace;
            }
            if self.rng.one_in(3) || !self.awake.iter().any(|flag| flag.0.load(SeqCst)) {
                self.flip_a_gate();
            }
            let lane = self.rng.below(self.lanes.len());
            if !self.finished[lane] && self.awake[lane].0.swap(false, SeqCst) {
                self.step(lane, step);
            }
        }
        panic!("stuck: not finished after {STEPS_MAX} steps: {:?}", self.plan);
    }

    /// A source gets something to read, or a sink room.
    fn flip_a_gate(&mut self) {
        let at = self.rng.below(self.gates.len());
        let gate = &self.gates[at];
        if !gate.switch.swap(true, SeqCst) {
            self.awake[gate.lane].wake();
        }
    }

    fn step(&mut self, lane: usize, step: u64) {
        let now = Now { monotonic_us: step, wall_ms: step as i64 };
        let outcome = self.lanes[lane].step(now).expect("scripted tasks do not fail");
        match outcome {
            StepOutcome::Progress(node) => {
                self.awake[lane].wake();
                let _ = writeln!(self.trace, "{step} {lane} {}", node.0);
            }
            StepOutcome::Idle { .. } => {}
            StepOutcome::Finished => self.finished[lane] = true,
        }
        self.check_outboxes(lane);
    }

    /// A lane holds at most one call's output per node beyond its bounds.
    fn check_outboxes(&self, lane: usize) {
        const RECORD_BYTES_MAX: usize = 150;
        let most = |node: usize| {
            let edges = self.plan.graph.edges_from(NodeId(node), 0).count();
            (1 + self.plan.fan_out[node]) * self.plan.batch_records.max(16) * edges
        };
        let records: usize = (0..self.plan.graph.nodes.len()).map(most).sum();
        let bytes = self.lanes[lane].outbox_bytes();
        let bound = records * self.plan.lanes * RECORD_BYTES_MAX;
        assert!(bytes <= bound, "{bytes} bytes in the outboxes, over {bound}: {:?}", self.plan);
    }

    /// Compares what sinks and operators saw with the model.
    ///
    /// # Panics
    /// When a record is missing, too many, or out of place.
    pub fn check(&self) {
        let sources: Vec<usize> = (0..self.plan.graph.nodes.len())
            .filter(|node| matches!(self.plan.graph.nodes[*node].kind, NodeKind::Source))
            .collect();
        for (node, seen) in &self.seen {
            let mut expected = BTreeMap::new();
            for &source in &sources {
                let copies = self.plan.copies_by_source(source)[*node];
                for number in (0..self.plan.records).filter(|_| copies > 0) {
                    expected.insert(format!("s{source}:{number}").into_bytes(), copies);
                }
            }
            let seen = seen.lock().expect("no sink panics");
            assert_eq!(*seen, expected, "sink {node}: {:?}", self.plan);
        }
        let copies = self.plan.copies();
        for (node, log) in &self.logs {
            assert_eq!(log.closed.load(SeqCst), self.plan.lanes as u64, "each task closes once");
            let taken = copies[*node] * self.plan.records as u64;
            assert_eq!(log.taken.load(SeqCst), taken, "operator {node}: {:?}", self.plan);
            self.check_counts(*node, log);
        }
    }

    /// Every record of a keyed input is counted once under its key.
    fn check_counts(&self, node: usize, log: &OperatorLog) {
        let NodeKind::Operator(description) = &self.plan.graph.nodes[node].kind else { return };
        let all_keyed = description.inputs.iter().all(|input| input.keyed);
        if all_keyed {
            let counts = log.counts.lock().expect("no operator panics");
            let counted: u64 = counts.values().sum();
            assert_eq!(counted, log.taken.load(SeqCst), "operator {node}: {:?}", self.plan);
        }
    }
}
