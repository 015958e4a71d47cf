//! The seams between a lane and the outside: where records come from and where they go.
//!
//! A lane never waits in a connector. A source that has nothing, and a sink that has no room, say so
//! and call their waker when that changes. Files, sockets and threads are behind these traits, in
//! other crates; here are only the promises.

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::ids::{CheckpointId, Now};

/// Wakes a parked lane. May be called from any thread, any number of times.
pub trait Wake: Send + Sync {
    /// Makes the lane look for a step again.
    fn wake(&self);
}

/// How large a source should make its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchTarget {
    /// Records.
    pub records: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// What a source answers.
#[derive(Debug)]
pub enum SourcePoll {
    /// A batch, within the limits on a batch and never empty.
    Batch(Batch),
    /// Nothing now; the waker is called when there is.
    Pending,
    /// There will never be anything again.
    Ended,
}

/// Where in a partition the next record is that was not handed out yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// A byte offset for files, an event number for generators, the sequence number of the next logged
    /// batch for streams.
    pub offset: u64,
    /// What else the connector needs to find the place again and to notice that the input is another
    /// one; only the connector knows what it means.
    #[serde(with = "serde_bytes")]
    pub detail: Vec<u8>,
    /// Nothing is left.
    pub ended: bool,
}

/// How far a partition has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Stable id of the partition within its source.
    pub partition: String,
    /// Where its next record is.
    pub position: Position,
}

/// The partitions of one source that one lane reads.
pub trait SourceReader: Send {
    /// The next batch, of about `target`.
    ///
    /// # Errors
    /// Input that cannot be read or parsed; the job stops.
    fn poll(&mut self, target: BatchTarget, now: Now) -> Result<SourcePoll, ConnectorError>;

    /// Whether `poll` would answer something other than `Pending`.
    fn is_ready(&mut self) -> bool;

    /// Asks the source to hand out no more: the job stops, and goes on later from its positions. The
    /// next poll answers `Pending` or `Ended`.
    fn stop(&mut self);

    /// The position of every partition, as of the last batch that `poll` answered. A reader that is made
    /// from these positions answers exactly what is left.
    fn positions(&self) -> Vec<PartitionPosition>;

    /// How much is left to read, in the unit of the positions, when it is known.
    fn remaining(&self) -> Option<u64>;
}

/// A file that a sink has written under its in-progress name and made durable, and that is published by a
/// commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PreparedFile {
    /// Its name now, in the sink's directory.
    pub in_progress: String,
    /// Its name once it is committed.
    pub published: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 digest of its content.
    pub digest: [u8; 32],
}

/// What one lane's part of a sink has to say about everything before a barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The barrier's checkpoint.
    pub checkpoint: CheckpointId,
    /// Files written since the barrier before, durable under their in-progress names.
    pub files: Vec<PreparedFile>,
    /// State of the writer (counts, sums), handed back to a writer that is made from this checkpoint;
    /// only the connector knows what it means.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

/// One lane's part of a sink.
pub trait SinkWriter: Send {
    /// Whether `write` may be called now. When not, the waker is called once it may.
    fn has_room(&mut self) -> bool;

    /// Takes a batch; answers how many bytes of output it comes to.
    ///
    /// # Errors
    /// The batch cannot be formatted, or an earlier one could not be written.
    fn write(&mut self, batch: Batch) -> Result<usize, ConnectorError>;

    /// A barrier: what was written so far belongs to `checkpoint` or an earlier one, what follows does
    /// not. Needs no room and waits for nothing; writing may go on at once.
    ///
    /// # Errors
    /// As `write`.
    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<(), ConnectorError>;

    /// The oldest barrier for which everything before it is where a crash cannot take it away, once;
    /// barriers come in the order of `prepare`. The waker is called when there is one.
    ///
    /// # Errors
    /// Something could not be written.
    fn prepared(&mut self) -> Result<Option<Prepared>, ConnectorError>;
}

/// Whose fault a connector's failure is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectorFault {
    /// The input holds something that cannot be parsed or is over a limit.
    BadData,
    /// An input does not exist or cannot be opened.
    MissingInput,
    /// An output cannot be created.
    CannotCreate,
    /// The system failed to read or write.
    Io,
    /// The host has no room for it now: no thread.
    HostFull,
}

/// A failure of a source or sink. The message names the file or address, the offset where there is
/// one, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// Whose fault it is.
    pub fault: ConnectorFault,
    /// Where, what, and what to do.
    pub message: String,
}

impl ConnectorError {
    /// An error with its explanation.
    pub fn new(fault: ConnectorFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into() }
    }
}
