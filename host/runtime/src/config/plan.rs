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
use tidemill_core::restart::RestartStrategy;

use super::error::ConfigError;
use super::problem::{Problem, Rejection};
use super::text::{JobText, Place, Span};
use crate::connectors::settings::{SinkSettings, SourceSettings};

/// A job that is ready to be prepared.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// Name of the job.
    pub name: String,
    /// Owner of the job.
    pub tenant: String,
    /// The job file, absolute: relative paths count from its directory.
    pub file: PathBuf,
    /// Where it was read from, without links; `file` for a text that was read from nowhere.
    pub real_file: PathBuf,
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
    /// When and how checkpoints are taken.
    pub checkpoints: CheckpointPlan,
    /// How it is noticed that a lane is stuck.
    pub heartbeat: HeartbeatPlan,
    /// How long the job waits for its own end.
    pub timeouts: TimeoutPlan,
    /// What is logged, and how much of it.
    pub wal: WalPlan,
    /// Whether and when the job is started again after a failure.
    pub restart: RestartStrategy,
    /// Absolute directory of the dead letters of all operators; `None` when no operator writes any.
    pub dead_letter_dir: Option<PathBuf>,
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
    /// What of the host it asks for.
    pub grants: Grants,
    /// Limits of its sandboxes.
    pub limits: Limits,
    /// What happens to records that it cannot process.
    pub poison: PoisonPlan,
}

/// What of the host an operator asks for. Whether it gets it is decided when the job is prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Directories to read; no two have the same guest path.
    pub directories: Vec<DirectoryGrant>,
    /// Names of variables of the host's environment; none is also a key of the operator's `config`.
    pub environment: Vec<String>,
}

impl Grants {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty() && self.environment.is_empty()
    }
}

/// A directory that an operator asks to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryGrant {
    /// The absolute path of the directory.
    pub path: PathBuf,
    /// The absolute path at which the operator sees it.
    pub guest_path: String,
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

/// When and how checkpoints are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPlan {
    /// What they promise.
    pub mode: CheckpointingMode,
    /// Milliseconds from the start of one to the start of the next.
    pub interval_ms: u64,
    /// Milliseconds from the end of one to the start of the next, at least; 0 for no such pause.
    pub min_pause_ms: u64,
    /// Milliseconds after which one is aborted.
    pub timeout_ms: u64,
    /// How many in a row may fail; with one more the job fails.
    pub tolerable_failures: u32,
    /// Completed ones that are kept, at least 1.
    pub retained: usize,
    /// Absolute directory that they lie in; `None` for the job's data directory.
    pub directory: Option<PathBuf>,
}

/// How often the effects of a record are in state and output after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointingMode {
    /// Once: channels wait at a barrier for the others.
    ExactlyOnce,
    /// Once or more: channels are never blocked, and the snapshot is taken at the last barrier.
    AtLeastOnce,
}

/// How it is noticed that a lane is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPlan {
    /// Milliseconds between two looks at the lanes.
    pub interval_ms: u64,
    /// Milliseconds without advance that fail the job; more than `interval_ms`.
    pub timeout_ms: u64,
}

/// How long the job waits for its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutPlan {
    /// Milliseconds that a stop may take, its last checkpoint included.
    pub stop_ms: u64,
    /// Milliseconds that a restart waits for the storage operations of the incarnation before.
    pub storage_ms: u64,
}

/// What is logged, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPlan {
    /// Which input.
    pub mode: WalMode,
    /// Bytes of the log at most.
    pub quota_bytes: u64,
}

/// Which input is logged before it is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalMode {
    /// Of sources that cannot be read a second time: tcp and stdin.
    Auto,
    /// Of all sources.
    Inputs,
}

/// What happens to records that an operator cannot process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonPlan {
    /// What is done with one.
    pub on_poison: OnPoison,
    /// How many are skipped or dead-lettered in a minute; with one more the job fails. Always the same when
    /// the first one fails the job, so that equal rules are equal plans.
    pub limit_per_minute: u32,
}

/// What is done with a record that an operator cannot process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// The job fails, and is not restarted.
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is written to the directory of dead letters.
    DeadLetter,
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
    pub(super) grants: GrantSpans,
}

/// Where each grant of an operator was written, in the order of [`Grants`].
#[derive(Clone, Debug, Default)]
pub(super) struct GrantSpans {
    pub(super) directories: Vec<Span>,
    pub(super) environment: Vec<Span>,
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
    /// One of the directories that it asks for, by index.
    Directory(usize),
    /// One of the variables of the environment that it asks for, by index.
    Variable(usize),
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
            Part::Directory(index) => self.grants.directories.get(index).unwrap_or(&self.name_span),
            Part::Variable(index) => self.grants.environment.get(index).unwrap_or(&self.name_span),
        }
    }
}
