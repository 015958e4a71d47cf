//! From what a job file asks for to a graph that can run: names resolved, edges typed, cycles refused.

use std::collections::BTreeMap;

use super::problem::{GraphError, GraphProblem};
use super::{Edge, EdgeKind, Graph, Node, NodeKind};
use crate::describe::Description;
use crate::ids::NodeId;
use crate::limits::NAME_BYTES_MAX;

/// A graph as asked for.
#[derive(Clone, Debug, Default)]
pub struct GraphSpec {
    /// The nodes, in the order of the job file.
    pub nodes: Vec<NodeSpec>,
}

/// A node as asked for.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: NodeSpecKind,
    /// Where its input comes from; empty for a source.
    pub inputs: Vec<EdgeSpec>,
}

/// What a node as asked for does.
#[derive(Clone, Debug)]
pub enum NodeSpecKind {
    /// Reads records in; `keyed` when its records carry keys.
    Source {
        /// Whether its records carry keys.
        keyed: bool,
    },
    /// Runs a component of this description.
    Operator(Box<Description>),
    /// Writes records out.
    Sink,
    /// Writes out the dead letters of the operators that `from` of its inputs names: a sink in every
    /// other respect.
    DeadLetters,
}

/// An edge as asked for.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// Input of the receiver by name; `None` means its only input.
    pub input: Option<String>,
    /// `NODE` (its only output) or `NODE.OUTPUT`; into a sink of dead letters the operator's `NODE`.
    pub from: String,
    /// Asked-for spread; `None` takes keyed for a keyed input and forward otherwise.
    pub kind: Option<EdgeKind>,
}

