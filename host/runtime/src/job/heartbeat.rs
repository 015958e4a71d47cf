//! Which lane is stuck in the host's own code.
//!
//! Owns the judgement; reads no lane and no clock by itself. A lane that is parked waits for somebody else and
//! is healthy, however long it does. One that runs must make a step now and then: a call of a guest is
//! interrupted by the sandbox's own limit long before, so what outlasts the timeout is a defect of ours, and the
//! job fails in this process rather than hang. One that gives way may be without a core meanwhile, so it has longer.

use std::time::{Duration, Instant};

use super::lane_line::LanePhase;

/// How much longer a lane has that gives way to others: so long it may be without a core.
const GIVING_WAY: Duration = Duration::from_secs(60);

/// The newest sign of life of each lane.
pub(super) struct Heartbeats {
    timeout: Duration,
    lanes: Vec<Option<(u64, Instant)>>,
}

impl Heartbeats {
    pub(super) fn new(lanes: usize, timeout: Duration) -> Self {
        Self { timeout, lanes: vec![None; lanes] }
    }

    /// Takes in what these lanes do now; answers those that have been silent for too long, and how long.
    pub(super) fn stuck(
        &mut self,
        pulses: impl Iterator<Item = (usize, (LanePhase, u64))>,
        now: Instant,
    ) -> Vec<(usize, Duration)> {
        let mut stuck = Vec::new();
        for (lane, (phase, steps)) in pulses {
            let Some(last) = self.lanes.get_mut(lane) else {
                continue;
            };
            let timeout = match phase {
                LanePhase::Idle | LanePhase::Gone => {
                    *last = None;
                    continue;
                }
                LanePhase::Running => self.timeout,
                LanePhase::GivingWay => self.timeout + GIVING_WAY,
            };
            match &last {
                Some((before, since)) if *before == steps => {
                    let silent = now.saturating_duration_since(*since);
                    if silent >= timeout {
                        stuck.push((lane, silent));
                    }
                }
                _ => *last = Some((steps, now)),
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two lanes, those that are stuck, when they do this by so many seconds.
    fn look(heartbeats: &mut Heartbeats, lanes: [(LanePhase, u64); 2], now: Instant) -> Vec<usize> {
        let stuck = heartbeats.stuck(lanes.into_iter().enumerate(), now);
        stuck.into_iter().map(|(lane, _)| lane).collect()
    }

    #[test]
    fn a_lane_that_runs_without_a_step_is_stuck_and_one_that_waits_is_not() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut heartbeats = Heartbeats::new(2, Duration::from_secs(5));
        let mut look = |first, second, seconds| look(&mut heartbeats, [first, second], at(seconds));
        use LanePhase::{Idle, Running};
        assert!(look((Running, 1), (Idle, 7), 0).is_empty());
        assert!(look((Running, 2), (Idle, 7), 60).is_empty());
        assert!(look((Running, 2), (Running, 7), 64).is_empty());
        assert!(look((Idle, 2), (Running, 7), 65).is_empty());
        assert_eq!(look((Running, 3), (Running, 7), 69), [1]);
    }

    #[test]
    fn all_lanes_that_are_stuck_are_told_at_once() {
        let began = Instant::now();
        let mut heartbeats = Heartbeats::new(2, Duration::from_secs(5));
        let mut look = |seconds| {
            let now = began + Duration::from_secs(seconds);
            look(&mut heartbeats, [(LanePhase::Running, 1); 2], now)
        };
        assert_eq!((look(0), look(5)), (vec![], vec![0, 1]));
    }

    #[test]
    fn a_lane_that_gives_way_is_waited_for_longer() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut heartbeats = Heartbeats::new(1, Duration::from_secs(5));
        let mut look =
            |seconds| heartbeats.stuck([(0, (LanePhase::GivingWay, 1))].into_iter(), at(seconds));
        assert!(look(0).is_empty());
        assert!(look(64).is_empty());
        assert_eq!(look(65), [(0, Duration::from_secs(65))]);
    }
}
