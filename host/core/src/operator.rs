//! The seam between a task and the code it runs.
//!
//! A task sees a sandbox (or, in benchmarks and tests, native code) only through [`OperatorInstance`].
//! Everything that the code may do during a call, it does on the [`CallFrame`].

use crate::call::CallFrame;
use crate::failure::Failure;

/// What an operator learns when it is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenContext {
    /// Owner of the job.
    pub tenant: String,
    /// Name of the job.
    pub job: String,
    /// Name of the node.
    pub operator_id: String,
    /// Lane of the task.
    pub task: u32,
    /// Lanes of the job.
    pub parallelism: u32,
    /// Restarts of the job so far.
    pub incarnation: u64,
    /// The job file's configuration for this operator.
    pub config: Vec<(String, String)>,
}

/// A record that the operator could not process and that left no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Index in the batch.
    pub index: u32,
    /// The operator's words.
    pub reason: String,
}

/// Runs one task's user code.
///
/// Synchronous: called on the lane's thread, bounded by the instance's own limits. After any `Err` but
/// [`Failure::Fatal`] the instance must be dropped. Effects are in the frame; the caller commits or
/// aborts them.
pub trait OperatorInstance: Send {
    /// Called once, before anything else.
    ///
    /// # Errors
    /// See [`Failure`].
    fn open(&mut self, frame: &mut Box<CallFrame>, context: &OpenContext) -> Result<(), Failure>;

    /// Processes the frame's input, which arrived at input `input`. Answers the records that it could
    /// not process.
    ///
    /// # Errors
    /// See [`Failure`].
    fn process(
        &mut self,
        frame: &mut Box<CallFrame>,
        input: u32,
    ) -> Result<Vec<BadRecord>, Failure>;

    /// All inputs have ended.
    ///
    /// # Errors
    /// See [`Failure`].
    fn close(&mut self, frame: &mut Box<CallFrame>) -> Result<(), Failure>;
}