impl GraphSpec {
    /// Resolves names and checks all rules.
    ///
    /// # Errors
    /// The first rule broken, with the node and edge to blame.
    pub fn validate(&self) -> Result<Graph, GraphError> {
        let names: BTreeMap<&str, usize> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.name.as_str(), index))
            .collect();
        if !self.nodes.iter().any(|node| matches!(node.kind, NodeSpecKind::Source { .. })) {
            return Err(GraphError {
                node: "job".to_owned(),
                edge: None,
                problem: GraphProblem::NoSource,
            });
        }
        let mut edges = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (at, spec) in node.inputs.iter().enumerate() {
                let edge = self.resolve(&names, index, spec).map_err(|problem| GraphError {
                    node: node.name.clone(),
                    edge: Some(at),
                    problem,
                })?;
                edges.push(edge);
            }
            self.check_all_fed(index, &edges)?;
        }
        let depths = self.depths(&edges)?;
        let nodes = self.nodes.iter().zip(depths).map(|(node, depth)| Node {
            name: node.name.clone(),
            kind: match &node.kind {
                NodeSpecKind::Source { .. } => NodeKind::Source,
                NodeSpecKind::Operator(description) => NodeKind::Operator((**description).clone()),
                NodeSpecKind::Sink | NodeSpecKind::DeadLetters => NodeKind::Sink,
            },
            depth,
        });
        Ok(Graph { nodes: nodes.collect(), edges })
    }

    fn resolve(
        &self,
        names: &BTreeMap<&str, usize>,
        to: usize,
        spec: &EdgeSpec,
    ) -> Result<Edge, GraphProblem> {
        if matches!(self.nodes[to].kind, NodeSpecKind::DeadLetters) {
            return self.resolve_dead_letters(names, to, spec);
        }
        let (from, output) = self.resolve_from(names, &spec.from)?;
        let input = self.resolve_input(to, spec.input.as_deref())?;
        let (keyed_input, input_name, takes) = match &self.nodes[to].kind {
            NodeSpecKind::Operator(description) => {
                let input = &description.inputs[input];
                (input.keyed, input.name.clone(), input.value_width)
            }
            _ => (false, "in".to_owned(), None),
        };
        let kind = match (keyed_input, spec.kind) {
            (true, None | Some(EdgeKind::Keyed)) => EdgeKind::Keyed,
            (true, Some(other)) => {
                return Err(GraphProblem::NotKeyed { input: input_name, kind: other.name() });
            }
            (false, kind) => kind.unwrap_or(EdgeKind::Forward),
        };
        let sends = match &self.nodes[from].kind {
            NodeSpecKind::Source { keyed } if !keyed && kind == EdgeKind::Keyed => {
                return Err(GraphProblem::KeylessSource(self.nodes[from].name.clone()));
            }
            NodeSpecKind::Operator(description) => description.outputs[output].value_width,
            _ => None,
        };
        if takes.is_some() && takes != sends {
            let from = spec.from.clone();
            return Err(GraphProblem::WidthMismatch { from, input: input_name, sends, takes });
        }
        Ok(Edge { from: NodeId(from), output, to: NodeId(to), input, kind })
    }

    /// An edge from the output behind those that the operator describes.
    fn resolve_dead_letters(
        &self,
        names: &BTreeMap<&str, usize>,
        to: usize,
        spec: &EdgeSpec,
    ) -> Result<Edge, GraphProblem> {
        let Some(&from) = names.get(spec.from.as_str()) else {
            return Err(unknown_node(names, &spec.from));
        };
        let NodeSpecKind::Operator(description) = &self.nodes[from].kind else {
            return Err(GraphProblem::NoDeadLetters(spec.from.clone()));
        };
        let kind = spec.kind.unwrap_or(EdgeKind::Forward);
        if kind == EdgeKind::Keyed {
            return Err(GraphProblem::KeylessDeadLetters(spec.from.clone()));
        }
        let output = description.outputs.len();
        Ok(Edge { from: NodeId(from), output, to: NodeId(to), input: 0, kind })
    }

    /// Finds `NODE` or `NODE.OUTPUT`. A node name may itself hold dots; the whole name wins.
    fn resolve_from(
        &self,
        names: &BTreeMap<&str, usize>,
        from: &str,
    ) -> Result<(usize, usize), GraphProblem> {
        let (node, output) = match (names.get(from), from.split_once('.')) {
            (None, Some((node, output))) => (node, Some(output)),
            _ => (from, None),
        };
        let Some(&index) = names.get(node) else {
            return Err(unknown_node(names, node));
        };
        let has: Vec<String> = match &self.nodes[index].kind {
            NodeSpecKind::Source { .. } => vec!["out".to_owned()],
            NodeSpecKind::Operator(description) => {
                description.outputs.iter().map(|output| output.name.clone()).collect()
            }
            NodeSpecKind::Sink | NodeSpecKind::DeadLetters => {
                return Err(GraphProblem::FromSink(node.to_owned()));
            }
        };
        match output {
            None if has.len() == 1 => Ok((index, 0)),
            None => Err(GraphProblem::WhichOutput { node: node.to_owned(), has }),
            Some(output) => match has.iter().position(|name| name == output) {
                Some(at) => Ok((index, at)),
                None => Err(GraphProblem::UnknownOutput {
                    node: node.to_owned(),
                    output: output.to_owned(),
                    has,
                }),
            },
        }
    }

    fn resolve_input(&self, to: usize, input: Option<&str>) -> Result<usize, GraphProblem> {
        let NodeSpecKind::Operator(description) = &self.nodes[to].kind else {
            return Ok(0);
        };
        let has = || description.inputs.iter().map(|input| input.name.clone()).collect();
        match input {
            None if description.inputs.len() == 1 => Ok(0),
            None => Err(GraphProblem::WhichInput { has: has() }),
            Some(name) => {
                description.inputs.iter().position(|input| input.name == name).ok_or_else(|| {
                    GraphProblem::UnknownInput { input: name.to_owned(), has: has() }
                })
            }
        }
    }

    fn check_all_fed(&self, index: usize, edges: &[Edge]) -> Result<(), GraphError> {
        let node = &self.nodes[index];
        let fed = |input: usize| edges.iter().any(|e| e.to.0 == index && e.input == input);
        let problem = match &node.kind {
            NodeSpecKind::Source { .. } => None,
            NodeSpecKind::Sink | NodeSpecKind::DeadLetters => {
                (!fed(0)).then_some(GraphProblem::NoInput)
            }
            NodeSpecKind::Operator(_) if node.inputs.is_empty() => Some(GraphProblem::NoInput),
            NodeSpecKind::Operator(description) => {
                (0..description.inputs.len()).find(|input| !fed(*input)).map(|input| {
                    GraphProblem::UnconnectedInput(description.inputs[input].name.clone())
                })
            }
        };
        match problem {
            Some(problem) => Err(GraphError { node: node.name.clone(), edge: None, problem }),
            None => Ok(()),
        }
    }

    /// The longest path from a source to each node; refuses cycles.
    fn depths(&self, edges: &[Edge]) -> Result<Vec<usize>, GraphError> {
        let count = self.nodes.len();
        let mut waiting: Vec<usize> =
            (0..count).map(|node| edges.iter().filter(|e| e.to.0 == node).count()).collect();
        let mut depths = vec![0; count];
        let mut ready: Vec<usize> = (0..count).filter(|node| waiting[*node] == 0).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            for edge in edges.iter().filter(|e| e.from.0 == node) {
                let to = edge.to.0;
                depths[to] = depths[to].max(depths[node] + 1);
                waiting[to] -= 1;
                if waiting[to] == 0 {
                    ready.push(to);
                }
            }
        }
        if done == count {
            return Ok(depths);
        }
        let cycle = self.find_cycle(edges, &waiting);
        let node = cycle[0].clone();
        Err(GraphError { node, edge: None, problem: GraphProblem::Cycle(cycle) })
    }

    /// Walks upstream among the nodes that never became ready until one repeats.
    fn find_cycle(&self, edges: &[Edge], waiting: &[usize]) -> Vec<String> {
        let mut path = vec![waiting.iter().position(|w| *w > 0).unwrap_or(0)];
        loop {
            let at = path[path.len() - 1];
            let upstream = edges
                .iter()
                .find(|e| e.to.0 == at && waiting[e.from.0] > 0)
                .map_or(at, |edge| edge.from.0);
            if let Some(start) = path.iter().position(|node| *node == upstream) {
                let mut names: Vec<String> =
                    path[start..].iter().rev().map(|node| self.nodes[*node].name.clone()).collect();
                names.push(names[0].clone());
                return names;
            }
            path.push(upstream);
        }
    }
}

fn unknown_node(names: &BTreeMap<&str, usize>, name: &str) -> GraphProblem {
    let nearest = nearest_name(name, names.keys().copied()).map(str::to_owned);
    GraphProblem::UnknownNode { name: name.to_owned(), nearest }
}

/// The name among `names` that is close enough to `name` to be a slip of the fingers.
pub fn nearest_name<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 2 * NAME_BYTES_MAX {
        // Nobody's slip of the fingers, and long to compare.
        return None;
    }
    names
        .map(|other| (edit_distance(name, other), other))
        .min()
        .filter(|(distance, other)| *distance <= 1 + other.len().min(name.len()) / 4)
        .map(|(_, other)| other)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
