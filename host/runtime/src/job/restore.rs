//! Puts the keyed state of one task back from its snapshot files.
//!
//! Owns the checks before a byte is used: every file has the length and the digest that the manifest says.
//! Items of an older schema version go through the operator's `migrate` on the way.

use std::sync::Arc;

use tidemill_core::checkpoint::manifest::SnapshotFile;
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::describe::Description;
use tidemill_core::failure::Failure;
use tidemill_core::ids::{KeyGroup, LaneId};
use tidemill_core::limits::{LANE_STACK_BYTES, Limits};
use tidemill_core::snapshot::{
    Expectations, Migrations, Restore, SnapshotError, SnapshotReader, StateMapping, compare_states,
    verify,
};
use tidemill_core::state::EncodeBudget;
use tidemill_core::state::memory::MemoryBackend;
use tidemill_sandbox::Component;

use super::basis::{Basis, TaskBasis};
use super::migrate::{Progress, TaskMigrator};
use super::restore_pace::RestorePace;
use super::{Job, JobError, rollback};
use crate::spawner;

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

/// What of a task is put back how.
struct Restored<'t> {
    task: &'t RestoredTask<'t>,
    from: &'t TaskBasis,
    mapping: StateMapping,
}

impl Restoring<'_> {
    /// An empty state of a task.
    pub(super) fn empty(&self, task: &RestoredTask<'_>) -> MemoryBackend {
        let owned = self.basis.assignment.owned_by(task.lane);
        self.backend(task, &owned.collect::<Vec<_>>())
    }

    fn backend(&self, task: &RestoredTask<'_>, owned: &[KeyGroup]) -> MemoryBackend {
        let groups = self.basis.assignment.groups();
        MemoryBackend::new(&task.description.states, groups, owned.iter().copied())
    }

    /// The state of a task as `from` says; `None` when the job was stopped meanwhile. Its key groups are dealt to
    /// as many threads as there are cores for each lane.
    pub(super) fn restore(
        &self,
        from: &TaskBasis,
        task: &RestoredTask<'_>,
    ) -> Result<Option<MemoryBackend>, JobError> {
        let mapping = compare_states(&from.states, &task.description.states);
        let groups: Vec<KeyGroup> = self.basis.assignment.owned_by(task.lane).collect();
        // What is migrated goes through one sandbox at a time.
        let threads = if mapping.migrations.is_empty() { self.threads() } else { 1 };
        self.verify(from, task.operator, threads)?;
        let restored = &Restored { task, from, mapping };
        let parts: Vec<&[KeyGroup]> =
            groups.chunks(groups.len().div_ceil(threads).max(1)).collect();
        let mut whole: Option<MemoryBackend> = None;
        for part in side_by_side(parts, |groups| self.restore_groups(restored, groups))? {
            match (part?, &mut whole) {
                (None, _) => return Ok(None),
                (Some(part), Some(whole)) => self.job.tenant.pays_for(|| whole.absorb(part)),
                (part, whole) => *whole = part,
            }
        }
        Ok(Some(whole.unwrap_or_else(|| self.empty(task))))
    }

    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / self.job.plan.parallelism.max(1)).max(1)
    }

    /// Checks that every file is what the manifest says.
    fn verify(&self, from: &TaskBasis, operator: &str, threads: usize) -> Result<(), JobError> {
        let files: Vec<&SnapshotFile> = from.chains.iter().flatten().collect();
        let verify_part = |part| {
            let mut pace = RestorePace::new(&self.job.tenant);
            files.iter().skip(part).step_by(threads).try_for_each(|file| {
                // Whether the job was stopped meanwhile is looked at when its files are read.
                pace.wait(&self.job.shared.stop);
                let open = self.checkpoints.disk().open(&file.name)?;
                let verified = verify(&*open, &file.name, file.bytes, &file.digest);
                pace.worked();
                verified
            })
        };
        let verified = side_by_side((0..threads).collect(), verify_part)?;
        let verified: Result<(), SnapshotError> = verified.into_iter().collect();
        verified.map_err(|problem| failed(operator, problem))
    }

    /// Some key groups of a task's state; `None` when the job was stopped meanwhile.
    fn restore_groups(
        &self,
        restored: &Restored<'_>,
        groups: &[KeyGroup],
    ) -> Result<Option<MemoryBackend>, JobError> {
        let Restored { task, from, mapping } = restored;
        let failed = |problem: SnapshotError| failed(task.operator, problem);
        let now = &task.description.states;
        let (tenant, name) = (&*self.job.tenant, (&*self.job.plan.name, task.operator, task.lane));
        let (then, progress) = (&from.states, self.progress);
        let mut migrator =
            TaskMigrator::new(task.component, task.limits, tenant, name, then, progress);
        migrator.begin(mapping, now);
        let mut backend = self.backend(task, groups);
        let mut pace = RestorePace::new(tenant);
        for chain in &from.chains {
            let open = |file: &SnapshotFile| self.open(file, task.operator);
            let readers = chain.iter().map(open).collect::<Result<_, _>>().map_err(failed)?;
            let state_bytes = task.limits.state_bytes;
            let migrations = Migrations { migrate: &mut migrator, state_bytes };
            let restore = Restore::migrating(readers, groups, mapping, now, migrations);
            let mut restore = restore.map_err(failed)?;
            loop {
                let restored = restore.step(&mut backend, EncodeBudget::default()).map_err(failed);
                // What failed is to be paid as well.
                pace.worked();
                if restored? {
                    break;
                }
                if pace.wait(&self.job.shared.stop) {
                    return Ok(None);
                }
            }
        }
        Ok(Some(backend))
    }

    fn open(&self, file: &SnapshotFile, operator: &str) -> Result<SnapshotReader, SnapshotError> {
        let manifest = &self.basis.manifest;
        let expected = Expectations {
            bytes: file.bytes,
            identity: manifest.files_identity.as_ref().unwrap_or(&manifest.identity),
            operator,
            key_groups: self.basis.assignment.groups(),
            hash_seed: manifest.hash_seed,
            is_base: file.is_base,
        };
        let open = self.checkpoints.disk().open(&file.name)?;
        SnapshotReader::open(open, &file.name, Some(&expected))
    }
}

