//! `tidemill run`: one job, or several side by side.
//!
//! Owns which jobs may run together and what their end means for the process. Each of several jobs has a thread
//! that prepares and drives it; whatever becomes of one, a panic of the host's own code included, the others go on.

mod output;
mod oversight;
mod planned;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use indicatif::MultiProgress;
use tidemill_core::limits::LANE_STACK_BYTES;

use super::arguments::{JobArguments, RunArguments};
use super::console::Console;
use super::control::Control;
use super::dry_run;
use super::exit_code::ExitCode;
use super::failure::Failure;
use super::progress::Watch;
use super::report::{Failed, Figures};
use crate::config::{JobPlan, Locations, TenantsPlan};
use crate::connectors::settings::{SinkSettings, SourceSettings};
use crate::job::{Engine, Job, JobError, JobHandle, Outcome, Report, RunOptions};
use crate::machine;
use crate::priority;
use crate::spawner;
use crate::telemetry::{JobFigures, JobMetrics, MetricsEndpoint};
use crate::tenants::{Fairness, Tenants};
use output::Output;
use planned::{Planned, check_options, refuse_clashing, refuse_strangers};

/// With more lanes for each core most of them wait most of the time, and each would keep a huge page or more for the
/// little memory that it needs; with fewer huge pages are worth a tenth of the speed of large state.
const LANES_PER_CORE_MAX: usize = 8;
/// Where a job keeps its data unless told otherwise, beside the job file.
const DATA_DIR: &str = ".tidemill";

/// Runs jobs until their input ends or a signal stops them.
pub(super) fn run(
    arguments: &RunArguments,
    console: Console,
    lines: &MultiProgress,
) -> Result<ExitCode, Failure> {
    let descriptors = machine::raise_open_files();
    tracing::debug!(descriptors, "So many files may be open at once.");
    let control = Control::start()?;
    let endpoint = arguments.metrics.map(bind).transpose()?;
    let tenants = Arc::new(tenants(arguments.tenants.as_deref())?);
    let mut planned: Vec<Planned> =
        arguments.jobs.iter().map(|file| Planned::load(file, arguments)).collect();
    if let [one] = &mut planned[..] {
        // There is nobody to go on without it.
        let (plan, options) = std::mem::replace(&mut one.plan, Err(Failure::Host(String::new())))?;
        if arguments.dry_run {
            return dry_run::dry_run(
                &one.file,
                plan,
                options,
                &tenants,
                &control,
                arguments.report,
            );
        }
        one.plan = Ok((plan, options));
    }
    check_options(arguments)?;
    refuse_strangers(&mut planned, &tenants);
    refuse_clashing(&mut planned);
    oversight::look(&tenants, &planned);
    let plans: Vec<&JobPlan> =
        planned.iter().filter_map(|job| Some(&job.plan.as_ref().ok()?.0)).collect();
    if plans.iter().map(|plan| plan.parallelism).sum::<usize>() > LANES_PER_CORE_MAX * cores() {
        machine::refuse_huge_pages();
    }
    let output = Output::choose(arguments, &plans, console, tenants.clone());
    // A line drawn over and over does not go with data on the same terminal.
    let has_data = plans.iter().any(|plan| writes_to_stdout(plan)) && io::stdout().is_terminal();
    let watching = Watching { can_draw: console.is_interactive() && !has_data, console, lines };
    let perf_map = arguments.perf_map;
    if perf_map {
        check_perf_map()?;
    }
    let running = Running { control: &control, watching, tenants, perf_map, jobs: Arc::default() };
    if let Some(endpoint) = endpoint {
        serve(&control, endpoint, running.jobs.clone(), running.tenants.clone());
    }
    match <[Planned; 1]>::try_from(planned) {
        Ok([one]) => run_one(one, &running, &output),
        Err(several) => run_several(several, &running, &output),
    }
}

/// Refuses to write the list for `perf` where somebody has put something else: its name is known beforehand, and lies in a
/// directory of everybody.
fn check_perf_map() -> Result<(), Failure> {
    let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::CannotCreate {
            path,
            problem: "it is there already".to_owned(),
            help: "remove it, or run without --perf-map",
        }),
        Err(_) => Ok(()),
    }
}

/// How jobs are watched while they run.
struct Watching<'a> {
    console: Console,
    lines: &'a MultiProgress,
    can_draw: bool,
}

/// The jobs that run, for metrics: tenant, name, handle.
type RunningJobs = Arc<Mutex<Vec<(String, String, JobHandle)>>>;

