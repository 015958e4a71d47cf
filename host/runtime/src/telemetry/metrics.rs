//! The figures of all jobs of this process in the text format of Prometheus.
//!
//! Nothing is gathered beforehand: each scrape reads the counters of the jobs' tasks once. A name is written once,
//! with the values of all jobs under it.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::durability_metrics;
use super::names::{self, Name};
use super::operator_metrics;
use super::tenant_metrics;
use crate::job::{Durability, Progress, TaskProgress};
use crate::tenants::Tenants;

/// What is told of one job.
#[derive(Clone, Debug, Default)]
pub struct JobFigures {
    /// Owner of the job.
    pub tenant: String,
    /// Name of the job.
    pub job: String,
    /// The figures of its tasks.
    pub progress: Progress,
    /// Checkpoints, restarts, the input log.
    pub durability: Durability,
}

impl JobFigures {
    /// The labels of a figure of the whole job.
    pub(super) fn labels(&self) -> [(&'static str, &str); 2] {
        [("tenant", &self.tenant), ("job", &self.job)]
    }
}

/// The figures of all jobs, read when asked for.
pub struct JobMetrics {
    registry: Registry,
}

impl JobMetrics {
    /// The figures that `read` answers at each scrape, and those of `tenants`.
    pub fn new(
        read: impl Fn() -> Vec<JobFigures> + Send + Sync + 'static,
        tenants: Arc<Tenants>,
    ) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register(names::BUILD.name, names::BUILD.help, build);
        registry.register_collector(Box::new(JobCollector { read: Box::new(read), tenants }));
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
    read: Box<dyn Fn() -> Vec<JobFigures> + Send + Sync>,
    tenants: Arc<Tenants>,
}

impl fmt::Debug for JobCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobCollector").finish_non_exhaustive()
    }
}

impl Collector for JobCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let jobs = &(self.read)();
        let encoder = &mut encoder;
        encode_jobs(jobs, encoder)?;
        counter(encoder, jobs, &names::RECORDS_IN, |task| task.records_in)?;
        counter(encoder, jobs, &names::RECORDS_OUT, |task| task.records_out)?;
        counter(encoder, jobs, &names::CALLS, |task| task.calls)?;
        counter(encoder, jobs, &names::RETRIES, |task| task.retries)?;
        counter(encoder, jobs, &names::BATCH_SPLITS, |task| task.batch_splits)?;
        counter(encoder, jobs, &names::POISON, |task| task.poison)?;
        counter(encoder, jobs, &names::SANDBOXES, |task| task.instantiations)?;
        counter(encoder, jobs, &names::BUSY, |task| task.busy_us as f64 / 1e6)?;
        counter(encoder, jobs, &names::CPU, |task| task.cpu_us as f64 / 1e6)?;
        counter(encoder, jobs, &names::HOST_CALLS, |task| task.host_calls)?;
        counter(encoder, jobs, &names::COPIED_BYTES, |task| task.copied_bytes)?;
        gauge(encoder, jobs, &names::MEMORY_BYTES, |task| task.memory_bytes)?;
        gauge(encoder, jobs, &names::STATE_BYTES, |task| task.state_bytes)?;
        gauge(encoder, jobs, &names::KEYS, |task| task.keys)?;
        operator_metrics::encode(jobs, encoder)?;
        durability_metrics::encode(jobs, encoder)?;
        tenant_metrics::encode(&self.tenants.live(), encoder)
    }
}

