//! What a watcher of tasks tells: records that were left out, and input that nobody processes.
//!
//! Owns what was seen at the last look; reads no clock. Decides nothing: a lane that is stuck is the
//! heartbeats' business, and a checkpoint that does not complete has its own timeout. A stall is told once, and
//! again only after something was processed. Sources that wait for their next record by the clock and do so for
//! longer than [`STALL_AFTER`] are told as well: nobody else knows that they mean it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tidemill_core::events::JobEventKind;

use super::lane_line::LanePhase;
use super::report::TaskInfo;

/// How long input may be left to read without any task processing some.
const STALL_AFTER: Duration = Duration::from_secs(30);

/// The last look at the tasks.
pub(super) struct Watchdog {
    /// Records left out so far, by task.
    poison: Vec<u64>,
    /// Records that all tasks together have taken in.
    processed: u64,
    /// When that last changed; `None` once a stall was told.
    since: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new(tasks: usize, now: Instant) -> Self {
        Self { poison: vec![0; tasks], processed: 0, since: Some(now) }
    }

    /// What is to be told of now, with what the lanes do.
    pub(super) fn look(
        &mut self,
        tasks: &[TaskInfo],
        lanes: impl Iterator<Item = LanePhase>,
        now: Instant,
    ) -> Vec<JobEventKind> {
        let mut events = self.left_out(tasks);
        let processed = tasks.iter().map(|task| task.counters.records_in.load(Relaxed)).sum();
        let sources = tasks.iter().filter(|task| task.kind == "source");
        let has_input = sources.filter_map(|task| task.counters.remaining()).any(|left| left > 0);
        if std::mem::replace(&mut self.processed, processed) != processed || !has_input {
            self.since = Some(now);
            return events;
        }
        let Some(since) = self.since else {
            return events;
        };
        let silent = now.saturating_duration_since(since);
        if silent >= STALL_AFTER {
            self.since = None;
            let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            events.push(JobEventKind::Stalled { silent_ms, tasks: describe(tasks, lanes) });
        }
        events
    }

    fn left_out(&mut self, tasks: &[TaskInfo]) -> Vec<JobEventKind> {
        let mut events = Vec::new();
        for (task, before) in tasks.iter().zip(&mut self.poison) {
            let poison = task.counters.poison.load(Relaxed);
            let count = poison.saturating_sub(std::mem::replace(before, poison));
            if count > 0 {
                let lane = u32::try_from(task.lane).unwrap_or(u32::MAX);
                events.push(JobEventKind::Poison { operator: task.node.clone(), lane, count });
            }
        }
        events
    }
}

/// What lanes do and how far their tasks are: `lane 0 waits: lines 10 in 10 out 3 left, count 9 in 9 out`.
fn describe(tasks: &[TaskInfo], lanes: impl Iterator<Item = LanePhase>) -> String {
    let lane = |(lane, phase): (usize, LanePhase)| {
        let tasks = tasks.iter().filter(|task| task.lane == lane).map(|task| {
            let (taken, given) = (&task.counters.records_in, &task.counters.records_out);
            let left = match task.counters.remaining() {
                Some(left) if task.kind == "source" => format!(" {left} left"),
                _ => String::new(),
            };
            format!("{} {} in {} out{left}", task.node, taken.load(Relaxed), given.load(Relaxed))
        });
        let does = match phase {
            LanePhase::Running => "works",
            LanePhase::Idle => "waits",
            LanePhase::Gone => "has ended",
            LanePhase::GivingWay => "works when others leave it a core",
        };
        format!("lane {lane} {does}: {}", tasks.collect::<Vec<_>>().join(", "))
    };
    lanes.enumerate().map(lane).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill_core::counters::TaskCounters;

    use super::*;

    fn task(node: &str, kind: &'static str) -> TaskInfo {
        let counters = Arc::<TaskCounters>::default();
        TaskInfo { node: node.to_owned(), kind, lane: 0, metrics: Arc::from([]), counters }
    }

    #[test]
    fn input_that_nobody_processes_is_told_once_with_what_the_tasks_did() {
        let (began, tasks) = (Instant::now(), [task("lines", "source"), task("count", "operator")]);
        tasks[0].counters.set_remaining(Some(3));
        let mut watchdog = Watchdog::new(2, began);
        let mut look = |seconds, processed| {
            TaskCounters::add(&tasks[1].counters.records_in, processed);
            let now = began + Duration::from_secs(seconds);
            watchdog.look(&tasks, [LanePhase::Idle].into_iter(), now)
        };
        assert_eq!(look(10, 4), []);
        assert_eq!(look(39, 0), []);
        let told = "lane 0 waits: lines 0 in 0 out 3 left, count 4 in 0 out".to_owned();
        assert_eq!(look(40, 0), [JobEventKind::Stalled { silent_ms: 30_000, tasks: told }]);
        assert_eq!(look(80, 0), []);
        assert_eq!(look(90, 1), []);
        assert_eq!(look(121, 0).len(), 1);
    }

    #[test]
    fn a_job_without_input_does_not_stall() {
        let (began, tasks) = (Instant::now(), [task("lines", "source")]);
        tasks[0].counters.set_remaining(Some(0));
        let mut watchdog = Watchdog::new(1, began);
        let now = began + Duration::from_secs(3600);
        assert_eq!(watchdog.look(&tasks, [LanePhase::Idle].into_iter(), now), []);
    }

    #[test]
    fn records_that_were_left_out_since_the_last_look_are_told() {
        let (now, tasks) = (Instant::now(), [task("count", "operator")]);
        let mut watchdog = Watchdog::new(1, now);
        TaskCounters::add(&tasks[0].counters.poison, 2);
        let told = JobEventKind::Poison { operator: "count".to_owned(), lane: 0, count: 2 };
        assert_eq!(watchdog.look(&tasks, [LanePhase::Idle].into_iter(), now), [told]);
        assert_eq!(watchdog.look(&tasks, [LanePhase::Idle].into_iter(), now), []);
    }
}
