//! What a job file asks for, checked and with every default filled in.
//!
//! Whoever holds a [`JobPlan`] may rely on: names that follow their rules and are unique, every
//! number within its bounds, absolute paths, limits that nothing raises. What needs the components
//! (inputs, outputs, keyed or not) is checked by the graph; [`Locations`] leads its errors back to
//! the file.

use std::path::PathBuf;

use tidemill_core::connector::BatchTarget;
use tidemill_core::graph::{EdgeSpec, GraphError};
use tidemill_core::limits::Limits;

use super::error::ConfigError;
use super::problem::{Problem, Rejection};
use super::text::{JobText, Place, Span};
use crate::connectors::settings::{SinkSettings, SourceSettings};

/// A job that is ready to be prepared.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// Name of the job.
    pub name: String,
    /// The job file, absolute.
    pub file: PathBuf,
    /// Number of lanes.
    pub parallelism: usize,
    /// Number of key groups; at least `parallelism`.
    pub key_groups: u32,
    /// Batches that sources aim for.
    pub batch: BatchTarget,
    /// Microseconds that an unfinished batch waits for more records.
    pub linger_us: u64,
    /// Bytes that one queue holds before its sender waits.
    pub queue_bytes: usize,
    /// Milliseconds after which keyed state that is not written is removed.
    pub state_timeout_ms: Option<u64>,
    /// Sources, in the order of the file.
    pub sources: Vec<SourcePlan>,
    /// Operators, in the order of the file.
    pub operators: Vec<OperatorPlan>,
    /// Sinks, in the order of the file.
    pub sinks: Vec<SinkPlan>,
    /// Where each node was written.
    pub locations: Locations,
}

/// A source.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// Unique name.
    pub name: String,
    /// What it reads.
    pub settings: SourceSettings,
}

/// An operator.
#[derive(Clone, Debug)]
pub struct OperatorPlan {
    /// Unique name.
    pub name: String,
    /// Absolute path of the component.
    pub component: PathBuf,
    /// What feeds it.
    pub inputs: Vec<EdgeSpec>,
    /// What it receives as configuration.
    pub config: Vec<(String, String)>,
    /// Limits of its sandboxes.
    pub limits: Limits,
}

/// A sink.
#[derive(Clone, Debug)]
pub struct SinkPlan {
    /// Unique name.
    pub name: String,
    /// What feeds it.
    pub inputs: Vec<EdgeSpec>,
    /// Where it writes.
    pub settings: SinkSettings,
}

/// Where each node of a plan was written. Cheap to clone; empty for a plan without a file.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    pub(super) text: JobText,
    pub(super) nodes: Vec<NodeSpans>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeSpans {
    pub(super) table: &'static str,
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) component: Option<Span>,
    pub(super) inputs: Vec<Span>,
}

/// A part of a node's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its name.
    Name,
    /// Its `component` line.
    Component,
    /// One of its input edges, by index.
    Input(usize),
}

impl Locations {
    /// Where a part of a node was written; its name when that part is nowhere.
    pub fn place(&self, node: &str, part: Part) -> Option<Place> {
        let node = self.node(node)?;
        self.text.locate(node.span(part))
    }

    /// A broken rule of the graph, at the line of the node or edge to blame.
    pub fn graph_error(&self, error: &GraphError) -> ConfigError {
        let part = error.edge.map_or(Part::Name, Part::Input);
        self.reject(Problem::Graph(error.problem.clone()), &error.node, part)
    }

    pub(super) fn reject(&self, problem: Problem, node: &str, part: Part) -> ConfigError {
        let rejection = match self.node(node) {
            Some(node) => Rejection::at(problem, node.span(part), &[node.table, &node.name]),
            None => Rejection::new(problem).or_at(&(0..0)),
        };
        ConfigError::new(rejection, &self.text)
    }

    fn node(&self, name: &str) -> Option<&NodeSpans> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl NodeSpans {
    fn span(&self, part: Part) -> &Span {
        match part {
            Part::Name => &self.name_span,
            Part::Component => self.component.as_ref().unwrap_or(&self.name_span),
            Part::Input(index) => self.inputs.get(index).unwrap_or(&self.name_span),
        }
    }
}
