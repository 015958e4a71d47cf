//! The loop that drives a lane: reads the clocks, steps, passes on what the coordinator says, parks when idle, waits when
//! its tenant has had too much, and gives way when its tenant is told to.
//!
//! Makes no decision of its own, and knows of threads only that it is on one: a low priority cannot be taken back without
//! privileges, so whoever drives asks for another thread then. A lane is parked without periodic wake-ups, unless it waits for its turn to run; it is woken by
//! a batch, freed room, a connector, the coordinator, a request to stop, or the next expiry of state.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidemill_core::ids::Now;
use tidemill_core::lane::{Lane, LaneFailure, StepOutcome};

use super::lane_line::{Command, LaneLine, LanePhase};
use super::lane_pace::LanePace;
use super::pauses::{CpuClock, PauseMeter, Spent};
use crate::tenants::LOOK_AGAIN;
use crate::{machine, priority, spawner};

/// How long a lane is told that it need no longer give way before it does no longer: by then it was looked at what its
/// newest step has used, which may have taken many looks.
const BACK_AFTER_US: u64 = 250_000;
/// How long a lane keeps its priority when it could not be changed, before that is tried again.
const CHANGE_AGAIN_US: u64 = 5_000_000;

/// Drives a lane on one thread after another.
pub(super) struct LaneDriver {
    lane: Lane,
    line: Arc<LaneLine>,
    pace: LanePace,
    has_ended: bool,
    steps: u64,
    /// From when on its priority may change again; 0 until that has failed.
    change_after_us: u64,
}

/// Why a thread stops driving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The lane was told to leave.
    Left,
    /// Its low priority cannot be taken back: another thread is to go on.
    NewThread,
}

impl LaneDriver {
    pub(super) fn new(lane: Lane, line: Arc<LaneLine>, pace: LanePace) -> Self {
        let turns = pace.turns().clone();
        line.calls.at_ticks(move |calls| {
            turns.pause(|| {
                calls.lives();
                calls.is_stopped()
            });
        });
        Self { lane, line, pace, has_ended: false, steps: 0, change_after_us: 0 }
    }

    /// Whether no thread has driven it yet.
    pub(super) fn is_new(&self) -> bool {
        self.steps == 0
    }

    /// Goes on with this thread.
    pub(super) fn takes_thread(&mut self) {
        self.line.waker.set(thread::current());
        let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
        self.pace.moves_to(thread, machine::thread_cpu_us());
    }

    /// Goes on without this thread.
    pub(super) fn leaves_thread(&mut self) {
        self.pace.leaves(machine::thread_cpu_us(), machine::monotonic_us());
    }

    /// Stays at its priority for now; answers whether it has done so for the first time.
    pub(super) fn stays(&mut self) -> bool {
        let after_us = machine::monotonic_us() + CHANGE_AGAIN_US;
        std::mem::replace(&mut self.change_after_us, after_us) == 0
    }

    /// Tells of the end by `gone` and clears up, which is its tenant's to pay as well: there may be much to clear up, and a job
    /// that fails over and over does little else. Nobody goes on before this thread has ended.
    pub(super) fn end(self, gone: impl FnOnce()) {
        let Self { lane, line, mut pace, .. } = self;
        line.beat(LanePhase::Gone, 0);
        gone();
        drop(lane);
        pace.leaves(machine::thread_cpu_us(), machine::monotonic_us());
    }

    /// Drives the lane on this thread, which `gives_way` already or not; calls `all_ended` when all its tasks have ended.
    ///
    /// # Errors
    /// When a task fails.
    pub(super) fn drive(
        &mut self,
        gives_way: bool,
        all_ended: impl Fn(),
    ) -> Result<Stop, LaneFailure> {
        let line = self.line.clone();
        let mut drive = Drive {
            driver: self,
            now: read_clocks(),
            cpu: CpuClock::of_this_thread(),
            pause: PauseMeter::new(&line.pauses),
            gives_way,
            back_since_us: None,
        };
        loop {
            if let Some(stop) = drive.go_on(&all_ended)? {
                return Ok(stop);
            }
        }
    }
}

/// A thread that drives.
struct Drive<'a> {
    driver: &'a mut LaneDriver,
    now: Now,
    cpu: CpuClock,
    pause: PauseMeter<'a>,
    gives_way: bool,
    /// Since when it is told that it need not give way, while it does.
    back_since_us: Option<u64>,
}