/// Runs `each` on all of `parts` at once, each on a thread of its own, which may give way; answers in their order.
fn side_by_side<P: Send, R: Send>(
    parts: Vec<P>,
    each: impl Fn(P) -> R + Sync,
) -> Result<Vec<R>, JobError> {
    let each = &each;
    std::thread::scope(|scope| {
        let start = |part| {
            // Operators run here, too.
            let builder = spawner::builder("restore-part")?.stack_size(LANE_STACK_BYTES);
            builder.spawn_scoped(scope, move || each(part))
        };
        let threads: Vec<_> = parts.into_iter().map(start).collect();
        let mut answers = Vec::new();
        for thread in threads {
            let thread =
                thread.map_err(|error| JobError::no_thread("to restore a task", &error))?;
            let panicked = |_| JobError::Host("restoring state panicked".to_owned());
            answers.push(thread.join().map_err(panicked)?);
        }
        Ok(answers)
    })
}

fn failed(operator: &str, problem: SnapshotError) -> JobError {
    match problem {
        // A host that is short of something may have it at the next start.
        SnapshotError::Migration(error) if matches!(error.failure, Failure::HostFull(_)) => {
            JobError::HostFull(format!("{operator}: {error}"))
        }
        SnapshotError::Migration(error) if matches!(error.failure, Failure::Host(_)) => {
            JobError::Host(format!("{operator}: {error}"))
        }
        SnapshotError::Migration(error) => JobError::Migration { node: operator.to_owned(), error },
        other => rollback::unusable(operator, &other),
    }
}
