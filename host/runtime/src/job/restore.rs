//! Puts the keyed state of one task back from its snapshot files.
//!
//! Owns the checks before a byte is used: every file has the length and the digest that the manifest says.
//! Items of an older schema version go through the operator's `migrate` on the way.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::describe::Description;
use tidemill_core::disk::Disk;
use tidemill_core::failure::Failure;
use tidemill_core::ids::{KeyGroup, LaneId};
use tidemill_core::limits::Limits;
use tidemill_core::snapshot::{
    Expectations, Migrations, Restore, SnapshotError, SnapshotReader, compare_states, verify,
};
use tidemill_core::state::{EncodeBudget, TaskState};
use tidemill_sandbox::Component;

use super::basis::{Basis, TaskBasis};
use super::migrate::{Progress, TaskMigrator};
use super::{Job, JobError, rollback};

/// From where state is restored, for all tasks.
pub(super) struct Restoring<'a> {
    pub(super) job: &'a Job,
    pub(super) basis: &'a Basis,
    pub(super) checkpoints: &'a CheckpointStore,
    pub(super) progress: &'a Progress,
}

/// A task whose state is restored.
pub(super) struct RestoredTask<'a> {
    pub(super) operator: &'a str,
    pub(super) lane: LaneId,
    pub(super) component: &'a Component,
    pub(super) description: &'a Description,
    pub(super) limits: &'a Arc<Limits>,
}

impl Restoring<'_> {
    /// Restores what `from` says into an empty state; answers whether that was done, and not the job stopped
    /// meanwhile.
    pub(super) fn restore(
        &self,
        state: &mut TaskState,
        from: &TaskBasis,
        task: &RestoredTask<'_>,
    ) -> Result<bool, JobError> {
        let failed = |problem: SnapshotError| failed(task.operator, problem);
        let groups: Vec<KeyGroup> = self.basis.assignment.owned_by(task.lane).collect();
        let now = &task.description.states;
        let mapping = compare_states(&from.states, now);
        let name = (&*self.job.plan.name, task.operator, task.lane);
        let (then, progress) = (&from.states, self.progress);
        let mut migrator = TaskMigrator::new(task.component, task.limits, name, then, progress);
        migrator.begin(&mapping, now);
        for chain in &from.chains {
            let open = |file: &SnapshotFile| self.open(file, task.operator);
            let readers = chain.iter().map(open).collect::<Result<_, _>>().map_err(failed)?;
            let state_bytes = task.limits.state_bytes;
            let migrations = Migrations { migrate: &mut migrator, state_bytes };
            let restore = Restore::migrating(readers, &groups, &mapping, now, migrations);
            let mut restore = restore.map_err(failed)?;
            while !state.restore(&mut restore, EncodeBudget::default()).map_err(failed)? {
                if self.job.shared.stop.load(SeqCst) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn open(&self, file: &SnapshotFile, operator: &str) -> Result<SnapshotReader, SnapshotError> {
        let disk: &Arc<dyn Disk> = self.checkpoints.disk();
        verify(&*disk.open(&file.name)?, &file.name, file.bytes, &file.digest)?;
        let manifest = &self.basis.manifest;
        let expected = Expectations {
            bytes: file.bytes,
            identity: manifest.files_identity.as_ref().unwrap_or(&manifest.identity),
            operator,
            key_groups: self.basis.assignment.groups(),
            hash_seed: manifest.hash_seed,
            is_base: file.is_base,
        };
        SnapshotReader::open(disk.open(&file.name)?, &file.name, Some(&expected))
    }
}

fn failed(operator: &str, problem: SnapshotError) -> JobError {
    match problem {
        // A host that is short of something may have it at the next start.
        SnapshotError::Migration(error) if matches!(error.failure, Failure::Host(_)) => {
            JobError::Host(format!("{operator}: {error}"))
        }
        SnapshotError::Migration(error) => JobError::Migration { node: operator.to_owned(), error },
        other => rollback::unusable(operator, &other),
    }
}
