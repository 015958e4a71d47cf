//! How many events are due, for a generator that keeps to a rate.
//!
//! Owns the count since the reader was made, and the thread that wakes the lane while events are held back:
//! it lives as long as the pace. What a pause held back is made up for at once, up to a tenth of a second.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tidemill_core::connector::{ConnectorError, ConnectorFault, Wake};

/// How often a lane is woken to take what has become due.
const TICK: Duration = Duration::from_millis(1);
/// The most that is made up for.
const BACKLOG: Duration = Duration::from_millis(100);

/// Events that become due over time.
pub(super) struct Pace {
    per_second: f64,
    /// Due and not made up to `then`.
    due: f64,
    then: Instant,
    /// Ends the thread when it is dropped.
    _ticker: Sender<()>,
}

impl Pace {
    /// A pace that begins now with nothing due, and wakes `waker` as long as it lives.
    pub(super) fn start(per_second: f64, waker: Arc<dyn Wake>) -> Result<Self, ConnectorError> {
        let (ticker, ended) = mpsc::channel::<()>();
        let tick = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                waker.wake();
            }
        };
        let started = thread::Builder::new().name("pace".to_owned()).spawn(tick);
        started.map_err(|error| {
            ConnectorError::new(ConnectorFault::Io, format!("cannot start a thread: {error}"))
        })?;
        Ok(Self { per_second, due: 0.0, then: Instant::now(), _ticker: ticker })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Wake for Nobody {
        fn wake(&self) {}
    }

    #[test]
    fn what_is_due_grows_with_time_and_a_long_pause_is_not_made_up_for() {
        let mut pace = Pace::start(1000.0, Arc::new(Nobody)).unwrap();
        let begin = pace.then;
        assert_eq!(pace.due(begin), 0);
        assert_eq!(pace.due(begin + Duration::from_micros(20_500)), 20);
        pace.made(15);
        assert_eq!(pace.due(begin + Duration::from_micros(21_600)), 6);
        assert_eq!(pace.due(begin + Duration::from_secs(9)), 100);
        pace.made(100);
        assert_eq!(pace.due(begin + Duration::from_micros(9_001_500)), 1);
    }

    #[test]
    fn a_pace_below_one_in_its_backlog_still_makes_events() {
        let mut pace = Pace::start(2.0, Arc::new(Nobody)).unwrap();
        let begin = pace.then;
        assert_eq!(pace.due(begin + Duration::from_millis(600)), 1);
    }
}
