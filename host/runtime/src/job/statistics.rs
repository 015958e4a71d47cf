//! What a job's durability costs and how it fares: the figures of checkpoints, restarts and recoveries.
//!
//! Owns the sums over all incarnations of the job in this process. Read at any time for metrics and the
//! report; nothing is decided by them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidemill_core::checkpoint::coordinator::Completion;
use tidemill_core::counters::HISTOGRAM_BOUNDS;
use tidemill_core::ids::CheckpointId;

use super::InputLogFigures;
use super::lane_line::LaneLine;

/// Figures of a job's durability. Times in microseconds unless the name says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Durability {
    /// The checkpoint that this process began from; 0 is the beginning.
    pub restored_from: CheckpointId,
    /// The newest complete checkpoint.
    pub newest_checkpoint: CheckpointId,
    /// Checkpoints completed.
    pub completed: u64,
    /// Checkpoints given up.
    pub aborted: u64,
    /// Milliseconds from trigger to manifest of the newest, of all together, and of the slowest.
    pub last_duration_ms: u64,
    /// See `last_duration_ms`.
    pub sum_duration_ms: u64,
    /// See `last_duration_ms`.
    pub max_duration_ms: u64,
    /// Bytes of all snapshot files of the newest, and of those that it added.
    pub last_full_bytes: u64,
    /// See `last_full_bytes`.
    pub last_delta_bytes: u64,
    /// Longest alignment of a task in the newest.
    pub last_alignment_us: u64,
    /// For each barrier and lane the longest time in which ready input was not processed because of the
    /// checkpoint.
    pub pauses: Pauses,
    /// The same in the lane thread's own CPU time.
    pub cpu_pauses: Pauses,
    /// Time that lanes have spent on checkpoints: barriers, slices and settling.
    pub checkpoint_work_us: u64,
    /// Restarts, by cause.
    pub restarts: Vec<(String, u64)>,
    /// Milliseconds that the last recovery took: from the failure, or the start of the process, to running
    /// lanes.
    pub last_recovery_ms: u64,
    /// Milliseconds of all recoveries.
    pub sum_recovery_ms: u64,
    /// Time in which snapshot files were sorted, compressed, written and synced, beside the lanes.
    pub store_us: u64,
    /// Time in which lanes were watched for signs of life.
    pub heartbeat_us: u64,
    /// The input log; zeros for a job that has none.
    pub input_log: InputLogFigures,
}

/// A distribution of pauses.
#[derive(Clone, Debug, Default)]
pub struct Pauses {
    /// How many were up to each of [`HISTOGRAM_BOUNDS`] milliseconds.
    pub buckets: [u64; HISTOGRAM_BOUNDS.len()],
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// The longest.
    pub max_us: u64,
    /// All of them, as long as there are few, for exact percentiles.
    recent_us: Vec<u64>,
}

/// Pauses that are kept one by one.
const RECENT_MAX: usize = 16_384;

impl Pauses {
    fn add(&mut self, pause_us: u64) {
        let pause_ms = pause_us as f64 / 1000.0;
        for (bucket, bound) in self.buckets.iter_mut().zip(HISTOGRAM_BOUNDS) {
            *bucket += u64::from(pause_ms <= bound);
        }
        self.count += 1;
        self.sum_us += pause_us;
        self.max_us = self.max_us.max(pause_us);
        if self.recent_us.len() < RECENT_MAX {
            self.recent_us.push(pause_us);
        }
    }

    /// The pause that `share` of all pauses do not exceed, over the first 16,384.
    pub fn percentile_us(&self, share: f64) -> u64 {
        let mut sorted = self.recent_us.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }
}

/// The figures, shared.
#[derive(Default)]
pub(super) struct Statistics {
    figures: Mutex<Durability>,
    /// See [`Durability::store_us`].
    pub(super) store_us: Arc<AtomicU64>,
    /// See [`Durability::heartbeat_us`].
    pub(super) heartbeat_us: AtomicU64,
}

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Durability> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self) -> Durability {
        Durability {
            store_us: self.store_us.load(Relaxed),
            heartbeat_us: self.heartbeat_us.load(Relaxed),
            ..self.lock().clone()
        }
    }

    pub(super) fn restored(&self, from: CheckpointId, took: Duration, is_first: bool) {
        let mut figures = self.lock();
        figures.newest_checkpoint = from;
        if is_first {
            figures.restored_from = from;
        }
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        figures.last_recovery_ms = took_ms;
        figures.sum_recovery_ms += took_ms;
    }

    pub(super) fn completed(
        &self,
        completion: &Completion,
        full_bytes: u64,
        lanes: &[Arc<LaneLine>],
    ) {
        let mut figures = self.lock();
        figures.newest_checkpoint = completion.checkpoint;
        figures.completed += 1;
        figures.last_duration_ms = completion.duration_ms;
        figures.sum_duration_ms += completion.duration_ms;
        figures.max_duration_ms = figures.max_duration_ms.max(completion.duration_ms);
        figures.last_full_bytes = full_bytes;
        figures.last_delta_bytes = completion.added_bytes;
        figures.last_alignment_us = completion.alignment_us;
        figures.checkpoint_work_us +=
            lanes.iter().map(|lane| lane.pauses.take_work_us()).sum::<u64>();
        for pause in lanes.iter().flat_map(|lane| lane.pauses.take()) {
            figures.pauses.add(pause.wall_us);
            figures.cpu_pauses.add(pause.cpu_us);
        }
    }

    pub(super) fn aborted(&self) {
        self.lock().aborted += 1;
    }

    pub(super) fn restarted(&self, cause: &str) {
        let restarts = &mut self.lock().restarts;
        match restarts.iter_mut().find(|(name, _)| name == cause) {
            Some((_, count)) => *count += 1,
            None => restarts.push((cause.to_owned(), 1)),
        }
    }
}
