//! One incarnation of a job: lanes, keeper, uploads and supervisor, from their start to the last join.
//!
//! Owns the order of starting and joining. Invariant: when `run` returns, no thread of this incarnation is
//! left and no I/O of its sinks is under way, so that nothing of it can have an effect later; but for lanes that are stuck, after
//! which there is no other incarnation in this process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tidemill_core::checkpoint::CheckpointListener;
use tidemill_core::checkpoint::coordinator::{Coordinator, CoordinatorSettings, Fact};
use tidemill_core::checkpoint::ledger::{Ledger, MergeTask};
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::connector::Wake;
use tidemill_core::events::JobEventKind;
use tidemill_core::failure::Failure;
use tidemill_core::graph::NodeKind;
use tidemill_core::ids::{CheckpointId, LaneId};
use tidemill_core::lane::{Lane, LaneProblem, build_lanes};

use super::assemble;
use super::basis::{self, Basis};
use super::failpoint::failpoint;
use super::keeper::{Keeper, Places};
use super::lane_line::LaneLine;
use super::lane_pace::LanePace;
use super::lane_thread::{self, LaneEnd, LaneReport, LaneThread};
use super::migrate::Progress;
use super::report::TaskInfo;
use super::supervisor::{Ended, Event, Supervisor, SupervisorSettings, Watched};
use super::uploads::Uploads;
use super::{Job, JobError, SinkReport};
use crate::config::SinkPlan;
use crate::connectors::{Sink, SinkStart, SinkSummary};
use crate::machine;

/// Runs the lanes from a basis until all of them are gone.
pub(super) fn run(
    job: &mut Job,
    basis: Basis,
    places: &Places,
    is_first: bool,
    since: Instant,
) -> Result<Ended, JobError> {
    let incarnation = basis.manifest.incarnation;
    failpoint("sinks.before");
    open_sinks(job, &basis)?;
    failpoint("sinks.opened");
    if basis.is_new {
        // Only now, so that a job whose outputs are refused has not come into being.
        let written = places.checkpoints.write_manifest(&basis.manifest);
        written.map_err(|error| JobError::Checkpoint(error.to_string()))?;
        failpoint("first.written");
    }
    let (events, reports) = mpsc::channel();
    let opened = job.input_log.open(&basis.manifest, &job.sources, places, &events);
    let outcome =
        opened.and_then(|()| run_lanes(job, basis, places, is_first, since, (events, reports)));
    job.shared.disconnect();
    // A log that has failed is worse than whatever else has.
    let outcome = job.input_log.close().and(outcome);
    let report = |(plan, sink): (&SinkPlan, &Sink)| {
        let (files, file_count) = places.published.of(&plan.name);
        let summary = SinkSummary { files, file_count, ..sink.summary() };
        SinkReport { name: plan.name.clone(), summary }
    };
    job.shared.set_sinks(job.plan.sinks.iter().zip(&job.sinks).map(report).collect());
    let outcome = close_sinks(job, outcome);
    if outcome.is_err() {
        clean_up_after_failure(job, places);
    }
    tracing::debug!(%incarnation, "All lanes are gone.");
    outcome
}

/// Joins the threads of the sinks, before another incarnation decides anything. One that waits for a reader
/// is given up after `storage-timeout`, at once if nothing follows: the process then ends with it.
fn close_sinks(job: &mut Job, outcome: Result<Ended, JobError>) -> Result<Ended, JobError> {
    let patience = match &outcome {
        Err(failure) if failure.may_pass() => Duration::from_millis(job.plan.timeouts.storage_ms),
        _ => Duration::ZERO,
    };
    let mut is_at_rest = true;
    job.sinks.iter_mut().for_each(|sink| is_at_rest &= sink.close(patience));
    match outcome {
        Err(failure) if !is_at_rest && failure.may_pass() => {
            Err(JobError::HeldUp { failure: Box::new(failure), waited: patience })
        }
        outcome => outcome,
    }
}