/// What running jobs share.
struct Running<'a> {
    control: &'a Control,
    watching: Watching<'a>,
    tenants: Arc<Tenants>,
    perf_map: bool,
    jobs: RunningJobs,
}

/// How a job ended.
struct Ended {
    file: PathBuf,
    job: String,
    /// Unless the file could not be read.
    tenant: Option<String>,
    outcome: Result<Report, Failure>,
    /// If it ran.
    figures: Option<Figures>,
}

impl Ended {
    /// The report, or what to tell of the failure.
    fn told(&self) -> Result<&Report, Failed<'_>> {
        let Self { file, job, tenant, outcome, figures } = self;
        outcome.as_ref().map_err(|failure| Failed {
            job,
            tenant: tenant.as_deref(),
            file,
            failure,
            figures: figures.as_ref(),
        })
    }

    /// The exit code that this end alone comes to.
    fn exit_code(&self, control: &Control) -> ExitCode {
        match &self.outcome {
            Ok(Report { outcome: Outcome::Finished, .. }) => ExitCode::Done,
            Ok(Report { savepoint: Some(_), .. }) => ExitCode::HandedOver,
            Ok(_) => control.stopped_by().unwrap_or(ExitCode::Done),
            Err(failure) => failure.exit_code(),
        }
    }
}

fn run_one(job: Planned, running: &Running<'_>, output: &Output) -> Result<ExitCode, Failure> {
    let locations = job.plan.as_ref().map(|(plan, _)| plan.locations.clone()).unwrap_or_default();
    let engine = running.engine(&locations)?;
    let ended = running.drive(job, &engine);
    output.one(&ended)?;
    let code = ended.exit_code(running.control);
    ended.outcome.map(|_| code)
}

/// The exit code is that of the first job, in the order of the command line, that did not end well; a signal comes
/// before a savepoint, for it stopped them all.
fn run_several(
    jobs: Vec<Planned>,
    running: &Running<'_>,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let engine = running.engine(&Locations::default())?;
    // They serve all jobs; later a lane that gives way might be the one to start them.
    let owners: BTreeSet<&str> = jobs.iter().filter_map(Planned::owner).collect();
    tidemill_storage::start_io_threads(priority::give_way, owners.len() > 1);
    let _fairness = Fairness::start(running.tenants.clone());
    let drive = |job: Planned| {
        // Whatever this thread says, it says of this job.
        let _span = match &job.tenant {
            Some(tenant) => tracing::error_span!("job", tenant, name = job.name),
            None => tracing::error_span!("job", name = job.name),
        }
        .entered();
        let lost = job.lost();
        let driven = catch_unwind(AssertUnwindSafe(|| running.drive(job, &engine)));
        let ended = driven.unwrap_or_else(|_| {
            lost(JobError::Host("the thread that drives the job panicked".to_owned()))
        });
        output.ended(&ended);
        ended
    };
    let ended: Vec<Ended> = thread::scope(|scope| {
        let drive = &drive;
        let started = jobs.into_iter().map(|job| {
            let lost = job.lost();
            // Describing an operator runs it here.
            let thread = spawner::builder("tidemill-job").and_then(|thread| {
                thread.stack_size(LANE_STACK_BYTES).spawn_scoped(scope, move || drive(job))
            });
            match thread {
                Ok(thread) => Ok((lost, thread)),
                Err(error) => {
                    let ended = lost(JobError::no_thread("for the job", &error));
                    output.ended(&ended);
                    Err(Box::new(ended))
                }
            }
        });
        let started: Vec<Result<_, Box<Ended>>> = started.collect();
        let ends = started.into_iter().map(|started| match started {
            Ok((lost, thread)) => thread.join().unwrap_or_else(|_| {
                // It has caught its own panics.
                lost(JobError::Host("the thread that drives the job panicked".to_owned()))
            }),
            Err(ended) => *ended,
        });
        ends.collect()
    });
    output.several(&ended)?;
    let codes = ended.iter().map(|ended| ended.exit_code(running.control));
    let codes: Vec<ExitCode> = codes.collect();
    let is_bad = |code: &&ExitCode| !matches!(code, ExitCode::Done | ExitCode::HandedOver);
    let first = codes.iter().find(is_bad).or_else(|| codes.iter().find(|c| **c != ExitCode::Done));
    Ok(first.copied().unwrap_or(ExitCode::Done))
}

