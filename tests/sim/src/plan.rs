//! Random jobs: graphs with diamonds, self-joins and every kind of edge, and what each node does.
//!
//! Owns what a seed says of the job itself; what happens to it is the world's. Sources and operators emit
//! records on one output; an operator that counts has a second one for its running counts, which all go to
//! one sink.

use tidemill_core::describe::{
    Description, InputDescription, OutputDescription, StateDescription, StateKind, Ttl, TtlUpdate,
};
use tidemill_core::graph::{
    EdgeKind, EdgeSpec, Graph, GraphSpec, NodeKind, NodeSpec, NodeSpecKind,
};
use tidemill_core::lane::BarrierMode;
use tidemill_core::wal::Sizes;

use crate::model::Copies;
use crate::rng::Rng;

/// Records that all nodes of a job together may take in.
const RECORDS_TAKEN_MAX: u64 = 1500;
/// An item with this time to live outlives every run.
const LONG_MS: u64 = 1_000_000_000;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads partitions that can be read again.
    Source,
    /// Sends on what it gets.
    Pass,
    /// Counts each key in a value, keeps all records of a key in a list and their numbers in maps.
    Count,
    /// Holds every other record of a key in a value, a list and a map: often nothing at all.
    Toggle,
    /// Counts in its own memory.
    Memory,
    /// Writes records to files.
    Sink,
    /// Writes the running counts of all that count.
    CountsSink,
}

/// Where the records of a source come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Partitions that can be read again. Also of nodes that are no sources.
    Again,
    /// Clients that number their lines, through the log.
    Clients,
    /// A pipe that is read once, through the log.
    Stdin,
    /// Partitions that can be read again, through the log all the same.
    Relayed,
}

/// A job to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The validated graph.
    pub graph: Graph,
    /// What each node does.
    pub kinds: Vec<Kind>,
    /// Where the records of each source come from.
    pub inputs: Vec<Input>,
    /// For each node how many records it emits for each that it takes.
    pub fan_out: Vec<usize>,
    /// For each node whether its tasks emit a record when they close.
    pub emits_at_close: Vec<bool>,
    /// Lanes that the job begins with.
    pub lanes: usize,
    /// The number of lanes may change at a restart.
    pub rescales: bool,
    /// Partitions of each source; fewer than lanes leaves lanes without.
    pub partitions: usize,
    /// Clients of a source that has some.
    pub clients: usize,
    /// Sizes of the input log.
    pub sizes: Sizes,
    /// Bytes of a logged source that are not handed out, before who forms batches waits.
    pub held_bytes_max: usize,
    /// Records of each source.
    pub records: usize,
    /// Keys that the records have.
    pub keys: usize,
    /// Bound of each queue in bytes; 1 means one batch.
    pub queue_bytes: usize,
    /// Records of a batch.
    pub batch_records: usize,
    /// How barriers hold back input.
    pub mode: BarrierMode,
    /// Virtual time between two turns of the world at most, in microseconds.
    pub pace_us: usize,
    /// From one checkpoint to the next, in turns of the world on average.
    pub interval_turns: u64,
    /// Checkpoints that are kept.
    pub retained: usize,
    /// Bytes of a sink's file before the next is begun.
    pub file_bytes: u64,
    /// Entries that a slice of a snapshot encodes.
    pub slice_entries: usize,
    /// Turns that a merge takes at most.
    pub merge_turns: usize,
    /// Things that a thread of the host does in one turn, at most.
    pub burst: usize,
    /// Bytes of segments that may wait to be written before lanes stop encoding.
    pub waiting_bytes_max: usize,
}