fn encode_jobs(jobs: &[JobFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    type Value = fn(&Progress) -> u64;
    let counters: [(&Name, Value); 3] = [
        (&names::JOB_RECORDS_IN, |progress| progress.records_in),
        (&names::JOB_RECORDS_OUT, |progress| progress.records_out),
        (&names::JOB_BYTES_IN, |progress| progress.bytes_in),
    ];
    for (Name { name, help }, value) in counters {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for job in jobs {
            put_counter(&mut metric.encode_family(&job.labels())?, value(&job.progress))?;
        }
    }
    let known: Vec<_> =
        jobs.iter().filter_map(|job| Some((job, job.progress.remaining?))).collect();
    if known.is_empty() {
        return Ok(());
    }
    let Name { name, help } = names::JOB_REMAINING;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    known.iter().try_for_each(|(job, remaining)| {
        metric.encode_family(&job.labels())?.encode_gauge(remaining)
    })
}

fn counter<V: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    jobs: &[JobFigures],
    Name { name, help }: &Name,
    value: impl Fn(&TaskProgress) -> V,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    each_task(&mut metric, jobs, |mut metric, task| put_counter(&mut metric, value(task)))
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    jobs: &[JobFigures],
    Name { name, help }: &Name,
    value: impl Fn(&TaskProgress) -> u64,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    each_task(&mut metric, jobs, |mut metric, task| metric.encode_gauge(&value(task)))
}

fn each_task(
    metric: &mut MetricEncoder<'_>,
    jobs: &[JobFigures],
    put: impl Fn(MetricEncoder<'_>, &TaskProgress) -> fmt::Result,
) -> fmt::Result {
    for job in jobs {
        for task in &job.progress.tasks {
            let lane = task.lane.to_string();
            let [tenant, name] = job.labels();
            let labels =
                [tenant, name, ("node", &*task.node), ("kind", task.kind), ("lane", &*lane)];
            put(metric.encode_family(&labels)?, task)?;
        }
    }
    Ok(())
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
            cpu_us: 500_000,
            memory_bytes: 65_536,
            host_calls: 11,
            copied_bytes: 99,
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

    fn render(jobs: &[(&str, Progress)]) -> String {
        let figures = jobs.iter().map(|(job, progress)| JobFigures {
            tenant: "acme".to_owned(),
            job: (*job).to_owned(),
            progress: progress.clone(),
            durability: Durability::default(),
        });
        let figures: Vec<JobFigures> = figures.collect();
        JobMetrics::new(move || figures.clone(), Arc::default()).render()
    }

    #[test]
    fn every_figure_is_there_under_its_name() {
        let text = render(&[("word-count", progress())]);
        let task =
            "{tenant=\"acme\",job=\"word-count\",node=\"count\",kind=\"operator\",lane=\"1\"}";
        let job = "{tenant=\"acme\",job=\"word-count\"}";
        for line in [
            format!("tidemill_records_in_total{task} 7"),
            format!("tidemill_records_out_total{task} 5"),
            format!("tidemill_calls_total{task} 2"),
            format!("tidemill_retries_total{task} 1"),
            format!("tidemill_poison_records_total{task} 2"),
            format!("tidemill_sandboxes_total{task} 2"),
            format!("tidemill_busy_seconds_total{task} 1.5"),
            format!("tidemill_cpu_seconds_total{task} 0.5"),
            format!("tidemill_host_calls_total{task} 11"),
            format!("tidemill_copied_bytes_total{task} 99"),
            format!("tidemill_sandbox_memory_bytes{task} 65536"),
            format!("tidemill_state_bytes{task} 64"),
            format!("tidemill_keys{task} 3"),
            format!("tidemill_job_records_in_total{job} 7"),
            format!("tidemill_job_records_out_total{job} 5"),
            format!("tidemill_job_bytes_in_total{job} 70"),
            format!("tidemill_job_remaining{job} 9"),
            format!("tidemill_checkpoints_completed_total{job} 0"),
            format!("tidemill_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let progress = Progress { remaining: None, ..progress() };
        assert!(!render(&[("a", progress)]).contains("remaining"));
    }

    #[test]
    fn jobs_share_the_names_of_their_figures() {
        let text = render(&[("a", progress()), ("b", progress())]);
        for name in ["tidemill_records_in", "tidemill_job_remaining", "tidemill_newest_checkpoint"]
        {
            assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}\n{text}");
            let values = text.lines().filter(|line| line.starts_with(name)).count();
            assert_eq!(values, 2, "{name}\n{text}");
        }
    }
}
