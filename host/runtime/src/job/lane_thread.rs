//! The thread that drives a lane: reads the clocks, steps, passes on what the coordinator says, parks
//! when idle, waits when its tenant has had too much.
//!
//! Makes no decision of its own. The lane of a tenant that is told to gives way; since a low priority cannot be taken
//! back without privileges, another thread goes on with the lane when it is told otherwise. A lane is parked without periodic wake-ups; it is woken by a batch,
//! freed room, a connector, the coordinator, a request to stop, or the next expiry of state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_core::ids::Now;
use tidemill_core::lane::{Lane, LaneFailure, StepOutcome};
use tidemill_core::limits::LANE_STACK_BYTES;

use super::lane_line::{Command, LaneLine, LanePhase, lock};
use super::lane_pace::LanePace;
use super::pauses::{CpuClock, PauseMeter, Spent};
use super::priority;
use crate::machine::{self, thread_cpu_us};
use crate::spawner;

/// How long a lane is told that it need no longer give way before it does no longer: by then it was looked at what its
/// newest step has used, which may have taken many looks.
const BACK_AFTER_US: u64 = 250_000;
/// How long a lane stays at its low priority when there was no thread to go on with it, before it asks again.
const RENEW_AGAIN_US: u64 = 5_000_000;

/// How a lane's thread ended.
#[derive(Debug)]
pub(super) enum LaneEnd {
    /// It was told to leave.
    Left,
    /// A task failed.
    Failed(LaneFailure),
    /// The host's own code panicked.
    Panicked(String),
}

/// What a lane's thread reports.
pub(super) trait LaneReport: Send + 'static {
    /// All tasks of the lane have ended; it still answers barriers.
    fn ended(&self);

    /// The lane has ended; all that its thread still does is to clear up.
    fn gone(&self, end: LaneEnd);
}

/// What drives a lane, whatever thread it is on.
struct Driver<R> {
    name: String,
    lane: Lane,
    line: Arc<LaneLine>,
    report: R,
    pace: LanePace,
    threads: Arc<Mutex<Option<JoinHandle<()>>>>,
    has_ended: bool,
    steps: u64,
    /// Its thread has a low priority: whether it still should is looked at from then on.
    renew_after_us: u64,
}

