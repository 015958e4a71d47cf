//! Switches of the world: how often a source may be polled, or a sink written to, until it has to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A switch that the world opens for a number of uses.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicU64>);

impl Gate {
    /// Whether it may be used.
    pub fn is_open(&self) -> bool {
        self.0.load(SeqCst) > 0
    }

    /// Lets it be used so many times.
    pub fn open(&self, uses: u64) {
        self.0.store(uses, SeqCst);
    }

    /// Uses it once.
    pub fn pass(&self) {
        self.0.fetch_update(SeqCst, SeqCst, |uses| Some(uses.saturating_sub(1))).ok();
    }
}
