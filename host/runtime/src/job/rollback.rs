//! Goes back behind damaged checkpoints, when the person who starts the job accepts it.
//!
//! The decision and the order of the effects are the core's (`checkpoint::rollback`). Owns where a job's output
//! may lie, and what is told. Nothing is changed before it is known that the job can go on from the older
//! checkpoint: its snapshot files are whole, its input is there, the input log reaches back to it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery::{self, RecoveryError};
use tidemill_core::checkpoint::rollback::{
    self, Decision, Discarded, Rollback, RollbackError, SinkPlace,
};
use tidemill_core::checkpoint::store::StoredManifest;
use tidemill_core::events::JobEventKind;
use tidemill_core::ids::CheckpointId;
use tidemill_core::snapshot::SnapshotError;

use super::basis;
use super::failpoint::failpoint;
use super::keeper::Places;
use super::{Job, JobError, lock};
use crate::connectors::Sink;
use crate::connectors::settings::SinkSettings;
use crate::machine;

/// Files that are named one by one in log lines.
const FILES_NAMED_MAX: usize = 20;

/// What was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The checkpoint that the job went back to.
    pub checkpoint: CheckpointId,
    /// The manifests that were given up, and what is wrong with them, oldest first.
    pub discarded: Vec<Discarded>,
    /// The directory, in that of the checkpoints, that those manifests lie in now.
    pub manifests_in: String,
    /// Published files that were set aside: where they lie now.
    pub files: Vec<PathBuf>,
}

/// The error of a snapshot file that a restore cannot use.
pub(super) fn unusable(operator: &str, problem: &SnapshotError) -> JobError {
    let message = format!("{operator}: {problem}");
    match problem.is_damage() {
        true => JobError::Damaged(message),
        false => JobError::Checkpoint(message),
    }
}

/// The error of a start that could not be decided on.
pub(super) fn undecided(error: &RecoveryError) -> JobError {
    match error {
        RecoveryError::Manifest { .. } => JobError::Damaged(error.to_string()),
        RecoveryError::Disk(_) | RecoveryError::Overtaken(_) => {
            JobError::Checkpoint(error.to_string())
        }
    }
}

fn failed(error: impl Into<RollbackError>) -> JobError {
    match error.into() {
        error @ (RollbackError::NoneWhole(_) | RollbackError::Unreachable { .. }) => {
            JobError::NoRollback(error.to_string())
        }
        error => JobError::Checkpoint(format!("going back: {error}")),
    }
}

impl Job {
    /// Finishes a rollback that an earlier start has begun, or makes one if the job was told to and there is
    /// reason to.
    ///
    /// # Errors
    /// What keeps the job from going back. Nothing is changed unless a disk fails in the middle: then the next
    /// start goes on with it.
    pub(super) fn settle_rollback(&mut self, places: &Places) -> Result<(), JobError> {
        let unfinished = Rollback::unfinished(&places.checkpoints).map_err(failed)?;
        let rollback = match unfinished {
            Some(unfinished) => unfinished,
            None if !self.options.accept_rollback => return Ok(()),
            None => match self.begin_rollback(places)? {
                Some(begun) => begun,
                None => return Ok(()),
            },
        };
        let mut files = Vec::new();
        for SinkPlace { sink, directory } in &rollback.sinks {
            let (after, place) = (rollback.checkpoint, rollback.output_place());
            let moved = Sink::set_aside_in(directory.as_ref(), &rollback.job, sink, after, &place);
            let node = || sink.clone();
            files.extend(moved.map_err(|error| JobError::Connector { node: node(), error })?);
            failpoint("rollback.sink");
        }
        failpoint("rollback.output");
        rollback.set_manifests_aside(&places.checkpoints).map_err(failed)?;
        failpoint("rollback.manifests");
        rollback.end(&places.checkpoints).map_err(failed)?;
        failpoint("rollback.ended");
        self.tell_of_rollback(rollback, files);
        Ok(())
    }

