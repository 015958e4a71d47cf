//! Has operators rewrite their state of older schema versions, while it is restored.
//!
//! Owns which component and which limits a call gets, and what is told of the progress. Every call runs in the
//! sandbox, before any lane; nothing is durable before the first checkpoint, whose snapshots are whole, so a
//! start that fails or dies at this leaves everything as it was and the next one does it again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tidemill_core::column::{BytesColumn, Layout};
use tidemill_core::describe::StateDescription;
use tidemill_core::failure::{Failure, GuestFault};
use tidemill_core::ids::LaneId;
use tidemill_core::limits::Limits;
use tidemill_core::snapshot::{MigrateItems, StateMapping, StateMigration};
use tidemill_sandbox::{Component, Migrator, TaskIdentity};

use super::failpoint::failpoint;
use super::lock;
use crate::tenants::Tenant;

/// Between two lines on a migration that takes its time.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A state that is migrated: operator and state.
type Name = (String, String);

/// What was migrated so far, over all lanes.
pub(super) struct Progress(Mutex<Counts>);

struct Counts {
    migrated: BTreeMap<Name, Migrated>,
    told: Instant,
}

/// One state that was migrated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The schema version of the stored items.
    pub from: u32,
    /// The schema version of the component.
    pub to: u32,
    /// Items that were rewritten.
    pub items: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Counts { migrated: BTreeMap::new(), told: Instant::now() }))
    }

    /// States of an operator are to be migrated, if only there were items.
    fn begin(&self, operator: &str, then: &StateDescription, now: &StateDescription) {
        let name = (operator.to_owned(), now.name.clone());
        let migrated = Migrated { from: then.schema_version, to: now.schema_version, items: 0 };
        lock(&self.0).migrated.entry(name).or_insert(migrated);
    }

    fn add(&self, name: &Name, items: usize) {
        let mut counts = lock(&self.0);
        if let Some(migrated) = counts.migrated.get_mut(name) {
            migrated.items += items as u64;
        }
        if counts.told.elapsed() >= TELL_EVERY {
            counts.told = Instant::now();
            let items: u64 = counts.migrated.values().map(|migrated| migrated.items).sum();
            tracing::info!("Migrating state: {items} items so far.");
        }
    }

    /// What was migrated, by operator and state.
    pub(super) fn migrated(&self) -> BTreeMap<Name, Migrated> {
        lock(&self.0).migrated.clone()
    }

    /// Tells what was migrated, when all of it was.
    pub(super) fn tell(&self) {
        for ((operator, state), Migrated { from, to, items }) in self.migrated() {
            tracing::info!(
                "State {state} of {operator} was migrated from schema version {from} to {to}: {items} items."
            );
        }
    }
}

/// Migrates the states of one task.
pub(super) struct TaskMigrator<'a> {
    migrator: Migrator,
    then: &'a [StateDescription],
    operator: String,
    progress: &'a Progress,
}

impl<'a> TaskMigrator<'a> {
    pub(super) fn new(
        component: &Component,
        limits: &Arc<Limits>,
        tenant: &Tenant,
        (job, operator, lane): (&str, &str, LaneId),
        then: &'a [StateDescription],
        progress: &'a Progress,
    ) -> Self {
        let operator = operator.to_owned();
        let identity = TaskIdentity::new(tenant.usage().clone(), job, &operator, lane.0 as u32);
        let migrator = component.migrator(limits.clone(), identity);
        Self { migrator, then, operator, progress }
    }

    /// Notes what is to be migrated.
    pub(super) fn begin(&self, mapping: &StateMapping, now: &[StateDescription]) {
        for StateMigration { stored, id } in &mapping.migrations {
            self.progress.begin(&self.operator, &self.then[*stored], &now[*id]);
        }
    }
}

impl MigrateItems for TaskMigrator<'_> {
    fn migrate(&mut self, state: usize, items: &BytesColumn) -> Result<BytesColumn, Failure> {
        failpoint("state.migrating");
        let then = self.then.get(state);
        let then =
            then.ok_or_else(|| Failure::Host(format!("there is no stored state {state}")))?;
        let answer = self.migrator.migrate(then, items)?;
        let count = items.validate(Layout::of(then.width), "stored items");
        let count = count.map_err(|fault: GuestFault| Failure::Host(fault.to_string()))?;
        self.progress.add(&(self.operator.clone(), then.name.clone()), count);
        Ok(answer)
    }
}
