//! The report at the end of `tidemill run`: for people, or as one JSON document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use miette::Diagnostic;
use serde::Serialize;

use super::arguments::OutputFormat;
use super::durability_view::DurabilityView;
use super::failure::Failure;
use super::rollback::RollbackView;
use super::table::{grouped, short, short_bytes, table};
use super::tenant_view::TenantView;
use super::view::{BOLD, json};
use crate::config::directory_name;
use crate::job::{
    Durability, Outcome, Progress, Report, RolledBack, SinkReport, SourceReport, TaskProgress,
};
use crate::machine;

/// The report of a job that ended well.
pub(super) fn success(report: &Report, tenant: Option<TenantView>, format: OutputFormat) -> String {
    let view = ReportView { usage: tenant, ..ReportView::new(report) };
    match format {
        OutputFormat::Text => view.text(),
        OutputFormat::Json => json(&view),
    }
}

/// The report of a job that failed, as JSON; people get the diagnostic.
pub(super) fn failure(failed: &Failed<'_>, tenant: Option<TenantView>) -> String {
    json(&FailureView { usage: tenant, ..FailureView::new(failed) })
}

/// A job that failed.
#[derive(Clone, Copy)]
pub(super) struct Failed<'a> {
    pub(super) job: &'a str,
    /// Unless the file could not be read.
    pub(super) tenant: Option<&'a str>,
    /// The job file.
    pub(super) file: &'a Path,
    pub(super) failure: &'a Failure,
    /// What it did before, if it ran.
    pub(super) figures: Option<&'a Figures>,
}

/// What is known of a job that ran, whatever became of it.
pub(super) struct Figures {
    pub(super) elapsed: Duration,
    pub(super) progress: Progress,
    pub(super) durability: Durability,
    /// What was given up at its start.
    pub(super) rolled_back: Option<RolledBack>,
}

/// The report of several jobs and of their tenants, as JSON.
pub(super) fn several<'a>(
    jobs: impl Iterator<Item = Result<&'a Report, Failed<'a>>>,
    tenants: Vec<TenantView>,
) -> String {
    let view = |job: Result<&Report, Failed<'a>>| match job {
        Ok(report) => JobView::Ended(Box::new(ReportView::new(report))),
        Err(failed) => JobView::Failed(Box::new(FailureView::new(&failed))),
    };
    json(&JobsView { jobs: jobs.map(view).collect(), tenants })
}

#[derive(Serialize)]
struct JobsView<'a> {
    jobs: Vec<JobView<'a>>,
    tenants: Vec<TenantView>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum JobView<'a> {
    Ended(Box<ReportView>),
    Failed(Box<FailureView<'a>>),
}

impl<'a> FailureView<'a> {
    fn new(failed: &Failed<'a>) -> Self {
        let Failed { job, tenant, file, failure, figures } = failed;
        let place = failure.place();
        let rolled_back = figures.and_then(|figures| figures.rolled_back.as_ref());
        Self {
            job,
            tenant: *tenant,
            outcome: "failed",
            file: file.display().to_string(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            exit_code: failure.exit_code().number(),
            code: failure.code(),
            error: failure.to_string(),
            help: failure.help().map(|help| help.to_string()),
            before: figures.map(BeforeView::new),
            rolled_back: rolled_back.map(RollbackView::new),
            usage: None,
        }
    }
}

#[derive(Serialize)]
struct FailureView<'a> {
    job: &'a str,
    /// `null` when the file could not be read.
    tenant: Option<&'a str>,
    outcome: &'static str,
    /// As it was given; where its name is not UTF-8, nearly so.
    file: String,
    /// The line of the file to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    exit_code: u8,
    /// The stable code of what was refused or broken, where it has one.
    code: Option<&'static str>,
    error: String,
    help: Option<String>,
    /// If it ran.
    #[serde(flatten)]
    before: Option<BeforeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<RollbackView>,
    /// Of the job's tenant, unless it is told for all jobs together.
    #[serde(rename = "tenant_usage", skip_serializing_if = "Option::is_none")]
    usage: Option<TenantView>,
}

/// What a job did before it failed.
#[derive(Serialize)]
struct BeforeView {
    elapsed_s: f64,
    records_in: u64,
    records_out: u64,
    operators: Vec<OperatorView>,
    durability: DurabilityView,
}

