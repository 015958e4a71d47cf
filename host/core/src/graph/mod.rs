//! The job's graph: nodes, edges, and the rules that make it runnable.
//!
//! [`GraphSpec`] is what a job file asks for; [`Graph`] is what passed validation. Everything that runs
//! lanes takes a [`Graph`] and checks nothing again. Invariants of a [`Graph`]: acyclic; every input of
//! every operator has at least one edge; an edge into a keyed input is keyed; a sink has an edge.
//!
//! An operator has one output more than it describes when something is fed by its dead letters: the records
//! that it could not process, as lines of JSON without keys. The host emits there, the operator cannot.

mod build;
mod problem;
#[cfg(test)]
mod tests;

pub use build::{EdgeSpec, GraphSpec, NodeSpec, NodeSpecKind, nearest_name};
pub use problem::{GraphError, GraphProblem};

use crate::describe::Description;
use crate::ids::{EdgeId, NodeId};
use crate::poison::DEAD_LETTERS;

/// How records are spread over the lanes of the receiving node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// Stay on their lane.
    Forward,
    /// Go to the lane that owns the key's key group.
    Keyed,
    /// Go to the lanes in turn, a batch at a time.
    Rebalance,
    /// Go to every lane.
    Broadcast,
}

impl EdgeKind {
    /// The word used in job files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Keyed => "keyed",
            Self::Rebalance => "rebalance",
            Self::Broadcast => "broadcast",
        }
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Reads records in.
    Source,
    /// Runs a component.
    Operator(Description),
    /// Writes records out.
    Sink,
}

/// A node of a validated graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Unique name from the job file.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Length of the longest path from a source; a node's upstream nodes are all smaller.
    pub depth: usize,
}

/// An edge of a validated graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Sending node.
    pub from: NodeId,
    /// Output of the sender (0 for a source); one behind the last described one for dead letters.
    pub output: usize,
    /// Receiving node.
    pub to: NodeId,
    /// Input of the receiver (0 for a sink).
    pub input: usize,
    /// How records are spread.
    pub kind: EdgeKind,
}

/// A graph that passed validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Nodes; `NodeId` is the index.
    pub nodes: Vec<Node>,
    /// Edges; `EdgeId` is the index.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// The edges that leave `output` of `node`.
    pub fn edges_from(&self, node: NodeId, output: usize) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.edges
            .iter()
            .enumerate()
            .filter(move |(_, edge)| edge.from == node && edge.output == output)
            .map(|(index, edge)| (EdgeId(index), edge))
    }

    /// The edges that enter `node`.
    pub fn edges_into(&self, node: NodeId) -> impl Iterator<Item = (EdgeId, &Edge)> {
        self.edges
            .iter()
            .enumerate()
            .filter(move |(_, edge)| edge.to == node)
            .map(|(index, edge)| (EdgeId(index), edge))
    }

    /// Number of outputs of `node`, the one for dead letters included if there is one.
    pub fn outputs_of(&self, node: NodeId) -> usize {
        match &self.nodes[node.0].kind {
            NodeKind::Source => 1,
            NodeKind::Operator(description) => {
                description.outputs.len() + usize::from(self.has_dead_letters(node))
            }
            NodeKind::Sink => 0,
        }
    }

    /// Whether something is fed by the dead letters of `node`.
    pub fn has_dead_letters(&self, node: NodeId) -> bool {
        let NodeKind::Operator(description) = &self.nodes[node.0].kind else { return false };
        self.edges_from(node, description.outputs.len()).next().is_some()
    }

    /// The name of `output` of `node`, as people see it: `None` when it has no name of its own.
    pub fn output_name(&self, node: NodeId, output: usize) -> Option<&str> {
        let NodeKind::Operator(description) = &self.nodes[node.0].kind else { return None };
        match description.outputs.get(output) {
            Some(described) => Some(&described.name),
            None => (output == description.outputs.len()).then_some(DEAD_LETTERS),
        }
    }
}