impl Plan {
    /// The job of a seed.
    ///
    /// # Panics
    /// When the generator makes a graph that validation refuses: a bug here or there.
    pub fn random(rng: &mut Rng) -> Self {
        let rescales = rng.one_in(3);
        let (specs, kinds) = nodes(rng, rescales);
        let graph =
            GraphSpec { nodes: specs }.validate().expect("the generator makes valid graphs");
        let count = graph.nodes.len();
        let (heavy, times) = (rng.below(count), [1, 2, 7][rng.below(3)]);
        let fan_out = (0..count).map(|node| if node == heavy { times } else { 1 });
        let is_operator = |node: usize| matches!(graph.nodes[node].kind, NodeKind::Operator(_));
        let emits_at_close = (0..count).map(|node| is_operator(node) && rng.one_in(2)).collect();
        let mode = if rng.one_in(6) { BarrierMode::Unaligned } else { BarrierMode::Aligned };
        // In half of the worlds nothing is logged.
        let logs = rng.one_in(2);
        let input = |kind: &Kind, rng: &mut Rng| match kind {
            Kind::Source if logs => {
                [Input::Clients, Input::Clients, Input::Stdin, Input::Relayed, Input::Again]
                    [rng.below(5)]
            }
            _ => Input::Again,
        };
        let inputs = kinds.iter().map(|kind| input(kind, rng)).collect();
        let mut plan = Self {
            inputs,
            clients: 1 + rng.below(3),
            sizes: sizes(rng),
            held_bytes_max: [1, 300, 100_000][rng.below(3)],
            fan_out: fan_out.collect(),
            emits_at_close,
            kinds,
            lanes: 1 + rng.below(4),
            rescales,
            partitions: 1 + rng.below(5),
            records: rng.below(200),
            keys: 1 + rng.below(20),
            queue_bytes: [1, 1, 200, 10_000][rng.below(4)],
            batch_records: [1, 3, 16][rng.below(3)],
            mode,
            pace_us: [50, 200, 1000][rng.below(3)],
            interval_turns: [1, 50, 200, 800][rng.below(4)],
            retained: 1 + rng.below(3),
            file_bytes: [12, 60, 10_000][rng.below(3)],
            slice_entries: [1, 2, 5, 1000][rng.below(4)],
            merge_turns: [1, 400, 2000][rng.below(3)],
            burst: [1, 5, 50, 50][rng.below(4)],
            waiting_bytes_max: [1, 100, 100_000][rng.below(3)],
            graph,
        };
        // Broadcasts and fan-outs multiply: keep a run short enough to try thousands.
        let copies = Copies::new(&plan);
        let sources = (0..count).filter(|node| plan.kinds[*node] == Kind::Source);
        let taken: u64 = sources
            .map(|source| (0..count).map(|node| copies.taken(source, node)).sum::<u64>())
            .sum();
        plan.records = plan.records.min((RECORDS_TAKEN_MAX / taken.max(1)) as usize);
        plan
    }

    /// The milliseconds in which the world makes so many turns on average, at least 1.
    pub fn turns_ms(&self, turns: u64) -> u64 {
        (turns * self.pace_us as u64 / 2000).max(1)
    }

    /// Nodes of a kind.
    pub fn nodes_of(&self, kind: Kind) -> impl Iterator<Item = usize> {
        (0..self.kinds.len()).filter(move |node| self.kinds[*node] == kind)
    }

    /// Sources that are logged.
    pub fn logged(&self) -> impl Iterator<Item = usize> {
        (0..self.inputs.len()).filter(|node| self.inputs[*node] != Input::Again)
    }

    /// Name of a node.
    pub fn name(&self, node: usize) -> &str {
        &self.graph.nodes[node].name
    }

    /// Description of an operator; `None` for other nodes.
    pub fn description(&self, node: usize) -> Option<&Description> {
        match &self.graph.nodes[node].kind {
            NodeKind::Operator(description) => Some(description),
            NodeKind::Source | NodeKind::Sink => None,
        }
    }
}

/// Sizes of a log that are small enough for rotation, trims and pressure to come.
fn sizes(rng: &mut Rng) -> Sizes {
    let segment_bytes = [4096 + 256, 4096 + 1024][rng.below(2)];
    let quota_bytes = [8 * segment_bytes, 1024 * 1024][rng.below(2)];
    let (fill_bytes, fill_ahead_bytes) = (256, [256, 1024][rng.below(2)]);
    Sizes { segment_bytes, fill_bytes, fill_ahead_bytes, reserve_bytes: 256, quota_bytes }
}

