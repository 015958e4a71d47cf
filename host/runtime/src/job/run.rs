//! Runs a prepared job, incarnation after incarnation, until it finishes, stops, or fails for good.
//!
//! Order for each incarnation: decide what to start from (nothing is changed by that) -> list the input of a
//! job that is created -> begin the incarnation (a durable marker: no older one has an effect from here on) ->
//! finish the commits of the newest manifest, with the sinks that it names -> check the plan against it ->
//! remove unfinished files of older incarnations -> restore -> run the lanes. A rollback comes before all of
//! them, once (`rollback`). A failure that a new start may
//! mend goes to the restart strategy; everything of the old incarnation is joined before the next begins.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery::{self, RecoveryError, Restored, Start};
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::connector::ConnectorFault;
use tidemill_core::events::JobEventKind;
use tidemill_core::failure::{Failure, FaultCode};
use tidemill_core::ids::Incarnation;
use tidemill_core::quota::Account as _;
use tidemill_core::restart::{RestartDecision, RestartPolicy, start_delay};

use super::basis::{self, Basis};
use super::chance;
use super::control::ControlSocket;
use super::failpoint::failpoint;
use super::incarnation;
use super::keeper::{self, Places};
use super::open::{limited_checkpoints, open_job_dir};
use super::rollback;
use super::savepoint;
use super::supervisor::Ended;
use super::{InputLog, Job, JobError, Outcome, Report, SourceReport, lock};
use crate::machine;

