//! Whether a lane would use more CPU time if it got more, and what it has used and was not charged for yet.
//!
//! Owns the account of one lane's waiting for work and of its thread's CPU time, which its thread keeps and whoever judges
//! looks at. Little use alone does not tell: a lane of low priority uses little, and wants all it can get. Nor does what
//! is charged: a lane is charged when a step is over, and a step may take a second. Reads no clock. Invariant: times are of
//! one clock, in microseconds, but for CPU time, which is that of the thread.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Instead of a time: the lane works.
const WORKS: u64 = u64::MAX;

/// What one lane wants.
#[derive(Debug)]
pub struct LaneDemand {
    /// Waited so far, but for the wait at hand.
    waited_us: AtomicU64,
    /// When the wait at hand began, or [`WORKS`].
    waits_since_us: AtomicU64,
    /// When it was last looked, and how much it had waited then.
    looked_at_us: AtomicU64,
    waited_then_us: AtomicU64,
    /// The thread that drives it, as the system numbers it; 0 before there is one.
    thread: AtomicU32,
    /// The CPU time of that thread up to which the tenant is charged, now and at the last look.
    charged_us: AtomicU64,
    charged_then_us: AtomicU64,
}

impl LaneDemand {
    /// Of a lane that begins to work.
    pub fn new(now_us: u64) -> Self {
        Self {
            waited_us: AtomicU64::new(0),
            waits_since_us: AtomicU64::new(WORKS),
            looked_at_us: AtomicU64::new(now_us),
            waited_then_us: AtomicU64::new(0),
            thread: AtomicU32::new(0),
            charged_us: AtomicU64::new(0),
            charged_then_us: AtomicU64::new(0),
        }
    }

    /// A thread drives the lane from now on, which has used `cpu_us` before.
    pub fn moves_to(&self, thread: u32, cpu_us: u64) {
        self.charged_us.store(cpu_us, Relaxed);
        self.thread.store(thread, Relaxed);
    }

    /// The tenant is charged for what the thread has used until it had used so much.
    pub fn charged(&self, cpu_us: u64) {
        self.charged_us.store(cpu_us, Relaxed);
    }

    /// What its thread has used since it was last charged, if it was not since the last look: it is in the middle of a long
    /// step. `thread_cpu_us` says what a thread has used so far.
    pub(super) fn take_uncharged_us(&self, thread_cpu_us: impl Fn(u32) -> Option<u64>) -> u64 {
        let charged_us = self.charged_us.load(Relaxed);
        let then_us = self.charged_then_us.swap(charged_us, Relaxed);
        if charged_us != then_us || self.waits_since_us.load(Relaxed) != WORKS {
            return 0;
        }
        let used_us = match self.thread.load(Relaxed) {
            0 => None,
            thread => thread_cpu_us(thread),
        };
        used_us.unwrap_or(0).saturating_sub(charged_us)
    }

    /// There is nothing for the lane to do, or it is held back.
    pub fn waits(&self, now_us: u64) {
        self.waits_since_us.store(now_us, Relaxed);
    }

    /// It goes on.
    pub fn works(&self, now_us: u64) {
        let since_us = self.waits_since_us.swap(WORKS, Relaxed);
        self.waited_us.fetch_add(now_us.saturating_sub(since_us), Relaxed);
    }

    /// Whether it has worked more than half of the time since the last look. A look at the moment at which it goes on may
    /// count a wait twice or not at all, which the next one does not.
    pub(super) fn take_is_busy(&self, now_us: u64) -> bool {
        let since_us = self.waits_since_us.load(Relaxed);
        let waits_us = if since_us == WORKS { 0 } else { now_us.saturating_sub(since_us) };
        let waited_us = self.waited_us.load(Relaxed) + waits_us;
        let then_us = self.waited_then_us.swap(waited_us, Relaxed);
        let elapsed_us = now_us.saturating_sub(self.looked_at_us.swap(now_us, Relaxed));
        waited_us.saturating_sub(then_us) * 2 < elapsed_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_busy_if_it_waits_less_than_half_of_the_time_between_two_looks() {
        let lane = LaneDemand::new(0);
        assert!(lane.take_is_busy(100));
        lane.waits(110);
        lane.works(150);
        assert!(lane.take_is_busy(200));
        lane.waits(240);
        assert!(!lane.take_is_busy(300));
        assert!(!lane.take_is_busy(400));
        lane.works(410);
        assert!(lane.take_is_busy(500));
    }

    #[test]
    fn a_lane_that_is_not_charged_from_look_to_look_is_asked_what_it_has_used() {
        let lane = LaneDemand::new(0);
        let uncharged = |used_us| lane.take_uncharged_us(|_| Some(used_us));
        assert_eq!(uncharged(500), 0, "there is no thread yet");
        lane.moves_to(7, 100);
        assert_eq!(uncharged(500), 0, "it was charged since");
        assert_eq!((uncharged(500), uncharged(900)), (400, 800));
        lane.charged(900);
        assert_eq!((uncharged(950), uncharged(950)), (0, 50));
        lane.waits(10);
        assert_eq!(uncharged(990), 0, "it waits");
        lane.works(20);
        assert_eq!(lane.take_uncharged_us(|_| None), 0);
    }
}