/// The nodes of a random graph, and what each does.
fn nodes(rng: &mut Rng, rescales: bool) -> (Vec<NodeSpec>, Vec<Kind>) {
    let sources = 1 + rng.below(2);
    let operators = 1 + rng.below(4);
    let mut nodes: Vec<NodeSpec> = (0..sources).map(source).collect();
    let mut kinds = vec![Kind::Source; sources];
    // What records come out of, as an edge names it.
    let mut outputs: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let mut counts = Vec::new();
    for index in 0..operators {
        let (spec, kind) = operator(index, &outputs, rng, rescales);
        outputs.push(format!("{}.out", spec.name));
        if kind == Kind::Count {
            counts.push(edge(&format!("{}.counts", spec.name), None, None));
        }
        nodes.push(spec);
        kinds.push(kind);
    }
    let fed: Vec<String> =
        nodes.iter().flat_map(|node| node.inputs.iter().map(|edge| edge.from.clone())).collect();
    let loose = outputs.iter().filter(|output| !fed.contains(output) || rng.one_in(5));
    let loose: Vec<EdgeSpec> = loose.map(|output| edge(output, None, None)).collect();
    for (index, edge) in loose.into_iter().enumerate() {
        nodes.push(sink(format!("sink{index}"), vec![edge]));
        kinds.push(Kind::Sink);
    }
    if !counts.is_empty() {
        nodes.push(sink("counts".to_owned(), counts));
        kinds.push(Kind::CountsSink);
    }
    (nodes, kinds)
}

fn source(index: usize) -> NodeSpec {
    let name = format!("source{index}");
    NodeSpec { name, kind: NodeSpecKind::Source { keyed: true }, inputs: Vec::new() }
}

fn sink(name: String, inputs: Vec<EdgeSpec>) -> NodeSpec {
    NodeSpec { name, kind: NodeSpecKind::Sink, inputs }
}

fn edge(from: &str, input: Option<&str>, kind: Option<EdgeKind>) -> EdgeSpec {
    EdgeSpec { input: input.map(str::to_owned), from: from.to_owned(), kind }
}

/// An operator with one or two inputs, each fed by one or two edges from random nodes: a node taken
/// twice is a self-join, two ways from one node are a diamond.
fn operator(index: usize, upstream: &[String], rng: &mut Rng, rescales: bool) -> (NodeSpec, Kind) {
    let names = ["left", "right"];
    let mut inputs = Vec::new();
    let mut described = Vec::new();
    for name in &names[..1 + rng.below(2)] {
        let keyed = !rng.one_in(3);
        described.push(InputDescription { name: (*name).to_owned(), keyed, value_width: None });
        for _ in 0..1 + rng.below(2) {
            let from = &upstream[rng.below(upstream.len())];
            // How often a broadcast record arrives would depend on when the lanes changed.
            let spread = if rescales { EdgeKind::Forward } else { EdgeKind::Broadcast };
            let unkeyed = [EdgeKind::Forward, EdgeKind::Rebalance, spread, EdgeKind::Keyed];
            let kind = if keyed { None } else { Some(unkeyed[rng.below(4)]) };
            inputs.push(edge(from, Some(name), kind));
        }
    }
    let any_keyed = described.iter().any(|input| input.keyed);
    // What is in an operator's own memory cannot be dealt to other lanes.
    let unkeyed = if rescales { Kind::Pass } else { [Kind::Pass, Kind::Memory][rng.below(2)] };
    let kind = match any_keyed {
        true => [Kind::Count, Kind::Count, Kind::Toggle, Kind::Toggle, unkeyed][rng.below(5)],
        false => unkeyed,
    };
    let output = |name: &str| OutputDescription { name: name.to_owned(), value_width: None };
    let mut outputs = vec![output("out")];
    if kind == Kind::Count {
        outputs.push(output("counts"));
    }
    let description = Description {
        name: "scripted".to_owned(),
        version: "1".to_owned(),
        inputs: described,
        outputs,
        states: states(kind, rng),
        metrics: Vec::new(),
    };
    let spec = NodeSpecKind::Operator(Box::new(description));
    (NodeSpec { name: format!("operator{index}"), kind: spec, inputs }, kind)
}

fn states(kind: Kind, rng: &mut Rng) -> Vec<StateDescription> {
    let update = [TtlUpdate::OnCreateAndWrite, TtlUpdate::OnReadAndWrite][rng.below(2)];
    let ttl = rng.one_in(3).then_some(Ttl { milliseconds: LONG_MS, update });
    let state = |name: &str, kind, width| StateDescription {
        name: name.to_owned(),
        kind,
        width,
        schema_version: 1,
        ttl,
    };
    match kind {
        Kind::Count => vec![
            state("count", StateKind::Value, Some(8)),
            state("records", StateKind::List, None),
            state("tally", StateKind::Map, Some(8)),
            state("odd", StateKind::Map, None),
        ],
        Kind::Toggle => vec![
            state("held", StateKind::Value, None),
            state("records", StateKind::List, None),
            state("map", StateKind::Map, None),
        ],
        Kind::Source | Kind::Pass | Kind::Memory | Kind::Sink | Kind::CountsSink => Vec::new(),
    }
}
