//! Snapshots of a task's state: the backend's, as the lane asks for them between calls.

#[cfg(doc)]
use super::StateBackend;
use super::{EncodeBudget, EncodeStep, TaskState};
use crate::snapshot::{Restore, SnapshotError};

impl TaskState {
    /// As [`StateBackend::track`].
    pub fn track(&mut self, continues: bool) {
        self.backend.track(continues);
    }

    /// As [`StateBackend::rebase`].
    pub fn rebase(&mut self) {
        self.backend.rebase();
    }

    /// As [`StateBackend::freeze`]; between calls only.
    pub fn freeze(&mut self, full: bool) -> bool {
        self.backend.freeze(full)
    }

    /// As [`StateBackend::is_encoding`].
    pub fn is_encoding(&self) -> bool {
        self.backend.is_encoding()
    }

    /// Encodes the next slice; as [`StateBackend::encode`].
    pub fn encode(&mut self) -> EncodeStep {
        self.backend.encode(self.slice)
    }

    /// How much a slice encodes.
    pub fn set_slice(&mut self, slice: EncodeBudget) {
        self.slice = slice;
    }

    /// As [`StateBackend::settle_snapshot`].
    pub fn settle_snapshot(&mut self, completed: bool) {
        self.backend.settle_snapshot(completed);
    }

    /// Puts back the next slice of a snapshot, before the first call; as [`Restore::step`].
    ///
    /// # Errors
    /// As [`Restore::step`]; the state must not be used then.
    pub fn restore(
        &mut self,
        restore: &mut Restore<'_>,
        budget: EncodeBudget,
    ) -> Result<bool, SnapshotError> {
        restore.step(&mut *self.backend, budget)
    }
}
