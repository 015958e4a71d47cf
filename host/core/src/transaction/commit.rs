//! Commit of prepared files, and removal of what nothing names.
//!
//! Owns the order of writes of a commit:
//!
//! 1. every file that is not published yet is renamed to its published name, which must be free;
//! 2. the directory is synced, once, so that no published name can be lost from here on.
//!
//! A rename is one step: however a process ends, a file has one name, and one that a reader took away is not
//! published again. What no order of writes can exclude: a reader takes a file between 1 and 2, and the power
//! fails before either is durable; then the file is back under its in-progress name, and is published again.
//!
//! Where the disk knows no such rename, 1 is a link, and after 2
//!
//! 3. the in-progress names are removed;
//! 4. the directory is synced again, once, if any was.
//!
//! Between two syncs a crash may keep any of the changes: with links and removals in the same interval
//! it could keep a removal and lose the link, and with it the file. Without the second sync an in-progress
//! name could come back after the commit is known to be done, and a commit that is repeated after a reader
//! took the published file would publish it a second time. It does so too when a process ends between 1 and 3 and
//! a reader takes the file before the next run looks: this is why the rename is preferred.
//!
//! Either way a repeated commit may find neither name: the file was published, and a reader took it before the
//! commit was known to be done.

use std::collections::BTreeSet;

use crate::connector::PreparedFile;
use crate::disk::{Disk, DiskError, DiskFile};
use crate::planted::{self, Bug};
use crate::transaction::SinkNames;

/// Bytes that are read at once to compare a file with its digest.
const READ_BYTES: usize = 256 * 1024;

/// What a commit has found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitOutcome {
    /// Published names of the files that this commit has published.
    pub published: Vec<String>,
    /// Published names of the files that an earlier try had published already.
    pub found: Vec<String>,
    /// Published names of the files that exist under neither name: a reader has taken them away since an
    /// earlier try published them. Worth a warning.
    pub taken: Vec<String>,
}

/// Why a commit is not done. Every other file of it is committed nevertheless; the commit may be tried
/// again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another file has the published name.
    #[error(
        "cannot publish `{in_progress}` as `{published}`: a file of that name is there already and \
         is not the one that this job wrote; move it away, and the job can go on"
    )]
    InTheWay {
        /// The name that is taken.
        published: String,
        /// The file that should have it.
        in_progress: String,
    },
    /// The file that was prepared is not as it was.
    #[error(
        "cannot publish `{in_progress}`: it was prepared with {expected_bytes} bytes and has \
         {found_bytes} now, so it was changed or the disk has lost data; put the right file back \
         from a backup, or start the job afresh"
    )]
    Damaged {
        /// The file.
        in_progress: String,
        /// Its length when it was prepared.
        expected_bytes: u64,
        /// Its length now.
        found_bytes: u64,
    },
    /// The disk fails.
    #[error("cannot commit output: {0}; check the directory's disk and permissions")]
    Disk(#[from] DiskError),
}

/// What became of one file.
enum Published {
    /// It has the published name only.
    Renamed,
    /// It has both names.
    Linked,
    Before,
    Taken,
}