/// Opens the sinks for this incarnation, and removes what older ones left unfinished. Everything that the
/// newest manifest names is committed by now.
fn open_sinks(job: &mut Job, basis: &Basis) -> Result<(), JobError> {
    let start = match basis.is_new {
        true => SinkStart::New { fresh: job.options.fresh },
        false => SinkStart::Resumed,
    };
    let next = CheckpointId(basis.manifest.checkpoint.0 + 1);
    job.sinks.clear();
    for plan in &job.plan.sinks {
        let incarnation = basis.manifest.incarnation;
        let (name, settings) = (&plan.name, &plan.settings);
        let opened = Sink::open(&job.plan.name, name, settings, start, incarnation, next);
        let failed = |error| JobError::Connector { node: plan.name.clone(), error };
        let sink = opened.map_err(failed)?;
        failpoint("sinks.clean-up");
        sink.clean_up(&BTreeSet::new()).map_err(failed)?;
        job.sinks.push(sink);
    }
    clean_up_elsewhere(job, &basis.manifest)
}

/// Removes unfinished files from directories that the job no longer writes to.
fn clean_up_elsewhere(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    for then in manifest.sinks.iter().filter(|sink| !sink.directory.is_empty()) {
        let directory = Path::new(&then.directory);
        let mut now = job.plan.sinks.iter().zip(&job.sinks);
        // It may have been reached by another way then, through links.
        let is_same = |other: &Path| {
            other == directory
                || other.canonicalize().is_ok_and(|other| {
                    directory.canonicalize().is_ok_and(|directory| other == directory)
                })
        };
        let is_open = |(plan, sink): (&SinkPlan, &Sink)| {
            plan.name == then.name && sink.directory().is_some_and(is_same)
        };
        if !now.any(is_open) {
            let cleaned = Sink::clean_up_in(directory, &manifest.job, &then.name, &BTreeSet::new());
            let node = || then.name.clone();
            cleaned.map_err(|error| JobError::Connector { node: node(), error })?;
        }
    }
    Ok(())
}

/// Removes what a finished job has left unfinished: it was killed before it could do so itself, or a loss of
/// power has brought names back whose removal was not durable.
pub(super) fn clean_up_finished(manifest: &Manifest) -> Result<(), JobError> {
    for sink in manifest.sinks.iter().filter(|sink| !sink.directory.is_empty()) {
        let directory = Path::new(&sink.directory);
        let cleaned = Sink::clean_up_in(directory, &manifest.job, &sink.name, &BTreeSet::new());
        let node = || sink.name.clone();
        cleaned.map_err(|error| JobError::Connector { node: node(), error })?;
    }
    Ok(())
}

/// Removes what a failed incarnation has prepared and no manifest names, so that nothing is left lying about
/// until the next run. What cannot be removed now is removed then.
fn clean_up_after_failure(job: &Job, places: &Places) {
    let newest = places.checkpoints.manifests().ok().and_then(|all| all.last().cloned());
    let manifest = newest.map(|newest| places.checkpoints.load(&newest));
    let keep: BTreeSet<String> = match manifest {
        None => BTreeSet::new(),
        Some(Ok(manifest)) => {
            let tasks = manifest.sinks.iter().flat_map(|sink| &sink.tasks);
            let files = tasks.flat_map(|task| &task.prepared).flat_map(|prepared| &prepared.files);
            files.map(|file| file.in_progress.clone()).collect()
        }
        Some(Err(_)) => return,
    };
    for sink in &job.sinks {
        if let Err(error) = sink.clean_up(&keep) {
            tracing::debug!("Unfinished files are left: {error}.");
        }
    }
}