impl BeforeView {
    fn new(figures: &Figures) -> Self {
        let Figures { elapsed, progress, durability, .. } = figures;
        let elapsed_s = elapsed.as_secs_f64();
        Self {
            elapsed_s,
            records_in: progress.records_in,
            records_out: progress.records_out,
            operators: operators(progress),
            durability: DurabilityView::new(durability, elapsed_s),
        }
    }
}

#[derive(Serialize)]
struct ReportView {
    job: String,
    tenant: String,
    outcome: &'static str,
    elapsed_s: f64,
    /// Of the whole process.
    cpu_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_bytes: Option<u64>,
    records_in: u64,
    records_out: u64,
    bytes_in: u64,
    records_in_per_second: f64,
    state_bytes: u64,
    keys: u64,
    sources: Vec<SourceView>,
    operators: Vec<OperatorView>,
    sinks: Vec<SinkView>,
    durability: DurabilityView,
    /// The savepoint that it was stopped with.
    #[serde(skip_serializing_if = "Option::is_none")]
    savepoint: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_back: Option<RollbackView>,
    /// Of the job's tenant, unless it is told for all jobs together.
    #[serde(rename = "tenant_usage", skip_serializing_if = "Option::is_none")]
    usage: Option<TenantView>,
}

#[derive(Serialize)]
struct SourceView {
    name: String,
    records: u64,
    partitions: usize,
}

/// An operator over all its tasks.
#[derive(Default, Serialize)]
struct OperatorView {
    name: String,
    records_in: u64,
    records_out: u64,
    calls: u64,
    retries: u64,
    batch_splits: u64,
    poison: u64,
    /// Sandboxes that took the place of another.
    restarts: u64,
    busy_us: u64,
    cpu_us: u64,
    /// The most that one sandbox has had.
    memory_bytes: u64,
    host_calls: u64,
    copied_bytes: u64,
    state_bytes: u64,
    keys: u64,
    tasks: Vec<TaskView>,
}

#[derive(Serialize)]
struct TaskView {
    lane: usize,
    records_in: u64,
    records_out: u64,
    calls: u64,
    busy_us: u64,
    state_bytes: u64,
    keys: u64,
}

/// Sums have 64 bits, which many readers of JSON do not have for numbers: they are strings.
#[derive(Serialize)]
struct SinkView {
    name: String,
    records: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check_sum_of_fields: Option<String>,
    files: Vec<PathBuf>,
    file_count: u64,
}

impl ReportView {
    fn new(report: &Report) -> Self {
        let Report { job, outcome, elapsed, progress, sources, sinks, durability, .. } = report;
        let seconds = elapsed.as_secs_f64();
        Self {
            job: job.clone(),
            tenant: report.tenant.clone(),
            outcome: match outcome {
                Outcome::Finished => "finished",
                Outcome::Stopped => "stopped",
            },
            elapsed_s: seconds,
            cpu_s: machine::process_cpu_us() as f64 / 1e6,
            peak_memory_bytes: machine::peak_memory_bytes(),
            records_in: progress.records_in,
            records_out: progress.records_out,
            bytes_in: progress.bytes_in,
            records_in_per_second: (progress.records_in as f64 / seconds.max(1e-6)).round(),
            state_bytes: progress.state_bytes,
            keys: progress.keys,
            sources: sources.iter().map(SourceView::new).collect(),
            operators: operators(progress),
            sinks: sinks.iter().map(SinkView::new).collect(),
            durability: DurabilityView::new(durability, seconds),
            savepoint: report.savepoint.as_ref().map(|savepoint| savepoint.directory.clone()),
            rolled_back: report.rolled_back.as_ref().map(RollbackView::new),
            usage: None,
        }
    }

