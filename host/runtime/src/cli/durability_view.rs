//! What the report says of checkpoints, the input log, pauses and recoveries.
//!
//! The ratios are shares of the time of the run: `p` input log, `s` snapshot files, `s_checkpoint` the lanes' own
//! time for snapshots, `f` failure detection, `r` recovery. The threads that they are spent on run beside
//! each other, so they need not add up to less than 1. A pause is told twice: `pause_*` by the clock on the wall,
//! `pause_cpu_*` in the lane thread's own CPU time, which leaves out what the machine gave to others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::table::{grouped, short_bytes};
use crate::job::Durability;

/// Checkpoints, pauses and restarts of this run.
#[derive(Serialize)]
pub(super) struct DurabilityView {
    resumed_from: u64,
    newest_checkpoint: u64,
    checkpoints_completed: u64,
    checkpoints_aborted: u64,
    last_duration_ms: u64,
    max_duration_ms: u64,
    mean_duration_ms: f64,
    last_full_bytes: u64,
    last_delta_bytes: u64,
    last_alignment_us: u64,
    pauses: u64,
    pause_p50_us: u64,
    pause_p99_us: u64,
    pause_max_us: u64,
    pause_cpu_p50_us: u64,
    pause_cpu_p99_us: u64,
    pause_cpu_max_us: u64,
    restarts: BTreeMap<String, u64>,
    last_recovery_ms: u64,
    records_replayed: u64,
    duplicates_suppressed: u64,
    input_log: InputLogView,
    p: f64,
    s: f64,
    s_checkpoint: f64,
    f: f64,
    r: f64,
}

/// The input log; zeros for a job without one.
#[derive(Serialize)]
struct InputLogView {
    batches: u64,
    bytes: u64,
    syncs: u64,
    sync_mean_us: f64,
    sync_max_us: u64,
    trimmed_bytes: u64,
    cut_bytes: u64,
}

impl DurabilityView {
    /// Of a run of `seconds`.
    pub(super) fn new(figures: &Durability, seconds: f64) -> Self {
        let share = |us: u64| us as f64 / 1e6 / seconds.max(1e-6);
        let (log, wal) = (&figures.input_log, &figures.input_log.wal);
        Self {
            resumed_from: figures.restored_from.0,
            newest_checkpoint: figures.newest_checkpoint.0,
            checkpoints_completed: figures.completed,
            checkpoints_aborted: figures.aborted,
            last_duration_ms: figures.last_duration_ms,
            max_duration_ms: figures.max_duration_ms,
            mean_duration_ms: mean(figures.sum_duration_ms, figures.completed),
            last_full_bytes: figures.last_full_bytes,
            last_delta_bytes: figures.last_delta_bytes,
            last_alignment_us: figures.last_alignment_us,
            pauses: figures.pauses.count,
            pause_p50_us: figures.pauses.percentile_us(0.5),
            pause_p99_us: figures.pauses.percentile_us(0.99),
            pause_max_us: figures.pauses.max_us,
            pause_cpu_p50_us: figures.cpu_pauses.percentile_us(0.5),
            pause_cpu_p99_us: figures.cpu_pauses.percentile_us(0.99),
            pause_cpu_max_us: figures.cpu_pauses.max_us,
            restarts: figures.restarts.iter().cloned().collect(),
            last_recovery_ms: figures.last_recovery_ms,
            records_replayed: log.replayed_records,
            duplicates_suppressed: log.duplicates,
            input_log: InputLogView {
                batches: wal.records,
                bytes: wal.bytes,
                syncs: wal.syncs,
                sync_mean_us: mean(wal.sync_us_total, wal.syncs),
                sync_max_us: wal.sync_us_max,
                trimmed_bytes: wal.trimmed_bytes,
                cut_bytes: log.cut_bytes,
            },
            p: share(wal.sync_us_total),
            s: share(figures.store_us),
            s_checkpoint: share(figures.checkpoint_work_us),
            f: share(figures.heartbeat_us),
            r: share(figures.sum_recovery_ms * 1000),
        }
    }

    /// Lines for people.
    pub(super) fn text(&self) -> String {
        let Self { newest_checkpoint, checkpoints_completed, pause_p99_us, .. } = self;
        let mut parts = vec![format!("checkpoint {newest_checkpoint}")];
        if self.resumed_from > 0 {
            parts.push(format!("resumed from {}", self.resumed_from));
        }
        parts.push(format!("{checkpoints_completed} completed"));
        if self.checkpoints_aborted > 0 {
            parts.push(format!("{} given up", self.checkpoints_aborted));
        }
        if *checkpoints_completed > 0 {
            parts.push(format!("pause p99 {:.2} ms", *pause_p99_us as f64 / 1000.0));
            parts.push(format!("slowest {} ms", self.max_duration_ms));
        }
        let restarts: u64 = self.restarts.values().sum();
        if restarts > 0 {
            parts.push(format!("{restarts} restarts"));
        }
        format!("  {}\n{}", parts.join(", "), self.input_log_text())
    }

    fn input_log_text(&self) -> String {
        let InputLogView { bytes, syncs, sync_mean_us, sync_max_us, .. } = self.input_log;
        if syncs == 0 && self.records_replayed == 0 {
            return String::new();
        }
        let (mean_ms, max_ms) = (sync_mean_us / 1000.0, sync_max_us as f64 / 1000.0);
        let size = short_bytes(bytes);
        let mut text = format!(
            "  input log {size} in {} syncs of {mean_ms:.2} ms, longest {max_ms:.2} ms",
            grouped(syncs)
        );
        if self.records_replayed > 0 {
            text += &format!(", {} records replayed", grouped(self.records_replayed));
        }
        if self.duplicates_suppressed > 0 {
            text += &format!(", {} lines sent again", grouped(self.duplicates_suppressed));
        }
        text + "\n"
    }
}

fn mean(sum: u64, count: u64) -> f64 {
    sum as f64 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::InputLogFigures;

    fn logged() -> Durability {
        let mut input_log = InputLogFigures { duplicates: 3, ..InputLogFigures::default() };
        input_log.replayed_records = 1_500;
        input_log.wal.bytes = 4096;
        input_log.wal.syncs = 4;
        input_log.wal.sync_us_total = 10_000;
        input_log.wal.sync_us_max = 7_000;
        let (store_us, heartbeat_us, sum_recovery_ms) = (20_000, 5_000, 30);
        Durability { input_log, store_us, heartbeat_us, sum_recovery_ms, ..Durability::default() }
    }

    #[test]
    fn the_input_log_has_a_line_when_there_is_one() {
        let text = DurabilityView::new(&logged(), 1.0).text();
        let line = "  input log 4.00 KiB in 4 syncs of 2.50 ms, longest 7.00 ms, \
                    1,500 records replayed, 3 lines sent again\n";
        assert_eq!(text, format!("  checkpoint 0, 0 completed\n{line}"));
    }

    #[test]
    fn ratios_are_shares_of_the_time_of_the_run() {
        let view = serde_json::to_value(DurabilityView::new(&logged(), 2.0)).unwrap();
        let ratios = ["p", "s", "s_checkpoint", "f", "r"].map(|name| view[name].as_f64().unwrap());
        assert_eq!(ratios, [0.005, 0.01, 0.0, 0.0025, 0.015]);
        assert_eq!(view["duplicates_suppressed"], 3);
        assert_eq!(view["input_log"]["sync_mean_us"], 2500.0);
    }
}