fn run_lanes(
    job: &mut Job,
    basis: Basis,
    places: &Places,
    is_first: bool,
    since: Instant,
    (events, reports): (Sender<Event>, Receiver<Event>),
) -> Result<Ended, JobError> {
    let lines: Vec<Arc<LaneLine>> =
        (0..job.plan.parallelism).map(|_| Arc::new(LaneLine::default())).collect();
    let seed = assemble::snapshot_seed(job, &basis);
    let (disk, store_us) = (places.checkpoints.disk(), &job.shared.statistics.store_us);
    let (store_us, tenant) = (store_us.clone(), job.tenant.clone());
    let uploads = Uploads::start(disk.clone(), seed, &lines, events.clone(), store_us, tenant)
        .map_err(|error| JobError::no_thread("for snapshots", &error))?;
    let Some(lanes) = lanes(job, &basis, places, &lines, &uploads)? else {
        return Ok(Ended::Stopped);
    };
    let tasks = Arc::new(lanes.iter().flat_map(|lane| task_infos(job, lane)).collect::<Vec<_>>());
    job.shared.set_tasks(tasks.clone());
    let keeper = Keeper::start(places.clone(), job.tenant.clone(), events.clone())
        .map_err(|error| JobError::no_thread("for checkpoints", &error))?;
    job.shared.connect(events.clone());
    let restored = basis.manifest.checkpoint;
    job.shared.statistics.restored(restored, since.elapsed(), is_first);
    log_start(job, &basis, since);

    let began = Instant::now();
    let threads = start_threads(job, lanes, &lines, &events)?;
    let ledger = Ledger::new(basis.manifest, basis::roles(job));
    let merger = |task: MergeTask, newest: CheckpointId, events: Sender<Event>| {
        uploads.merge(task, newest, events);
    };
    let incarnation = ledger.newest().incarnation;
    let log = |kind: JobEventKind| job.log(incarnation, kind);
    let lane_error = |lane: usize, end: LaneEnd| job.lane_error(lane, end);
    let supervisor = Supervisor {
        settings: SupervisorSettings {
            retained: job.plan.checkpoints.retained,
            stop_timeout: Duration::from_millis(job.plan.timeouts.stop_ms),
            heartbeat_interval: Duration::from_millis(job.plan.heartbeat.interval_ms),
            heartbeat_timeout: Duration::from_millis(job.plan.heartbeat.timeout_ms),
        },
        coordinator: coordinator(job, restored),
        ledger,
        lines: &lines,
        tasks,
        keeper: &keeper,
        merger: &merger,
        input_log: &job.input_log,
        hand_over: &job.shared.hand_over,
        events,
        log: &log,
        statistics: &job.shared.statistics,
        tenant: &job.tenant,
        began,
        lane_error: &lane_error,
    };
    let Watched { outcome, stuck } = supervisor.run(&reports);
    // Threads are in the order of their lanes.
    let joined = threads.into_iter().enumerate().filter(|(lane, _)| !stuck.contains(lane));
    joined.for_each(|(_, thread)| thread.join());
    // Here and on every earlier way out, dropping both waits for their threads.
    drop((uploads, keeper));
    outcome
}

fn coordinator(job: &Job, restored: CheckpointId) -> Coordinator {
    let plan = &job.plan.checkpoints;
    let settings = CoordinatorSettings {
        interval_ms: plan.interval_ms,
        min_pause_ms: plan.min_pause_ms,
        timeout_ms: plan.timeout_ms,
        tolerable_failures: plan.tolerable_failures,
    };
    Coordinator::new(settings, job.graph.nodes.len(), job.plan.parallelism, restored, 0)
}

fn log_start(job: &Job, basis: &Basis, since: Instant) {
    let manifest = &basis.manifest;
    let parallelism = manifest.parallelism;
    job.log(manifest.incarnation, JobEventKind::JobStarted { parallelism });
    if manifest.checkpoint.0 > 0 {
        let took_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let checkpoint = manifest.checkpoint;
        job.log(manifest.incarnation, JobEventKind::Recovered { checkpoint, took_ms });
    }
}

