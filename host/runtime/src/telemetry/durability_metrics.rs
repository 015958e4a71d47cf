//! Checkpoints, pauses, restarts and recoveries in the text format of Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use tidemill_core::counters::HISTOGRAM_BOUNDS;

use super::names::{self, Name};
use crate::job::{Durability, InputLogFigures};

/// The figures of one job's durability, read when asked for.
pub(super) struct DurabilityCollector {
    pub(super) job: String,
    pub(super) durability: Box<dyn Fn() -> Durability + Send + Sync>,
}

impl fmt::Debug for DurabilityCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurabilityCollector").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Collector for DurabilityCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = (self.durability)();
        let encoder = &mut encoder;
        self.counter(encoder, &names::CHECKPOINTS_COMPLETED, figures.completed)?;
        self.counter(encoder, &names::CHECKPOINTS_ABORTED, figures.aborted)?;
        self.counter(encoder, &names::RECOVERY, figures.sum_recovery_ms as f64 / 1e3)?;
        self.gauge(encoder, &names::NEWEST_CHECKPOINT, figures.newest_checkpoint.0)?;
        self.gauge(encoder, &names::CHECKPOINT_FULL_BYTES, figures.last_full_bytes)?;
        self.gauge(encoder, &names::CHECKPOINT_DELTA_BYTES, figures.last_delta_bytes)?;
        let duration_s = figures.last_duration_ms as f64 / 1e3;
        self.gauge(encoder, &names::CHECKPOINT_DURATION, duration_s)?;
        self.gauge(encoder, &names::ALIGNMENT, figures.last_alignment_us as f64 / 1e6)?;
        self.counter(encoder, &names::STORE_SECONDS, figures.store_us as f64 / 1e6)?;
        self.counter(encoder, &names::HEARTBEAT_SECONDS, figures.heartbeat_us as f64 / 1e6)?;
        self.pauses(encoder, &figures)?;
        self.restarts(encoder, &figures)?;
        self.input_log(encoder, &figures.input_log)
    }
}

impl DurabilityCollector {
    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        Name { name, help }: &Name,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        let labels = [("job", self.job.as_str())];
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        Name { name, help }: &Name,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        let labels = [("job", self.job.as_str())];
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_family(&labels)?.encode_gauge(&value)
    }

    fn input_log(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        figures: &InputLogFigures,
    ) -> fmt::Result {
        let wal = &figures.wal;
        self.counter(encoder, &names::WAL_BYTES, wal.bytes)?;
        self.counter(encoder, &names::WAL_SYNCS, wal.syncs)?;
        self.counter(encoder, &names::WAL_SECONDS, wal.sync_us_total as f64 / 1e6)?;
        self.counter(encoder, &names::WAL_DUPLICATES, figures.duplicates)?;
        self.counter(encoder, &names::WAL_REPLAYED, figures.replayed_records)?;
        self.gauge(encoder, &names::WAL_SYNC_MAX, wal.sync_us_max as f64 / 1e6)?;
        self.gauge(encoder, &names::WAL_LAG, wal.queue_lag_us as f64 / 1e6)?;
        self.gauge(encoder, &names::WAL_USED, wal.usage.used_bytes)?;
        self.gauge(encoder, &names::WAL_QUOTA, wal.usage.quota_bytes)?;
        self.gauge(encoder, &names::WAL_FULL, u64::from(wal.full.is_some()))
    }

    fn pauses(&self, encoder: &mut DescriptorEncoder<'_>, figures: &Durability) -> fmt::Result {
        let Name { name, help } = names::PAUSE;
        let pauses = &figures.pauses;
        // Kept as so many up to each bound, in milliseconds; told as so many in each bucket, in seconds.
        let mut below = 0;
        let mut buckets: Vec<(f64, u64)> = Vec::with_capacity(HISTOGRAM_BOUNDS.len() + 1);
        for (bound_ms, up_to) in HISTOGRAM_BOUNDS.iter().zip(pauses.buckets) {
            buckets.push((bound_ms / 1e3, up_to - below));
            below = up_to;
        }
        buckets.push((f64::MAX, pauses.count - below));
        let labels = [("job", self.job.as_str())];
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let sum = pauses.sum_us as f64 / 1e6;
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            sum,
            pauses.count,
            &buckets,
            None,
        )
    }

    fn restarts(&self, encoder: &mut DescriptorEncoder<'_>, figures: &Durability) -> fmt::Result {
        let Name { name, help } = names::RESTARTS;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        figures.restarts.iter().try_for_each(|(cause, count)| {
            let labels = [("job", self.job.as_str()), ("cause", cause.as_str())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(count, None)
        })
    }
}
