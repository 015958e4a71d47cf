//! `tidemill run`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::MultiProgress;

use super::arguments::{JobArguments, OutputFormat, RunArguments};
use super::console::{self, Console};
use super::control::Control;
use super::dry_run;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::progress::Watch;
use super::report;
use crate::config::{JobPlan, Locations};
use crate::connectors::settings::SinkSettings;
use crate::job::{Engine, Job, JobError, JobHandle, Outcome, Report, RolledBack, RunOptions};
use crate::telemetry::{JobMetrics, MetricsEndpoint};

/// Where a job keeps its data unless told otherwise, beside the job file.
const DATA_DIR: &str = ".tidemill";

/// Runs a job until its input ends or a signal stops it.
pub(super) fn run(
    arguments: &RunArguments,
    console: Console,
    lines: &MultiProgress,
) -> Result<ExitCode, Failure> {
    let control = Control::start()?;
    let endpoint = arguments.metrics.map(bind).transpose()?;
    let (plan, mut options) = plan(&arguments.job, arguments.fresh)?;
    options.allow_drop_state = arguments.allow_drop_state;
    options.from.clone_from(&arguments.from);
    options.accept_rollback = arguments.accept_rollback;
    if arguments.dry_run {
        return dry_run::dry_run(plan, options, &control, arguments.report);
    }
    let name = plan.name.clone();
    let output = ReportOutput::choose(arguments.report, &plan, console);
    // A line drawn over and over does not go with data on the same terminal.
    let has_data = writes_to_stdout(&plan) && io::stdout().is_terminal();
    let can_draw = console.is_interactive() && !has_data;
    let mut handle = None;
    let ended = execute(plan, options, |job| {
        handle = Some(job.clone());
        control.watch_over(job.clone());
        if let Some(endpoint) = endpoint {
            serve(&control, endpoint, &name, job.clone());
        }
        match (console.is_quiet(), can_draw) {
            (true, _) => None,
            (false, true) => Some(Watch::draw(&name, job, lines)),
            (false, false) => Some(Watch::log(&name, job)),
        }
    });
    match ended {
        Ok(report) => {
            output.write(|format| report::success(&report, format))?;
            Ok(match report.outcome {
                Outcome::Finished => ExitCode::Done,
                Outcome::Stopped if report.savepoint.is_some() => ExitCode::HandedOver,
                Outcome::Stopped => control.stopped_by().unwrap_or(ExitCode::Done),
            })
        }
        Err(failure) => {
            let rolled_back = handle.and_then(|job| job.rolled_back());
            output.write_failure(&name, &failure, rolled_back)?;
            Err(failure)
        }
    }
}

/// Prepares and runs a job; what `watch` returns lives as long as the job runs.
fn execute<W>(
    plan: JobPlan,
    options: RunOptions,
    watch: impl FnOnce(JobHandle) -> W,
) -> Result<Report, Failure> {
    let locations = plan.locations.clone();
    let (job, _engine) = prepare(plan, options, &locations)?;
    job.bind().map_err(|error| Failure::job(error, &locations))?;
    for (source, address) in job.addresses() {
        tracing::info!("Source {source} listens on {address}.");
    }
    let watching = watch(job.handle());
    let ended = job.run();
    drop(watching);
    ended.map_err(|error| Failure::job(error, &locations))
}

/// Loads components and checks the graph. The engine must outlive the job.
pub(super) fn prepare(
    plan: JobPlan,
    options: RunOptions,
    locations: &Locations,
) -> Result<(Job, Engine), Failure> {
    let failed = |error: JobError| Failure::job(error, locations);
    let engine = Engine::new().map_err(failed)?;
    let job = Job::prepare(plan, &engine, options).map_err(failed)?;
    Ok((job, engine))
}

/// Reads the job file, and finds out where the job keeps its data.
pub(super) fn plan(job: &JobArguments, fresh: bool) -> Result<(JobPlan, RunOptions), Failure> {
    let plan = JobPlan::load(&job.job, &job.sets)?;
    plan.check_components()?;
    let beside = || plan.file.parent().map_or_else(PathBuf::new, PathBuf::from).join(DATA_DIR);
    let data_dir = job.data_dir.clone().unwrap_or_else(beside);
    let (from, allow_drop_state, accept_rollback) = (None, false, false);
    Ok((plan, RunOptions { data_dir, fresh, from, allow_drop_state, accept_rollback }))
}

fn bind(address: std::net::SocketAddr) -> Result<MetricsEndpoint, Failure> {
    let failed = |error| Failure::Metrics { address, error };
    let endpoint = MetricsEndpoint::bind(address).map_err(failed)?;
    let bound = endpoint.address().map_err(failed)?;
    tracing::info!("Metrics are served on http://{bound}/metrics.");
    Ok(endpoint)
}

fn serve(control: &Control, endpoint: MetricsEndpoint, name: &str, job: JobHandle) {
    let figures = job.clone();
    let metrics =
        Arc::new(JobMetrics::new(name, move || job.progress(), move || figures.durability()));
    control.spawn(async move {
        let Err(error) = endpoint.serve(metrics).await;
        tracing::error!(%error, "Metrics are no longer served; the job goes on.");
    });
}

fn writes_to_stdout(plan: &JobPlan) -> bool {
    plan.sinks.iter().any(|sink| matches!(sink.settings, SinkSettings::Stdout(_)))
}

/// Where the report goes. Standard output belongs to a sink if one writes to it.
struct ReportOutput {
    format: OutputFormat,
    to_stdout: bool,
    is_quiet: bool,
}

impl ReportOutput {
    fn choose(format: OutputFormat, plan: &JobPlan, console: Console) -> Self {
        let to_stdout = format == OutputFormat::Json && !writes_to_stdout(plan);
        Self { format, to_stdout, is_quiet: console.is_quiet() }
    }

    fn write(&self, report: impl FnOnce(OutputFormat) -> String) -> Result<(), Failure> {
        match (self.to_stdout, self.format) {
            (true, _) => return console::print(&report(self.format)),
            (false, OutputFormat::Text) if self.is_quiet => {}
            (false, _) => console::note(&report(self.format)),
        }
        Ok(())
    }

    /// People read the diagnostic that follows; programs get it in the report as well.
    fn write_failure(
        &self,
        job: &str,
        failure: &Failure,
        rolled_back: Option<RolledBack>,
    ) -> Result<(), Failure> {
        match self.format {
            OutputFormat::Text => Ok(()),
            OutputFormat::Json => self.write(|_| report::failure(job, failure, rolled_back)),
        }
    }
}
