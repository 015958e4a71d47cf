//! What a run of the job would do, found out without doing it.
//!
//! Goes the way of a run up to its first effect, in the same order: the lock, what to start from, the plan
//! against the manifest, the input, the output, the input log, the state with all its migrations. Writes
//! nothing: begins no incarnation, finishes no commit, opens no output. What only the effect itself can show
//! stays unknown: whether an output can be written to, an address bound, an operator opened.

use std::path::PathBuf;

use tidemill_core::checkpoint::manifest::{Manifest, OperatorSnapshot};
use tidemill_core::checkpoint::recovery::{self, Restored};
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::describe::StateDescription;
use tidemill_core::disk::Disk;
use tidemill_core::graph::NodeKind;
use tidemill_core::ids::{CheckpointId, LaneId, NodeId};
use tidemill_core::state::StateUsage;
use tidemill_storage::data_dir::ObservedJobDir;

use super::assemble::{self, States};
use super::basis;
use super::migrate::{Migrated, Progress};
use super::open::{observe_checkpoints, observe_job_dir};
use super::rollback;
use super::{Job, JobError};
use crate::connectors::{Sink, SinkStart};

/// What a run of a job would do.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// Name of the job.
    pub job: String,
    /// What it would start from.
    pub start: DryStart,
    /// Its lanes.
    pub parallelism: usize,
    /// Checkpoints that would be removed, because it is to begin anew.
    pub removed_checkpoints: usize,
    /// Operators with state, in the order of the job; then those that are gone from it.
    pub operators: Vec<DryOperator>,
}

/// What a run would start from.
#[derive(Clone, Debug)]
pub enum DryStart {
    /// Nothing: it would begin.
    New,
    /// A checkpoint.
    Checkpoint {
        /// Its number.
        checkpoint: CheckpointId,
        /// When it was made, in milliseconds since the Unix epoch.
        created_ms: i64,
        /// The lanes then.
        parallelism: usize,
        /// Where it lies, if it is a savepoint.
        savepoint: Option<PathBuf>,
        /// Its output is published already; otherwise that would come first.
        is_committed: bool,
    },
    /// Nothing is left to do since this checkpoint.
    Finished {
        /// Its number.
        checkpoint: CheckpointId,
    },
}

/// What becomes of the state of an operator.
#[derive(Clone, Debug)]
pub struct DryOperator {
    /// Its name.
    pub name: String,
    /// What it would hold.
    pub usage: StateUsage,
    /// Its states, by name.
    pub states: Vec<(String, StateFate)>,
}

/// What becomes of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFate {
    /// It is gone on with as it is.
    Kept,
    /// It begins empty.
    New,
    /// It is given up.
    Dropped,
    /// Its items are rewritten.
    Migrated(Migrated),
}

impl Job {
    /// Finds out what [`run`](Self::run) would do; `None` when the job was stopped meanwhile.
    ///
    /// # Errors
    /// What would keep the job from starting, as far as it shows without an effect.
    pub fn dry_run(mut self) -> Result<Option<DryRun>, JobError> {
        let data_dir = self.options.data_dir.clone();
        // Held to the end, so that nobody changes what is looked at.
        let dir = observe_job_dir(&data_dir, &self.plan.directory_name())?;
        let own = observe_checkpoints(&self.plan, &data_dir)?;
        let beginning = self.read_savepoint()?;
        let mut removed_checkpoints = 0;
        if self.options.fresh {
            self.list_sources()?;
            removed_checkpoints = own.as_ref().map_or(Ok(0), count)?;
        }
        let own = own.filter(|_| !self.options.fresh);
        let log = dir.as_ref().filter(|_| !self.options.fresh && self.options.from.is_none());
        let log = log.map(ObservedJobDir::disk);
        let found = match beginning {
            Some(beginning) => {
                own.as_ref().map_or(Ok(()), |own| beginning.check_target(own))?;
                let manifest = beginning.manifest;
                Some((Restored { manifest, is_committed: true }, beginning.store))
            }
            None => own.map_or(Ok(None), newest)?,
        };
        let run = DryRun {
            job: self.plan.name.clone(),
            start: DryStart::New,
            parallelism: self.plan.parallelism,
            removed_checkpoints,
            operators: Vec::new(),
        };
        match found {
            Some((restored, _)) if restored.manifest.finished => {
                let checkpoint = restored.manifest.checkpoint;
                Ok(Some(DryRun { start: DryStart::Finished { checkpoint }, ..run }))
            }
            Some((restored, store)) if restored.manifest.checkpoint.0 > 0 => {
                let start = self.start_from(&restored);
                let operators = self.try_resume(restored.manifest, &store, log.as_deref())?;
                Ok(operators.map(|operators| DryRun { start, operators, ..run }))
            }
            found => {
                self.try_begin(found, log.as_deref())?;
                Ok(Some(run))
            }
        }
    }

