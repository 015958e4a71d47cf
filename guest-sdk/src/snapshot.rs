//! State that an operator keeps in its own memory, for what does not belong to a key.
//!
//! Owns the trait and its part of the shell. Invariant: what the host saves is the operator between two
//! calls, never inside of one.

use crate::bindings::tidemill::operator::types;
use crate::error::Result;
use crate::operator::{Operator, Running, failure};

/// An operator whose fields are its state: the host saves them with each checkpoint, and gives them back
/// when the job goes on from it.
///
/// Keyed state is the better choice where there is a key: it has no bound in memory, follows its key when
/// the parallelism changes, and a panic costs one call. Here instead
/// - no keyed state may be described;
/// - at most 16 MiB may be saved, by each task on its own;
/// - the parallelism of the job cannot change;
/// - after a panic or a broken limit the whole job goes back to its newest checkpoint, and no record is
///   blamed: report bad records with [`Error::bad_record`](crate::Error::bad_record), and before changing
///   any field, because only state and output are taken back for them.
///
/// ```
/// use tidemill_sdk::{Context, Description, Error, OpenContext, Operator, Record, Result, Snapshot};
///
/// /// Numbers the lines of a stream.
/// struct Numbering {
///     lines: u64,
/// }
///
/// impl Operator for Numbering {
///     fn describe() -> Description {
///         Description::new("numbering", "1.0.0").input("lines").output("numbered")
///     }
///
///     fn open(_ctx: &mut OpenContext) -> Result<Self> {
///         Ok(Self { lines: 0 })
///     }
///
///     fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
///         let line = record.value_str()?;
///         self.lines += 1;
///         ctx.emit_unkeyed(&format!("{} {line}", self.lines))
///     }
/// }
///
/// impl Snapshot for Numbering {
///     fn save(&self) -> Result<Vec<u8>> {
///         Ok(self.lines.to_le_bytes().into())
///     }
///
///     fn restore(&mut self, saved: &[u8]) -> Result<()> {
///         let saved = saved.try_into().map_err(|_| Error::fatal("not saved by this operator"))?;
///         self.lines = u64::from_le_bytes(saved);
///         Ok(())
///     }
/// }
///
/// tidemill_sdk::export!(Numbering, snapshot);
///
/// # fn main() -> Result<()> {
/// use tidemill_sdk::testing::Harness;
///
/// let mut harness = Harness::<Numbering>::new().with_snapshot().open()?;
/// harness.send_unkeyed("lines", &["tide", "mill"])?;
/// assert_eq!(harness.outputs("numbered")[1].1, b"2 mill");
/// # Ok(())
/// # }
/// ```
pub trait Snapshot: Operator {
    /// All that must last. Called between two calls; log, clock and chance can be used, nothing else of
    /// the host.
    ///
    /// # Errors
    /// Any error fails the job.
    fn save(&self) -> Result<Vec<u8>>;

    /// Takes back what [`save`](Self::save) gave, maybe that of an older version of the operator. Called
    /// once after [`open`](Operator::open), and not at all in a new job.
    ///
    /// # Errors
    /// Any error fails the job.
    fn restore(&mut self, saved: &[u8]) -> Result<()>;
}

impl<O: Snapshot> Running<O> {
    pub(crate) fn save(&mut self) -> Result<Vec<u8>, types::Failure> {
        self.operator.save().map_err(failure)
    }

    pub(crate) fn restore(&mut self, saved: &[u8]) -> Result<(), types::Failure> {
        self.operator.restore(saved).map_err(failure)
    }
}
