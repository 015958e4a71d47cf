//! What a task counts, shared between its lane and whoever watches.
//!
//! Written by the lane once per step, read at any time; each figure is right by itself, a set of them
//! is not a snapshot.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::call::CallCost;
use crate::describe::{MetricDescription, MetricKind};

/// Upper bounds of the buckets of an operator's histogram: 1, 2 and 5 times the powers of ten.
pub const HISTOGRAM_BOUNDS: [f64; 22] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
    200.0, 500.0, 1e3, 1e4, 1e5, 1e6,
];

/// Figures of one task.
#[derive(Debug, Default)]
pub struct TaskCounters {
    /// Records taken in.
    pub records_in: AtomicU64,
    /// Records handed on.
    pub records_out: AtomicU64,
    /// Bytes of values taken in.
    pub bytes_in: AtomicU64,
    /// Bytes of output that a sink has made.
    pub bytes_out: AtomicU64,
    /// Calls of the operator, polls of the source, writes to the sink.
    pub calls: AtomicU64,
    /// Calls of the operator that were made again in a new sandbox.
    pub retries: AtomicU64,
    /// Batches that failed as a whole, and all of whose parts succeeded.
    pub batch_splits: AtomicU64,
    /// Records that were skipped or dead-lettered because they cannot be processed.
    pub poison: AtomicU64,
    /// Sandboxes made, the first one included.
    pub instantiations: AtomicU64,
    /// Batches that failed at least once as a whole.
    pub failed_batches: AtomicU64,
    /// Microseconds in steps of this task.
    pub busy_us: AtomicU64,
    /// Microseconds of CPU time in steps of this task.
    pub cpu_us: AtomicU64,
    /// The most linear memory that a sandbox of this task has had, in bytes.
    pub memory_bytes: AtomicU64,
    /// Host calls that its sandboxes have made.
    pub host_calls: AtomicU64,
    /// Bytes copied into and out of its sandboxes.
    pub copied_bytes: AtomicU64,
    /// Keys with state.
    pub keys: AtomicU64,
    /// Bytes of state.
    pub state_bytes: AtomicU64,
    /// What is left to read, where it is known, in the unit of the source's positions; plus one.
    remaining: AtomicU64,
    custom: Mutex<Vec<CustomValue>>,
}

/// The value of a metric that the operator described.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomValue {
    /// Counter: the sum. Gauge: the newest value. Histogram: the sum.
    pub value: f64,
    /// Histogram: number of values.
    pub count: u64,
    /// Histogram: number of values up to each bound.
    pub buckets: [u64; HISTOGRAM_BOUNDS.len()],
}

impl TaskCounters {
    /// Adds to a figure that only this task's lane writes.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Adds what calls have cost.
    pub fn add_cost(&self, cost: CallCost) {
        Self::add(&self.host_calls, cost.host_calls);
        Self::add(&self.copied_bytes, cost.copied_bytes);
        self.memory_bytes.fetch_max(cost.memory_bytes, Relaxed);
    }

    /// Sets what is left to read.
    pub fn set_remaining(&self, remaining: Option<u64>) {
        self.remaining.store(remaining.map_or(0, |left| left.saturating_add(1)), Relaxed);
    }

    /// What is left to read, where it is known.
    pub fn remaining(&self) -> Option<u64> {
        self.remaining.load(Relaxed).checked_sub(1)
    }

    /// Publishes what a call measured.
    pub fn publish(&self, described: &[MetricDescription], values: &[(u32, f64)]) {
        if values.is_empty() {
            return;
        }
        let mut custom = self.custom.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        custom.resize_with(described.len(), CustomValue::default);
        for &(metric, value) in values {
            let (Some(description), Some(cell)) =
                (described.get(metric as usize), custom.get_mut(metric as usize))
            else {
                continue;
            };
            match description.kind {
                MetricKind::Counter => cell.value += value.max(0.0),
                MetricKind::Gauge => cell.value = value,
                MetricKind::Histogram => {
                    cell.value += value;
                    cell.count += 1;
                    let buckets = cell.buckets.iter_mut().zip(HISTOGRAM_BOUNDS);
                    buckets.for_each(|(bucket, bound)| *bucket += u64::from(value <= bound));
                }
            }
        }
    }

    /// The values of the operator's own metrics, in the order of the description; empty before the
    /// first was published.
    pub fn custom(&self) -> Vec<CustomValue> {
        self.custom.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