    /// As a job that is created, or has come to no checkpoint yet.
    fn try_begin(
        &mut self,
        found: Option<(Restored, CheckpointStore)>,
        log: Option<&dyn Disk>,
    ) -> Result<(), JobError> {
        self.list_sources()?;
        self.check_outputs(SinkStart::New { fresh: self.options.fresh })?;
        if let (Some((restored, store)), Some(log)) = (found, log) {
            let Manifest { incarnation, identity, .. } = restored.manifest;
            let basis = basis::first(self, incarnation, Some(identity));
            self.input_log.look(&basis.manifest, &self.sources, log, &store)?;
        }
        Ok(())
    }

    /// As a job that goes on from a checkpoint; `None` when it was stopped meanwhile.
    fn try_resume(
        &mut self,
        manifest: Manifest,
        store: &CheckpointStore,
        log: Option<&dyn Disk>,
    ) -> Result<Option<Vec<DryOperator>>, JobError> {
        let (then, incarnation) = (manifest.operators.clone(), manifest.incarnation);
        let basis = basis::resume(self, manifest, incarnation)?;
        self.check_outputs(SinkStart::Resumed)?;
        if let Some(log) = log {
            self.input_log.look(&basis.manifest, &self.sources, log, store)?;
        }
        let progress = Progress::new();
        let states = assemble::restore_states(self, &basis, store, &progress)?;
        Ok(states.map(|states| self.fates(&then, &states, &progress)))
    }

    fn start_from(&self, restored: &Restored) -> DryStart {
        let Manifest { checkpoint, created_ms, parallelism, .. } = &restored.manifest;
        DryStart::Checkpoint {
            checkpoint: *checkpoint,
            created_ms: *created_ms,
            parallelism: *parallelism as usize,
            savepoint: self.options.from.clone(),
            is_committed: restored.is_committed,
        }
    }

    fn check_outputs(&self, start: SinkStart) -> Result<(), JobError> {
        self.plan.sinks.iter().try_for_each(|sink| {
            Sink::look(&self.plan.name, &sink.name, &sink.settings, start)
                .map_err(|error| JobError::Connector { node: sink.name.clone(), error })
        })
    }

    /// What becomes of the state of each operator.
    fn fates(
        &self,
        then: &[OperatorSnapshot],
        restored: &States,
        progress: &Progress,
    ) -> Vec<DryOperator> {
        let migrated = progress.migrated();
        let mut operators = Vec::new();
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let NodeKind::Operator(description) = &node.kind else {
                continue;
            };
            let stored = then.iter().find(|operator| operator.name == node.name);
            let stored = stored.map_or(&[][..], |operator| &operator.states);
            let fate = |state: &StateDescription| {
                let key = (node.name.clone(), state.name.clone());
                let fate = match migrated.get(&key) {
                    Some(migrated) => StateFate::Migrated(*migrated),
                    None if is_in(stored, state) => StateFate::Kept,
                    None => StateFate::New,
                };
                (state.name.clone(), fate)
            };
            let now = &description.states;
            let gone = stored.iter().filter(|state| !is_in(now, state)).map(dropped);
            let states: Vec<_> = now.iter().map(fate).chain(gone).collect();
            if !states.is_empty() {
                let usage = usage_of(restored, NodeId(index));
                operators.push(DryOperator { name: node.name.clone(), usage, states });
            }
        }
        let gone = then.iter().filter(|operator| self.operator(&operator.name).is_none());
        let gone = gone.filter(|operator| !operator.states.is_empty());
        operators.extend(gone.map(|operator| DryOperator {
            name: operator.name.clone(),
            usage: StateUsage::default(),
            states: operator.states.iter().map(dropped).collect(),
        }));
        operators
    }
}

fn is_in(states: &[StateDescription], state: &StateDescription) -> bool {
    states.iter().any(|other| other.name == state.name)
}

fn dropped(state: &StateDescription) -> (String, StateFate) {
    (state.name.clone(), StateFate::Dropped)
}

/// The newest of the job's own checkpoints, and where it lies.
fn newest(own: CheckpointStore) -> Result<Option<(Restored, CheckpointStore)>, JobError> {
    let newest = recovery::newest(&own);
    let newest = newest.map_err(|error| rollback::undecided(&error))?;
    Ok(newest.map(|newest| (newest, own)))
}

/// The checkpoints that there are, without the first, which is the job as it was created.
fn count(own: &CheckpointStore) -> Result<usize, JobError> {
    let there = own.manifests().map_err(|error| JobError::Checkpoint(error.to_string()))?;
    Ok(there.iter().filter(|stored| stored.checkpoint.0 > 0).count())
}

/// What all tasks of an operator hold.
fn usage_of(states: &States, node: NodeId) -> StateUsage {
    let tasks = states.range((node, LaneId(0))..(NodeId(node.0 + 1), LaneId(0)));
    tasks.fold(StateUsage::default(), |sum, (_, state)| {
        let StateUsage { keys, bytes } = state.usage();
        StateUsage { keys: sum.keys + keys, bytes: sum.bytes + bytes }
    })
}
