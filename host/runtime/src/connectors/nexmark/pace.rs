//! How many events are due, for a generator that keeps to a rate.
//!
//! Owns the count since the pace began. Knows nothing of threads or lanes. What a pause held back is made up for at
//! once, up to a tenth of a second.

use std::time::{Duration, Instant};

/// The shortest wait, so that a high rate makes batches and not single events.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// The most that is made up for.
const BACKLOG: Duration = Duration::from_millis(100);

/// Events that become due over time.
pub(super) struct Pace {
    per_second: f64,
    /// Due and not made up to `then`.
    due: f64,
    then: Instant,
}

impl Pace {
    /// A pace that begins now, with nothing due.
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        Self { per_second, due: 0.0, then: now }
    }

    /// Events that may be made at `now`.
    pub(super) fn due(&mut self, now: Instant) -> u64 {
        let more = now.saturating_duration_since(self.then).as_secs_f64() * self.per_second;
        let most = (BACKLOG.as_secs_f64() * self.per_second).max(1.0);
        (self.due, self.then) = ((self.due + more).min(most), now);
        self.due as u64
    }

    /// So many of those that were due were made.
    pub(super) fn made(&mut self, events: u64) {
        self.due -= events as f64;
    }

    /// How long it takes until an event is due, when none is.
    pub(super) fn wait(&self) -> Duration {
        let seconds = (1.0 - self.due).max(0.0) / self.per_second;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(WAIT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_grows_with_time_and_a_long_pause_is_not_made_up_for() {
        let begin = Instant::now();
        let mut pace = Pace::new(1000.0, begin);
        assert_eq!(pace.due(begin), 0);
        assert_eq!(pace.due(begin + Duration::from_micros(20_500)), 20);
        pace.made(15);
        assert_eq!(pace.due(begin + Duration::from_micros(21_600)), 6);
        assert_eq!(pace.due(begin + Duration::from_secs(9)), 100);
        pace.made(100);
        assert_eq!(pace.due(begin + Duration::from_micros(9_001_500)), 1);
    }

    #[test]
    fn a_low_rate_makes_one_event_after_a_long_wait() {
        let begin = Instant::now();
        let mut pace = Pace::new(2.0, begin);
        assert_eq!(pace.due(begin + Duration::from_millis(100)), 0);
        assert_eq!(pace.wait(), Duration::from_millis(400));
        assert_eq!(pace.due(begin + Duration::from_millis(500)), 1);
        assert_eq!(Pace::new(1e9, begin).wait(), WAIT_MIN);
    }
}
