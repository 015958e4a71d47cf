//! What a sandbox and whoever watches it say to each other while a call is under way.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What is done at a tick of the epoch.
type AtTick = Box<dyn Fn(&CallSignal) + Send + Sync>;

/// Shared by the sandboxes of a lane and its supervisor. Reading and writing never wait; a call may, [at a tick](Self::at_ticks).
#[derive(Default)]
pub struct CallSignal {
    stop: AtomicBool,
    ticks: AtomicU64,
    at_tick: OnceLock<AtTick>,
}

impl CallSignal {
    /// Has this done at each tick of the epoch inside a call, on the thread of the call. It may wait as long as it likes, if it
    /// shows that it [lives](Self::lives), but not when calls [are to be interrupted](Self::is_stopped). The first one that is
    /// given stays.
    pub fn at_ticks(&self, at_tick: impl Fn(&Self) + Send + Sync + 'static) {
        self.at_tick.set(Box::new(at_tick)).ok();
    }

    /// Interrupts the call at hand, and every later one, within a tick of the epoch.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Whether calls are to be interrupted.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Ticks of the epoch inside calls so far, and signs of life of calls that wait at one: it goes up while a guest runs, so a
    /// long call is told from a host that hangs.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// A call that waits at a tick waits on purpose.
    pub fn lives(&self) {
        self.ticks.fetch_add(1, Relaxed);
    }

    pub(crate) fn tick(&self) {
        self.lives();
        if let Some(at_tick) = self.at_tick.get() {
            at_tick(self);
        }
    }
}

impl fmt::Debug for CallSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stop, ticks) = (self.is_stopped(), self.ticks());
        f.debug_struct("CallSignal")
            .field("stop", &stop)
            .field("ticks", &ticks)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_to_be_done_at_ticks_is_done_at_each_and_told_of_a_stop() {
        let (calm, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let signal = CallSignal::default();
        signal.tick();
        let counts = (calm.clone(), stopped.clone());
        signal.at_ticks(move |signal| {
            let count = if signal.is_stopped() { &counts.1 } else { &counts.0 };
            count.fetch_add(1, Relaxed);
        });
        signal.at_ticks(|_| unreachable!("the first one stays"));
        signal.tick();
        signal.tick();
        signal.stop();
        signal.tick();
        assert_eq!((calm.load(Relaxed), stopped.load(Relaxed), signal.ticks()), (2, 1, 4));
    }
}
