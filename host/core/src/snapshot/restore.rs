//! Putting a chain of snapshot files back into a state backend, a slice at a time.
//!
//! Owns which items go where. Knows the backend by its trait only. A task that takes over key groups of
//! several others runs one restore for each of their chains.

use super::chain::Merged;
use super::error::SnapshotError;
use super::reader::SnapshotReader;
use crate::ids::KeyGroup;
use crate::state::{EncodeBudget, StateBackend};

/// A restore under way.
pub struct Restore {
    merged: Merged,
    /// For each state of the files its id in the backend.
    ids: Vec<Option<usize>>,
    /// Names of the states of the files, for messages.
    states: Vec<String>,
    /// Of the newest file, for messages.
    name: String,
    entries: u64,
}

impl Restore {
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
        Ok(Self { merged, ids, states, name, entries: 0 })
    }

    /// Puts back what the budget allows; answers whether that was the last of it.
    ///
    /// # Errors
    /// A file is damaged, or an item does not fit its state; the backend must not be used then.
    pub fn step(
        &mut self,
        backend: &mut dyn StateBackend,
        budget: EncodeBudget,
    ) -> Result<bool, SnapshotError> {
        let mut bytes = 0;
        for _ in 0..budget.entries.max(1) {
            if !self.merged.advance()? {
                return Ok(true);
            }
            let Some((section, entry)) = self.merged.entry() else {
                return Ok(true);
            };
            let state = usize::from(section.state);
            if let Some(id) = self.ids.get(state).copied().flatten() {
                backend.restore(id, entry.hash, entry.key, entry.item()).map_err(|error| {
                    let state = self.states.get(state).cloned().unwrap_or_default();
                    SnapshotError::Refused { name: self.name.clone(), state, error }
                })?;
                self.entries += 1;
            }
            bytes += entry.bytes.len();
            if bytes >= budget.bytes {
                break;
            }
        }
        Ok(false)
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
