//! The control thread: signals, and whatever else must not wait for the job.
//!
//! The first SIGINT or SIGTERM asks the running jobs to stop, each at a checkpoint; the second ends the
//! process at once, and nothing is lost by it. Before any job runs the first one ends the process.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::console::note;
use super::exit_code::ExitCode;
use super::failure::Failure;
use crate::job::JobHandle;

/// The control thread of this process.
pub(super) struct Control {
    runtime: Handle,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    jobs: Mutex<Vec<JobHandle>>,
    stopped_by: OnceLock<ExitCode>,
}

impl State {
    fn jobs(&self) -> MutexGuard<'_, Vec<JobHandle>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Starts the thread. From here on signals are ours.
    ///
    /// # Errors
    /// The system gives no thread, or no signals.
    pub(super) fn start() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::Host(format!("the control thread cannot start: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let state = Arc::new(State::default());
        let control = Self { runtime: runtime.handle().clone(), state: Arc::clone(&state) };
        let inside = runtime.enter();
        let interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminations = signal(SignalKind::terminate()).map_err(failed)?;
        drop(inside);
        let serve = move || runtime.block_on(watch(interrupts, terminations, &state));
        thread::Builder::new().name("tidemill-control".to_owned()).spawn(serve).map_err(failed)?;
        Ok(control)
    }

    /// Lets signals stop `job`; one that comes after a signal is stopped at once.
    pub(super) fn watch_over(&self, job: JobHandle) {
        let mut jobs = self.state.jobs();
        if self.stopped_by().is_some() {
            job.stop();
        }
        jobs.push(job);
    }

    /// Runs `task` beside the jobs, until the process ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// How the process ends when a signal has stopped the jobs.
    pub(super) fn stopped_by(&self) -> Option<ExitCode> {
        self.state.stopped_by.get().copied()
    }
}

async fn watch(mut interrupts: Stream, mut terminations: Stream, state: &State) {
    loop {
        let code = tokio::select! {
            _ = interrupts.recv() => ExitCode::Interrupted,
            _ = terminations.recv() => ExitCode::Terminated,
        };
        // Held until all are told, so that none slips through between the signal and its own start.
        let jobs = state.jobs();
        let is_first = state.stopped_by.set(code).is_ok();
        if is_first && !jobs.is_empty() {
            tracing::info!(
                "Stopping at a checkpoint; the next run goes on from there. Once more stops at once."
            );
            jobs.iter().for_each(JobHandle::stop);
            continue;
        }
        if !jobs.is_empty() {
            note("stopped without a last checkpoint; the next run goes on from the newest\n");
        }
        std::process::exit(code.number().into());
    }
}
