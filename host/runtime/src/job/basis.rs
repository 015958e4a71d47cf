//! What an incarnation begins from: a manifest that fits the plan and the lanes of now.
//!
//! Owns the comparison of a plan with a checkpoint; how tasks of one parallelism become tasks of another is
//! [`tidemill_core::checkpoint::basis`]. Reads no snapshot file. What may change between two runs: parallelism,
//! component versions (their states must match, or be of an older schema version that the component can migrate),
//! configuration, limits, operators without state. What may not: the number of key groups, the
//! partitions of sources, an operator with state that is gone.

use tidemill_core::checkpoint::basis::BasisError;
pub(super) use tidemill_core::checkpoint::basis::{Basis, TaskBasis};
use tidemill_core::checkpoint::ledger::NodeRole;
use tidemill_core::checkpoint::manifest::{Manifest, SourceSnapshot};
use tidemill_core::connector::ConnectorError;
use tidemill_core::describe::{Description, StateDescription};
use tidemill_core::graph::NodeKind;
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::snapshot::{StateDifference, compare_states};
use tidemill_sandbox::Component;

use super::chance;
use super::{InputLog, Job, JobError};
use crate::config::SourcePlan;
use crate::connectors::{Listing, Source};
use crate::machine;
use crate::tenants::JobNeeds;

/// The roles of all nodes, in the order of the graph: sources, operators, sinks.
pub(super) fn roles(job: &Job) -> Vec<NodeRole> {
    let (sources, operators) = (&job.plan.sources, &job.plan.operators);
    let role = |(index, node): (usize, &tidemill_core::graph::Node)| match &node.kind {
        NodeKind::Source => NodeRole::Source { name: node.name.clone() },
        NodeKind::Operator(description) => NodeRole::Operator {
            name: node.name.clone(),
            component: job.components[index - sources.len()].facts().digest.clone(),
            states: description.states.clone(),
        },
        NodeKind::Sink => NodeRole::Sink {
            name: node.name.clone(),
            directory: match job.sinks[index - sources.len() - operators.len()].directory() {
                Some(directory) => directory.display().to_string(),
                None => String::new(),
            },
        },
    };
    job.graph.nodes.iter().enumerate().map(role).collect()
}