    fn text(&self) -> String {
        let Self { outcome, elapsed_s, .. } = self;
        let job = directory_name(&self.tenant, &self.job);
        let rate = short(self.records_in_per_second);
        let mut text =
            format!("{BOLD}{job}{BOLD:#} {outcome} after {elapsed_s:.2} s, {rate} records/s\n");
        let mut rows = Vec::new();
        for SourceView { name, records, partitions } in &self.sources {
            let parts = if *partitions == 1 { "partition" } else { "partitions" };
            rows.push(line("source", name, "out", *records, format!("{partitions} {parts}")));
        }
        for operator in &self.operators {
            let OperatorView { name, records_in, records_out, keys, state_bytes, .. } = operator;
            let mut more = vec![format!("out {}", grouped(*records_out))];
            if *keys > 0 {
                let state = short_bytes(*state_bytes);
                more.push(format!("state {state} ({} keys)", grouped(*keys)));
            }
            if operator.retries > 0 {
                more.push(format!("{} calls made again", grouped(operator.retries)));
            }
            if operator.poison > 0 {
                more.push(format!("{} records not processed", grouped(operator.poison)));
            }
            more.push(format!("busy {:.2} s", operator.busy_us as f64 / 1e6));
            rows.push(line("operator", name, "in", *records_in, more.join(", ")));
        }
        for sink in &self.sinks {
            rows.push(line("sink", &sink.name, "in", sink.records, sink.text()));
        }
        text += &table(&rows, 2, &[3]);
        text += &self.durability.text();
        if let Some(savepoint) = &self.savepoint {
            text += &format!("  savepoint {}\n", savepoint.display());
        }
        text += &self.rolled_back.as_ref().map(RollbackView::text).unwrap_or_default();
        text += &self.usage.as_ref().map(TenantView::text).unwrap_or_default();
        text
    }
}

fn line(kind: &str, name: &str, way: &str, records: u64, more: String) -> [String; 5] {
    [kind.to_owned(), name.to_owned(), way.to_owned(), grouped(records), more]
}

impl SourceView {
    fn new(source: &SourceReport) -> Self {
        let SourceReport { name, records, partitions } = source;
        Self { name: name.clone(), records: *records, partitions: *partitions }
    }
}

impl SinkView {
    fn new(sink: &SinkReport) -> Self {
        let SinkReport { name, summary } = sink;
        Self {
            name: name.clone(),
            records: summary.records,
            bytes: summary.bytes,
            checksum: summary.checksum.map(|sum| sum.to_string()),
            check_sum_of_fields: summary.check_sum_of_fields.map(|sum| sum.to_string()),
            files: summary.files.clone(),
            file_count: summary.file_count,
        }
    }

    fn text(&self) -> String {
        let mut parts = vec![short_bytes(self.bytes)];
        match self.files.as_slice() {
            [] => {}
            [file] => parts.push(file.display().to_string()),
            [file, ..] => {
                let place = file.parent().unwrap_or(file).display();
                parts.push(format!("{} files in {place}", self.file_count));
            }
        }
        parts.extend(self.checksum.iter().map(|sum| format!("check sum {sum}")));
        parts.extend(
            self.check_sum_of_fields.iter().map(|sum| format!("check sum of fields {sum}")),
        );
        parts.join(", ")
    }
}

/// Operators in the order of the job, each with its tasks added up.
fn operators(progress: &Progress) -> Vec<OperatorView> {
    let mut operators: Vec<OperatorView> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for task in progress.tasks.iter().filter(|task| task.kind == "operator") {
        let place = *places.entry(&task.node).or_insert_with(|| {
            operators.push(OperatorView { name: task.node.clone(), ..OperatorView::default() });
            operators.len() - 1
        });
        operators[place].add(task);
    }
    operators
}

