//! The seams between a lane and the outside: where records come from and where they go.
//!
//! A lane never waits in a connector. A source that has nothing, and a sink that has no room, say so
//! and call their waker when that changes. Files, sockets and threads are behind these traits, in
//! other crates; here are only the promises.

use crate::batch::Batch;
use crate::ids::Now;

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

/// How far a partition has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPosition {
    /// Stable id of the partition within its source.
    pub partition: String,
    /// Position of the next record not yet handed out: a byte offset for files, an event number for
    /// generators, a line count for streams.
    pub position: u64,
    /// How much is left in the same unit, when it is known.
    pub remaining: Option<u64>,
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

    /// Asks the source to end at the next record boundary, as for a stop by signal.
    fn stop(&mut self);

    /// How far each partition has been read.
    fn positions(&self) -> Vec<PartitionPosition>;
}

/// One lane's part of a sink.
pub trait SinkWriter: Send {
    /// Whether `write` may be called now. When not, the waker is called once it may.
    fn has_room(&mut self) -> bool;

    /// Takes a batch.
    ///
    /// # Errors
    /// The batch cannot be formatted, or an earlier one could not be written.
    fn write(&mut self, batch: Batch) -> Result<(), ConnectorError>;

    /// All input has ended: writes out what is held. Called once.
    ///
    /// # Errors
    /// As `write`.
    fn end(&mut self) -> Result<(), ConnectorError>;

    /// After `end`: whether everything is safe where it belongs. When not, the waker is called once
    /// it is.
    ///
    /// # Errors
    /// Something could not be written.
    fn is_settled(&mut self) -> Result<bool, ConnectorError>;
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
