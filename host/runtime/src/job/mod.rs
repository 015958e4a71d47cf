//! A job from its plan to its report.
//!
//! `prepare` checks everything that can be checked without an effect on any output; `run` opens the
//! outputs, starts the lanes, waits for all of them, and then publishes or abandons the outputs as a
//! whole. Owns no protocol of its own: lanes are the core's, connectors and sandboxes theirs.

mod engine;
mod lane_thread;
mod prepare;
mod report;
mod run;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tidemill_core::connector::Wake;
use tidemill_core::graph::Graph;
use tidemill_sandbox::Component;
use tidemill_storage::data_dir::{JobDir, JobDirError};

pub use engine::Engine;
pub use report::{JobError, Outcome, Progress, Report, SinkReport, SourceReport, TaskProgress};

use crate::config::JobPlan;
use crate::connectors::Source;
use lane_thread::{LaneWaker, Requests};
use report::TaskInfo;

/// How a job is to be run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The data directory; the job's own directory lies in it.
    pub data_dir: PathBuf,
    /// Begin anew whatever earlier runs did, and replace the output files that they published.
    pub fresh: bool,
}

/// A job that is ready to run.
pub struct Job {
    plan: JobPlan,
    options: RunOptions,
    graph: Graph,
    /// For each operator of the plan, its component.
    components: Vec<Component>,
    sources: Vec<Source>,
    shared: Arc<Shared>,
}

/// What a job shares with its handles.
struct Shared {
    requests: Arc<Requests>,
    wakers: Vec<Arc<LaneWaker>>,
    tasks: OnceLock<Vec<TaskInfo>>,
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
}

impl JobHandle {
    /// The figures of now.
    pub fn progress(&self) -> Progress {
        self.shared.tasks.get().map(|tasks| Progress::of(tasks)).unwrap_or_default()
    }

    /// Asks the sources to end. The job then drains, publishes its outputs and ends as
    /// [`Outcome::Stopped`].
    pub fn stop(&self) {
        self.shared.requests.drain.store(true, std::sync::atomic::Ordering::SeqCst);
        self.shared.wake_all();
    }
}

impl Shared {
    fn wake_all(&self) {
        self.wakers.iter().for_each(|waker| waker.wake());
    }
}

/// Opens the job's own directory and checks that it may be run.
fn open_job_dir(plan: &JobPlan, options: &RunOptions) -> Result<JobDir, JobError> {
    let path = options.data_dir.join(&plan.name);
    let refuse = |problem: String, help: &str| JobError::DataDir {
        path: path.clone(),
        problem,
        help: help.to_owned(),
    };
    let failed = |error: JobDirError| {
        let help = match &error {
            JobDirError::Locked(_) => {
                "wait for the other process, or choose another directory with --data-dir"
            }
            JobDirError::Io { .. } => {
                "check that the directory can be written, or choose another with --data-dir"
            }
        };
        refuse(error.to_string(), help)
    };
    let dir = JobDir::open(&options.data_dir, &plan.name).map_err(failed)?;
    match dir.outcome().map_err(failed)? {
        None => Ok(dir),
        Some(_) if options.fresh => Ok(dir),
        Some(outcome) => Err(refuse(
            format!("this job has been run before and {}", outcome.trim()),
            "run it again from the start with --fresh, which replaces the files that it published",
        )),
    }
}