    /// Decides, and makes the record durable; `None` when there is no reason to go back.
    fn begin_rollback(&mut self, places: &Places) -> Result<Option<Rollback>, JobError> {
        let reach = |manifest: &Manifest| self.input_log.reaches(manifest, &*places.job);
        let (candidates, readable) =
            rollback::survey(&places.checkpoints, reach).map_err(failed)?;
        let Decision::GoBack { to, discarded } = rollback::decide(&candidates).map_err(failed)?
        else {
            tracing::info!("There is nothing to roll back: no checkpoint is damaged.");
            return Ok(None);
        };
        // Names alone: what is damaged counts as well.
        let stored: Vec<StoredManifest> = candidates.into_iter().map(|it| it.stored).collect();
        let incarnation = recovery::next_incarnation(&*places.job, &stored).map_err(failed)?;
        let older = readable.last().filter(|older| older.checkpoint.0 > 0).cloned();
        match older {
            // As a start from it would: what that refuses is refused before anything is given up.
            Some(older) => drop(basis::resume(self, older, incarnation)?),
            None => self.list_sources()?,
        }
        let rollback = Rollback {
            job: self.plan.name.clone(),
            begun_by: incarnation,
            begun_ms: machine::wall_ms(),
            checkpoint: to.checkpoint,
            incarnation: to.incarnation,
            discarded,
            sinks: self.sink_places(&readable)?,
        };
        let begun = recovery::begin(&*places.job, incarnation);
        begun.map_err(|error| JobError::Checkpoint(error.to_string()))?;
        failpoint("rollback.before");
        rollback.begin(&places.checkpoints).map_err(failed)?;
        failpoint("rollback.recorded");
        Ok(Some(rollback))
    }

    /// Where output of this job may lie: wherever a manifest that can be read or the job file says.
    fn sink_places(&self, manifests: &[Manifest]) -> Result<Vec<SinkPlace>, JobError> {
        let recorded = manifests.iter().flat_map(|manifest| &manifest.sinks);
        let recorded = recorded.filter(|sink| !sink.directory.is_empty());
        let mut places: BTreeSet<(String, String)> =
            recorded.map(|sink| (sink.name.clone(), sink.directory.clone())).collect();
        for sink in &self.plan.sinks {
            if let SinkSettings::File(file) = &sink.settings {
                let absolute = std::path::absolute(&file.directory);
                let absolute = absolute.map_err(|error| JobError::Host(error.to_string()))?;
                places.insert((sink.name.clone(), absolute.display().to_string()));
            }
        }
        let place = |(sink, directory)| SinkPlace { sink, directory };
        Ok(places.into_iter().map(place).collect())
    }

    fn tell_of_rollback(&self, rollback: Rollback, files: Vec<PathBuf>) {
        let Rollback { checkpoint, discarded, .. } = &rollback;
        let reasons = discarded.iter().map(|it| format!("{}: {}", it.manifest, it.reason));
        let reasons = reasons.collect::<Vec<_>>().join("; ");
        tracing::warn!(
            "Went back to checkpoint {checkpoint}, as was accepted. Given up and kept in `{}` beside the \
             checkpoints: {reasons}.",
            rollback.manifest_place()
        );
        let count = files.len();
        tracing::warn!(
            "{count} output files published since then were set aside; what is in them is published again."
        );
        for file in files.iter().take(FILES_NAMED_MAX) {
            tracing::warn!("Set aside: {}", file.display());
        }
        if count > FILES_NAMED_MAX {
            tracing::warn!("... and {} more beside them.", count - FILES_NAMED_MAX);
        }
        let checkpoint = *checkpoint;
        let kind = JobEventKind::RolledBack { checkpoint, discarded: reasons, files: count as u64 };
        self.log(rollback.begun_by, kind);
        let manifests_in = rollback.manifest_place();
        let discarded = rollback.discarded;
        *lock(&self.shared.rolled_back) =
            Some(RolledBack { checkpoint, discarded, manifests_in, files });
    }
}