/// The lanes, ready to run; `None` when the job was stopped before they were.
fn lanes(
    job: &mut Job,
    basis: &Basis,
    places: &Places,
    lines: &[Arc<LaneLine>],
    uploads: &Uploads,
) -> Result<Option<Vec<Lane>>, JobError> {
    let wakers: Vec<Arc<dyn Wake>> =
        lines.iter().map(|line| line.waker.clone() as Arc<dyn Wake>).collect();
    let progress = Progress::new();
    let Some(states) = assemble::restore_states(job, basis, &places.checkpoints, &progress)? else {
        return Ok(None);
    };
    progress.tell();
    failpoint("state.restored");
    let parts = assemble::lane_parts(job, basis, lines, states)?;
    let settings = assemble::lane_settings(job, basis);
    let listener: Arc<dyn CheckpointListener> = Arc::new(uploads.listener());
    Ok(Some(build_lanes(&job.graph, &settings, parts, &wakers, &listener)))
}

/// Reports of one lane's thread.
struct Reporter {
    lane: usize,
    events: Sender<Event>,
}

impl LaneReport for Reporter {
    fn ended(&self) {
        // The supervisor outlives every lane.
        self.events.send(Event::Fact(Fact::LaneEnded(LaneId(self.lane)))).ok();
    }

    fn gone(&self, end: LaneEnd) {
        self.events.send(Event::LaneGone(self.lane, end)).ok();
    }
}

fn start_threads(
    job: &Job,
    lanes: Vec<Lane>,
    lines: &[Arc<LaneLine>],
    events: &Sender<Event>,
) -> Result<Vec<LaneThread>, JobError> {
    let mut threads = Vec::new();
    for (lane, line) in lanes.into_iter().zip(lines) {
        let report = Reporter { lane: lane.id().0, events: events.clone() };
        let nodes = job.graph.nodes.iter().map(|node| matches!(node.kind, NodeKind::Sink));
        let tasks = lane.counters().cloned().zip(nodes).collect();
        let (tenant, reserved) = (job.tenant.clone(), job.reserved.clone());
        let pace = LanePace::new(tenant, reserved, tasks, machine::monotonic_us());
        match lane_thread::start(&job.plan.name, lane, line.clone(), pace, report) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                // Those that run leave, and nothing has been processed for good.
                lines.iter().for_each(|line| line.send_away());
                threads.into_iter().for_each(LaneThread::join);
                return Err(JobError::no_thread("for a lane", &error));
            }
        }
    }
    Ok(threads)
}

fn task_infos(job: &Job, lane: &Lane) -> Vec<TaskInfo> {
    let nodes = job.graph.nodes.iter().zip(lane.counters());
    let info = |(node, counters): (&tidemill_core::graph::Node, _)| {
        let (kind, metrics) = match &node.kind {
            NodeKind::Source => ("source", Arc::default()),
            NodeKind::Operator(described) => ("operator", described.metrics.clone().into()),
            NodeKind::Sink => ("sink", Arc::default()),
        };
        let (node, lane) = (node.name.clone(), lane.id().0);
        TaskInfo { node, kind, lane, metrics, counters: Arc::clone(counters) }
    };
    nodes.map(info).collect()
}

impl Job {
    /// What the end of a lane means; `None` when it was told to leave.
    fn lane_error(&self, lane: usize, end: LaneEnd) -> Option<JobError> {
        let failed = match end {
            LaneEnd::Left => return None,
            LaneEnd::Panicked(message) => {
                return Some(JobError::Host(format!("lane {lane}: {message}")));
            }
            LaneEnd::Failed(failed) => failed,
        };
        let node = self.graph.nodes[failed.node.0].name.clone();
        Some(match failed.problem {
            LaneProblem::Call(Failure::Host(message)) => {
                JobError::Host(format!("{node} (lane {lane}): {message}"))
            }
            LaneProblem::Call(Failure::HostFull(message)) => {
                JobError::HostFull(format!("{node} (lane {lane}): {message}"))
            }
            LaneProblem::Call(failure) => JobError::Operator { node, lane, failure },
            LaneProblem::Connector(error) => JobError::Connector { node, error },
        })
    }
}
