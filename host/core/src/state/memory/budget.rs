//! What one slice of encoding may still do.
//!
//! Owns the price list: an entry costs one of the entries looked at and its bytes. Knows nothing of time;
//! the figures are chosen so that a slice takes some 200 us.

use crate::state::EncodeBudget;

/// What is left of a slice.
pub(super) struct Budget {
    entries: usize,
    bytes: usize,
}

impl Budget {
    /// A slice does something at least, however small its budget.
    pub(super) fn new(budget: EncodeBudget) -> Self {
        Self { entries: budget.entries.max(1), bytes: budget.bytes.max(1) }
    }

    #[inline]
    pub(super) fn is_spent(&self) -> bool {
        self.entries == 0 || self.bytes == 0
    }

    /// Pays for an entry of `bytes` bytes.
    #[inline]
    pub(super) fn spend(&mut self, bytes: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
