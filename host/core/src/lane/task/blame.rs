//! What becomes of the records that are to blame: the policy, applied to one call.
//!
//! Owns the count of the last minute and whether a record of the batch at hand was blamed. Knows nothing
//! of how poison records are found. Invariant: it only answers; the caller makes dead letters leave with the
//! call that they belong to, or not at all.

use crate::batch::Batch;
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::ids::Now;
use crate::limits::MIB;
use crate::operator::OpenContext;
use crate::poison::{OnPoison, PoisonCause, PoisonError, PoisonMinute, PoisonRecord, PoisonRules};

/// Bytes of dead letters that one call may come to. Each is a record in text, which may be six times as long, with a key that many may
/// share; one alone is never as long.
const LETTERS_BYTES_MAX: usize = 16 * MIB;

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
        // Before they are counted: a call that is made again in parts counts what is to blame in each of them.
        let letters = match self.rules.on_poison {
            OnPoison::DeadLetter => {
                let texts =
                    blamed.clone().map(|one| (record(one).to_json(), batch.timestamp(one.index)));
                Some(letters(texts, !batch.timestamps.is_empty())?)
            }
            OnPoison::Skip | OnPoison::Fail => None,
        };
        let count = u32::try_from(blamed.len()).unwrap_or(u32::MAX);
        let limit_per_minute = self.rules.limit_per_minute;
        if !self.minute.admit(now.monotonic_us, count, limit_per_minute) {
            let record = record(first).shown();
            return Err(Box::new(PoisonError::Limit { limit_per_minute, record }).into());
        }
        Ok(letters)
    }
}

/// Dead letters of these texts and times.
fn letters(
    texts: impl Iterator<Item = (Vec<u8>, i64)>,
    have_times: bool,
) -> Result<Batch, GuestFault> {
    let mut letters = Batch::default();
    for (text, time_ms) in texts {
        letters.values.push(&text);
        letters.timestamps.extend(have_times.then_some(time_ms));
        let bytes = letters.values.data.len();
        if bytes > LETTERS_BYTES_MAX {
            let message = format!(
                "{bytes} bytes of dead letters from one call; at most {LETTERS_BYTES_MAX} are allowed"
            );
            return Err(GuestFault::new(FaultCode::EmitLimit, message));
        }
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_of_one_call_are_no_more_than_they_may_be() {
        let texts = |count: usize| (0..count).map(|time| (vec![b'x'; MIB], time as i64));
        let few = letters(texts(16), true).unwrap();
        assert_eq!((few.len(), few.timestamps.len()), (16, 16));
        assert_eq!(letters(texts(17), false).unwrap_err().code, FaultCode::EmitLimit);
    }
}
