//! What follows when a call failed: the same call again, half of its records, or the blame.
//!
//! Pure decisions, and the memory of where the parts of a batch come from while the node holds them. A call
//! that trapped is repeated once, then halved; one that broke a limit is halved at once, and the next ones are smaller for a while; a
//! record is to blame when it alone fails in a new sandbox. Knows nothing of instances or state. Invariant: the held
//! parts are those that the node holds, in the same order.

use crate::batch::Batch;
use crate::failure::{Failure, Remedy};

/// Calls with as many records as they may have that must go well before they may have twice as many.
const GOOD_CALLS: u32 = 64;

/// The call that a batch, or the whole that it is a part of, was first made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its number among the calls of the task.
    pub(super) call: u64,
    /// Its clock, in milliseconds since the Unix epoch.
    pub(super) clock_ms: i64,
    /// Where the part begins in the whole.
    pub(super) first_record: u32,
    /// The whole has failed, and this is a part of it.
    pub(super) is_part: bool,
}

/// Records to be called later, with the call that they are a part of, if it failed.
pub(super) type Part = (Batch, Option<Origin>);

impl Origin {
    /// Both halves of a batch whose call failed, the first one last.
    pub(super) fn halves(self, batch: &Batch) -> [Part; 2] {
        let half = batch.len() / 2;
        let part = |from: usize, to: usize| (batch.slice(from, to), Some(self.part_at(from)));
        [part(half, batch.len()), part(0, half)]
    }

    /// The records from `at` on, which one call may not read with those before. If no call on them has
    /// failed they get a call of their own.
    pub(super) fn cut(self, batch: &Batch, at: usize) -> Part {
        (batch.slice(at, batch.len()), self.is_part.then(|| self.part_at(at)))
    }

    fn part_at(self, record: usize) -> Self {
        Self { first_record: self.first_record + record as u32, is_part: true, ..self }
    }
}

/// Where the parts come from that the node holds; the next is the last.
#[derive(Debug, Default)]
pub(super) struct HeldParts {
    parts: Vec<(usize, Option<Origin>)>,
}

impl HeldParts {
    /// A batch of `records` has come. Answers the failed call that it is a part of, if it is.
    ///
    /// # Errors
    /// [`Failure::Host`] when it is not the part whose turn it is.
    pub(super) fn take(&mut self, records: usize) -> Result<Option<Origin>, Failure> {
        match self.parts.pop() {
            None => Ok(None),
            Some((held, origin)) if held == records => Ok(origin),
            Some((held, _)) => Err(Failure::Host(format!(
                "a batch of {records} records came when it was the turn of a part of {held}"
            ))),
        }
    }

    /// Remembers the parts that the node is about to hold, and answers them.
    pub(super) fn hold(&mut self, parts: Vec<Part>) -> Vec<Batch> {
        let hold = |(batch, origin): Part| {
            self.parts.push((batch.len(), origin));
            batch
        };
        parts.into_iter().map(hold).collect()
    }

    /// Whether all parts of a call that failed are done.
    pub(super) fn has_none_of(&self, call: u64) -> bool {
        let next = self.parts.last().and_then(|(_, origin)| *origin);
        next.is_none_or(|origin| origin.call != call)
    }
}

/// How many records a call may have. Fewer for a while when it turned out that some had too many: else each batch would cost a failed
/// call and a sandbox, and a lane on which too many fail is held.
#[derive(Debug)]
pub(super) struct CallTarget {
    records: usize,
    good_calls: u32,
    /// The fewest records of a call that broke a limit, since a whole batch was last done.
    too_many: Option<usize>,
}

impl Default for CallTarget {
    fn default() -> Self {
        Self { records: usize::MAX, good_calls: 0, too_many: None }
    }
}

impl CallTarget {
    /// How many records a call may have.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// A call of so many has gone well.
    pub(super) fn went_well(&mut self, records: usize) {
        if records < self.records {
            return;
        }
        self.good_calls += 1;
        if self.good_calls == GOOD_CALLS {
            (self.records, self.good_calls) = (self.records.saturating_mul(2), 0);
        }
    }

    /// A call of so many has broken a limit.
    pub(super) fn was_too_much(&mut self, records: usize) {
        self.too_many = Some(self.too_many.map_or(records, |before| before.min(records)));
    }

    /// All parts of a batch are done. If one of its records was to blame, the number of the others was not.
    pub(super) fn whole_is_done(&mut self, was_one_blamed: bool) {
        if let Some(too_many) = self.too_many.take().filter(|_| !was_one_blamed) {
            (self.records, self.good_calls) = (too_many.div_ceil(2), 0);
        }
    }
}

