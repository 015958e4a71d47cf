//! The metrics that operators describe themselves, in the text format of Prometheus.
//!
//! Names and texts come from guests: they are made harmless here. Two operators may describe the
//! same name; one of another kind then gets its kind as a suffix, for a name has one type.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tidemill_core::counters::{CustomValue, HISTOGRAM_BOUNDS};
use tidemill_core::describe::{MetricDescription, MetricKind};

use super::metrics::JobFigures;
use super::names::OPERATOR_PREFIX;
use crate::job::TaskProgress;

/// Characters of a help text that are shown.
const HELP_CHARS_MAX: usize = 200;

/// Lines of the metrics of one tenant's operators that are shown; its tasks behind them are left out. Whoever scrapes has to read
/// those of all tenants.
const LINES_MAX: usize = 20_000;

/// All tasks' values of one name and kind.
struct Family<'a> {
    kind: MetricKind,
    help: String,
    values: Vec<(&'a JobFigures, &'a TaskProgress, &'a CustomValue)>,
}

/// Encodes them all.
pub(super) fn encode(jobs: &[JobFigures], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for (name, Family { kind, help, values }) in families(jobs) {
        let metric_type = match kind {
            MetricKind::Counter => MetricType::Counter,
            MetricKind::Gauge => MetricType::Gauge,
            MetricKind::Histogram => MetricType::Histogram,
        };
        let mut metric = encoder.encode_descriptor(&name, &help, None, metric_type)?;
        for (job, task, value) in values {
            let lane = task.lane.to_string();
            let [tenant, job] = job.labels();
            let labels = [tenant, job, ("node", &*task.node), ("lane", &*lane)];
            encode_value(&mut metric.encode_family(&labels)?, kind, value)?;
        }
    }
    Ok(())
}

fn encode_value(
    metric: &mut MetricEncoder<'_>,
    kind: MetricKind,
    value: &CustomValue,
) -> fmt::Result {
    match kind {
        MetricKind::Counter => metric.encode_counter::<NoLabelSet, f64, f64>(&value.value, None),
        MetricKind::Gauge => metric.encode_gauge(&value.value),
        MetricKind::Histogram => {
            let mut below = 0;
            let bounds = HISTOGRAM_BOUNDS.into_iter().chain([f64::INFINITY]);
            let up_to = value.buckets.into_iter().chain([value.count]);
            let buckets: Vec<(f64, u64)> = bounds
                .zip(up_to)
                .map(|(bound, up_to)| {
                    let within = up_to.saturating_sub(below);
                    below = up_to;
                    (bound, within)
                })
                .collect();
            metric.encode_histogram::<NoLabelSet>(value.value, value.count, &buckets, None)
        }
    }
}

fn families(jobs: &[JobFigures]) -> BTreeMap<String, Family<'_>> {
    let mut families: BTreeMap<String, Family<'_>> = BTreeMap::new();
    let tasks = jobs.iter().flat_map(|job| job.progress.tasks.iter().map(move |task| (job, task)));
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for (job, task) in tasks {
        let [(_, tenant), _] = job.labels();
        let lines = lines.entry(tenant).or_default();
        *lines +=
            task.metrics.iter().map(|(description, _)| lines_of(description.kind)).sum::<usize>();
        if *lines > LINES_MAX {
            continue;
        }
        for (description, value) in &task.metrics {
            let mut name = format!("{OPERATOR_PREFIX}{}", plain(&description.name));
            // Another's name may end like that, too.
            while families.get(&name).is_some_and(|family| family.kind != description.kind) {
                name = format!("{name}_{}", kind_word(description.kind));
            }
            let family = families.entry(name).or_insert_with(|| Family {
                kind: description.kind,
                help: help(description),
                values: Vec::new(),
            });
            family.values.push((job, task, value));
        }
    }
    families
}

fn lines_of(kind: MetricKind) -> usize {
    match kind {
        MetricKind::Counter | MetricKind::Gauge => 1,
        // Its buckets, that without bound, sum and count.
        MetricKind::Histogram => HISTOGRAM_BOUNDS.len() + 3,
    }
}

fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}

/// A described name may hold '-' and '.', which Prometheus has no place for; `_total` is the
/// encoder's.
fn plain(name: &str) -> String {
    let name = name.strip_suffix("_total").unwrap_or(name);
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A line break in a help text would begin a line of its own, with whatever the guest likes in it.
fn help(description: &MetricDescription) -> String {
    let MetricDescription { help, unit, .. } = description;
    let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
    let text = format!("{help}{unit}");
    let harmless = |c: char| if c.is_control() || c == '\\' { ' ' } else { c };
    text.chars().take(HELP_CHARS_MAX).map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::Progress;
    use crate::telemetry::JobMetrics;

    fn described(name: &str, kind: MetricKind) -> MetricDescription {
        MetricDescription { name: name.into(), kind, unit: "ms".into(), help: "how\nlong".into() }
    }

    fn task(node: &str, metrics: Vec<(MetricDescription, CustomValue)>) -> TaskProgress {
        TaskProgress {
            node: node.to_owned(),
            kind: "operator",
            lane: 0,
            instantiations: 1,
            metrics,
            ..TaskProgress::default()
        }
    }

    fn render(tasks: Vec<TaskProgress>) -> String {
        let progress = Progress { tasks, ..Progress::default() };
        let job = JobFigures { job: "j".to_owned(), progress, ..JobFigures::default() };
        JobMetrics::new(move || vec![job.clone()], Arc::default()).render()
    }

    fn value(value: f64) -> CustomValue {
        CustomValue { value, ..CustomValue::default() }
    }

    #[test]
    fn counters_and_gauges_carry_node_and_lane() {
        let text = render(vec![task(
            "op",
            vec![
                (described("late-ones_total", MetricKind::Counter), value(2.5)),
                (described("depth", MetricKind::Gauge), value(-1.0)),
            ],
        )]);
        let labels = "{tenant=\"\",job=\"j\",node=\"op\",lane=\"0\"}";
        assert!(
            text.contains(&format!("tidemill_operator_late_ones_total{labels} 2.5\n")),
            "{text}"
        );
        assert!(text.contains(&format!("tidemill_operator_depth{labels} -1.0\n")), "{text}");
        assert!(text.contains("# HELP tidemill_operator_depth how long (ms)\n"), "{text}");
    }

    #[test]
    fn a_histogram_keeps_its_buckets() {
        let mut times = CustomValue { value: 12.0, count: 3, ..CustomValue::default() };
        for (bucket, bound) in times.buckets.iter_mut().zip(HISTOGRAM_BOUNDS) {
            *bucket = u64::from(bound >= 1.0) + u64::from(bound >= 10.0);
        }
        let text = render(vec![task("op", vec![(described("t", MetricKind::Histogram), times)])]);
        let bucket = |le: &str, count: u64| {
            format!(
                "tidemill_operator_t_bucket{{le=\"{le}\",tenant=\"\",job=\"j\",node=\"op\",lane=\"0\"}} \
                {count}\n"
            )
        };
        for (le, count) in [("0.5", 0), ("1.0", 1), ("5.0", 1), ("10.0", 2), ("+Inf", 3)] {
            assert!(text.contains(&bucket(le, count)), "{le} {text}");
        }
        assert!(
            text.contains(
                "tidemill_operator_t_sum{tenant=\"\",job=\"j\",node=\"op\",lane=\"0\"} 12.0\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn one_name_of_two_kinds_becomes_two_names() {
        let text = render(vec![
            task("a", vec![(described("x", MetricKind::Gauge), value(1.0))]),
            task("b", vec![(described("x", MetricKind::Counter), value(2.0))]),
        ]);
        assert_eq!(text.matches("# TYPE tidemill_operator_x ").count(), 1, "{text}");
        assert!(text.contains("# TYPE tidemill_operator_x_counter counter\n"), "{text}");
    }
}
