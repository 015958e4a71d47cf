//! A job from its plan to its report.
//!
//! `prepare` checks everything that can be checked without an effect; `run` goes from incarnation to
//! incarnation: it decides what to start from, restores, runs lanes under a supervisor, and starts again
//! when that may help. Owns no protocol of its own: barriers, coordination and recovery are the core's,
//! connectors and sandboxes theirs.
//!
//! | file | what it owns |
//! |---|---|
//! | `prepare` | from a plan to a job: components, graph |
//! | `grants` | what operators are given of the host |
//! | `run` | the loop over incarnations |
//! | `basis` | what an incarnation begins from: manifest against plan |
//! | `assemble`, `restore`, `migrate` | the parts of lanes, their state |
//! | `dry_run` | what a run would do |
//! | `incarnation` | starting and joining the threads of one incarnation |
//! | `supervisor` | facts to the coordinator, actions from it; heartbeats |
//! | `lane_thread`, `keeper`, `uploads`, `control` | the threads |
//! | `lane_drive`, `lane_line` | what a lane's thread does, and what it shares with its supervisor |
//! | `lane_pace`, `restore_pace` | what threads of lanes, and those that restore, owe their tenant: holding them back, giving way |
//! | `rollback` | going back behind damaged checkpoints |
//! | `savepoint`, `hand_over` | copies of checkpoints that people own, stops with one |
//! | `input_log` | the log of input that cannot be read again |
//! | `statistics`, `report` | figures |

mod assemble;
mod basis;
mod chance;
mod control;
mod dry_run;
mod engine;
mod failpoint;
mod grants;
mod hand_over;
mod heartbeat;
mod incarnation;
mod input_log;
mod keeper;
mod lane_drive;
mod lane_line;
mod lane_pace;
mod lane_thread;
mod migrate;
mod open;
mod pauses;
mod prepare;
mod report;
mod restore;
mod restore_pace;
mod rollback;
mod run;
mod savepoint;
mod statistics;
mod supervisor;
mod uploads;
mod watchdog;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::events::{JobEvent, JobEventKind};
use tidemill_core::graph::Graph;
use tidemill_core::ids::Incarnation;
use tidemill_sandbox::{Component, Surroundings};
use tidemill_storage::data_dir::JobDir;
use tidemill_storage::event_log::EventLog;

pub use control::{Answer as ControlAnswer, Request as ControlRequest, ask as ask_control};
pub use dry_run::{DryOperator, DryRun, DryStart, StateFate};
pub use engine::Engine;
pub use grants::GrantError;
pub use hand_over::Savepoint;
pub(crate) use input_log::DIRECTORY as INPUT_LOG_DIRECTORY;
pub use input_log::InputLogFigures;
pub use migrate::Migrated;
pub use open::{checkpoint_directory, savepoints_directory};
pub use report::{JobError, Outcome, Progress, Report, SinkReport, SourceReport, TaskProgress};
pub use rollback::RolledBack;
pub use savepoint::savepoint_of_stopped;
pub use statistics::{Durability, Pauses};

use crate::config::JobPlan;
use crate::connectors::{Sink, Source};
use crate::tenants::{Reserved, Tenant};
use hand_over::HandOver;
use input_log::{InputLog, InputLogStatistics};
use report::TaskInfo;
use statistics::Statistics;
use supervisor::Event;

/// How a job is to be run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The data directory; the job's own directory lies in it.
    pub data_dir: PathBuf,
    /// Begin anew whatever earlier runs did: their checkpoints and the output files that they published
    /// are removed.
    pub fresh: bool,
    /// Begin a new job with this savepoint.
    pub from: Option<PathBuf>,
    /// State that the job no longer has a place for is given up.
    pub allow_drop_state: bool,
    /// Damaged checkpoints are given up, and what was published with them is set aside.
    pub accept_rollback: bool,
}

/// A job that is ready to run.
pub struct Job {
    plan: JobPlan,
    options: RunOptions,
    graph: Graph,
    /// For each operator of the plan, its component.
    components: Vec<Component>,
    /// For each operator of the plan, what it finds around it.
    surroundings: Vec<Surroundings>,
    sources: Vec<Source>,
    /// The sinks of the incarnation that runs.
    sinks: Vec<Sink>,
    input_log: InputLog,
    tenant: Arc<Tenant>,
    /// What the job has taken of its tenant's quotas. Its lanes keep it as well: the thread of one that is stuck outlives the job.
    reserved: Arc<Vec<Reserved>>,
    /// The same for the partitions of its sources, once they are known.
    partitions: Vec<(u64, Reserved)>,
    shared: Arc<Shared>,
}

