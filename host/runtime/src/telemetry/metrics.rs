//! A job's figures in the text format of Prometheus.
//!
//! Nothing is gathered beforehand: each scrape reads the counters of the job's tasks once.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::durability_metrics::DurabilityCollector;
use super::names::{self, Name};
use super::operator_metrics;
use crate::job::{Durability, Progress, TaskProgress};

/// The figures of one job, read when asked for.
pub struct JobMetrics {
    registry: Registry,
}

impl JobMetrics {
    /// The figures of `job`, read by `progress`.
    pub fn new(
        job: &str,
        progress: impl Fn() -> Progress + Send + Sync + 'static,
        durability: impl Fn() -> Durability + Send + Sync + 'static,
    ) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register(names::BUILD.name, names::BUILD.help, build);
        let progress = Box::new(progress);
        registry.register_collector(Box::new(JobCollector { job: job.to_owned(), progress }));
        let durability = Box::new(durability);
        let collector = DurabilityCollector { job: job.to_owned(), durability };
        registry.register_collector(Box::new(collector));
        Self { registry }
    }

    /// All figures as they are now.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

struct JobCollector {
    job: String,
    progress: Box<dyn Fn() -> Progress + Send + Sync>,
}

impl fmt::Debug for JobCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCollector").field("job", &self.job).finish_non_exhaustive()
    }
}

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let progress = (self.progress)();
        self.encode_job(&progress, &mut encoder)?;
        self.counter(&mut encoder, &progress, &names::RECORDS_IN, |task| task.records_in)?;
        self.counter(&mut encoder, &progress, &names::RECORDS_OUT, |task| task.records_out)?;
        self.counter(&mut encoder, &progress, &names::CALLS, |task| task.calls)?;
        self.counter(&mut encoder, &progress, &names::RETRIES, |task| task.retries)?;
        self.counter(&mut encoder, &progress, &names::BATCH_SPLITS, |task| task.batch_splits)?;
        self.counter(&mut encoder, &progress, &names::POISON, |task| task.poison)?;
        self.counter(&mut encoder, &progress, &names::SANDBOXES, |task| task.instantiations)?;
        self.counter(&mut encoder, &progress, &names::BUSY, |task| task.busy_us as f64 / 1e6)?;
        self.gauge(&mut encoder, &progress, &names::STATE_BYTES, |task| task.state_bytes)?;
        self.gauge(&mut encoder, &progress, &names::KEYS, |task| task.keys)?;
        operator_metrics::encode(&self.job, &progress, &mut encoder)
    }
}

impl JobCollector {
    fn encode_job(&self, progress: &Progress, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = [("job", self.job.as_str())];
        let counters = [
            (&names::JOB_RECORDS_IN, progress.records_in),
            (&names::JOB_RECORDS_OUT, progress.records_out),
            (&names::JOB_BYTES_IN, progress.bytes_in),
        ];
        for (Name { name, help }, value) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            put_counter(&mut metric.encode_family(&labels)?, value)?;
        }
        let Some(remaining) = progress.remaining else { return Ok(()) };
        let Name { name, help } = names::JOB_REMAINING;
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_family(&labels)?.encode_gauge(&remaining)
    }

    fn counter<V: EncodeCounterValue>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        progress: &Progress,
        name: &Name,
        value: impl Fn(&TaskProgress) -> V,
    ) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(name.name, name.help, None, MetricType::Counter)?;
        progress.tasks.iter().try_for_each(|task| {
            self.with_labels(&mut metric, task, |mut metric| put_counter(&mut metric, value(task)))
        })
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        progress: &Progress,
        name: &Name,
        value: impl Fn(&TaskProgress) -> u64,
    ) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(name.name, name.help, None, MetricType::Gauge)?;
        progress.tasks.iter().try_for_each(|task| {
            self.with_labels(&mut metric, task, |mut metric| metric.encode_gauge(&value(task)))
        })
    }

    fn with_labels(
        &self,
        metric: &mut MetricEncoder<'_>,
        task: &TaskProgress,
        put: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let lane = task.lane.to_string();
        let labels = [
            ("job", self.job.as_str()),
            ("node", &task.node),
            ("kind", task.kind),
            ("lane", &lane),
        ];
        put(metric.encode_family(&labels)?)
    }
}

fn put_counter(metric: &mut MetricEncoder<'_>, value: impl EncodeCounterValue) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let task = TaskProgress {
            node: "count".to_owned(),
            kind: "operator",
            lane: 1,
            records_in: 7,
            records_out: 5,
            calls: 2,
            retries: 1,
            batch_splits: 0,
            poison: 2,
            instantiations: 2,
            busy_us: 1_500_000,
            state_bytes: 64,
            keys: 3,
            metrics: Vec::new(),
        };
        Progress {
            records_in: 7,
            records_out: 5,
            bytes_in: 70,
            state_bytes: 64,
            keys: 3,
            remaining: Some(9),
            tasks: vec![task],
        }
    }

    #[test]
    fn every_figure_is_there_under_its_name() {
        let text = JobMetrics::new("word-count", progress, Durability::default).render();
        let task = "{job=\"word-count\",node=\"count\",kind=\"operator\",lane=\"1\"}";
        for line in [
            format!("tidemill_records_in_total{task} 7"),
            format!("tidemill_records_out_total{task} 5"),
            format!("tidemill_calls_total{task} 2"),
            format!("tidemill_retries_total{task} 1"),
            format!("tidemill_poison_records_total{task} 2"),
            format!("tidemill_sandboxes_total{task} 2"),
            format!("tidemill_busy_seconds_total{task} 1.5"),
            format!("tidemill_state_bytes{task} 64"),
            format!("tidemill_keys{task} 3"),
            "tidemill_job_records_in_total{job=\"word-count\"} 7".to_owned(),
            "tidemill_job_records_out_total{job=\"word-count\"} 5".to_owned(),
            "tidemill_job_bytes_in_total{job=\"word-count\"} 70".to_owned(),
            "tidemill_job_remaining{job=\"word-count\"} 9".to_owned(),
            "tidemill_checkpoints_completed_total{job=\"word-count\"} 0".to_owned(),
            format!("tidemill_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let progress = || Progress { remaining: None, ..progress() };
        assert!(
            !JobMetrics::new("a", progress, Durability::default).render().contains("remaining")
        );
    }
}
