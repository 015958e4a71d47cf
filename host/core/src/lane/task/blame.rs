//! What becomes of the records that are to blame: the policy, applied to one call.
//!
//! Owns the count of the last minute and whether a record of the batch at hand was blamed. Knows nothing
//! of how poison records are found. Invariant: it only answers; the caller makes dead letters leave with the
//! call that they belong to, or not at all.

use crate::batch::{Batch, RecordKeys};
use crate::failure::Failure;
use crate::ids::Now;
use crate::operator::OpenContext;
use crate::poison::{OnPoison, PoisonCause, PoisonError, PoisonMinute, PoisonRecord, PoisonRules};

/// A record of a call that is to blame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blamed<'a> {
    /// Its index in the call's records.
    pub(super) index: usize,
    pub(super) cause: PoisonCause,
    /// The author's words, or what the sandbox died of.
    pub(super) reason: &'a str,
}

#[derive(Debug)]
pub(super) struct Blame {
    rules: PoisonRules,
    minute: PoisonMinute,
    /// A record of the batch whose parts are being called was blamed.
    blamed: bool,
}

impl Blame {
    pub(super) fn new(rules: PoisonRules) -> Self {
        Self { rules, minute: PoisonMinute::default(), blamed: false }
    }

    /// A part of a failed batch came down to a record that is to blame.
    pub(super) fn note_blamed(&mut self) {
        self.blamed = true;
    }

    /// Whether that was so since it was asked last.
    pub(super) fn take_blamed(&mut self) -> bool {
        std::mem::take(&mut self.blamed)
    }

    /// Counts the records to blame in a call on `batch`, of which there is at least one, and answers
    /// their dead letters, if they get any.
    ///
    /// # Errors
    /// [`Failure::Poison`] when the policy allows for none of them, or not for so many.
    pub(super) fn judge<'a>(
        &mut self,
        context: &OpenContext,
        clock_ms: i64,
        batch: &Batch,
        blamed: impl ExactSizeIterator<Item = Blamed<'a>> + Clone,
        now: Now,
    ) -> Result<Option<Batch>, Failure> {
        let record = |Blamed { index, cause, reason }| PoisonRecord {
            operator: &context.operator_id,
            lane: context.task,
            clock_ms,
            cause,
            reason,
            key: batch.key(index),
            value: batch.values.get(index),
            timestamp_ms: batch.timestamp(index),
        };
        let Some(first) = blamed.clone().next() else { return Ok(None) };
        if self.rules.on_poison == OnPoison::Fail {
            let record = record(first).shown();
            return Err(Box::new(PoisonError::Record { record }).into());
        }
        let count = u32::try_from(blamed.len()).unwrap_or(u32::MAX);
        let limit_per_minute = self.rules.limit_per_minute;
        if !self.minute.admit(now.monotonic_us, count, limit_per_minute) {
            let record = record(first).shown();
            return Err(Box::new(PoisonError::Limit { limit_per_minute, record }).into());
        }
        if self.rules.on_poison == OnPoison::Skip {
            return Ok(None);
        }
        let mut letters = Batch { keys: RecordKeys::None, ..Batch::default() };
        for blamed in blamed {
            letters.values.push(&record(blamed).to_json());
            letters.timestamps.push(batch.timestamp(blamed.index));
        }
        if batch.timestamps.is_empty() {
            letters.timestamps.clear();
        }
        Ok(Some(letters))
    }
}
