//! What is known of a job while it runs and when it has ended.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidemill_core::connector::ConnectorError;
use tidemill_core::counters::{CustomValue, TaskCounters};
use tidemill_core::describe::MetricDescription;
use tidemill_core::failure::Failure;
use tidemill_core::graph::GraphError;
use tidemill_core::ids::CheckpointId;
use tidemill_core::snapshot::MigrationError;
use tidemill_sandbox::AdmissionError;

use super::grants::GrantError;
use super::hand_over::Savepoint;
use super::rollback::RolledBack;
use super::statistics::Durability;
use crate::connectors::SinkSummary;
use crate::tenants::TenantRefusal;

/// Why a job could not be prepared, or failed.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The graph breaks a rule.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Its tenant may not run it.
    #[error(transparent)]
    Tenant(#[from] TenantRefusal),
    /// A component cannot be read.
    #[error("{node}: cannot read the component {path}: {problem}")]
    ComponentFile {
        /// The operator.
        node: String,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        problem: String,
    },
    /// A component is refused.
    #[error("{node}: the component {path} is refused: {error}")]
    Component {
        /// The operator.
        node: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        error: AdmissionError,
    },
    /// An operator is not given what it asks for of the host.
    #[error("{node}: {error}")]
    Grant {
        /// The operator.
        node: String,
        /// What is refused or missing.
        error: Box<GrantError>,
        /// What to do.
        help: String,
    },
    /// A source or sink failed.
    #[error("{node}: {error}")]
    Connector {
        /// The source or sink.
        node: String,
        /// What happened.
        error: ConnectorError,
    },
    /// A call of an operator failed.
    #[error("{node} (lane {lane}): {failure}")]
    Operator {
        /// The operator.
        node: String,
        /// The lane of the task.
        lane: usize,
        /// What happened.
        failure: Failure,
    },
    /// The data directory cannot be used, or says that the job must not run.
    #[error("{path}: {problem}")]
    DataDir {
        /// The job's directory.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        help: String,
    },
    /// There is no savepoint where one should be.
    #[error("{path}: {problem}")]
    MissingSavepoint {
        /// The directory.
        path: PathBuf,
        /// What is there instead.
        problem: String,
    },
    /// The job file and the checkpoint that the job goes on from do not go together.
    #[error("{problem}")]
    Incompatible {
        /// What differs.
        problem: String,
        /// What to do.
        help: String,
    },
    /// An operator cannot rewrite its state of an older schema version. Nothing has changed.
    #[error("{node}: {error}")]
    Migration {
        /// The operator.
        node: String,
        /// Which state, as far as known which item of it, and why.
        error: Box<MigrationError>,
    },
    /// What a checkpoint needs could not be read or written.
    #[error("{0}")]
    Checkpoint(String),
    /// The newest checkpoint is not as it was written.
    #[error("{0}")]
    Damaged(String),
    /// The newest checkpoint is damaged, and there is none that the job could go back to.
    #[error("{0}")]
    NoRollback(String),
    /// Too many checkpoints failed one after the other.
    #[error("{0}")]
    TooManyFailedCheckpoints(String),
    /// A stop came to no checkpoint in time. Nothing is lost: the next run goes on from the newest.
    #[error("the job did not come to a checkpoint within {waited:?} and was stopped without one")]
    StopTimeout {
        /// How long the stop was given.
        waited: Duration,
        /// The checkpoint that the next run goes on from.
        newest: CheckpointId,
    },
    /// The job failed and cannot be started again in this process: a write of its old run is still under way.
    #[error("{failure}; not started again, because nobody has read standard output for {waited:?}")]
    HeldUp {
        /// Why it failed.
        failure: Box<Self>,
        /// How long the write was waited for.
        waited: Duration,
    },
    /// A lane hangs in the host's own code. Its thread cannot be ended, so neither can the job in this
    /// process.
    #[error("host fault: lane {lane} has not made a step for {silent:?}")]
    Stuck {
        /// The lane.
        lane: usize,
        /// For how long.
        silent: Duration,
    },
    /// The host has no room for the job now: no thread, no sandbox.
    #[error("HOST_FULL: {0}")]
    HostFull(String),
    /// Our fault.
    #[error("host fault: {0}")]
    Host(String),
}

impl JobError {
    /// The system gives no thread.
    pub(crate) fn no_thread(what_for: &str, error: &dyn std::fmt::Display) -> Self {
        Self::HostFull(format!("no thread {what_for}: {error}"))
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All sources ended, and all their records are processed.
    Finished,
    /// It was asked to stop; what had been read is in its last checkpoint, and the next run goes on from
    /// there.
    Stopped,
}

/// Figures of a job.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Records that sources have read.
    pub records_in: u64,
    /// Records that sinks have taken.
    pub records_out: u64,
    /// Bytes of values that sources have read.
    pub bytes_in: u64,
    /// Bytes of keyed state.
    pub state_bytes: u64,
    /// Keys with state.
    pub keys: u64,
    /// What is left to read, in the unit of the sources' positions, where all know it.
    pub remaining: Option<u64>,
    /// Figures of each task.
    pub tasks: Vec<TaskProgress>,
}