/// Publishes prepared files in the directory that `disk` is rooted at. Each file is on its own: one that
/// cannot be published, or is published already, keeps none of the others from it. May be repeated, after
/// success and after a crash at any point.
///
/// # Errors
/// The first that came up, when all files have been tried. After a failed sync nothing is removed.
pub fn commit(disk: &dyn Disk, files: &[PreparedFile]) -> Result<CommitOutcome, CommitError> {
    let mut outcome = CommitOutcome::default();
    let mut failure = None;
    let (mut removable, mut is_any, mut is_linked) = (Vec::new(), false, false);
    for file in files {
        let published = publish(disk, file);
        is_any |= published.is_ok();
        is_linked |= matches!(published, Ok(Published::Linked));
        let list = match published {
            Ok(Published::Renamed) => {
                outcome.published.push(file.published.clone());
                continue;
            }
            Ok(Published::Linked) => &mut outcome.published,
            Ok(Published::Before) if planted::is(Bug::CommitStopsAtFirstPublished) => break,
            Ok(Published::Before) => &mut outcome.found,
            Ok(Published::Taken) => &mut outcome.taken,
            Err(error) => {
                failure.get_or_insert(error);
                continue;
            }
        };
        list.push(file.published.clone());
        removable.push(&file.in_progress);
    }
    if !is_any {
        return failure.map_or(Ok(outcome), Err);
    }
    // Also when nothing was published now: a name that an earlier try gave need not be durable yet.
    if !(is_linked && planted::is(Bug::CommitRemovesBeforeSync)) {
        disk.sync_dir("")?;
    }
    let mut is_removed = false;
    for name in removable {
        match remove(disk, name) {
            Ok(was_there) => is_removed |= was_there,
            Err(error) => drop(failure.get_or_insert(error.into())),
        }
    }
    if is_removed {
        disk.sync_dir("")?;
    }
    failure.map_or(Ok(outcome), Err)
}

/// Makes sure that the published name stands for the file, as far as the running system goes.
fn publish(disk: &dyn Disk, file: &PreparedFile) -> Result<Published, CommitError> {
    let in_the_way = || CommitError::InTheWay {
        published: file.published.clone(),
        in_progress: file.in_progress.clone(),
    };
    let found_bytes = match (disk.length(&file.published)?, disk.length(&file.in_progress)?) {
        (None, None) => return Ok(Published::Taken),
        (Some(found_bytes), None) if found_bytes == file.bytes => return Ok(Published::Before),
        // The other name goes when this one is believed, and with it the data if this is a stranger's
        // file of the same length. Both are there only after a crash, so reading it is no burden.
        (Some(found_bytes), Some(_)) if found_bytes == file.bytes => {
            return if has_digest(disk, file)? { Ok(Published::Before) } else { Err(in_the_way()) };
        }
        (Some(_), _) => return Err(in_the_way()),
        (None, Some(found_bytes)) => found_bytes,
    };
    if found_bytes != file.bytes {
        return Err(CommitError::Damaged {
            in_progress: file.in_progress.clone(),
            expected_bytes: file.bytes,
            found_bytes,
        });
    }
    let renamed = disk.rename_new(&file.in_progress, &file.published);
    let published = match renamed {
        Ok(false) => disk.link(&file.in_progress, &file.published).map(|()| Published::Linked),
        renamed => renamed.map(|_| Published::Renamed),
    };
    match published {
        Ok(published) => Ok(published),
        // Made since the question above, by somebody else.
        Err(DiskError::Exists { .. }) => Err(in_the_way()),
        Err(error) => Err(error.into()),
    }
}

/// Whether the file under the published name is the one that was prepared.
fn has_digest(disk: &dyn Disk, file: &PreparedFile) -> Result<bool, DiskError> {
    let found: Box<dyn DiskFile> = disk.open(&file.published)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut offset = 0;
    loop {
        let count = found.read_at(offset, &mut buffer)?;
        if count == 0 {
            return Ok(*hasher.finalize().as_bytes() == file.digest);
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}

/// Removes a name; answers whether it was there.
fn remove(disk: &dyn Disk, name: &str) -> Result<bool, DiskError> {
    if disk.length(name)?.is_none() {
        return Ok(false);
    }
    disk.remove(name)?;
    Ok(true)
}

/// Removes the files of this sink that were never committed and that nothing names: what an incarnation
/// had begun or prepared when it ended. `keep` holds the in-progress names of all prepared files of all
/// manifests whose commit is not known to be done. Answers the names that it removed.
///
/// There is no sync: a name that comes back is removed the next time.
///
/// # Errors
/// The disk fails; some may have been removed.
pub fn clean_up(
    disk: &dyn Disk,
    names: &SinkNames,
    keep: &BTreeSet<String>,
) -> Result<Vec<String>, DiskError> {
    let mut found = disk.list("")?;
    found.retain(|name| names.is_in_progress(name) && !keep.contains(name));
    for name in &found {
        disk.remove(name)?;
    }
    Ok(found)
}