/// What a job shares with its handles.
#[derive(Default)]
struct Shared {
    /// Somebody asked the job to stop.
    stop: AtomicBool,
    incarnation: AtomicU64,
    supervisor: Mutex<Option<Sender<Event>>>,
    tasks: Mutex<Arc<Vec<TaskInfo>>>,
    sinks: Mutex<Vec<SinkReport>>,
    events: Mutex<Option<EventLog>>,
    statistics: Statistics,
    input_log: Arc<InputLogStatistics>,
    hand_over: HandOver,
    /// What was given up at the start.
    rolled_back: Mutex<Option<RolledBack>>,
}

/// Watches a job and stops it, from any thread.
#[derive(Clone)]
pub struct JobHandle {
    shared: Arc<Shared>,
}

impl Job {
    /// The job's graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The plan that it was prepared from.
    pub fn plan(&self) -> &JobPlan {
        &self.plan
    }

    /// Each source with its number of partitions.
    pub fn partitions(&self) -> Vec<(String, usize)> {
        let sources = self.plan.sources.iter().zip(&self.sources);
        sources.map(|(plan, source)| (plan.name.clone(), source.partitions().len())).collect()
    }

    /// The component of each operator, in the order of the plan.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Binds the addresses of sources that listen. [`Job::run`] does it too, unless it is done.
    ///
    /// # Errors
    /// [`JobError::Connector`] when an address cannot be bound.
    pub fn bind(&self) -> Result<(), JobError> {
        let sources = self.plan.sources.iter().zip(&self.sources);
        sources.into_iter().try_for_each(|(plan, source)| {
            source.bind().map_err(|error| JobError::Connector { node: plan.name.clone(), error })
        })
    }

    /// Where each source that listens does so, once it is bound.
    pub fn addresses(&self) -> Vec<(String, std::net::SocketAddr)> {
        let sources = self.plan.sources.iter().zip(&self.sources);
        let listening =
            sources.filter_map(|(plan, source)| Some((plan.name.clone(), source.local_address()?)));
        listening.collect()
    }

    /// A handle to watch and stop the job.
    pub fn handle(&self) -> JobHandle {
        JobHandle { shared: self.shared.clone() }
    }

    fn open_log(&self, dir: &JobDir) {
        *lock(&self.shared.events) = Some(EventLog::new(dir.path()));
    }
}

impl JobHandle {
    /// The figures of now.
    pub fn progress(&self) -> Progress {
        Progress::of(&lock(&self.shared.tasks).clone())
    }

    /// The figures of the job's durability.
    pub fn durability(&self) -> Durability {
        Durability { input_log: self.shared.input_log.read(), ..self.shared.statistics.read() }
    }

    /// What was given up at the start of the run, if anything was.
    pub fn rolled_back(&self) -> Option<RolledBack> {
        lock(&self.shared.rolled_back).clone()
    }

    /// Asks the job to stop at a checkpoint and to end as [`Outcome::Stopped`]; the next run goes on
    /// from there.
    pub fn stop(&self) {
        self.shared.stop.store(true, SeqCst);
        if let Some(supervisor) = &*lock(&self.shared.supervisor) {
            // One that is gone has stopped.
            supervisor.send(Event::StopWanted).ok();
        }
    }
}

impl Shared {
    /// The incarnation that runs learns from here on what people want.
    fn connect(&self, supervisor: Sender<Event>) {
        *lock(&self.supervisor) = Some(supervisor.clone());
        if self.stop.load(SeqCst) {
            supervisor.send(Event::StopWanted).ok();
        }
        if self.hand_over.is_wanted() {
            supervisor.send(Event::HandOverWanted).ok();
        }
    }

    fn disconnect(&self) {
        *lock(&self.supervisor) = None;
    }

    fn set_tasks(&self, tasks: Arc<Vec<TaskInfo>>) {
        *lock(&self.tasks) = tasks;
    }

    fn set_sinks(&self, sinks: Vec<SinkReport>) {
        *lock(&self.sinks) = sinks;
    }

    fn sink_reports(&self) -> Vec<SinkReport> {
        lock(&self.sinks).clone()
    }

    fn write_event(&self, time_ms: i64, incarnation: Incarnation, kind: JobEventKind) {
        let event = JobEvent { time_ms, incarnation, kind };
        let written = serde_json::to_string(&event).map_err(|error| error.to_string());
        let written = written.and_then(|line| match &mut *lock(&self.events) {
            Some(log) => log.append(&line).map_err(|error| error.to_string()),
            None => Ok(()),
        });
        if let Err(problem) = written {
            tracing::warn!("An event is not in the job's log: {problem}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder leaves anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
