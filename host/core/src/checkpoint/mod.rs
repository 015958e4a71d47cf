//! Checkpoints: what makes one up, and the order in which it comes into being.
//!
//! A barrier cuts the stream of every lane; each task answers with what it was at the barrier
//! ([`TaskAck`]); when all have, the [`manifest`] is written, and only then does the checkpoint exist.
//! [`coordinator`] decides all of it as a pure state machine; [`ledger`] turns answers into a manifest;
//! [`recovery`] decides what to start from, [`rollback`] goes back behind damaged ones when it is told to, and
//! [`basis`] deals it to lanes; [`keeper`] is the order of effects once all have answered, [`store`] that of writes
//! on a disk.

pub mod basis;
pub mod coordinator;
pub mod keeper;
pub mod ledger;
pub mod manifest;
pub mod recovery;
pub mod rollback;
pub mod store;

use crate::connector::{PartitionPosition, Prepared};
use crate::ids::{CheckpointId, LaneId, NodeId};
use manifest::SnapshotFile;

/// The in-band marker that cuts the stream into before and after a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint that it belongs to.
    pub checkpoint: CheckpointId,
    /// The newest checkpoint that was complete when this one was triggered. Whatever a task still holds
    /// for an older checkpoint after it was aborted. The barrier says so itself, because the coordinator's
    /// own notice may come later than the barrier.
    pub completed: CheckpointId,
}

/// What a task answers to a barrier, once everything that it says is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskAck {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The node.
    pub node: NodeId,
    /// The lane.
    pub lane: LaneId,
    /// Microseconds between the first barrier that reached the task and the last.
    pub alignment_us: u64,
    /// What the task was.
    pub content: AckContent,
}

/// What a task was at a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckContent {
    /// A source.
    Source {
        /// The positions of its partitions.
        positions: Vec<PartitionPosition>,
    },
    /// An operator.
    Operator(OperatorAck),
    /// A sink.
    Sink {
        /// Everything prepared that no completed checkpoint holds yet, in order.
        prepared: Vec<Prepared>,
    },
}

/// What an operator's task was at a barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorAck {
    /// `close` has run.
    pub closed: bool,
    /// The task's clock, in milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Calls made so far.
    pub calls: u64,
    /// It holds everything, so files of earlier checkpoints are not needed.
    pub is_base: bool,
    /// The file with the keyed state that changed (or all of it), if there is any.
    pub file: Option<SnapshotFile>,
    /// What the operator itself saved, for one that keeps state in its own memory.
    pub saved: Option<Vec<u8>>,
}

/// Who learns what the tasks of a lane answer. Must not wait: it is called on the lane.
pub trait CheckpointListener: Send + Sync {
    /// A task has answered a barrier.
    fn acknowledge(&self, ack: TaskAck);

    /// Begins to take in the keyed state of a task at a barrier.
    fn begin_upload(&self, task: UploadTask) -> Box<dyn SnapshotUpload>;
}

/// Whose state is uploaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadTask {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The node.
    pub node: NodeId,
    /// The lane.
    pub lane: LaneId,
    /// All state comes, not only what changed.
    pub is_base: bool,
    /// Microseconds between the first barrier that reached the task and the last.
    pub alignment_us: u64,
}

/// Takes in the keyed state of one task in pieces. Dropped before `finish`: the snapshot is abandoned.
pub trait SnapshotUpload: Send {
    /// Whether `put` would not pile up more than a little.
    fn has_room(&self) -> bool;

    /// Takes in a piece.
    fn put(&mut self, segments: Vec<crate::snapshot::Segment>);

    /// Nothing follows. The file is made durable, and the ack, completed with the file, acknowledged.
    fn finish(self: Box<Self>, ack: OperatorAck);
}
