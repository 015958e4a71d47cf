//! What one lane's part of a sink has taken, over all incarnations of the job.
//!
//! Owns the figures and their form in a checkpoint (MessagePack with named fields, so that a later
//! version may add some). Invariant: the state that goes with a barrier counts exactly the batches
//! before it, so figures after a restart are as if there had been none.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tidemill_core::connector::{ConnectorError, ConnectorFault};

/// Figures that one lane adds to and anybody may read.
#[derive(Debug, Default)]
pub(super) struct Counts {
    records: AtomicU64,
    bytes: AtomicU64,
    sum: AtomicU64,
}

/// The figures of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Wraps.
    pub(super) sum: u64,
}

impl Figures {
    /// The figures of two parts of the sink together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            records: self.records.wrapping_add(other.records),
            bytes: self.bytes.wrapping_add(other.bytes),
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

impl Counts {
    /// Counts that go on from the states of writers of a checkpoint: none for a new job, several when
    /// there are fewer lanes now. An empty state is that of a writer that had not begun.
    pub(super) fn resume(states: &[Vec<u8>]) -> Result<Self, ConnectorError> {
        let mut all = Figures::default();
        for state in states.iter().filter(|state| !state.is_empty()) {
            let figures = rmp_serde::from_slice(state).map_err(|error| {
                let what = format!(
                    "the counts in the checkpoint cannot be read: {error}; resume with the version \
                     of Tidemill that wrote it"
                );
                ConnectorError::new(ConnectorFault::Io, what)
            })?;
            all = all.plus(figures);
        }
        Ok(Self {
            records: AtomicU64::new(all.records),
            bytes: AtomicU64::new(all.bytes),
            sum: AtomicU64::new(all.sum),
        })
    }

    /// Adds what one batch brought.
    pub(super) fn add(&self, records: usize, bytes: usize, sum: u64) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.sum.fetch_add(sum, Ordering::Relaxed);
    }

    /// The figures of now. Exact for the lane that adds to them.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }

    /// The state that goes with a barrier.
    pub(super) fn state(&self) -> Result<Vec<u8>, ConnectorError> {
        rmp_serde::to_vec_named(&self.figures()).map_err(|error| {
            let what =
                format!("the counts cannot be written: {error}; this is a defect in Tidemill");
            ConnectorError::new(ConnectorFault::Io, what)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_go_on_from_the_states_of_any_number_of_writers(
            parts in prop::collection::vec((0..1000usize, 0..1000usize, any::<u64>()), 0..5),
        ) {
            let (whole, mut states) = (Counts::default(), vec![Vec::new()]);
            for &(records, bytes, sum) in &parts {
                let part = Counts::default();
                part.add(records, bytes, sum);
                whole.add(records, bytes, sum);
                states.push(part.state().unwrap());
            }
            let resumed = Counts::resume(&states).unwrap();
            prop_assert_eq!(resumed.figures(), whole.figures());
            prop_assert_eq!(resumed.state().unwrap(), whole.state().unwrap());
        }
    }

    #[test]
    fn a_state_that_is_none_is_refused() {
        let error = Counts::resume(&[b"nonsense".to_vec()]).unwrap_err();
        assert!(error.message.contains("cannot be read"), "{error}");
    }
}
