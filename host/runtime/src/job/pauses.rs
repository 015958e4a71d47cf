//! How long input that was ready waited because of checkpoints.
//!
//! Owns the measure: for each barrier and lane, the longest time that the lane spent on the checkpoint without
//! processing input in between, from the trigger until the checkpoint is settled. What is done while nothing
//! else can be done counts only if input was found right after it. Alignment is another figure: there a barrier
//! waits for other barriers, and input is held back for exactly-once. All times in microseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The pauses of one lane, as others read them.
#[derive(Debug, Default)]
pub(super) struct LanePauses {
    /// The longest since the last checkpoint was settled.
    longest_us: AtomicU64,
    /// What was done for checkpoints since it was last taken.
    work_us: AtomicU64,
    seen: Mutex<Vec<u64>>,
}

impl LanePauses {
    /// Takes the time that the lane has spent on checkpoints, in which input was ready or not.
    pub(super) fn take_work_us(&self) -> u64 {
        self.work_us.swap(0, Relaxed)
    }

    /// Takes the pauses of the barriers that are settled.
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Measures the pauses of one lane, on its thread.
pub(super) struct PauseMeter<'a> {
    pauses: &'a LanePauses,
    /// Spent on the checkpoint since input was last processed, or the lane last waited.
    held_back_us: u64,
    /// The same, while there was nothing else to do.
    spare_us: u64,
}

impl<'a> PauseMeter<'a> {
    pub(super) fn new(pauses: &'a LanePauses) -> Self {
        Self { pauses, held_back_us: 0, spare_us: 0 }
    }

    /// Something was done for the checkpoint while input may have been ready.
    pub(super) fn held_back(&mut self, took_us: u64) {
        self.held_back_us += took_us;
        self.pauses.work_us.fetch_add(took_us, Relaxed);
        self.pauses.longest_us.fetch_max(self.held_back_us, Relaxed);
    }

    /// Something was done for the checkpoint because nothing else could be done.
    pub(super) fn spared(&mut self, took_us: u64) {
        (self.held_back_us, self.spare_us) = (0, took_us);
        self.pauses.work_us.fetch_add(took_us, Relaxed);
    }

    /// Input was processed. It may have come while spare time was used, and has waited for no more than that.
    pub(super) fn processed(&mut self) {
        if self.spare_us > 0 {
            self.pauses.longest_us.fetch_max(self.spare_us, Relaxed);
        }
        self.waited();
    }

    /// The lane had nothing at all to do.
    pub(super) fn waited(&mut self) {
        (self.held_back_us, self.spare_us) = (0, 0);
    }

    /// The checkpoint is complete or given up: what was longest is its pause.
    pub(super) fn settled(&mut self) {
        let longest_us = self.pauses.longest_us.swap(0, Relaxed);
        self.pauses.seen.lock().unwrap_or_else(PoisonError::into_inner).push(longest_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_for_a_checkpoint_adds_up_until_input_is_processed() {
        let pauses = LanePauses::default();
        let mut meter = PauseMeter::new(&pauses);
        meter.held_back(5);
        meter.held_back(200);
        meter.processed();
        meter.held_back(100);
        meter.settled();
        meter.processed();
        meter.held_back(1);
        meter.settled();
        assert_eq!(pauses.take(), [205, 1]);
        assert_eq!((pauses.take_work_us(), pauses.take_work_us()), (306, 0));
        assert!(pauses.take().is_empty());
    }

    #[test]
    fn spare_time_is_a_pause_only_for_input_that_came_meanwhile() {
        let pauses = LanePauses::default();
        let mut meter = PauseMeter::new(&pauses);
        meter.spared(300);
        meter.spared(70);
        meter.processed();
        meter.settled();
        meter.spared(300);
        meter.waited();
        meter.settled();
        assert_eq!(pauses.take(), [70, 0]);
        assert_eq!(pauses.take_work_us(), 670);
    }
}
