//! What one slice of encoding may still do.
//!
//! Owns the price list: an entry costs one of the entries looked at, and the bytes that it will take. Knows
//! nothing of time; the default budget is chosen so that a slice takes some 200 us with ten million
//! keys, a tenth of them changed.

use crate::state::EncodeBudget;

/// What an entry takes at least beside its key and item: tag, hash, lengths.
const ENTRY_HEAD_BYTES: usize = 11;

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

    /// Pays for an entry with `bytes` bytes of key and item.
    #[inline]
    pub(super) fn spend(&mut self, bytes: usize) {
        self.look();
        self.bytes = self.bytes.saturating_sub(bytes + ENTRY_HEAD_BYTES);
    }

    /// Pays for looking at something without encoding it.
    #[inline]
    pub(super) fn look(&mut self) {
        self.entries = self.entries.saturating_sub(1);
    }
}
