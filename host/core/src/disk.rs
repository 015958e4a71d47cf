//! The small part of a file system that durable state rests on.
//!
//! Every protocol that must survive a crash (WAL, checkpoints, sink transactions) is written against
//! [`Disk`] and nothing else, so that it runs on the real one and, in simulation, on one that loses,
//! tears and reorders whatever was not synced. What a file system promises here and what it does not:
//! written bytes are durable after [`DiskFile::sync`]; a name that was created, linked, renamed or
//! removed is durable after [`Disk::sync_dir`] of its directory; before that, any subset of the changes
//! may survive a crash, in any order. A rename is one change: it survives as a whole or not at all.
//!
//! Names are relative paths with `/` between their parts; `""` is the root.

mod limited;

pub use limited::LimitedDisk;

use crate::planted::{self, Bug};

/// What a disk could not do. Never retried by the protocols: after a failed sync nobody knows what is
/// durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// There is no such file.
    #[error("{name} does not exist")]
    NotFound {
        /// The file.
        name: String,
    },
    /// There is such a file already.
    #[error("{name} exists already")]
    Exists {
        /// The file.
        name: String,
    },
    /// No space is left, or a quota is used up. Nothing is wrong with the disk.
    #[error("{name}: no space is left on the device")]
    Full {
        /// The file.
        name: String,
    },
    /// The files of the tenant's checkpoints would come to more than its quota.
    #[error(
        "{name}: CHECKPOINT_QUOTA: the checkpoints of the tenant's jobs hold {used} bytes, and {more} more were to be \
         written; at most {limit} are allowed"
    )]
    Quota {
        /// The file.
        name: String,
        /// What there is, of all jobs.
        used: u64,
        /// What was to be added.
        more: u64,
        /// The quota.
        limit: u64,
    },
    /// Anything else.
    #[error("cannot {operation} {name}: {reason}")]
    Failed {
        /// The file.
        name: String,
        /// What was tried, as a verb.
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// A directory tree.
pub trait Disk: Send + Sync {
    /// Creates a file that must not exist, for reading and writing.
    ///
    /// # Errors
    /// [`DiskError::Exists`] and others.
    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Opens a file that exists, for reading.
    ///
    /// # Errors
    /// [`DiskError::NotFound`] and others.
    fn open(&self, name: &str) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Length of a file, `None` when there is none.
    ///
    /// # Errors
    /// The device fails.
    fn length(&self, name: &str) -> Result<Option<u64>, DiskError>;

    /// Names of the entries of a directory (without the directory), sorted. A directory that does not
    /// exist is empty.
    ///
    /// # Errors
    /// The device fails.
    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError>;

    /// Makes a directory, with those above it, durably. One that exists is fine.
    ///
    /// # Errors
    /// The device fails.
    fn make_directory(&self, directory: &str) -> Result<(), DiskError>;

    /// Gives a file a second name, which must be free.
    ///
    /// # Errors
    /// [`DiskError::Exists`] when `to` is taken, [`DiskError::NotFound`] when `from` is not there.
    fn link(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// The device fails.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Gives a file another name in the same directory, which must be free, in one step: nobody ever sees both names
    /// or none. Answers `false`, with nothing done, when the disk cannot do that; `link` and `remove` can.
    ///
    /// # Errors
    /// [`DiskError::Exists`] when `to` is taken, [`DiskError::NotFound`] when `from` is not there.
    fn rename_new(&self, _from: &str, _to: &str) -> Result<bool, DiskError> {
        Ok(false)
    }

    /// Removes a name. One that does not exist is fine.
    ///
    /// # Errors
    /// The device fails.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// The device fails; what is durable is not known then.
    fn sync_dir(&self, directory: &str) -> Result<(), DiskError>;
}

/// An open file.
pub trait DiskFile: Send {
    /// Its length.
    ///
    /// # Errors
    /// The device fails.
    fn length(&self) -> Result<u64, DiskError>;

    /// Reads from `offset` until `buffer` is full or the file ends; answers how much was read.
    ///
    /// # Errors
    /// The device fails.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`, growing the file if need be.
    ///
    /// # Errors
    /// [`DiskError::Full`] and others; a part may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes content and length durable (fdatasync).
    ///
    /// # Errors
    /// The device fails; what is durable is not known then, and a second try proves nothing.
    fn sync(&mut self) -> Result<(), DiskError>;
}

/// Reads a whole file of at most `max` bytes; `None` when it is longer.
///
/// # Errors
/// As [`Disk::open`].
pub fn read_whole(disk: &dyn Disk, name: &str, max: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let file = disk.open(name)?;
    let length = file.length()?;
    if length > max {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Creates a file that must not exist, whole and durable, under its own name: it is written under
/// `<name>.tmp`, synced, linked, and the directory synced. So a name without `.tmp` is complete.
///
/// # Errors
/// [`DiskError::Exists`] when the name is taken; the temporary name is left to whoever cleans up.
pub fn create_whole(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = format!("{name}.tmp");
    disk.remove(&temporary)?;
    let mut file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    if !planted::is(Bug::NoSyncOfManifest) {
        file.sync()?;
    }
    disk.link(&temporary, name)?;
    disk.remove(&temporary)?;
    if planted::is(Bug::NoDirectorySyncOfManifest) {
        return Ok(());
    }
    disk.sync_dir(parent(name))
}

/// Replaces a file as a whole: written under `<name>.tmp`, synced, renamed, and the directory synced.
/// After a crash there is the old content or the new.
///
/// # Errors
/// The device fails; there is the old content or the new then.
pub fn replace_whole(disk: &dyn Disk, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = format!("{name}.tmp");
    disk.remove(&temporary)?;
    let mut file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_dir(parent(name))
}

/// The directory of a name.
pub fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
}