/// An incarnation that has not lived longer is followed by the next one no sooner than this, whatever the job's restart strategy.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const SHORT_LIFE_DELAY_MS: u64 = 100;
/// How long a start waits at most for a tenant that has used up its CPU time.
const HELD_MAX: Duration = Duration::from_secs(1);
/// How often a wait before a start looks whether the job was stopped.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Job {
    /// Runs the job to its end. Blocks the calling thread.
    ///
    /// # Errors
    /// What kept the job from starting, or the failure that no restart can mend.
    pub fn run(self) -> Result<Report, JobError> {
        let shared = self.shared.clone();
        let ended = self.run_to_its_end();
        // Directories are unlocked by now: who was waiting may begin with the savepoint.
        shared.hand_over.end();
        // Whoever still looks at the job's figures must not keep its files open.
        *lock(&shared.events) = None;
        ended
    }

    fn run_to_its_end(mut self) -> Result<Report, JobError> {
        let began = Instant::now();
        // Whatever this thread does from here on: reading manifests, looking for files, publishing what was complete, supervising.
        let _employed = self.tenant.employ();
        let dir = open_job_dir(&self.options.data_dir, &self.plan.directory_name())?;
        let checkpoints = limited_checkpoints(&self.plan, &dir, &self.tenant)?;
        let places = Places {
            job: dir.disk(),
            checkpoints: CheckpointStore::new(checkpoints),
            published: Arc::default(),
        };
        self.open_log(&dir);
        // What cannot be begun with must not cost what there is.
        let beginning = self.read_savepoint()?;
        if self.options.fresh {
            // A start that finds no input must not cost what there is.
            if !self.lists_sources()? {
                self.log_end(Outcome::Stopped);
                return Ok(self.report(Outcome::Stopped, began.elapsed()));
            }
            // First, so that no log is ever replayed into a job that it does not belong to.
            InputLog::drop_all(&*places.job)?;
            places
                .checkpoints
                .drop_all()
                .map_err(|error| JobError::Checkpoint(error.to_string()))?;
            failpoint("fresh.dropped");
        }
        if let Some(beginning) = beginning {
            beginning.copy(&places.checkpoints)?;
        }
        self.settle_rollback(&places)?;
        let _control = ControlSocket::open(dir.path(), &self.shared);
        self.bind()?;
        let mut policy = RestartPolicy::new(self.plan.restart.clone());
        let mut recovering_since = began;
        let mut is_first = true;
        loop {
            let started = Instant::now();
            let ended = self.run_once(&places, is_first, recovering_since);
            is_first = false;
            let (failure, incarnation) = match ended {
                Ok(outcome) => {
                    self.log_end(outcome);
                    return Ok(self.report(outcome, began.elapsed()));
                }
                Err(failed) => failed,
            };
            recovering_since = Instant::now();
            if !failure.may_pass() {
                self.log(incarnation, JobEventKind::JobFailed { reason: failure.to_string() });
                return Err(failure);
            }
            let now_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            match policy.on_failure(now_ms, chance::share()) {
                RestartDecision::RestartAfter { delay_ms } => {
                    // A start makes files, threads and words in the log, whosever they are, and syncs them.
                    let is_soon = started.elapsed() < SHORT_LIFE;
                    let delay_ms =
                        if is_soon { delay_ms.max(SHORT_LIFE_DELAY_MS) } else { delay_ms };
                    let cause = failure.to_string();
                    tracing::warn!("The job failed and starts again in {delay_ms} ms: {cause}");
                    self.shared.statistics.restarted(failure.cause());
                    self.log(incarnation, JobEventKind::Restart { cause, delay_ms });
                    if !self.wait(Duration::from_millis(delay_ms)) || !self.wait_while_held() {
                        // Nothing runs, so everything that was acknowledged is in the newest checkpoint.
                        self.log_end(Outcome::Stopped);
                        return Ok(self.report(Outcome::Stopped, began.elapsed()));
                    }
                }
                RestartDecision::GiveUp { reason } => {
                    let reason = format!("{failure}; {reason}");
                    self.log(incarnation, JobEventKind::JobFailed { reason: reason.clone() });
                    tracing::error!("The job is not started again: {reason}.");
                    return Err(failure);
                }
            }
        }
    }

    /// The savepoint that the job is to begin with, if any; the job can go on from it.
    pub(super) fn read_savepoint(&self) -> Result<Option<savepoint::Beginning>, JobError> {
        let Some(directory) = &self.options.from else {
            return Ok(None);
        };
        let sources = self.plan.sources.iter().enumerate();
        let logged = sources.filter(|(index, _)| self.input_log.is_logged(*index));
        let logged: Vec<String> = logged.map(|(_, source)| source.name.clone()).collect();
        let beginning = savepoint::read(directory, &logged)?;
        basis::check(self, &beginning.manifest)?;
        Ok(Some(beginning))
    }

    /// One incarnation, from the decision to its end.
    fn run_once(
        &mut self,
        places: &Places,
        is_first: bool,
        since: Instant,
    ) -> Result<Outcome, (JobError, Incarnation)> {
        let none = Incarnation(0);
        let start = recovery::decide(&*places.job, &places.checkpoints);
        let start = start.map_err(|error| (rollback::undecided(&error), none))?;
        let incarnation = start.incarnation;
        self.go(start, places, is_first, since).map_err(|error| (error, incarnation))
    }

    fn go(
        &mut self,
        start: Start,
        places: &Places,
        is_first: bool,
        since: Instant,
    ) -> Result<Outcome, JobError> {
        let fruitless = start.fruitless();
        let Start { incarnation, from } = start;
        if from.as_ref().is_none_or(|from| from.manifest.checkpoint.0 == 0) {
            // Before anything else, so that a start without input leaves no trace.
            if !self.lists_sources()? {
                return Ok(Outcome::Stopped);
            }
        }
        // A job that begins anew leaves behind whatever its earlier starts came to.
        if is_first
            && !self.options.fresh
            // The starts since then are not those that came to nothing.
            && self.handle().rolled_back().is_none()
            && let Some(delay_ms) = start_delay(&self.plan.restart, fruitless + 1, chance::share())
        {
            tracing::warn!(
                "{fruitless} starts of this job came to no checkpoint; waiting {delay_ms} ms before \
                 this one."
            );
            if !self.wait(Duration::from_millis(delay_ms)) {
                return Ok(Outcome::Stopped);
            }
        }
        let failed = |error: RecoveryError| JobError::Checkpoint(error.to_string());
        failpoint("recovery.before");
        recovery::begin(&*places.job, incarnation).map_err(failed)?;
        failpoint("recovery.begun");
        self.shared.incarnation.store(incarnation.0, SeqCst);
        if let Some(Restored { manifest, is_committed }) = &from {
            if !is_committed {
                keeper::commit(places, manifest).map_err(JobError::Checkpoint)?;
            }
            if manifest.finished {
                incarnation::clean_up_finished(manifest)?;
                return Ok(self.finished_before(manifest));
            }
        }
        let basis = match from {
            // Nothing was done yet, so the job may still be changed at will.
            Some(Restored { manifest, .. }) if manifest.checkpoint.0 > 0 => {
                basis::resume(self, manifest, incarnation)?
            }
            begun => basis::first(self, incarnation, begun.map(|begun| begun.manifest.identity)),
        };
        self.tell_where_it_begins(&basis, is_first);
        match incarnation::run(self, basis, places, is_first, since)? {
            Ended::Finished => Ok(Outcome::Finished),
            Ended::Stopped => Ok(Outcome::Stopped),
        }
    }

    /// As [`list_sources`](Self::list_sources); answers `false` when the job was stopped meanwhile.
    fn lists_sources(&mut self) -> Result<bool, JobError> {
        match self.list_sources() {
            Err(_) if self.shared.stop.load(SeqCst) => Ok(false),
            listed => listed.map(|()| true),
        }
    }

    fn finished_before(&mut self, manifest: &Manifest) -> Outcome {
        // For the report only: whatever the job file says now, there is nothing left to read.
        if let Err(error) = self.resume_sources(&manifest.sources) {
            tracing::debug!("The sources are not those of the job that has finished: {error}.");
        }
        tracing::info!(
            "Job {} has finished before, at checkpoint {}: there is nothing left to do. Run it again \
             from the start with --fresh.",
            manifest.job,
            manifest.checkpoint
        );
        self.shared.statistics.restored(manifest.checkpoint, Duration::ZERO, true);
        Outcome::Finished
    }

    fn tell_where_it_begins(&self, basis: &Basis, is_first: bool) {
        if is_first && basis.manifest.checkpoint.0 > 0 {
            tracing::info!(
                "Going on from checkpoint {} of {}.",
                basis.manifest.checkpoint,
                humantime::format_rfc3339_seconds(
                    std::time::UNIX_EPOCH
                        + Duration::from_millis(basis.manifest.created_ms.max(0) as u64)
                ),
            );
        }
    }

    /// Waits, unless the job is stopped in the meantime: then `false`.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while !self.shared.stop.load(SeqCst) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        false
    }

    /// Waits while its tenant has used up its CPU time, but not for long; `false` when the job is stopped in the meantime. Lanes of the
    /// next incarnation wait by themselves; a start costs some before there are any.
    fn wait_while_held(&self) -> bool {
        let until = Instant::now() + HELD_MAX;
        while self.tenant.is_held() && Instant::now() < until {
            if !self.wait(LOOK_EVERY) {
                return false;
            }
        }
        true
    }

    fn log_end(&self, outcome: Outcome) {
        let incarnation = Incarnation(self.shared.incarnation.load(SeqCst));
        let kind = match outcome {
            Outcome::Finished => JobEventKind::JobFinished,
            Outcome::Stopped => JobEventKind::JobStopped,
        };
        self.log(incarnation, kind);
    }

    /// Writes to the job's event log. The log is for people: what cannot be written stops nothing.
    pub(super) fn log(&self, incarnation: Incarnation, kind: JobEventKind) {
        self.shared.write_event(machine::wall_ms(), incarnation, kind);
    }

    fn report(&self, outcome: Outcome, elapsed: Duration) -> Report {
        let progress = self.handle().progress();
        let records = |name: &str| {
            let tasks = progress.tasks.iter().filter(|task| task.kind == "source");
            tasks.filter(|task| task.node == name).map(|task| task.records_in).sum()
        };
        let sources = self.partitions().into_iter().map(|(name, partitions)| SourceReport {
            records: records(&name),
            name,
            partitions,
        });
        Report {
            job: self.plan.name.clone(),
            tenant: self.plan.tenant.clone(),
            outcome,
            elapsed,
            sources: sources.collect(),
            sinks: self.shared.sink_reports(),
            durability: self.handle().durability(),
            savepoint: self.shared.hand_over.made(),
            rolled_back: self.handle().rolled_back(),
            progress,
        }
    }
}

impl JobError {
    /// Whether another start may go better: the fault was the host's, or what was lost is in the newest
    /// checkpoint. What a record, a file or a setting is to blame for would fail the same way again.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Host(_) | Self::HostFull(_) => true,
            Self::Connector { error, .. } => error.fault == ConnectorFault::HostFull,
            Self::Operator { failure, .. } => match failure {
                Failure::Lost { .. } | Failure::HostFull(_) | Failure::Host(_) => true,
                // Another job of the tenant may give something back.
                Failure::Guest(fault) => {
                    matches!(fault.code, FaultCode::TenantMemory | FaultCode::TenantState)
                }
                Failure::Fatal(_) | Failure::Poison(_) => false,
            },
            Self::TooManyFailedCheckpoints(_) => true,
            _ => false,
        }
    }

    /// The cause in one word, for counts of restarts.
    fn cause(&self) -> &'static str {
        match self {
            Self::Operator { .. } => "operator",
            Self::TooManyFailedCheckpoints(_) => "checkpoint",
            _ => "host",
        }
    }
}
