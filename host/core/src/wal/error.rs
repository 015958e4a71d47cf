//! What can be wrong with a log, and what the user is told about it.
//!
//! Owns the wording: every message says which file, where, what, and what to do. Invariant: damage is never
//! worded as a lack of space, nor the other way round, for the one ends the job and the other makes it wait.

use super::segment::FORMAT;
use crate::disk::DiskError;
use crate::ids::Incarnation;

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullOf {
    /// The job's WAL quota. Trimming makes room.
    Quota,
    /// The device, or a quota of the system. Room may come back at any time.
    Device,
}

/// Why the log cannot be used, or cannot take a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// No room: nothing was appended that a later append would follow, and the same may be tried again.
    #[error(
        "WAL_FULL: the log holds {used_bytes} of {quota_bytes} bytes and {}; intake waits until a \
         checkpoint completes and the log is trimmed; if none completes, look at why, or raise the quota \
         or free space",
        match .of { FullOf::Quota => "its quota allows no more", FullOf::Device => "no space is left on the device" }
    )]
    Full {
        /// What is used up.
        of: FullOf,
        /// Bytes of the log's files.
        used_bytes: u64,
        /// Bytes that they may have.
        quota_bytes: u64,
    },
    /// A record can never be logged.
    #[error(
        "a batch of {bytes} bytes cannot be logged: at most {max_bytes} fit; send smaller records"
    )]
    TooLarge {
        /// Bytes of the record's content.
        bytes: u64,
        /// Bytes that it may have.
        max_bytes: u64,
    },
    /// The sizes make no sense together.
    #[error("a WAL quota of {quota_bytes} bytes is too small; allow at least {min_bytes}")]
    QuotaTooSmall {
        /// What was asked for.
        quota_bytes: u64,
        /// The least that works.
        min_bytes: u64,
    },
    /// A source's name or a partition's id is too long for a record.
    #[error("the name {name:.40}... is too long to be logged; use one below 65,536 bytes")]
    Name {
        /// The name.
        name: String,
    },
    /// Something that was durable is damaged or gone.
    #[error(
        "{file} is damaged at byte {offset} (LSN {lsn}): {what}. Input that was acknowledged would be lost, \
         so the job does not start: put the file back from a backup, or resume from a savepoint into a \
         new job"
    )]
    Corrupt {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// The first LSN that cannot be read.
        lsn: u64,
        /// What is wrong.
        what: String,
    },
    /// Segments are missing.
    #[error(
        "{directory} lacks the records from LSN {from_lsn} to {upto_lsn}, which the newest checkpoint \
         needs: {what}; put the missing segments back from a backup, or resume from a savepoint into a new job"
    )]
    Missing {
        /// The log's directory.
        directory: String,
        /// First LSN that is needed and not there.
        from_lsn: u64,
        /// Last one.
        upto_lsn: u64,
        /// What shows it.
        what: String,
    },
    /// A file under a segment's name is something else.
    #[error("{file} is not a segment of a Tidemill WAL; move it out of the directory")]
    Foreign {
        /// The file.
        file: String,
    },
    /// A later Tidemill wrote it.
    #[error(
        "{file} has {what}, and this Tidemill reads WAL format {}.x: use the version that wrote it",
        FORMAT.0
    )]
    Newer {
        /// The segment.
        file: String,
        /// What is newer in it.
        what: String,
    },
    /// Another incarnation has begun since.
    #[error(
        "{file}: another incarnation began before incarnation {incarnation} could: another host runs \
         this job on the same directory; stop one of them"
    )]
    Overtaken {
        /// The segment that was to be made, or the log's newest.
        file: String,
        /// Who was late.
        incarnation: Incarnation,
    },
    /// The disk failed. Nobody knows what is durable; only a new start, which reads from the disk, does.
    #[error("the WAL failed at {file}: {error}; check the disk, then start the job again")]
    Disk {
        /// The segment or directory.
        file: String,
        /// What failed.
        error: DiskError,
    },
    /// The log was sealed by its owner.
    #[error("the WAL is closed: the job stops and takes no more input")]
    Closed,
    /// A defect of ours ended the thread that writes the log.
    #[error(
        "the WAL's thread ended by a defect in Tidemill, please report it; start the job again"
    )]
    Defect,
}

impl WalError {
    /// The same may be tried again, or something else; the log is as it was.
    pub fn leaves_the_log_usable(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::TooLarge { .. } | Self::Name { .. } | Self::Closed)
    }

    pub(super) fn disk(file: &str, error: DiskError) -> Self {
        Self::Disk { file: file.to_owned(), error }
    }
}
