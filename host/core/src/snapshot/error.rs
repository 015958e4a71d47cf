//! What can be wrong with a snapshot file.

use super::header::FORMAT;
use super::migration::MigrationError;
use crate::disk::DiskError;
use crate::state::RestoreError;

/// Why a snapshot file cannot be written or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The device failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It does not begin as a snapshot does.
    #[error("{name} is not a Tidemill snapshot; put the file back that the manifest names")]
    Foreign {
        /// The file.
        name: String,
    },
    /// A later Tidemill wrote it.
    #[error(
        "{name} has format {major}.{minor}; this Tidemill reads up to {}.x: use the version that wrote it",
        FORMAT.0
    )]
    Newer {
        /// The file.
        name: String,
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// An earlier Tidemill wrote it, in a format that is not read any more.
    #[error(
        "{name} has format {major}.{minor}; this Tidemill reads {}.x: use the version that wrote it",
        FORMAT.0
    )]
    Older {
        /// The file.
        name: String,
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// It was changed or cut after it was written.
    #[error("{name} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// Where, in bytes from its beginning.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// It is a sound snapshot of something else.
    #[error(
        "{name} has {what} {found}, expected {expected}: it belongs to another job, operator or chain; \
         put the file back that the manifest names"
    )]
    Mismatch {
        /// The file.
        name: String,
        /// What differs.
        what: &'static str,
        /// What was expected.
        expected: String,
        /// What it has.
        found: String,
    },
    /// What was to be written is not in order, or no entry. The host's fault, whatever the state.
    #[error("cannot write {name}: {what}; report this as a bug")]
    BadSegment {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An item does not fit the state that it is to be put back into.
    #[error(
        "{name}: state {state:?} cannot be restored: {error}; resume with the component that wrote it"
    )]
    Refused {
        /// The file.
        name: String,
        /// The state.
        state: String,
        /// Why.
        error: RestoreError,
    },
    /// The operator cannot rewrite an item of an older schema version.
    #[error(transparent)]
    Migration(#[from] Box<MigrationError>),
}

impl SnapshotError {
    /// The file is not as it was written, or is gone: nothing but another file mends that.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Disk(error) => matches!(error, DiskError::NotFound { .. }),
            Self::Damaged { .. } => true,
            _ => false,
        }
    }
}
