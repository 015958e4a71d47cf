//! Whether a lane would use more CPU time if it got more.
//!
//! Owns the account of one lane's waiting for work, which its thread keeps and whoever judges looks at. Little use alone does
//! not tell: a lane of low priority uses little, and wants all it can get. Reads no clock. Invariant: all times are of
//! one clock, in microseconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
}

impl LaneDemand {
    /// Of a lane that begins to work.
    pub fn new(now_us: u64) -> Self {
        Self {
            waited_us: AtomicU64::new(0),
            waits_since_us: AtomicU64::new(WORKS),
            looked_at_us: AtomicU64::new(now_us),
            waited_then_us: AtomicU64::new(0),
        }
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
}