/// Figures of one task.
#[derive(Clone, Debug, Default)]
pub struct TaskProgress {
    /// The node.
    pub node: String,
    /// `source`, `operator` or `sink`.
    pub kind: &'static str,
    /// The lane.
    pub lane: usize,
    /// Records taken in.
    pub records_in: u64,
    /// Records handed on.
    pub records_out: u64,
    /// Calls, polls or writes.
    pub calls: u64,
    /// Calls made again in a new sandbox after a trap or a broken limit.
    pub retries: u64,
    /// Batches that failed as a whole, and all of whose parts succeeded.
    pub batch_splits: u64,
    /// Records that were skipped or dead-lettered.
    pub poison: u64,
    /// Sandboxes made, the first one included.
    pub instantiations: u64,
    /// Microseconds at work.
    pub busy_us: u64,
    /// Microseconds of CPU time at work.
    pub cpu_us: u64,
    /// The most linear memory that a sandbox has had, in bytes.
    pub memory_bytes: u64,
    /// Host calls made by sandboxes.
    pub host_calls: u64,
    /// Bytes copied into and out of sandboxes.
    pub copied_bytes: u64,
    /// Bytes of keyed state.
    pub state_bytes: u64,
    /// Keys with state.
    pub keys: u64,
    /// The operator's own metrics.
    pub metrics: Vec<(MetricDescription, CustomValue)>,
}

/// What is left of a job that ended well.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the job.
    pub job: String,
    /// Its owner.
    pub tenant: String,
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the run to its end.
    pub elapsed: Duration,
    /// The last figures.
    pub progress: Progress,
    /// What each source has read in this run.
    pub sources: Vec<SourceReport>,
    /// What each sink has written, over all runs of the job.
    pub sinks: Vec<SinkReport>,
    /// Checkpoints, pauses, restarts.
    pub durability: Durability,
    /// The savepoint that it was stopped with, if somebody wanted one.
    pub savepoint: Option<Savepoint>,
    /// What was given up at the start of this run.
    pub rolled_back: Option<RolledBack>,
}

/// What a source has read.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// The source.
    pub name: String,
    /// Records read.
    pub records: u64,
    /// Number of partitions.
    pub partitions: usize,
}

/// What a sink has written.
#[derive(Clone, Debug)]
pub struct SinkReport {
    /// The sink.
    pub name: String,
    /// Records, bytes, checksums, files.
    pub summary: SinkSummary,
}

/// One task's counters and what they belong to.
#[derive(Debug)]
pub(super) struct TaskInfo {
    pub(super) node: String,
    pub(super) kind: &'static str,
    pub(super) lane: usize,
    pub(super) metrics: Arc<[MetricDescription]>,
    pub(super) counters: Arc<TaskCounters>,
}

impl Progress {
    pub(super) fn of(tasks: &[TaskInfo]) -> Self {
        let mut progress = Self { remaining: Some(0), ..Self::default() };
        for task in tasks {
            let shown = task.progress();
            match task.kind {
                "source" => {
                    progress.records_in += shown.records_in;
                    progress.bytes_in += task.counters.bytes_in.load(Relaxed);
                    let left = task.counters.remaining();
                    progress.remaining =
                        progress.remaining.zip(left).map(|(sum, left)| sum.saturating_add(left));
                }
                "sink" => progress.records_out += shown.records_in,
                _ => {}
            }
            progress.state_bytes += shown.state_bytes;
            progress.keys += shown.keys;
            progress.tasks.push(shown);
        }
        progress
    }
}

impl TaskInfo {
    fn progress(&self) -> TaskProgress {
        let TaskCounters { records_in, records_out, calls, busy_us, keys, state_bytes, .. } =
            &*self.counters;
        TaskProgress {
            node: self.node.clone(),
            kind: self.kind,
            lane: self.lane,
            records_in: records_in.load(Relaxed),
            records_out: records_out.load(Relaxed),
            calls: calls.load(Relaxed),
            retries: self.counters.retries.load(Relaxed),
            batch_splits: self.counters.batch_splits.load(Relaxed),
            poison: self.counters.poison.load(Relaxed),
            instantiations: self.counters.instantiations.load(Relaxed),
            busy_us: busy_us.load(Relaxed),
            cpu_us: self.counters.cpu_us.load(Relaxed),
            memory_bytes: self.counters.memory_bytes.load(Relaxed),
            host_calls: self.counters.host_calls.load(Relaxed),
            copied_bytes: self.counters.copied_bytes.load(Relaxed),
            state_bytes: state_bytes.load(Relaxed),
            keys: keys.load(Relaxed),
            metrics: self.metrics.iter().cloned().zip(self.counters.custom()).collect(),
        }
    }
}
