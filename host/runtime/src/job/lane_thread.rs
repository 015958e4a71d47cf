//! The thread that drives a lane: reads the clocks, steps, parks when idle.
//!
//! Makes no decision of its own. A lane is parked without periodic wake-ups; it is woken by a batch,
//! freed room, a connector, a request to stop, or the next expiry of state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_core::connector::Wake;
use tidemill_core::counters::TaskCounters;
use tidemill_core::ids::Now;
use tidemill_core::lane::{Lane, LaneFailure, StepOutcome};
use tidemill_core::limits::LANE_STACK_BYTES;

/// Unparks the lane's thread, once there is one.
#[derive(Default)]
pub(super) struct LaneWaker {
    thread: OnceLock<Thread>,
}

impl Wake for LaneWaker {
    fn wake(&self) {
        // Before the thread has set itself, it has not looked for a step either: nothing is missed.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Requests to all lanes of a job.
#[derive(Default)]
pub(super) struct Requests {
    /// Sources end, lanes drain.
    pub(super) drain: AtomicBool,
    /// Lanes leave at once; shared with the sandboxes, whose calls it interrupts.
    pub(super) abort: Arc<AtomicBool>,
}

/// How a lane's thread ended.
#[derive(Debug)]
pub(super) enum LaneEnd {
    /// All its tasks have ended.
    Finished,
    /// It was told to leave.
    Aborted,
    /// A task failed.
    Failed(LaneFailure),
    /// The host's own code panicked.
    Panicked(String),
}

/// Starts a lane. `ended` is called on its thread, with how it ended, as the last thing.
pub(super) fn start(
    job: &str,
    lane: Lane,
    waker: Arc<LaneWaker>,
    requests: Arc<Requests>,
    ended: impl FnOnce(usize, LaneEnd) + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let name: String = format!("{}/{job}", lane.id()).chars().take(15).collect();
    let body = move || {
        waker.thread.get_or_init(thread::current);
        let id = lane.id().0;
        let end = match catch_unwind(AssertUnwindSafe(|| drive(lane, &requests))) {
            Ok(end) => end,
            Err(panic) => LaneEnd::Panicked(panic_message(&*panic)),
        };
        ended(id, end);
    };
    thread::Builder::new().name(name).stack_size(LANE_STACK_BYTES).spawn(body)
}

fn drive(mut lane: Lane, requests: &Requests) -> LaneEnd {
    let start = Instant::now();
    let counters: Vec<Arc<TaskCounters>> = lane.counters().cloned().collect();
    let mut draining = false;
    let mut now = read_clocks(start);
    loop {
        if requests.abort.load(SeqCst) {
            return LaneEnd::Aborted;
        }
        if !draining && requests.drain.load(SeqCst) {
            draining = true;
            lane.stop_sources();
        }
        let outcome = match lane.step(now) {
            Ok(outcome) => outcome,
            Err(failure) => return LaneEnd::Failed(failure),
        };
        let before = std::mem::replace(&mut now, read_clocks(start));
        match outcome {
            StepOutcome::Progress(node) => {
                let took_us = now.monotonic_us - before.monotonic_us;
                TaskCounters::add(&counters[node.0].busy_us, took_us);
            }
            StepOutcome::Idle { until_ms } => {
                park(until_ms, now);
                now = read_clocks(start);
            }
            StepOutcome::Finished => return LaneEnd::Finished,
        }
    }
}

fn park(until_ms: Option<i64>, now: Now) {
    match until_ms {
        None => thread::park(),
        Some(until_ms) => {
            let wait_ms = u64::try_from(until_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
            thread::park_timeout(Duration::from_millis(wait_ms.max(1)));
        }
    }
}

fn read_clocks(start: Instant) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        monotonic_us: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX),
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
