//! Checkpoints, pauses, restarts and recoveries in the text format of Prometheus.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use tidemill_core::counters::HISTOGRAM_BOUNDS;

use super::metrics::JobFigures;
use super::names::{self, Name};
use crate::job::{Durability, Pauses};

/// Encodes the figures of the durability of all jobs.
pub(super) fn encode(jobs: &[JobFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut figures = Encoding { jobs, encoder };
    figures.counter(&names::CHECKPOINTS_COMPLETED, |of| of.completed)?;
    figures.counter(&names::CHECKPOINTS_ABORTED, |of| of.aborted)?;
    figures.counter(&names::RECOVERY, |of| of.sum_recovery_ms as f64 / 1e3)?;
    figures.gauge(&names::NEWEST_CHECKPOINT, |of| of.newest_checkpoint.0)?;
    figures.gauge(&names::CHECKPOINT_FULL_BYTES, |of| of.last_full_bytes)?;
    figures.gauge(&names::CHECKPOINT_DELTA_BYTES, |of| of.last_delta_bytes)?;
    figures.gauge(&names::CHECKPOINT_DURATION, |of| of.last_duration_ms as f64 / 1e3)?;
    figures.gauge(&names::ALIGNMENT, |of| of.last_alignment_us as f64 / 1e6)?;
    figures.counter(&names::STORE_SECONDS, |of| of.store_us as f64 / 1e6)?;
    figures.counter(&names::HEARTBEAT_SECONDS, |of| of.heartbeat_us as f64 / 1e6)?;
    figures.pauses()?;
    figures.restarts()?;
    figures.counter(&names::WAL_BYTES, |of| of.input_log.wal.bytes)?;
    figures.counter(&names::WAL_SYNCS, |of| of.input_log.wal.syncs)?;
    figures.counter(&names::WAL_SECONDS, |of| of.input_log.wal.sync_us_total as f64 / 1e6)?;
    figures.counter(&names::WAL_DUPLICATES, |of| of.input_log.duplicates)?;
    figures.counter(&names::WAL_REPLAYED, |of| of.input_log.replayed_records)?;
    figures.gauge(&names::WAL_SYNC_MAX, |of| of.input_log.wal.sync_us_max as f64 / 1e6)?;
    figures.gauge(&names::WAL_LAG, |of| of.input_log.wal.queue_lag_us as f64 / 1e6)?;
    figures.gauge(&names::WAL_USED, |of| of.input_log.wal.usage.used_bytes)?;
    figures.gauge(&names::WAL_QUOTA, |of| of.input_log.wal.usage.quota_bytes)?;
    figures.gauge(&names::WAL_FULL, |of| u64::from(of.input_log.wal.full.is_some()))
}

/// A scrape under way.
struct Encoding<'a, 'e> {
    jobs: &'a [JobFigures],
    encoder: &'a mut DescriptorEncoder<'e>,
}

impl Encoding<'_, '_> {
    fn counter<V: EncodeCounterValue>(
        &mut self,
        Name { name, help }: &Name,
        value: impl Fn(&Durability) -> V,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.jobs.iter().try_for_each(|job| {
            let value = value(&job.durability);
            metric.encode_family(&job.labels())?.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn gauge<V: EncodeGaugeValue>(
        &mut self,
        Name { name, help }: &Name,
        value: impl Fn(&Durability) -> V,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.jobs.iter().try_for_each(|job| {
            metric.encode_family(&job.labels())?.encode_gauge(&value(&job.durability))
        })
    }

    fn pauses(&mut self) -> fmt::Result {
        let Name { name, help } = names::PAUSE;
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        self.jobs.iter().try_for_each(|job| {
            let pauses = &job.durability.pauses;
            let (sum, count) = (pauses.sum_us as f64 / 1e6, pauses.count);
            metric.encode_family(&job.labels())?.encode_histogram::<NoLabelSet>(
                sum,
                count,
                &buckets(pauses),
                None,
            )
        })
    }

    fn restarts(&mut self) -> fmt::Result {
        let Name { name, help } = names::RESTARTS;
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for job in self.jobs {
            for (cause, count) in &job.durability.restarts {
                let [tenant, name] = job.labels();
                let labels = [tenant, name, ("cause", cause.as_str())];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(count, None)?;
            }
        }
        Ok(())
    }
}

/// Kept as so many up to each bound, in milliseconds; told as so many in each bucket, in seconds.
fn buckets(pauses: &Pauses) -> Vec<(f64, u64)> {
    let mut below = 0;
    let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(HISTOGRAM_BOUNDS.len() + 1);
    for (bound_ms, up_to) in HISTOGRAM_BOUNDS.iter().zip(pauses.buckets) {
        buckets.push((bound_ms / 1e3, up_to - below));
        below = up_to;
    }
    buckets.push((f64::MAX, pauses.count - below));
    buckets
}
