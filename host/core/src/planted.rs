//! Bugs that are planted on purpose, so that the simulator can prove that it finds them.
//!
//! Owns the list and the switch. Each is one line at the place where somebody who is tired could make the
//! mistake. Without the feature `planted-bugs`, which no product enables, [`is`] is a constant and costs
//! nothing; with it, there is a switch for the whole process. Invariant: at most one bug is planted.

/// A mistake that somebody could make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Sinks commit before the manifest is durable.
    CommitBeforeManifest = 1,
    /// The mark is made before the sinks have committed.
    MarkBeforeCommit,
    /// The directory is not synced after a manifest.
    NoDirectorySyncOfManifest,
    /// The content of a manifest is not synced.
    NoSyncOfManifest,
    /// The content of a prepared file is not synced.
    NoSyncOfPreparedFile,
    /// The directory is not synced after a prepared file.
    NoDirectorySyncOfPreparedFile,
    /// The content of a snapshot file is not synced.
    NoSyncOfSnapshotFile,
    /// The directory is not synced after a snapshot file.
    NoDirectorySyncOfSnapshotFile,
    /// A source goes on one record behind its position.
    PositionLate,
    /// A source goes on one record before its position.
    PositionEarly,
    /// The barrier leaves a source behind the next batch.
    BarrierBehindNextBatch,
    /// The barrier overtakes the batch that is being built.
    BarrierOvertakesBatch,
    /// A barrier that comes twice is taken twice.
    DuplicateBarrierTaken,
    /// The first barrier completes an alignment.
    FirstBarrierCompletes,
    /// An input that delivered its barrier goes on being read.
    AlignmentDoesNotBlock,
    /// An input that ended is waited for.
    EndedInputAwaited,
    /// An abort forgets what a sink has prepared.
    PreparedDroppedOnAbort,
    /// A commit ends at the first file that is published already.
    CommitStopsAtFirstPublished,
    /// A commit links and removes between the same two syncs.
    CommitRemovesBeforeSync,
    /// What an aborted checkpoint froze counts as stored.
    DeltaBasedOnAborted,
    /// What an aborted checkpoint froze is not merged back.
    FrozenNotMergedBack,
    /// A slot is freed and used again while a snapshot needs its key.
    SlotReusedUnderSnapshot,
    /// A frozen value is overwritten before it is encoded.
    NoCopyBeforeWrite,
    /// Deltas do not say what is gone.
    TombstonesDropped,
    /// The answers to an aborted checkpoint count for the next.
    LateAckCounted,
    /// `close` runs again after a recovery.
    CloseRunsTwice,
    /// Chains of another number of lanes are gone on with.
    ChainKeptAfterRescale,
    /// Files of older checkpoints that are kept are collected.
    RetainedFilesCollected,
    /// A file that was merged and that no manifest names yet is collected.
    MergedFileCollected,
    /// Recovery believes that the newest manifest's sinks have committed.
    RecoverySkipsCommit,
    /// Recovery commits for a manifest whose name may still be lost.
    RecoveryTrustsUnsyncedManifest,
    /// State that a failed call wrote is kept.
    FailedCallStateKept,
    /// A sender that waits for room is not woken.
    SenderNotWoken,
    /// A logged batch is called back before the sync that makes it durable.
    AckBeforeSync,
    /// The records of a group are not synced.
    NoSyncOfGroup,
    /// The zeros ahead of records are not synced.
    NoSyncOfZeros,
    /// The directory is not synced after a new segment.
    NoDirectorySyncOfSegment,
    /// A logged record whose content is torn is taken for whole.
    TornRecordAccepted,
    /// The log is trimmed up to what the newest checkpoint needs.
    TrimmedAboveOldest,
    /// Batches that the checkpoint covers are replayed, too.
    ReplayIgnoresPositions,
    /// A batch of now overtakes those that are replayed.
    LiveBeforeReplayed,
    /// What a checkpoint knows of clients is forgotten.
    ClientTableNotRestored,
    /// What the log knows of clients beyond the checkpoint is forgotten.
    LogNotReadForClients,
    /// A line that comes again goes on again.
    ResentLinesTaken,
    /// What was received and is not durable is gone with the incarnation.
    UnsettledDropped,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 45] = [
        Self::CommitBeforeManifest,
        Self::MarkBeforeCommit,
        Self::NoDirectorySyncOfManifest,
        Self::NoSyncOfManifest,
        Self::NoSyncOfPreparedFile,
        Self::NoDirectorySyncOfPreparedFile,
        Self::NoSyncOfSnapshotFile,
        Self::NoDirectorySyncOfSnapshotFile,
        Self::PositionLate,
        Self::PositionEarly,
        Self::BarrierBehindNextBatch,
        Self::BarrierOvertakesBatch,
        Self::DuplicateBarrierTaken,
        Self::FirstBarrierCompletes,
        Self::AlignmentDoesNotBlock,
        Self::EndedInputAwaited,
        Self::PreparedDroppedOnAbort,
        Self::CommitStopsAtFirstPublished,
        Self::CommitRemovesBeforeSync,
        Self::DeltaBasedOnAborted,
        Self::FrozenNotMergedBack,
        Self::SlotReusedUnderSnapshot,
        Self::NoCopyBeforeWrite,
        Self::TombstonesDropped,
        Self::LateAckCounted,
        Self::CloseRunsTwice,
        Self::ChainKeptAfterRescale,
        Self::RetainedFilesCollected,
        Self::MergedFileCollected,
        Self::RecoverySkipsCommit,
        Self::RecoveryTrustsUnsyncedManifest,
        Self::FailedCallStateKept,
        Self::SenderNotWoken,
        Self::AckBeforeSync,
        Self::NoSyncOfGroup,
        Self::NoSyncOfZeros,
        Self::NoDirectorySyncOfSegment,
        Self::TornRecordAccepted,
        Self::TrimmedAboveOldest,
        Self::ReplayIgnoresPositions,
        Self::LiveBeforeReplayed,
        Self::ClientTableNotRestored,
        Self::LogNotReadForClients,
        Self::ResentLinesTaken,
        Self::UnsettledDropped,
    ];
}

/// Whether the bug is planted.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    use super::Bug;

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Whether the bug is planted.
    #[inline]
    pub fn is(bug: Bug) -> bool {
        PLANTED.load(Relaxed) == bug as u8
    }

    /// Plants a bug in the whole process, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |bug| bug as u8), Relaxed);
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is, plant};
