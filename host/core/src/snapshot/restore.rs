//! Putting a chain of snapshot files back into a state backend, a slice at a time.
//!
//! Owns which items go where, and that none of an older schema version goes anywhere as it is. Knows the backend
//! by its trait only. A task that takes over key groups of several others runs one restore for each of their
//! chains.

use super::chain::Merged;
use super::error::SnapshotError;
use super::header::StateMapping;
use super::migration::{Migrations, Pending, Stop};
use super::reader::SnapshotReader;
use crate::describe::StateDescription;
use crate::ids::KeyGroup;
use crate::state::{EncodeBudget, RestoreError, StateBackend};

/// A restore under way.
pub struct Restore<'m> {
    merged: Merged,
    /// For each state of the files where it goes.
    places: Vec<Place>,
    migrations: Option<Migrations<'m>>,
    /// Names of the states of the files, for messages.
    states: Vec<String>,
    /// Of the newest file, for messages.
    name: String,
    entries: u64,
}

/// Where the items of a state go.
enum Place {
    Nowhere,
    /// To the state of this id, as they are.
    State(usize),
    /// To a state that they are rewritten for.
    Migrated(Box<Pending>),
}

impl<'m> Restore<'m> {
    /// Readies a restore of `groups` from a chain: a base, then its deltas. `ids` says for each state of the
    /// files which it is now, as [`compare_states`](super::compare_states) answers; the items of a state
    /// without id are passed over.
    ///
    /// # Errors
    /// The chain is empty, does not begin with a base, or a file is damaged or does not follow the one
    /// before it.
    pub fn new(
        chain: Vec<SnapshotReader>,
        groups: &[KeyGroup],
        ids: Vec<Option<usize>>,
    ) -> Result<Self, SnapshotError> {
        check_chain(&chain)?;
        // Expired items are put back too: they are never returned, and swept like any other.
        let merged = Merged::new(chain, Some(groups), i64::MIN)?;
        let (mut states, mut name) = (Vec::new(), String::new());
        if let Some(newest) = merged.newest() {
            states = newest.header().states.iter().map(|state| state.name.clone()).collect();
            name.clone_from(&newest.name);
        }
        let places = ids.into_iter().map(|id| id.map_or(Place::Nowhere, Place::State)).collect();
        Ok(Self { merged, places, migrations: None, states, name, entries: 0 })
    }

    /// As [`Restore::new`], for states of which some are of an older schema version than `present`: their
    /// items are rewritten on the way.
    ///
    /// # Errors
    /// As for [`Restore::new`].
    pub fn migrating(
        chain: Vec<SnapshotReader>,
        groups: &[KeyGroup],
        mapping: &StateMapping,
        present: &[StateDescription],
        migrations: Migrations<'m>,
    ) -> Result<Self, SnapshotError> {
        let mut restore = Self::new(chain, groups, mapping.ids.clone())?;
        for migration in &mapping.migrations {
            let newest = restore.merged.newest();
            let then = newest.and_then(|newest| newest.header().states.get(migration.stored));
            let (Some(then), Some(now)) = (then, present.get(migration.id)) else {
                continue;
            };
            let versions = (then.schema_version, now.schema_version);
            let widths = (then.width, now.width);
            let ids = (migration.stored, migration.id);
            let pending = Pending::new(ids, &now.name, versions, widths);
            if let Some(place) = restore.places.get_mut(migration.stored) {
                *place = Place::Migrated(Box::new(pending));
            }
        }
        restore.migrations = Some(migrations);
        Ok(restore)
    }

    /// Puts back what the budget allows; answers whether that was the last of it. Items that are rewritten
    /// are put back when enough of them have come together.
    ///
    /// # Errors
    /// A file is damaged, an item does not fit its state, or cannot be rewritten; the backend must not be used
    /// then.
    pub fn step(
        &mut self,
        backend: &mut dyn StateBackend,
        budget: EncodeBudget,
    ) -> Result<bool, SnapshotError> {
        let mut bytes = 0;
        for _ in 0..budget.entries.max(1) {
            if !self.merged.advance()? {
                return self.flush(backend).map(|()| true);
            }
            let Some((section, entry)) = self.merged.entry() else {
                return self.flush(backend).map(|()| true);
            };
            let state = usize::from(section.state);
            let put = match (self.places.get_mut(state), &mut self.migrations) {
                (Some(Place::State(id)), _) => backend
                    .restore(*id, entry.hash, entry.key, entry.item())
                    .map_err(Stop::Refused)
                    .map(|()| 1),
                (Some(Place::Migrated(pending)), Some(with)) => {
                    pending.take(&entry, with, backend).map(|()| 1)
                }
                _ => Ok(0),
            };
            bytes += entry.bytes.len();
            self.entries += put.map_err(|stop| self.error(state, stop))?;
            if bytes >= budget.bytes {
                break;
            }
        }
        Ok(false)
    }

    /// Rewrites and puts back what waits for it.
    fn flush(&mut self, backend: &mut dyn StateBackend) -> Result<(), SnapshotError> {
        let Some(with) = &mut self.migrations else {
            return Ok(());
        };
        let mut failed = None;
        for (state, place) in self.places.iter_mut().enumerate() {
            if let Place::Migrated(pending) = place
                && let Err(stop) = pending.flush(with, backend)
            {
                failed = Some((state, stop));
                break;
            }
        }
        failed.map_or(Ok(()), |(state, stop)| Err(self.error(state, stop)))
    }

    fn error(&self, state: usize, stop: Stop) -> SnapshotError {
        let refused = |error: RestoreError| {
            let state = self.states.get(state).cloned().unwrap_or_default();
            SnapshotError::Refused { name: self.name.clone(), state, error }
        };
        match stop {
            Stop::Failed(error) => error.into(),
            Stop::Refused(error) => refused(error),
        }
    }

    /// Entries put back so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

/// Checks that a chain can stand alone.
pub(super) fn check_chain(chain: &[SnapshotReader]) -> Result<(), SnapshotError> {
    let mismatch = |name: &str, found: &str| {
        let (expected, found) = ("a base".to_owned(), found.to_owned());
        Err(SnapshotError::Mismatch { name: name.to_owned(), what: "kind", expected, found })
    };
    match chain.first() {
        None => mismatch("the chain", "no file"),
        Some(first) if !first.header().is_base => mismatch(&first.name, "a delta"),
        Some(_) => Ok(()),
    }
}
