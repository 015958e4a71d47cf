//! The line between a lane's thread and whoever looks after it: commands to the lane, its waking, and its signs of life.
//!
//! Owns what both sides share, and nothing of either: not what a command comes to, nor when a lane is late. Invariant: a lane
//! that is told something is woken after it can see what.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use tidemill_core::checkpoint::Barrier;
use tidemill_core::connector::Wake;
use tidemill_core::ids::{CheckpointId, NodeId};
use tidemill_sandbox::CallSignal;

use super::pauses::LanePauses;

/// Unparks the lane's thread, once there is one.
#[derive(Default)]
pub(super) struct LaneWaker {
    thread: Mutex<Option<Thread>>,
}

impl LaneWaker {
    pub(super) fn set(&self, thread: Thread) {
        *lock(&self.thread) = Some(thread);
    }
}

impl Wake for LaneWaker {
    fn wake(&self) {
        // Before a thread has set itself, it has not looked for a step either: nothing is missed.
        let thread = lock(&self.thread).clone();
        // Not while it is locked: whoever wakes up may take the core of this thread.
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

/// What the coordinator says to a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    StopSources,
    Trigger(Barrier),
    /// The next snapshot of an operator is to be a base.
    Rebase(NodeId),
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
    /// It has ended; its thread clears up, at the most.
    Gone = 2,
    /// It makes steps as far as others leave it a core.
    GivingWay = 3,
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
        lock(&self.commands).push_back(command);
        self.has_commands.store(true, SeqCst);
        self.waker.wake();
    }

    pub(super) fn has_commands(&self) -> bool {
        self.has_commands.load(SeqCst)
    }

    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        self.has_commands.store(false, SeqCst);
        std::mem::take(&mut *lock(&self.commands))
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
            2 => LanePhase::Gone,
            _ => LanePhase::GivingWay,
        };
        (phase, (pulse >> 2).wrapping_add(self.calls.ticks()))
    }

    pub(super) fn beat(&self, phase: LanePhase, steps: u64) {
        self.pulse.store(steps << 2 | phase as u64, Relaxed);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
