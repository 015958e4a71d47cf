//! Random jobs: graphs with diamonds, self-joins and every kind of edge, and what must come out.

use tidemill_core::describe::{
    Description, InputDescription, OutputDescription, StateDescription, StateKind,
};
use tidemill_core::graph::{
    EdgeKind, EdgeSpec, Graph, GraphSpec, NodeKind, NodeSpec, NodeSpecKind,
};
use tidemill_core::ids::NodeId;

use crate::rng::Rng;

/// Records that all nodes of a job together may take in.
const RECORDS_TAKEN_MAX: u64 = 3000;

/// A job to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The validated graph.
    pub graph: Graph,
    /// Lanes.
    pub lanes: usize,
    /// Partitions of each source; fewer than lanes leaves lanes without.
    pub partitions: usize,
    /// Records of each source.
    pub records: usize,
    /// Keys that the records have.
    pub keys: usize,
    /// For each node how many records it emits for each that it takes.
    pub fan_out: Vec<usize>,
    /// Bound of each queue in bytes; 1 means one batch.
    pub queue_bytes: usize,
    /// Records of a batch.
    pub batch_records: usize,
}

impl Plan {
    /// The job of a seed.
    ///
    /// # Panics
    /// When the generator makes a graph that validation refuses: a bug here or there.
    pub fn random(rng: &mut Rng) -> Self {
        let sources = 1 + rng.below(2);
        let operators = 1 + rng.below(6);
        let mut nodes: Vec<NodeSpec> = (0..sources).map(source).collect();
        for index in 0..operators {
            let upstream: Vec<String> = nodes.iter().map(|node| node.name.clone()).collect();
            nodes.push(operator(index, &upstream, rng));
        }
        let fed: Vec<String> = nodes
            .iter()
            .flat_map(|node| node.inputs.iter().map(|edge| edge.from.clone()))
            .collect();
        let loose = nodes.iter().filter(|node| !fed.contains(&node.name) || rng.one_in(4));
        let inputs: Vec<EdgeSpec> = loose.map(|node| edge(&node.name, None, None)).collect();
        let sinks = inputs.into_iter().enumerate().map(|(index, edge)| NodeSpec {
            name: format!("sink{index}"),
            kind: NodeSpecKind::Sink,
            inputs: vec![edge],
        });
        let sinks: Vec<NodeSpec> = sinks.collect();
        nodes.extend(sinks);
        let graph = GraphSpec { nodes }.validate().expect("the generator makes valid graphs");
        let heavy = rng.below(graph.nodes.len());
        let fan_out = (0..graph.nodes.len()).map(|node| if node == heavy { 7 } else { 1 });
        let mut plan = Self {
            fan_out: fan_out.collect(),
            lanes: 1 + rng.below(4),
            partitions: 1 + rng.below(4),
            records: rng.below(120),
            keys: 1 + rng.below(20),
            queue_bytes: [1, 1, 200, 10_000][rng.below(4)],
            batch_records: [1, 3, 16][rng.below(3)],
            graph,
        };
        // Broadcasts and fan-outs multiply: keep a run short enough to try thousands.
        let copies: u64 = plan.copies().iter().sum();
        plan.records = plan.records.min((RECORDS_TAKEN_MAX / copies.max(1)) as usize);
        plan
    }

    /// For each node how many copies of each record of each source it must take in: the sum over its
    /// edges of what their senders emit.
    pub fn copies(&self) -> Vec<u64> {
        let mut order: Vec<usize> = (0..self.graph.nodes.len()).collect();
        order.sort_by_key(|node| self.graph.nodes[*node].depth);
        let mut taken = vec![0; self.graph.nodes.len()];
        for node in order {
            let sum = self.graph.edges_into(NodeId(node)).map(|(_, edge)| {
                let sender = edge.from.0;
                let emitted = match self.graph.nodes[sender].kind {
                    NodeKind::Source => 1,
                    _ => taken[sender] * self.fan_out[sender] as u64,
                };
                emitted * if edge.kind == EdgeKind::Broadcast { self.lanes as u64 } else { 1 }
            });
            taken[node] = sum.sum();
        }
        taken
    }

    /// The sources that reach `node`, each with the number of copies of each of its records.
    pub fn copies_by_source(&self, source: usize) -> Vec<u64> {
        let mut only = self.clone();
        for (index, node) in only.graph.nodes.iter_mut().enumerate() {
            if matches!(node.kind, NodeKind::Source) && index != source {
                node.kind = NodeKind::Sink;
            }
        }
        only.copies()
    }
}

fn source(index: usize) -> NodeSpec {
    let name = format!("source{index}");
    NodeSpec { name, kind: NodeSpecKind::Source { keyed: true }, inputs: Vec::new() }
}

fn edge(from: &str, input: Option<&str>, kind: Option<EdgeKind>) -> EdgeSpec {
    EdgeSpec { input: input.map(str::to_owned), from: from.to_owned(), kind }
}

/// An operator with one or two inputs, each fed by one to three edges from random nodes: a node taken
/// twice is a self-join, two ways from one node are a diamond.
fn operator(index: usize, upstream: &[String], rng: &mut Rng) -> NodeSpec {
    let names = ["left", "right"];
    let count = 1 + rng.below(2);
    let mut inputs = Vec::new();
    let mut described = Vec::new();
    let mut any_keyed = false;
    for name in &names[..count] {
        let keyed = !rng.one_in(3);
        any_keyed |= keyed;
        described.push(InputDescription { name: (*name).to_owned(), keyed, value_width: None });
        for _ in 0..1 + rng.below(2) {
            let from = &upstream[rng.below(upstream.len())];
            let unkeyed =
                [EdgeKind::Forward, EdgeKind::Rebalance, EdgeKind::Broadcast, EdgeKind::Keyed];
            let kind = if keyed { None } else { Some(unkeyed[rng.below(4)]) };
            inputs.push(edge(from, Some(name), kind));
        }
    }
    let state = StateDescription {
        name: "seen".to_owned(),
        kind: StateKind::Value,
        width: Some(8),
        schema_version: 1,
        ttl: None,
    };
    let description = Description {
        name: "scripted".to_owned(),
        version: "1".to_owned(),
        inputs: described,
        outputs: vec![OutputDescription { name: "out".to_owned(), value_width: None }],
        states: if any_keyed { vec![state] } else { Vec::new() },
        metrics: Vec::new(),
    };
    let kind = NodeSpecKind::Operator(Box::new(description));
    NodeSpec { name: format!("operator{index}"), kind, inputs }
}
