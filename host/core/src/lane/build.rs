//! From a validated graph to the lanes that run it, with every queue in place.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::node::{Inbox, NodePhase, NodeTask, NodeWork, OutEdge, Routing};
use super::outbox::Outbox;
use super::queue::{Queue, Wakers};
use super::{Lane, OperatorParts, Schedule};
use crate::connector::{BatchTarget, SinkWriter, SourceReader, Wake};
use crate::counters::TaskCounters;
use crate::graph::{Edge, EdgeKind, Graph};
use crate::ids::{EdgeId, LaneId, NodeId};
use crate::key_group::Assignment;

/// What all lanes of a job share.
#[derive(Clone, Debug)]
pub struct LaneSettings {
    /// Which lane owns each key group; its number of lanes is the job's parallelism.
    pub assignment: Arc<Assignment>,
    /// Seed of the key hash.
    pub hash_seed: u64,
    /// How large batches should be.
    pub target: BatchTarget,
    /// How long a record may wait for a fuller batch, in microseconds.
    pub linger_us: u64,
    /// Bound of each queue, in bytes.
    pub queue_bytes: usize,
}

/// What one lane runs, by node.
#[derive(Default)]
pub struct LaneParts {
    /// The lane's part of each source.
    pub sources: BTreeMap<NodeId, Box<dyn SourceReader>>,
    /// The lane's task of each operator.
    pub operators: BTreeMap<NodeId, OperatorParts>,
    /// The lane's part of each sink.
    pub sinks: BTreeMap<NodeId, Box<dyn SinkWriter>>,
}

type Queues = BTreeMap<(EdgeId, LaneId, LaneId), Arc<Queue>>;

/// Builds the lanes of a job. `wakers[i]` wakes whatever drives lane `i`.
///
/// # Panics
/// When there are not as many parts and wakers as lanes, or a part of a node is missing.
pub fn build_lanes(
    graph: &Graph,
    settings: &LaneSettings,
    parts: Vec<LaneParts>,
    wakers: &[Arc<dyn Wake>],
) -> Vec<Lane> {
    let lanes = settings.assignment.lanes();
    assert_eq!((parts.len(), wakers.len()), (lanes, lanes), "one part and waker for each lane");
    let queues = queues(graph, settings, wakers);
    let routing = Arc::new(Routing {
        assignment: settings.assignment.clone(),
        seed: settings.hash_seed,
        target: settings.target,
    });
    let build = |(lane, mut parts)| {
        let depths: Vec<usize> = graph.nodes.iter().map(|node| node.depth).collect();
        let node =
            |index| node_task(graph, &queues, &routing, NodeId(index), LaneId(lane), &mut parts);
        Lane {
            id: LaneId(lane),
            nodes: (0..graph.nodes.len()).map(node).collect(),
            schedule: Schedule::new(&depths),
            linger_us: settings.linger_us,
            opened: false,
        }
    };
    parts.into_iter().enumerate().map(build).collect()
}

/// The lanes that `edge` leads to from lane `from`.
fn targets(edge: &Edge, from: usize, lanes: usize) -> std::ops::Range<usize> {
    match edge.kind {
        EdgeKind::Forward => from..from + 1,
        EdgeKind::Keyed | EdgeKind::Rebalance | EdgeKind::Broadcast => 0..lanes,
    }
}

fn queues(graph: &Graph, settings: &LaneSettings, wakers: &[Arc<dyn Wake>]) -> Queues {
    let lanes = settings.assignment.lanes();
    let mut queues = Queues::new();
    for (index, edge) in graph.edges.iter().enumerate() {
        for from in 0..lanes {
            for to in targets(edge, from, lanes) {
                let wakers = (from != to)
                    .then(|| Wakers { sender: wakers[from].clone(), receiver: wakers[to].clone() });
                let queue = Arc::new(Queue::new(settings.queue_bytes, wakers));
                queues.insert((EdgeId(index), LaneId(from), LaneId(to)), queue);
            }
        }
    }
    queues
}

fn node_task(
    graph: &Graph,
    queues: &Queues,
    routing: &Arc<Routing>,
    node: NodeId,
    lane: LaneId,
    parts: &mut LaneParts,
) -> NodeTask {
    let work = if let Some(reader) = parts.sources.remove(&node) {
        NodeWork::Source(reader)
    } else if let Some(operator) = parts.operators.remove(&node) {
        NodeWork::operator(operator)
    } else {
        let sink = parts.sinks.remove(&node);
        NodeWork::Sink(sink.unwrap_or_else(|| panic!("node {} has no part on lane {lane}", node.0)))
    };
    let inboxes = graph.edges_into(node).flat_map(|(id, edge)| {
        let to_here = move |(key, _): &(&(EdgeId, LaneId, LaneId), _)| key.0 == id && key.2 == lane;
        queues.iter().filter(to_here).map(move |(_, queue)| Inbox {
            queue: queue.clone(),
            input: edge.input,
            ended: false,
        })
    });
    let out_edge = |(id, edge): (EdgeId, &Edge)| OutEdge {
        kind: edge.kind,
        outboxes: targets(edge, lane.0, routing.assignment.lanes())
            .map(|to| Outbox::new(queues[&(id, lane, LaneId(to))].clone()))
            .collect(),
        turn: lane.0,
    };
    let outputs = (0..graph.outputs_of(node))
        .map(|output| graph.edges_from(node, output).map(out_edge).collect());
    NodeTask {
        work,
        inboxes: inboxes.collect(),
        outputs: outputs.collect(),
        routing: routing.clone(),
        counters: Arc::new(TaskCounters::default()),
        pending: Vec::new(),
        turn: 0,
        phase: NodePhase::Running,
    }
}