impl Drive<'_> {
    /// Makes a step, or waits for one.
    fn go_on(&mut self, all_ended: &impl Fn()) -> Result<Option<Stop>, LaneFailure> {
        if self.driver.line.calls.is_stopped() {
            return Ok(Some(Stop::Left));
        }
        self.driver.steps += 1;
        self.beat(if self.gives_way { LanePhase::GivingWay } else { LanePhase::Running });
        if self.driver.line.has_commands() {
            self.follow_commands()?;
        }
        if self.needs_new_thread() {
            return Ok(Some(Stop::NewThread));
        }
        let held_us = self.driver.pace.held_us(self.now.monotonic_us);
        if held_us > 0 {
            self.wait(|_| thread::park_timeout(Duration::from_micros(held_us)));
            return Ok(None);
        }
        if self.gives_way && !self.let_others_go_first() {
            return Ok(None);
        }
        self.step(all_ended)?;
        Ok(None)
    }

    fn beat(&self, phase: LanePhase) {
        self.driver.line.beat(phase, self.driver.steps);
    }

    /// Reads the clocks; answers what was spent since they were last read.
    fn lap(&mut self) -> Spent {
        let now = read_clocks();
        let before = std::mem::replace(&mut self.now, now);
        Spent { wall_us: now.monotonic_us - before.monotonic_us, cpu_us: self.cpu.lap_us() }
    }

    fn follow_commands(&mut self) -> Result<(), LaneFailure> {
        let LaneDriver { lane, line, .. } = &mut *self.driver;
        let followed = follow_commands(lane, line, self.now);
        let took = self.lap();
        self.driver.pace.worked(took.cpu_us, self.now.monotonic_us);
        self.pause.held_back(took);
        if followed?.has_settled {
            self.pause.settled();
        }
        Ok(())
    }

    /// Gives way if it is told to; answers whether it is told otherwise by now, which is for another thread to do.
    fn needs_new_thread(&mut self) -> bool {
        let now_us = self.now.monotonic_us;
        let may_change = now_us >= self.driver.change_after_us;
        if self.driver.pace.gives_way() {
            self.back_since_us = None;
            if !self.gives_way && may_change {
                self.give_way();
            }
            return false;
        }
        if !self.gives_way || !may_change {
            return false;
        }
        let since_us = *self.back_since_us.get_or_insert(now_us);
        now_us - since_us >= BACK_AFTER_US
    }

    /// Lets threads of other tenants go first, if the system agrees.
    fn give_way(&mut self) {
        // Before it is without a core.
        self.beat(LanePhase::GivingWay);
        self.gives_way = spawner::is_ready() && priority::give_way();
        if !self.gives_way {
            self.driver.stays();
        }
    }

    /// Answers whether the lane may go on by now. What others do meanwhile is no work for a checkpoint.
    fn let_others_go_first(&mut self) -> bool {
        let has_turn = self.driver.pace.has_turn(self.now.monotonic_us);
        if has_turn {
            thread::yield_now();
        } else {
            thread::park_timeout(LOOK_AGAIN);
        }
        self.now = read_clocks();
        has_turn
    }

    fn step(&mut self, all_ended: &impl Fn()) -> Result<(), LaneFailure> {
        let outcome = self.driver.lane.step(self.now);
        let took = self.lap();
        let now_us = self.now.monotonic_us;
        let pace = &mut self.driver.pace;
        match outcome? {
            StepOutcome::Progress(node) => {
                pace.stepped(node.0, took, now_us);
                self.pause.processed();
            }
            StepOutcome::Snapshot(_) => {
                pace.worked(took.cpu_us, now_us);
                self.pause.held_back(took);
            }
            StepOutcome::SpareSnapshot(_) => {
                pace.worked(took.cpu_us, now_us);
                self.pause.spared(took);
            }
            StepOutcome::Idle { until_ms } => {
                pace.worked(took.cpu_us, now_us);
                self.wait(|now| park(until_ms, now));
            }
            StepOutcome::Finished => {
                pace.worked(took.cpu_us, now_us);
                if !std::mem::replace(&mut self.driver.has_ended, true) {
                    all_ended();
                }
                self.wait(|_| thread::park());
            }
        }
        Ok(())
    }

    fn wait(&mut self, park: impl FnOnce(Now)) {
        self.beat(LanePhase::Idle);
        self.driver.pace.waits(self.now.monotonic_us);
        park(self.now);
        self.now = read_clocks();
        self.driver.pace.works(self.now.monotonic_us);
        self.pause.waited();
    }
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

fn read_clocks() -> Now {
    Now { monotonic_us: machine::monotonic_us(), wall_ms: machine::wall_ms() }
}
