//! What a sandbox and whoever watches it say to each other while a call is under way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Shared by the sandboxes of a lane and its supervisor. Reading and writing never wait.
#[derive(Debug, Default)]
pub struct CallSignal {
    stop: AtomicBool,
    ticks: AtomicU64,
}

impl CallSignal {
    /// Interrupts the call at hand, and every later one, within a tick of the epoch.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether calls are to be interrupted.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Ticks of the epoch inside calls so far: it goes up while a guest runs, so a long call is told from a
    /// host that hangs.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Relaxed);
    }
}