/// The thread of a lane, or the one that took its place.
pub(super) struct LaneThread {
    newest: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl LaneThread {
    /// Whether the lane has no thread any more.
    pub(super) fn is_finished(&self) -> bool {
        lock(&self.newest).as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the lane has no thread any more.
    pub(super) fn join(self) {
        loop {
            let Some(thread) = lock(&self.newest).take() else { return };
            // A panic was caught inside and reported.
            thread.join().ok();
        }
    }
}

/// Starts a lane.
pub(super) fn start(
    job: &str,
    lane: Lane,
    line: Arc<LaneLine>,
    pace: LanePace,
    report: impl LaneReport,
) -> std::io::Result<LaneThread> {
    let name: String = format!("{}/{job}", lane.id()).chars().take(15).collect();
    let newest = Arc::new(Mutex::new(None));
    let threads = newest.clone();
    let driver = Driver {
        name,
        lane,
        line,
        report,
        pace,
        threads,
        has_ended: false,
        steps: 0,
        renew_after_us: 0,
    };
    spawn(driver).map_err(|(error, _)| error)?;
    Ok(LaneThread { newest })
}

/// There is no thread for a lane; here it is back.
type NoThread<R> = (std::io::Error, Option<Box<Driver<R>>>);

/// Goes on with a lane in a thread of its own; hands it back when there is none.
fn spawn<R: LaneReport>(driver: Driver<R>) -> Result<(), NoThread<R>> {
    let (name, newest) = (driver.name.clone(), driver.threads.clone());
    let is_first = driver.steps == 0;
    // Whoever gets no thread must get the lane back.
    let handed = Arc::new(Mutex::new(Some(Box::new(driver))));
    let taken = handed.clone();
    let body = move || {
        // Released before the lane begins, which takes its time.
        let driver = lock(&taken).take();
        if let Some(driver) = driver {
            driver.run();
        }
    };
    let builder = match spawner::builder("lane") {
        Ok(builder) => builder.name(name).stack_size(LANE_STACK_BYTES),
        Err(error) => return Err((error, lock(&handed).take())),
    };
    // Held so that the new thread is known before it can be replaced in turn.
    let mut newest = lock(&newest);
    let started =
        if is_first { builder.spawn(body) } else { spawner::spawn(builder, Box::new(body)) };
    match started {
        Ok(thread) => {
            *newest = Some(thread);
            Ok(())
        }
        Err(error) => Err((error, lock(&handed).take())),
    }
}

/// Why a thread stops driving a lane.
enum Stop {
    End(LaneEnd),
    /// Its low priority cannot be taken back: another thread goes on.
    NewThread,
}

impl<R: LaneReport> Driver<R> {
    fn run(mut self) {
        self.line.waker.set(thread::current());
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        self.pace.moves_to(thread, thread_cpu_us());
        let mut gives_way = false;
        loop {
            let end = match catch_unwind(AssertUnwindSafe(|| self.drive(gives_way))) {
                Ok(Stop::End(end)) => end,
                Ok(Stop::NewThread) => match self.renew() {
                    None => return,
                    Some(driver) => {
                        (self, gives_way) = (*driver, true);
                        continue;
                    }
                },
                Err(panic) => LaneEnd::Panicked(panic_message(&*panic)),
            };
            return self.end(end);
        }
    }

    /// Goes on in another thread; is back if there is none.
    fn renew(mut self) -> Option<Box<Self>> {
        self.pace.leaves(thread_cpu_us(), machine::monotonic_us());
        match spawn(self) {
            Ok(()) | Err((_, None)) => None,
            Err((error, Some(mut driver))) => {
                if driver.renew_after_us == 0 {
                    tracing::warn!(
                        "A lane stays at its low priority for now, for want of a thread: {error}."
                    );
                }
                driver.renew_after_us = machine::monotonic_us() + RENEW_AGAIN_US;
                Some(driver)
            }
        }
    }

    /// Tells of the end and clears up, which is its tenant's to pay as well: there may be much to clear up, and a job that fails
    /// over and over does little else. Nobody goes on before this thread has ended.
    fn end(self, end: LaneEnd) {
        let Self { lane, line, report, mut pace, .. } = self;
        line.beat(LanePhase::Gone, 0);
        report.gone(end);
        drop(lane);
        pace.leaves(thread_cpu_us(), machine::monotonic_us());
    }

    /// Drives the lane on this thread, which `gives_way` already or not.
    fn drive(&mut self, mut gives_way: bool) -> Stop {
        let Self { lane, line, report, pace, has_ended, steps, renew_after_us, .. } = self;
        let start = machine::began();
        let mut back_since_us = None;
        let mut now = read_clocks(start);
        let (mut pause, mut cpu) = (PauseMeter::new(&line.pauses), CpuClock::of_this_thread());
        loop {
            if line.calls.is_stopped() {
                return Stop::End(LaneEnd::Left);
            }
            *steps += 1;
            line.beat(if gives_way { LanePhase::GivingWay } else { LanePhase::Running }, *steps);
            if line.has_commands() {
                let before = now.monotonic_us;
                let followed = follow_commands(lane, line, now);
                now = read_clocks(start);
                let wall_us = now.monotonic_us - before;
                let took = Spent { wall_us, cpu_us: cpu.lap_us() };
                pace.worked(took.cpu_us, now.monotonic_us);
                pause.held_back(took);
                match followed {
                    Ok(Followed { has_settled: true }) => pause.settled(),
                    Ok(Followed { has_settled: false }) => {}
                    Err(failure) => return Stop::End(LaneEnd::Failed(failure)),
                }
            }
            if pace.gives_way() {
                back_since_us = None;
                if !gives_way && now.monotonic_us >= *renew_after_us {
                    // Before it is without a core.
                    line.beat(LanePhase::GivingWay, *steps);
                    gives_way = give_way();
                    if !gives_way {
                        *renew_after_us = now.monotonic_us + RENEW_AGAIN_US;
                    }
                }
            } else if gives_way && now.monotonic_us >= *renew_after_us {
                let since_us = *back_since_us.get_or_insert(now.monotonic_us);
                if now.monotonic_us - since_us >= BACK_AFTER_US {
                    return Stop::NewThread;
                }
            }
            let held_us = pace.held_us(now.monotonic_us);
            if held_us > 0 {
                line.beat(LanePhase::Idle, *steps);
                pace.waits(now.monotonic_us);
                thread::park_timeout(Duration::from_micros(held_us));
                now = read_clocks(start);
                pace.works(now.monotonic_us);
                pause.waited();
                continue;
            }
            if gives_way {
                thread::yield_now();
                now = read_clocks(start);
                pause.waited();
            }
            let outcome = lane.step(now);
            let before = std::mem::replace(&mut now, read_clocks(start));
            let wall_us = now.monotonic_us - before.monotonic_us;
            let took = Spent { wall_us, cpu_us: cpu.lap_us() };
            match outcome {
                Err(failure) => return Stop::End(LaneEnd::Failed(failure)),
                Ok(StepOutcome::Progress(node)) => {
                    pace.stepped(node.0, took, now.monotonic_us);
                    pause.processed();
                }
                Ok(StepOutcome::Snapshot(_)) => {
                    pace.worked(took.cpu_us, now.monotonic_us);
                    pause.held_back(took);
                }
                Ok(StepOutcome::SpareSnapshot(_)) => {
                    pace.worked(took.cpu_us, now.monotonic_us);
                    pause.spared(took);
                }
                Ok(StepOutcome::Idle { until_ms }) => {
                    line.beat(LanePhase::Idle, *steps);
                    pace.worked(took.cpu_us, now.monotonic_us);
                    pace.waits(now.monotonic_us);
                    park(until_ms, now);
                    now = read_clocks(start);
                    pace.works(now.monotonic_us);
                    pause.waited();
                }
                Ok(StepOutcome::Finished) => {
                    if !std::mem::replace(has_ended, true) {
                        report.ended();
                    }
                    line.beat(LanePhase::Idle, *steps);
                    pace.worked(took.cpu_us, now.monotonic_us);
                    pace.waits(now.monotonic_us);
                    thread::park();
                    now = read_clocks(start);
                    pace.works(now.monotonic_us);
                    pause.waited();
                }
            }
        }
    }
}

/// Lets threads of other tenants go first; answers whether the system has agreed.
fn give_way() -> bool {
    spawner::is_ready() && priority::give_way()
}

/// What following the coordinator's commands came to.
struct Followed {
    /// The checkpoint at hand is complete or given up.
    has_settled: bool,
}

/// Does what the coordinator says.
fn follow_commands(lane: &mut Lane, line: &LaneLine, now: Now) -> Result<Followed, LaneFailure> {
    let mut has_settled = false;
    for command in line.take_commands() {
        match command {
            Command::StopSources => lane.stop_sources(),
            Command::Trigger(barrier) => lane.trigger(barrier, now)?,
            Command::Rebase(node) => lane.rebase(node),
            Command::Completed(checkpoint) => {
                lane.completed(checkpoint);
                has_settled = true;
            }
            Command::Aborted(checkpoint) => {
                lane.aborted(checkpoint);
                has_settled = true;
            }
        }
    }
    Ok(Followed { has_settled })
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
    Now {
        monotonic_us: u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
        wall_ms: wall_ms(),
    }
}

/// The time of day, in milliseconds since the Unix epoch.
pub(super) fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
