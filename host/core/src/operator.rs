//! The seam between a task and the code it runs.
//!
//! A task sees a sandbox (or, in benchmarks and tests, native code) only through [`OperatorInstance`], and
//! gets a new one, after the old one died, from an [`InstanceFactory`]. Everything that the code may do
//! during a call, it does on the [`CallFrame`].

use crate::call::CallFrame;
use crate::failure::Failure;
use crate::limits::MIB;

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

/// Bytes that an operator may save of the state in its own memory.
pub const SAVED_BYTES_MAX: usize = 16 * MIB;

/// Makes the instances of one task, one after the other.
pub trait InstanceFactory: Send {
    /// A new instance, not opened yet.
    ///
    /// # Errors
    /// [`Failure::Guest`] when its start code traps or breaks a limit, [`Failure::Host`] when there is no
    /// room for it.
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure>;

    /// Whether the operator keeps state in its own memory, so that an instance cannot be replaced, and
    /// can save and restore it.
    fn has_snapshot(&self) -> bool {
        false
    }
}

/// Native code that is made by a closure, and keeps no state of its own.
impl<F> InstanceFactory for F
where
    F: FnMut() -> Result<Box<dyn OperatorInstance>, Failure> + Send,
{
    fn instantiate(&mut self) -> Result<Box<dyn OperatorInstance>, Failure> {
        self()
    }
}

/// Runs one task's user code.
///
/// Synchronous: called on the lane's thread, bounded by the instance's own limits. After any `Err` but
/// [`Failure::Fatal`] the instance must be dropped. Effects are in the frame; the caller commits or
/// aborts them. The frame's input is as it was when a call returns, whatever it returns.
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

    /// All that the operator has to remember of its own memory.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Host`] when the factory says that there is nothing to save.
    fn save(&mut self, frame: &mut Box<CallFrame>) -> Result<Vec<u8>, Failure> {
        let _ = frame;
        Err(Failure::Host("the operator keeps no state in its own memory".to_owned()))
    }

    /// Takes back what `save` gave; called after `open`, before anything else.
    ///
    /// # Errors
    /// As `save`.
    fn restore(&mut self, frame: &mut Box<CallFrame>, saved: &[u8]) -> Result<(), Failure> {
        let _ = (frame, saved);
        Err(Failure::Host("the operator keeps no state in its own memory".to_owned()))
    }
}
