//! From a validated graph to the lanes that run it, with every queue in place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::alignment::{Alignment, BarrierMode};
use super::node::{Inbox, NodePhase, NodeTask, NodeWork, OutEdge, Routing};
use super::outbox::Outbox;
use super::queue::{Queue, Wakers};
use super::snapshot::{OperatorSnapshots, SinkSnapshots, TaskId};
use super::task::OperatorTask;
use super::{Lane, OperatorParts, Schedule};
use crate::checkpoint::{Barrier, CheckpointListener};
use crate::connector::{BatchTarget, SinkWriter, SourceReader, Wake};
use crate::counters::TaskCounters;
use crate::graph::{Edge, EdgeKind, Graph};
use crate::ids::{CheckpointId, EdgeId, LaneId, NodeId};
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
    /// How barriers hold back input.
    pub barriers: BarrierMode,
    /// The checkpoint that the job starts from.
    pub restored: CheckpointId,
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
    /// The operators whose `close` has run before the checkpoint that the job starts from.
    pub closed: BTreeSet<NodeId>,
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
    listener: &Arc<dyn CheckpointListener>,
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
        let node = |index| {
            let id = TaskId { node: NodeId(index), lane: LaneId(lane) };
            let (work, phase) = node_work(id, &mut parts);
            let (inboxes, outputs) = edges(graph, &queues, id, lanes);
            NodeTask {
                id,
                work,
                inboxes,
                outputs,
                routing: routing.clone(),
                counters: Arc::new(TaskCounters::default()),
                pending: Vec::new(),
                turn: 0,
                phase,
                alignment: Alignment::new(settings.barriers, settings.restored),
                triggered: Barrier::default(),
                listener: listener.clone(),
            }
        };
        Lane {
            id: LaneId(lane),
            nodes: (0..graph.nodes.len()).map(node).collect(),
            schedule: Schedule::new(&depths),
            linger_us: settings.linger_us,
            opened: 0,
            last_slice_us: 0,
            sliced_last: false,
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

/// How many queues a job of so many lanes has.
pub fn queue_count(graph: &Graph, lanes: usize) -> usize {
    graph.edges.iter().map(|edge| targets(edge, 0, lanes).len() * lanes).sum()
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

fn node_work(id: TaskId, parts: &mut LaneParts) -> (NodeWork, NodePhase) {
    let TaskId { node, lane } = id;
    if let Some(reader) = parts.sources.remove(&node) {
        return (NodeWork::Source(reader), NodePhase::Running);
    }
    if let Some(operator) = parts.operators.remove(&node) {
        let task = Box::new(OperatorTask::new(operator));
        let is_closed = parts.closed.contains(&node);
        let phase = if is_closed { NodePhase::Done } else { NodePhase::Running };
        return (NodeWork::Operator(task, OperatorSnapshots::default()), phase);
    }
    let sink = parts.sinks.remove(&node);
    let sink = sink.unwrap_or_else(|| panic!("node {} has no part on lane {lane}", node.0));
    (NodeWork::Sink(sink, SinkSnapshots::default()), NodePhase::Running)
}

/// The inboxes of a task, and for each of its outputs the edges.
fn edges(
    graph: &Graph,
    queues: &Queues,
    id: TaskId,
    lanes: usize,
) -> (Vec<Inbox>, Vec<Vec<OutEdge>>) {
    let TaskId { node, lane } = id;
    let inboxes = graph.edges_into(node).flat_map(|(id, edge)| {
        let to_here = move |(key, _): &(&(EdgeId, LaneId, LaneId), _)| key.0 == id && key.2 == lane;
        let inbox = move |(_, queue): (_, &Arc<Queue>)| Inbox::new(queue.clone(), edge.input);
        queues.iter().filter(to_here).map(inbox)
    });
    let out_edge = |(id, edge): (EdgeId, &Edge)| OutEdge {
        kind: edge.kind,
        outboxes: targets(edge, lane.0, lanes)
            .map(|to| Outbox::new(queues[&(id, lane, LaneId(to))].clone()))
            .collect(),
        turn: lane.0,
    };
    let outputs = (0..graph.outputs_of(node))
        .map(|output| graph.edges_from(node, output).map(out_edge).collect());
    (inboxes.collect(), outputs.collect())
}
