//! How long input that was ready waited because of checkpoints.
//!
//! Owns the measure: for each barrier and lane, the longest time that the lane spent on the checkpoint without
//! processing input in between, from the trigger until the checkpoint is settled. What is done while nothing
//! else can be done counts only if input was found right after it. Alignment is another figure: there a barrier
//! waits for other barriers, and input is held back for exactly-once. All times in microseconds.
//!
//! Everything is measured twice: by the clock on the wall, which is what input waits, and in the lane thread's own
//! CPU time, which leaves out what the machine gave to other threads meanwhile. The longest of each is taken for
//! itself and need not be of the same stretch. The two differ by the run queue and next to nothing else, because
//! nothing that a lane does for a checkpoint waits: snapshots, sinks and acknowledgements are handed over through
//! queues without bound, and the locks on the way (of the orders of uploads, of a sink's queue, of the I/O threads'
//! queue, of commands and of the figures here) are held for a few instructions and never during I/O. But for two
//! cases: who holds such a lock can be preempted, and whoever wants it waits as long; and an operator that takes long to save
//! itself, in a lane that gives way, waits for its turn in the middle of that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::machine::thread_cpu_us;

/// Time that was spent, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) wall_us: u64,
    /// The lane thread's own CPU time.
    pub(super) cpu_us: u64,
}

impl Spent {
    fn plus(self, more: Self) -> Self {
        Self { wall_us: self.wall_us + more.wall_us, cpu_us: self.cpu_us + more.cpu_us }
    }

    fn or_longer(self, other: Self) -> Self {
        Self { wall_us: self.wall_us.max(other.wall_us), cpu_us: self.cpu_us.max(other.cpu_us) }
    }
}

/// The lane thread's own CPU time.
#[derive(Debug)]
pub(super) struct CpuClock {
    /// What it showed last.
    last_us: u64,
}

impl CpuClock {
    /// The clock of this thread, from now on.
    pub(super) fn of_this_thread() -> Self {
        Self { last_us: thread_cpu_us() }
    }

    /// CPU time since it was last asked. What of a microsecond is left over counts the next time.
    pub(super) fn lap_us(&mut self) -> u64 {
        let now_us = thread_cpu_us();
        now_us.saturating_sub(std::mem::replace(&mut self.last_us, now_us))
    }
}

/// The pauses of one lane, as others read them.
#[derive(Debug, Default)]
pub(super) struct LanePauses {
    /// What was done for checkpoints since it was last taken.
    work_us: AtomicU64,
    seen: Mutex<Vec<Spent>>,
}

impl LanePauses {
    /// Takes the time that the lane has spent on checkpoints, in which input was ready or not.
    pub(super) fn take_work_us(&self) -> u64 {
        self.work_us.swap(0, Relaxed)
    }

    /// Takes the pauses of the barriers that are settled.
    pub(super) fn take(&self) -> Vec<Spent> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Measures the pauses of one lane, on its thread.
pub(super) struct PauseMeter<'a> {
    pauses: &'a LanePauses,
    /// The longest since the last checkpoint was settled.
    longest: Spent,
    /// Spent on the checkpoint since input was last processed, or the lane last waited.
    held_back: Spent,
    /// The same, while there was nothing else to do.
    spare: Spent,
}

impl<'a> PauseMeter<'a> {
    pub(super) fn new(pauses: &'a LanePauses) -> Self {
        let none = Spent::default();
        Self { pauses, longest: none, held_back: none, spare: none }
    }

    /// Something was done for the checkpoint while input may have been ready.
    pub(super) fn held_back(&mut self, took: Spent) {
        self.held_back = self.held_back.plus(took);
        self.pauses.work_us.fetch_add(took.wall_us, Relaxed);
        self.longest = self.longest.or_longer(self.held_back);
    }

    /// Something was done for the checkpoint because nothing else could be done.
    pub(super) fn spared(&mut self, took: Spent) {
        (self.held_back, self.spare) = (Spent::default(), took);
        self.pauses.work_us.fetch_add(took.wall_us, Relaxed);
    }

    /// Input was processed. It may have come while spare time was used, and has waited for no more than that.
    pub(super) fn processed(&mut self) {
        self.longest = self.longest.or_longer(self.spare);
        self.waited();
    }

    /// The lane had nothing at all to do.
    pub(super) fn waited(&mut self) {
        (self.held_back, self.spare) = (Spent::default(), Spent::default());
    }

    /// The checkpoint is complete or given up: what was longest is its pause.
    pub(super) fn settled(&mut self) {
        let longest = std::mem::take(&mut self.longest);
        self.pauses.seen.lock().unwrap_or_else(PoisonError::into_inner).push(longest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// So much by the wall, half of it on the CPU.
    fn spent(wall_us: u64) -> Spent {
        Spent { wall_us, cpu_us: wall_us / 2 }
    }

    #[test]
    fn work_for_a_checkpoint_adds_up_until_input_is_processed() {
        let pauses = LanePauses::default();
        let mut meter = PauseMeter::new(&pauses);
        meter.held_back(spent(6));
        meter.held_back(spent(200));
        meter.processed();
        meter.held_back(spent(100));
        meter.settled();
        meter.processed();
        meter.held_back(spent(2));
        meter.settled();
        assert_eq!(pauses.take(), [spent(206), spent(2)]);
        assert_eq!((pauses.take_work_us(), pauses.take_work_us()), (308, 0));
        assert!(pauses.take().is_empty());
    }

    #[test]
    fn spare_time_is_a_pause_only_for_input_that_came_meanwhile() {
        let pauses = LanePauses::default();
        let mut meter = PauseMeter::new(&pauses);
        meter.spared(spent(300));
        meter.spared(spent(70));
        meter.processed();
        meter.settled();
        meter.spared(spent(300));
        meter.waited();
        meter.settled();
        assert_eq!(pauses.take(), [spent(70), spent(0)]);
        assert_eq!(pauses.take_work_us(), 670);
    }

    #[test]
    fn the_longest_by_each_clock_may_be_of_different_stretches() {
        let pauses = LanePauses::default();
        let mut meter = PauseMeter::new(&pauses);
        let (preempted, busy) =
            (Spent { wall_us: 4000, cpu_us: 90 }, Spent { wall_us: 200, cpu_us: 190 });
        meter.held_back(preempted);
        meter.processed();
        meter.held_back(busy);
        meter.settled();
        assert_eq!(pauses.take(), [Spent { wall_us: 4000, cpu_us: 190 }]);
    }

    #[test]
    fn the_cpu_clock_stands_still_while_its_thread_does() {
        let mut clock = CpuClock::of_this_thread();
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(200));
        let asleep_us = clock.lap_us();
        // A thread that is preempted for long needs longer for this, but it comes to it.
        let mut busy_us = 0;
        while busy_us < 1000 {
            busy_us += clock.lap_us();
        }
        let wall_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        assert!(asleep_us < 150_000, "{asleep_us}");
        assert!(asleep_us + busy_us <= wall_us + 1, "{asleep_us} + {busy_us} of {wall_us}");
    }
}