impl OperatorView {
    fn add(&mut self, task: &TaskProgress) {
        self.records_in += task.records_in;
        self.records_out += task.records_out;
        self.calls += task.calls;
        self.retries += task.retries;
        self.batch_splits += task.batch_splits;
        self.poison += task.poison;
        self.restarts += task.instantiations.saturating_sub(1);
        self.busy_us += task.busy_us;
        self.cpu_us += task.cpu_us;
        self.memory_bytes = self.memory_bytes.max(task.memory_bytes);
        self.host_calls += task.host_calls;
        self.copied_bytes += task.copied_bytes;
        self.state_bytes += task.state_bytes;
        self.keys += task.keys;
        self.tasks.push(TaskView {
            lane: task.lane,
            records_in: task.records_in,
            records_out: task.records_out,
            calls: task.calls,
            busy_us: task.busy_us,
            state_bytes: task.state_bytes,
            keys: task.keys,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::config::{ConfigError, JobPlan, Locations};
    use crate::connectors::SinkSummary;
    use crate::job::JobError;

    fn task(lane: usize) -> TaskProgress {
        TaskProgress {
            node: "count".into(),
            kind: "operator",
            lane,
            records_in: 600,
            records_out: 600,
            calls: 3,
            retries: 1,
            batch_splits: 0,
            poison: 0,
            instantiations: 2,
            busy_us: 250_000,
            state_bytes: 1024,
            keys: 10,
            ..TaskProgress::default()
        }
    }

    fn report() -> Report {
        let files = vec!["/out/part-0.txt".into(), "/out/part-1.txt".into()];
        let written = SinkSummary {
            records: 1200,
            bytes: 2048,
            files,
            file_count: 2,
            ..SinkSummary::default()
        };
        let summed =
            SinkSummary { records: 1200, checksum: Some(u64::MAX), ..SinkSummary::default() };
        Report {
            job: "word-count".into(),
            tenant: "default".into(),
            outcome: Outcome::Finished,
            elapsed: Duration::from_millis(1500),
            progress: Progress {
                records_in: 1200,
                records_out: 2400,
                bytes_in: 99,
                state_bytes: 2048,
                keys: 20,
                remaining: None,
                tasks: vec![task(0), task(1)],
            },
            sources: vec![SourceReport { name: "lines".into(), records: 1200, partitions: 1 }],
            sinks: vec![
                SinkReport { name: "out".into(), summary: written },
                SinkReport { name: "sum".into(), summary: summed },
            ],
            durability: Durability::default(),
            savepoint: None,
            rolled_back: None,
        }
    }

    #[test]
    fn text_adds_up_the_tasks_of_an_operator() {
        let text =
            anstream::adapter::strip_str(&success(&report(), None, OutputFormat::Text)).to_string();
        let expected = "\
word-count finished after 1.50 s, 800 records/s
  source    lines  out  1,200  1 partition
  operator  count  in   1,200  out 1,200, state 2.00 KiB (20 keys), 2 calls made again, busy 0.50 s
  sink      out    in   1,200  2.00 KiB, 2 files in /out
  sink      sum    in   1,200  0 B, check sum 18446744073709551615
  checkpoint 0, 0 completed
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_keeps_sums_exact() {
        let text = success(&report(), None, OutputFormat::Json);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["outcome"], "finished");
        assert_eq!(value["records_in_per_second"], 800.0);
        assert_eq!(value["operators"][0]["tasks"][1]["lane"], 1);
        assert_eq!(value["sinks"][0]["files"][1], "/out/part-1.txt");
        assert_eq!(value["sinks"][1]["checksum"], "18446744073709551615");
        assert!(value["sinks"][0].get("checksum").is_none());
    }

    #[test]
    fn a_failure_says_its_exit_code_and_what_the_job_did_before() {
        let file = Path::new("/nowhere/job.toml");
        let error: ConfigError = JobPlan::load(file, &[]).unwrap_err();
        let failed = Failure::Config(error);
        let mut failed = Failed { job: "a", tenant: None, file, failure: &failed, figures: None };
        let json = |failed: &Failed<'_>| -> serde_json::Value {
            serde_json::from_str(&failure(failed, None)).unwrap()
        };
        let value = json(&failed);
        assert_eq!((&value["outcome"], &value["exit_code"]), (&"failed".into(), &66.into()));
        assert_eq!(value["help"], "give the path of a job file (TOML)");
        assert_eq!((&value["file"], value.get("operators")), (&"/nowhere/job.toml".into(), None));
        let odd = Path::new(OsStr::from_bytes(b"\xff.toml"));
        assert_eq!(json(&Failed { file: odd, ..failed })["file"], "\u{fffd}.toml");
        let Report { elapsed, progress, durability, .. } = report();
        let full = Failure::job(JobError::HostFull("no room".to_owned()), &Locations::default());
        let figures = Figures { elapsed, progress, durability, rolled_back: None };
        failed = Failed { figures: Some(&figures), failure: &full, ..failed };
        let value = json(&failed);
        assert_eq!((&value["code"], &value["elapsed_s"]), (&"HOST_FULL".into(), &1.5.into()));
        assert_eq!(value["operators"][0]["restarts"], 2);
        assert_eq!(value["durability"]["checkpoints_completed"], 0);
    }
}