impl Running<'_> {
    fn engine(&self, locations: &Locations) -> Result<Engine, Failure> {
        let engine = Engine::new(self.tenants.sandboxes(), self.perf_map);
        engine.map_err(|error| Failure::job(error, locations))
    }

    /// Prepares and runs one job.
    fn drive(&self, job: Planned, engine: &Engine) -> Ended {
        let Planned { file, name, tenant, plan } = job;
        let (plan, options) = match plan {
            Ok(planned) => planned,
            Err(failure) => {
                return Ended { file, job: name, tenant, outcome: Err(failure), figures: None };
            }
        };
        let (began, mut handle) = (Instant::now(), None);
        let outcome = execute(plan, options, engine, &self.tenants, |tenant, job| {
            handle = Some(job.clone());
            self.control.watch_over(job.clone());
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.push((tenant, name.clone(), job.clone()));
            drop(jobs);
            let Watching { console, lines, can_draw } = &self.watching;
            match (console.is_quiet(), can_draw) {
                (true, _) => None,
                (false, true) => Some(Watch::draw(&name, job, lines)),
                (false, false) => Some(Watch::log(&name, job)),
            }
        });
        let figures = handle.map(|job| Figures {
            elapsed: began.elapsed(),
            progress: job.progress(),
            durability: job.durability(),
            rolled_back: job.rolled_back(),
        });
        Ended { file, job: name, tenant, outcome, figures }
    }
}

/// Prepares and runs a job; what `watch` returns lives as long as the job runs.
fn execute<W>(
    plan: JobPlan,
    options: RunOptions,
    engine: &Engine,
    tenants: &Tenants,
    watch: impl FnOnce(String, JobHandle) -> W,
) -> Result<Report, Failure> {
    let locations = plan.locations.clone();
    let failed = |error: JobError| Failure::job(error, &locations);
    let tenant = plan.tenant.clone();
    let job = Job::prepare(plan, engine, tenants, options).map_err(failed)?;
    job.bind().map_err(failed)?;
    for (source, address) in job.addresses() {
        tracing::info!(job = job.plan().name, "Source {source} listens on {address}.");
    }
    let watching = watch(tenant, job.handle());
    let ended = job.run();
    drop(watching);
    ended.map_err(failed)
}

/// Loads components and checks the graph. The engine must outlive the job.
pub(super) fn prepare(
    plan: JobPlan,
    options: RunOptions,
    tenants: &Tenants,
    locations: &Locations,
) -> Result<(Job, Engine), Failure> {
    let failed = |error: JobError| Failure::job(error, locations);
    let engine = Engine::new(tenants.sandboxes(), false).map_err(failed)?;
    let job = Job::prepare(plan, &engine, tenants, options).map_err(failed)?;
    Ok((job, engine))
}

/// The tenants of a tenants' file; without one, anybody without quotas.
pub(super) fn tenants(file: Option<&Path>) -> Result<Tenants, Failure> {
    let plan = file.map(TenantsPlan::load).transpose()?.unwrap_or_default();
    for tenant in &plan.tenants {
        let dirs = tenant.jobs_dir.iter().chain(&tenant.grants.directories);
        // It may come later, and must not keep other tenants from running.
        for dir in dirs.filter(|dir| !dir.is_dir()) {
            tracing::warn!("Tenant {}: {} is not a directory.", tenant.name, dir.display());
        }
    }
    Ok(Tenants::new(plan))
}

/// Reads the job file, and finds out where the job keeps its data. There may be jobs of `several_owners`.
pub(super) fn plan(
    job: &JobArguments,
    several_owners: bool,
    fresh: bool,
) -> Result<(JobPlan, RunOptions), Failure> {
    let plan = match several_owners {
        true => JobPlan::load_of_tenants(&job.job, &job.sets)?,
        false => JobPlan::load(&job.job, &job.sets)?,
    };
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

fn serve(control: &Control, endpoint: MetricsEndpoint, jobs: RunningJobs, tenants: Arc<Tenants>) {
    let figures = move || {
        let jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let figures = jobs.into_iter().map(|(tenant, job, handle)| {
            let (progress, durability) = (handle.progress(), handle.durability());
            JobFigures { tenant, job, progress, durability }
        });
        figures.collect()
    };
    let metrics = Arc::new(JobMetrics::new(figures, tenants));
    control.spawn(async move {
        let Err(error) = endpoint.serve(metrics).await;
        tracing::error!(%error, "Metrics are no longer served; jobs go on.");
    });
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn writes_to_stdout(plan: &JobPlan) -> bool {
    plan.sinks.iter().any(|sink| matches!(sink.settings, SinkSettings::Stdout(_)))
}

fn reads_stdin(plan: &JobPlan) -> bool {
    plan.sources.iter().any(|source| matches!(source.settings, SourceSettings::Stdin(_)))
}