/// A call that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// Its records.
    pub(super) records: usize,
    /// They are a part of a batch whose call failed.
    pub(super) is_part: bool,
    /// Its sandbox had processed other records before.
    pub(super) was_used: bool,
    /// It was made for the second time.
    pub(super) repeated: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Make the call again in a new sandbox.
    Repeat,
    /// Make a call on each half.
    Halve,
    /// The one record is to blame.
    Blame,
    /// The job fails.
    Fail,
}

pub(super) fn verdict(remedy: Remedy, attempt: Attempt) -> Verdict {
    let Attempt { records, is_part, was_used, repeated } = attempt;
    // A sandbox may also die of what earlier records left in its memory.
    let may_be_innocent = records == 1 && was_used;
    match remedy {
        Remedy::None => Verdict::Fail,
        Remedy::Repeat if !repeated && (!is_part || may_be_innocent) => Verdict::Repeat,
        Remedy::Halve if !repeated && may_be_innocent => Verdict::Repeat,
        Remedy::Repeat | Remedy::Halve if records > 1 => Verdict::Halve,
        Remedy::Repeat | Remedy::Halve => Verdict::Blame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(remedy: Remedy, records: usize, flags: [bool; 3]) -> Verdict {
        let [is_part, was_used, repeated] = flags;
        verdict(remedy, Attempt { records, is_part, was_used, repeated })
    }

    #[test]
    fn a_trap_is_repeated_once_then_halved_and_a_limit_is_halved_at_once() {
        assert_eq!(after(Remedy::Repeat, 8, [false; 3]), Verdict::Repeat);
        assert_eq!(after(Remedy::Repeat, 8, [false, false, true]), Verdict::Halve);
        assert_eq!(after(Remedy::Repeat, 4, [true, true, false]), Verdict::Halve);
        assert_eq!(after(Remedy::Halve, 8, [false, true, false]), Verdict::Halve);
        assert_eq!(after(Remedy::None, 8, [false; 3]), Verdict::Fail);
    }

    #[test]
    fn a_call_that_was_too_much_makes_the_next_ones_smaller_until_they_have_gone_well_for_a_while()
    {
        let mut target = CallTarget::default();
        target.went_well(1 << 20);
        assert_eq!(target.records(), usize::MAX);
        [100, 25, 50].into_iter().for_each(|records| target.was_too_much(records));
        target.whole_is_done(false);
        assert_eq!(target.records(), 13);
        // One record was to blame.
        target.was_too_much(2);
        target.whole_is_done(true);
        target.whole_is_done(false);
        assert_eq!(target.records(), 13);
        (0..GOOD_CALLS).for_each(|_| target.went_well(12));
        assert_eq!(target.records(), 13, "those might have been more");
        (0..GOOD_CALLS).for_each(|_| target.went_well(13));
        assert_eq!(target.records(), 26);
    }

    #[test]
    fn a_record_is_blamed_only_for_the_death_of_a_new_sandbox() {
        for remedy in [Remedy::Repeat, Remedy::Halve] {
            for is_part in [false, true] {
                assert_eq!(after(remedy, 1, [is_part, true, false]), Verdict::Repeat);
                assert_eq!(after(remedy, 1, [is_part, false, true]), Verdict::Blame);
            }
            assert_eq!(after(remedy, 1, [true, false, false]), Verdict::Blame);
        }
    }

    #[test]
    fn parts_come_back_in_their_turn_with_the_call_that_they_are_of() {
        let mut batch = Batch::default();
        (0..5u8).for_each(|n| batch.values.push(&[n]));
        let whole = Origin { call: 3, clock_ms: 9, first_record: 10, is_part: false };
        let mut held = HeldParts::default();
        let mut parts = vec![whole.cut(&batch, 4)];
        parts.extend(whole.halves(&batch.slice(0, 4)));
        let batches = held.hold(parts);
        assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [1, 2, 2]);
        assert!(held.take(7).is_err(), "not its turn");
        let batches = {
            held = HeldParts::default();
            held.hold(whole.halves(&batch).into())
        };
        let mut taken = || held.take(batches[batches.len() - 1].len());
        assert_eq!(taken().unwrap().map(|part| (part.call, part.first_record)), Some((3, 10)));
        assert!(!held.has_none_of(3) && held.has_none_of(4));
        let last = held.take(3).unwrap().unwrap();
        assert_eq!((last.first_record, last.is_part, held.has_none_of(3)), (12, true, true));
        assert_eq!(held.take(1).unwrap(), None);
        assert_eq!(whole.cut(&batch, 4).1, None, "what never failed is a call of its own");
    }
}
