//! The trait that operators implement, and the shell that the host calls.
//!
//! The shell turns each call into a transaction of the guest's side: it sets the buffers up, runs
//! operator code, and then hands everything over or forgets it.

use crate::batch::{BadRecord, Input, InputBatch, Record};
use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::bindings::tidemill::operator::types;
use crate::context::{BatchContext, Context};
use crate::description::Description;
use crate::error::{Error, Result};
use crate::open::OpenContext;

/// A stream operator: reads records, keeps state by key, emits records.
///
/// The value itself lives in guest memory, which is a cache: it may vanish between any two calls,
/// and [`open`](Self::open) then makes a new one. What must last goes into state, or is saved by
/// [`Snapshot`](crate::Snapshot).
pub trait Operator: Sized + 'static {
    /// What the operator is. Called before anything else; nothing of the host can be used.
    fn describe() -> Description;

    /// Takes handles to what was described, and reads the configuration.
    ///
    /// # Errors
    /// Any error fails the job: the operator cannot begin.
    fn open(ctx: &mut OpenContext) -> Result<Self>;

    /// Processes one record.
    ///
    /// # Errors
    /// After [`Error::bad_record`] everything that this record did to state and output is taken
    /// back, and the batch goes on; [`Error::fatal`] fails the job.
    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()>;

    /// Processes the records of one call, which came in at one input.
    ///
    /// By default this is [`process`](Self::process) for each record; an operator that wants the
    /// columns finds them here.
    ///
    /// # Errors
    /// Only fatal ones; bad records are listed in the answer.
    fn process_batch(
        &mut self,
        batch: &InputBatch,
        ctx: &mut BatchContext,
    ) -> Result<Vec<BadRecord>> {
        ctx.for_each(batch, |record, ctx| self.process(record, ctx))
    }

    /// All inputs have ended. May emit, but has no access to state.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self, ctx: &mut Context) -> Result<()> {
        let _ = ctx;
        Ok(())
    }
}

/// An operator that is open.
pub(crate) struct Running<O> {
    pub(crate) operator: O,
    description: raw::Description,
    ctx: BatchContext,
}

impl<O: Operator> Running<O> {
    pub(crate) fn open(context: raw::Context) -> Result<Self, types::Failure> {
        let description = O::describe();
        description.check().map_err(failure)?;
        let mut open = OpenContext { raw: context, description: description.raw };
        let operator = O::open(&mut open).map_err(failure)?;
        let ctx = BatchContext { context: Context::new(&open.description) };
        Ok(Self { operator, description: open.description, ctx })
    }

    pub(crate) fn process(
        &mut self,
        input: u32,
        batch: types::InputBatch,
    ) -> Result<Vec<types::BadRecord>, types::Failure> {
        let Some(about) = self.description.inputs.get(input as usize) else {
            return Err(failure(Error::fatal(format!("the description has no input {input}"))));
        };
        let batch = InputBatch::new(Input(input), batch, about.keyed, about.value_width);
        self.ctx.context.begin(&batch);
        match self.operator.process_batch(&batch, &mut self.ctx) {
            Ok(bad) => {
                self.ctx.context.commit();
                Ok(bad.into_iter().map(bad_record).collect())
            }
            Err(verdict) => {
                self.ctx.context.discard();
                Err(failure(verdict))
            }
        }
    }

    pub(crate) fn close(&mut self) -> Result<(), types::Failure> {
        let ctx = &mut self.ctx.context;
        ctx.begin_without_records(0);
        match self.operator.close(ctx) {
            Ok(()) => {
                ctx.commit();
                Ok(())
            }
            Err(verdict) => {
                ctx.discard();
                Err(failure(verdict))
            }
        }
    }
}

/// Outside of a record there is none to blame.
pub(crate) fn failure(verdict: Error) -> types::Failure {
    types::Failure::Fatal(verdict.into_message())
}

fn bad_record(BadRecord { index, reason }: BadRecord) -> types::BadRecord {
    types::BadRecord { index, reason }
}
