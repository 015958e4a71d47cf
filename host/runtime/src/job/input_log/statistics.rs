//! What the input log has done, over all incarnations of the job in this process.
//!
//! Owns the handle of the log that is written, so that its figures can be read at any time. Nothing is decided
//! here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tidemill_storage::wal::{Wal, WalStatistics};

use crate::connectors::logged::ReplayCounts;
use crate::job::lock;

/// Figures of a job's input log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputLogFigures {
    /// Sums over all incarnations in this process, but for what waits, is in use or is durable: that is as of
    /// now.
    pub wal: WalStatistics,
    /// Lines that clients sent again, and that were dropped.
    pub duplicates: u64,
    /// Batches that were logged before and were processed again, or for the first time.
    pub replayed_batches: u64,
    /// Records in them.
    pub replayed_records: u64,
    /// Bytes that a crash had left at the end of the log without making them durable, and that were cut off.
    pub cut_bytes: u64,
}

/// The figures, and the log that they come from.
#[derive(Default)]
pub(in crate::job) struct InputLogStatistics {
    wal: Mutex<Logs>,
    pub(super) duplicates: Arc<AtomicU64>,
    pub(super) replayed: Arc<ReplayCounts>,
    pub(super) cut_bytes: AtomicU64,
}

#[derive(Default)]
struct Logs {
    open: Option<Wal>,
    /// Of those that have ended.
    ended: WalStatistics,
}

impl InputLogStatistics {
    /// The figures of now.
    pub(in crate::job) fn read(&self) -> InputLogFigures {
        let logs = lock(&self.wal);
        let wal = match &logs.open {
            Some(open) => join(logs.ended, open.statistics()),
            None => logs.ended,
        };
        InputLogFigures {
            wal,
            duplicates: self.duplicates.load(Relaxed),
            replayed_batches: self.replayed.batches.load(Relaxed),
            replayed_records: self.replayed.records.load(Relaxed),
            cut_bytes: self.cut_bytes.load(Relaxed),
        }
    }

    /// A log has begun.
    pub(super) fn set_wal(&self, wal: Wal) {
        lock(&self.wal).open = Some(wal);
    }

    /// Does something with the log that is written, if there is one. Must not wait.
    pub(super) fn with_wal(&self, act: impl FnOnce(&Wal)) {
        if let Some(wal) = &lock(&self.wal).open {
            act(wal);
        }
    }

    /// Takes the log out, to end it.
    pub(super) fn take_wal(&self) -> Option<Wal> {
        let mut logs = lock(&self.wal);
        let wal = logs.open.take()?;
        logs.ended = join(logs.ended, wal.statistics());
        logs.ended.full = None;
        Some(wal)
    }
}

/// The sums of two logs, and what is true of the later.
fn join(ended: WalStatistics, open: WalStatistics) -> WalStatistics {
    WalStatistics {
        records: ended.records + open.records,
        bytes: ended.bytes + open.bytes,
        syncs: ended.syncs + open.syncs,
        sync_us_total: ended.sync_us_total + open.sync_us_total,
        sync_us_max: ended.sync_us_max.max(open.sync_us_max),
        trimmed_bytes: ended.trimmed_bytes + open.trimmed_bytes,
        ..open
    }
}
