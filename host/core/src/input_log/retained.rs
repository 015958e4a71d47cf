//! From where retained checkpoints replay, and so how far the log may be trimmed.
//!
//! Knows no disk. Invariants: nothing is trimmed before the first manifest that knows the log, and only below
//! what the oldest retained checkpoint needs; a position whose place is not known lies behind all that are.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::checkpoint::manifest::Manifest;
use crate::ids::CheckpointId;
use crate::planted::{self, Bug};
use crate::wal::Usage;

/// Where each retained checkpoint replays from, oldest first; `None` for the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained(VecDeque<(CheckpointId, Option<u64>)>);

impl Retained {
    /// Those that a start has found, oldest first.
    pub fn new(starts: impl IntoIterator<Item = (CheckpointId, Option<u64>)>) -> Self {
        Self(starts.into_iter().collect())
    }

    /// A checkpoint is complete and committed, and with it `retained` are kept. Answers below which LSN
    /// nothing is needed any more, if that is known.
    pub fn completed(
        &mut self,
        checkpoint: CheckpointId,
        wal_start: Option<u64>,
        retained: usize,
    ) -> Option<u64> {
        self.0.push_back((checkpoint, wal_start));
        while self.0.len() > retained {
            self.0.pop_front();
        }
        if planted::is(Bug::TrimmedAboveOldest) {
            return wal_start;
        }
        self.first_needed()
    }

    /// The smallest LSN that any of them replays from; `None` for the beginning.
    fn first_needed(&self) -> Option<u64> {
        let needed: Option<Vec<u64>> = self.0.iter().map(|(_, start)| *start).collect();
        needed?.into_iter().min()
    }

    /// The oldest, and where it replays from.
    pub fn oldest(&self) -> Option<(CheckpointId, Option<u64>)> {
        self.0.front().copied()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (CheckpointId, Option<u64>)> {
        self.0.iter().copied()
    }
}

/// How many checkpoints are to be kept: of `retained` only the newest when the log needs room.
pub fn checkpoints_kept(retained: usize, usage: Usage) -> usize {
    // A job without a log has no quota either.
    if usage.quota_bytes > 0 && usage.is_pressing() { 1 } else { retained.max(1) }
}

/// The smallest place in the log that a checkpoint with these positions needs. `names` are those of the logged
/// sources; `place_of` answers, for the source at a place of that list, a partition and a batch, where the batch
/// lies, or one before it. `None` when no source is logged. `settled_lsn` is the newest place of a batch that was called back.
///
/// The manifest has the place of the checkpoint before, below which the log may be trimmed by now: it needs no more than that one.
pub fn wal_start(
    manifest: &Manifest,
    names: &[&str],
    settled_lsn: &AtomicU64,
    place_of: impl Fn(usize, usize, u64) -> Option<u64>,
) -> Option<u64> {
    // First this: a batch whose place is not known when it is asked for below was called back later, and so
    // lies behind.
    let mut start = settled_lsn.load(SeqCst) + 1;
    for (index, name) in names.iter().enumerate() {
        let found = manifest.sources.iter().find(|found| found.name == *name);
        let parts = found.into_iter().flat_map(|found| &found.partitions).enumerate();
        for (part, at) in parts.filter(|(_, at)| !at.position.ended) {
            let place = place_of(index, part, at.position.offset);
            start = place.map_or(start, |place| start.min(place));
        }
    }
    (!names.is_empty()).then_some(start.max(manifest.wal_start.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_the_oldest_retained_checkpoint_needs_is_trimmed() {
        let mut retained = Retained::new([(CheckpointId(0), None)]);
        assert_eq!(
            retained.completed(CheckpointId(1), Some(10), 2),
            None,
            "all since the beginning"
        );
        assert_eq!(retained.completed(CheckpointId(2), Some(20), 2), Some(10));
        assert_eq!(retained.completed(CheckpointId(3), Some(30), 1), Some(30));
        assert_eq!(retained.oldest(), Some((CheckpointId(3), Some(30))));
    }
}
