//! The job's graph: nodes, edges, and the rules that make it runnable.
//!
//! [`GraphSpec`] is what a job file asks for; [`Graph`] is what passed validation. Everything that runs
//! lanes takes a [`Graph`] and checks nothing again. Invariants of a [`Graph`]: acyclic; every input of
//! every operator has at least one edge; an edge into a keyed input is keyed; a sink has an edge.

mod build;
#[cfg(test)]
mod tests;

pub use build::{
    EdgeSpec, GraphError, GraphProblem, GraphSpec, NodeSpec, NodeSpecKind, nearest_name,
};

use crate::describe::Description;
use crate::ids::{EdgeId, NodeId};

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
    /// Output of the sender (0 for a source).
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

    /// Number of outputs of `node`.
    pub fn outputs_of(&self, node: NodeId) -> usize {
        match &self.nodes[node.0].kind {
            NodeKind::Source => 1,
            NodeKind::Operator(description) => description.outputs.len(),
            NodeKind::Sink => 0,
        }
    }
}
