//! The thread that drives a lane: reads the clocks, steps, passes on what the coordinator says, parks
//! when idle.
//!
//! Makes no decision of its own. A lane is parked without periodic wake-ups; it is woken by a batch,
//! freed room, a connector, the coordinator, a request to stop, or the next expiry of state.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_core::checkpoint::Barrier;
use tidemill_core::connector::Wake;
use tidemill_core::counters::TaskCounters;
use tidemill_core::ids::{CheckpointId, Now};
use tidemill_core::lane::{Lane, LaneFailure, StepOutcome};
use tidemill_core::limits::LANE_STACK_BYTES;
use tidemill_sandbox::CallSignal;

use super::pauses::{CpuClock, LanePauses, PauseMeter, Spent};

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

/// What the coordinator says to a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    StopSources,
    Trigger(Barrier),
    Completed(CheckpointId),
    Aborted(CheckpointId),
}

/// What a lane is doing, for whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum LanePhase {
    /// It makes steps: its progress must advance.
    Running = 0,
    /// It is parked: nothing can be done before it is woken.
    Idle = 1,
    /// Its thread has ended.
    Gone = 2,
}

/// One lane's end of the supervisor.
#[derive(Default)]
pub(super) struct LaneLine {
    commands: Mutex<VecDeque<Command>>,
    /// Readable without the lock, once a step.
    has_commands: AtomicBool,
    /// Lanes leave at once when it stops; shared with the sandboxes, whose calls it interrupts.
    pub(super) calls: Arc<CallSignal>,
    pub(super) waker: Arc<LaneWaker>,
    /// Steps made, shifted over the [`LanePhase`].
    pulse: AtomicU64,
    pub(super) pauses: LanePauses,
}

impl LaneLine {
    /// Tells the lane something, and wakes it.
    pub(super) fn tell(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.has_commands.store(true, SeqCst);
        self.waker.wake();
    }

    fn has_commands(&self) -> bool {
        self.has_commands.load(SeqCst)
    }

    fn take_commands(&self) -> VecDeque<Command> {
        self.has_commands.store(false, SeqCst);
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the lane leave at once.
    pub(super) fn send_away(&self) {
        self.calls.stop();
        self.waker.wake();
    }

    /// What the lane is doing, and a number that changes with every step and with every tick inside a call.
    pub(super) fn pulse(&self) -> (LanePhase, u64) {
        let pulse = self.pulse.load(Relaxed);
        let phase = match pulse & 3 {
            0 => LanePhase::Running,
            1 => LanePhase::Idle,
            _ => LanePhase::Gone,
        };
        (phase, (pulse >> 2).wrapping_add(self.calls.ticks()))
    }

    fn beat(&self, phase: LanePhase, steps: u64) {
        self.pulse.store(steps << 2 | phase as u64, Relaxed);
    }
}

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

    /// The thread is done; the last thing it does.
    fn gone(&self, end: LaneEnd);
}

/// Starts a lane.
pub(super) fn start(
    job: &str,
    lane: Lane,
    line: Arc<LaneLine>,
    report: impl LaneReport,
) -> std::io::Result<JoinHandle<()>> {
    let name: String = format!("{}/{job}", lane.id()).chars().take(15).collect();
    let body = move || {
        line.waker.thread.get_or_init(thread::current);
        let end = match catch_unwind(AssertUnwindSafe(|| drive(lane, &line, &report))) {
            Ok(end) => end,
            Err(panic) => LaneEnd::Panicked(panic_message(&*panic)),
        };
        line.beat(LanePhase::Gone, 0);
        report.gone(end);
    };
    thread::Builder::new().name(name).stack_size(LANE_STACK_BYTES).spawn(body)
}

fn drive(mut lane: Lane, line: &LaneLine, report: &impl LaneReport) -> LaneEnd {
    let start = Instant::now();
    let counters: Vec<Arc<TaskCounters>> = lane.counters().cloned().collect();
    let (mut has_ended, mut steps) = (false, 0);
    let mut now = read_clocks(start);
    let (mut pause, mut cpu) = (PauseMeter::new(&line.pauses), CpuClock::default());
    let mut is_under_way = false;
    loop {
        if line.calls.is_stopped() {
            return LaneEnd::Left;
        }
        steps += 1;
        line.beat(LanePhase::Running, steps);
        if line.has_commands() {
            let before = now.monotonic_us;
            cpu.start();
            let followed = follow_commands(&mut lane, line, now, &mut is_under_way);
            now = read_clocks(start);
            let wall_us = now.monotonic_us - before;
            pause.held_back(Spent { wall_us, cpu_us: cpu.lap_us() });
            match followed {
                Ok(Followed { has_settled: true }) => pause.settled(),
                Ok(Followed { has_settled: false }) => {}
                Err(failure) => return LaneEnd::Failed(failure),
            }
            if !is_under_way {
                cpu.stop();
            }
        }
        let outcome = lane.step(now);
        let before = std::mem::replace(&mut now, read_clocks(start));
        let wall_us = now.monotonic_us - before.monotonic_us;
        let took = Spent { wall_us, cpu_us: cpu.lap_us() };
        match outcome {
            Err(failure) => return LaneEnd::Failed(failure),
            Ok(StepOutcome::Progress(node)) => {
                TaskCounters::add(&counters[node.0].busy_us, wall_us);
                pause.processed();
            }
            Ok(StepOutcome::Snapshot(_)) => pause.held_back(took),
            Ok(StepOutcome::SpareSnapshot(_)) => pause.spared(took),
            Ok(StepOutcome::Idle { until_ms }) => {
                line.beat(LanePhase::Idle, steps);
                park(until_ms, now);
                now = read_clocks(start);
                cpu.lap_us();
                pause.waited();
            }
            Ok(StepOutcome::Finished) => {
                if !std::mem::replace(&mut has_ended, true) {
                    report.ended();
                }
                line.beat(LanePhase::Idle, steps);
                thread::park();
                now = read_clocks(start);
                cpu.lap_us();
                pause.waited();
            }
        }
    }
}

/// What following the coordinator's commands came to.
struct Followed {
    /// The checkpoint at hand is complete or given up.
    has_settled: bool,
}

/// Does what the coordinator says. Afterwards `is_under_way` says whether a checkpoint is.
fn follow_commands(
    lane: &mut Lane,
    line: &LaneLine,
    now: Now,
    is_under_way: &mut bool,
) -> Result<Followed, LaneFailure> {
    let mut has_settled = false;
    for command in line.take_commands() {
        match command {
            Command::StopSources => lane.stop_sources(),
            Command::Trigger(barrier) => {
                *is_under_way = true;
                lane.trigger(barrier, now)?;
            }
            Command::Completed(checkpoint) => {
                lane.completed(checkpoint);
                (has_settled, *is_under_way) = (true, false);
            }
            Command::Aborted(checkpoint) => {
                lane.aborted(checkpoint);
                (has_settled, *is_under_way) = (true, false);
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