/// The basis of a job that has done nothing yet: an identity (that of an earlier start, if there was one), a
/// seed, the partitions that were listed.
pub(super) fn first(job: &Job, incarnation: Incarnation, identity: Option<String>) -> Basis {
    let sources = job.plan.sources.iter().zip(&job.sources).enumerate();
    let sources = sources.map(|(index, (plan, source))| SourceSnapshot {
        name: plan.name.clone(),
        partitions: job.input_log.first_positions(index, source),
    });
    let manifest = Manifest {
        job: job.plan.name.clone(),
        identity: identity.unwrap_or_else(chance::identity),
        files_identity: None,
        checkpoint: CheckpointId(0),
        incarnation,
        created_ms: machine::wall_ms(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        finished: false,
        hash_seed: chance::bits(),
        owners: Vec::new(),
        parallelism: 0,
        plan: job.plan.normalised(),
        wal_start: None,
        sources: sources.collect(),
        operators: Vec::new(),
        sinks: Vec::new(),
    };
    Basis::first(manifest, job.plan.key_groups, job.plan.parallelism)
}

/// The basis of a job that goes on from a checkpoint.
pub(super) fn resume(
    job: &mut Job,
    manifest: Manifest,
    incarnation: Incarnation,
) -> Result<Basis, JobError> {
    check(job, &manifest)?;
    job.resume_sources(&manifest.sources)?;
    let resumed = Basis::resume(&job.graph, manifest, job.plan.parallelism, incarnation);
    let mut basis = resumed.map_err(|error| match error {
        BasisError::Damaged(_) => JobError::Checkpoint(error.to_string()),
        BasisError::InMemory { operator, lanes } => JobError::Incompatible {
            problem: format!(
                "operator {operator} keeps state in its own memory, which cannot be dealt to another \
                 number of lanes"
            ),
            help: format!("run it with parallelism {lanes}"),
        },
    })?;
    basis.manifest.written_by = env!("CARGO_PKG_VERSION").to_owned();
    basis.manifest.plan = job.plan.normalised();
    Ok(basis)
}

/// Whether a job can go on from a checkpoint, as far as the manifest says it.
pub(super) fn check(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    check_job(job, manifest)?;
    check_sources(job, manifest)?;
    check_operators(job, manifest)
}

fn check_job(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    if manifest.job != job.plan.name {
        return Err(JobError::Incompatible {
            problem: format!("the checkpoint is of the job {:?}", manifest.job),
            help: "name the data directory of this job with --data-dir".to_owned(),
        });
    }
    if manifest.owners.len() != job.plan.key_groups as usize {
        return Err(JobError::Incompatible {
            problem: format!(
                "the job has {} key groups, and the job file says {}: the number is fixed when a job is \
                 created",
                manifest.owners.len(),
                job.plan.key_groups
            ),
            help: format!("set key-groups = {}, or begin anew with --fresh", manifest.owners.len()),
        });
    }
    Ok(())
}

fn check_sources(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    let (then, now): (Vec<&str>, Vec<&str>) = (
        manifest.sources.iter().map(|source| source.name.as_str()).collect(),
        job.plan.sources.iter().map(|source| source.name.as_str()).collect(),
    );
    let gone = then.iter().find(|name| !now.contains(name)).map(|name| format!("{name} is gone"));
    let new = now.iter().find(|name| !then.contains(name)).map(|name| format!("{name} is new"));
    match gone.or(new) {
        None => Ok(()),
        Some(what) => Err(JobError::Incompatible {
            problem: format!("the sources of a job are fixed when it is created: source {what}"),
            help: "put the job file's sources back, or begin anew with --fresh".to_owned(),
        }),
    }
}

fn check_operators(job: &Job, manifest: &Manifest) -> Result<(), JobError> {
    for snapshot in &manifest.operators {
        let described = job.operator(&snapshot.name);
        let holds =
            !snapshot.states.is_empty() || snapshot.tasks.iter().any(|task| task.saved.is_some());
        match described {
            None if holds && !job.options.allow_drop_state => {
                return Err(JobError::Incompatible {
                    problem: format!(
                        "operator {} is gone from the job file, and the checkpoint holds its state",
                        snapshot.name
                    ),
                    help: "put it back, or give its state up with --allow-drop-state".to_owned(),
                });
            }
            None => {}
            Some((component, description)) => {
                let (then, now) = (&snapshot.states, &description.states);
                let may =
                    May { drop: job.options.allow_drop_state, migrate: component.has_migrate() };
                check_states(&snapshot.name, then, now, may)?;
            }
        }
    }
    Ok(())
}

/// What may become of stored state.
#[derive(Clone, Copy)]
struct May {
    /// It is given up.
    drop: bool,
    /// The component rewrites it.
    migrate: bool,
}

fn check_states(
    operator: &str,
    then: &[StateDescription],
    now: &[StateDescription],
    may: May,
) -> Result<(), JobError> {
    for difference in compare_states(then, now).differences {
        let (problem, help) = match difference {
            StateDifference::Added { .. } => continue,
            StateDifference::Missing { .. } if may.drop => continue,
            StateDifference::Missing { .. } => (
                difference.to_string(),
                "use a component that has it, or give it up with --allow-drop-state",
            ),
            StateDifference::Changed { .. } => (
                difference.to_string(),
                "use a component with the same states, or give the new state another name",
            ),
            StateDifference::Older { .. } if may.migrate => continue,
            StateDifference::Older { .. } => (
                format!("{difference}, and the component does not export `migrate`"),
                "use a component that does, which rewrites the stored items, or the one that wrote the \
                 checkpoint",
            ),
            StateDifference::Newer { .. } => (
                difference.to_string(),
                "use the component that wrote the checkpoint, or a later one",
            ),
        };
        let problem = format!("operator {operator}: {problem}");
        return Err(JobError::Incompatible { problem, help: help.to_owned() });
    }
    Ok(())
}

impl Job {
    /// The component of an operator, and what the job's graph says of it.
    pub(super) fn operator(&self, name: &str) -> Option<(&Component, &Description)> {
        let index = self.graph.nodes.iter().position(|node| node.name == name)?;
        match &self.graph.nodes[index].kind {
            NodeKind::Operator(description) => {
                Some((self.components.get(index - self.plan.sources.len())?, description))
            }
            NodeKind::Source | NodeKind::Sink => None,
        }
    }

    /// Finds the partitions of a job that is created. A run does it by itself.
    ///
    /// # Errors
    /// [`JobError::Connector`] when there is nothing to read, [`JobError::Tenant`] when it is too much for its tenant.
    pub fn list_sources(&mut self) -> Result<(), JobError> {
        let shared = self.shared.clone();
        let mut listing = Listing::until(&shared.stop);
        let list = |plan: &SourcePlan| Source::list(&plan.name, &plan.settings, &mut listing);
        self.replace_sources(InputLog::is_received, list)?;
        self.take_partitions(self.sources.iter().map(|source| source.partitions().len()).sum())
    }

    /// Makes sources that go on from their recorded positions.
    pub(super) fn resume_sources(&mut self, recorded: &[SourceSnapshot]) -> Result<(), JobError> {
        self.take_partitions(recorded.iter().map(|source| source.partitions.len()).sum())?;
        // What goes through the log is found by the log.
        self.replace_sources(InputLog::is_logged, |plan| {
            let recorded = recorded.iter().find(|source| source.name == plan.name);
            let partitions = recorded.map(|source| &*source.partitions).unwrap_or_default();
            Source::resume(&plan.name, &plan.settings, partitions)
        })
    }

    /// Takes so many partitions of its tenant's. Those that it had it keeps meanwhile, lest another job takes them; a list that has
    /// become shorter gives nothing back before the end of the job.
    fn take_partitions(&mut self, count: usize) -> Result<(), JobError> {
        let had = self.partitions.iter().map(|(had, _)| had).sum();
        let more = (count as u64).saturating_sub(had);
        if more > 0 {
            let needs = JobNeeds { partitions: more, ..JobNeeds::default() };
            let reserved = self.tenant.reserve(needs).map_err(|refusal| refusal.beside(had))?;
            self.partitions.push((more, reserved));
        }
        Ok(())
    }

    fn replace_sources(
        &mut self,
        is_kept: impl Fn(&InputLog, usize) -> bool,
        mut make: impl FnMut(&SourcePlan) -> Result<Source, ConnectorError>,
    ) -> Result<(), JobError> {
        for (index, (plan, source)) in self.plan.sources.iter().zip(&mut self.sources).enumerate() {
            if !is_kept(&self.input_log, index) {
                let node = plan.name.clone();
                *source = make(plan).map_err(|error| JobError::Connector { node, error })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::describe::StateKind;

    use super::*;

    fn state(schema_version: u32, width: Option<u32>) -> Vec<StateDescription> {
        let (name, kind) = ("seen".to_owned(), StateKind::Value);
        vec![StateDescription { name, kind, width, schema_version, ttl: None }]
    }

    /// What is wrong and what to do, if anything.
    fn refused(then: &[StateDescription], now: &[StateDescription], may: May) -> Option<String> {
        match check_states("count", then, now, may) {
            Err(JobError::Incompatible { problem, help }) => Some(format!("{problem}; {help}")),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        }
    }

    const NOTHING: May = May { drop: false, migrate: false };
    const MIGRATE: May = May { drop: true, migrate: true };

    #[test]
    fn an_older_schema_version_needs_a_component_that_migrates() {
        let (old, new) = (state(1, Some(4)), state(3, None));
        assert_eq!(refused(&old, &new, MIGRATE), None);
        let says = refused(&old, &new, NOTHING).unwrap();
        assert!(says.starts_with("operator count: state \"seen\" has schema version 3"), "{says}");
        assert!(says.contains("does not export `migrate`; use a component that does"), "{says}");
    }

    #[test]
    fn a_newer_schema_version_and_another_shape_are_refused_whatever_is_allowed() {
        let newer = refused(&state(3, None), &state(1, None), MIGRATE).unwrap();
        assert!(newer.contains("the component knows it up to 1"), "{newer}");
        assert!(newer.contains("use the component that wrote the checkpoint"), "{newer}");
        let wider = refused(&state(1, None), &state(1, Some(4)), MIGRATE).unwrap();
        assert!(wider.contains("width 4"), "{wider}");
    }

    #[test]
    fn state_that_is_gone_is_given_up_only_when_that_is_allowed() {
        assert!(refused(&state(1, None), &[], NOTHING).unwrap().contains("--allow-drop-state"));
        assert_eq!(refused(&state(1, None), &[], MIGRATE), None);
        assert_eq!(refused(&[], &state(1, None), NOTHING), None);
    }
}
