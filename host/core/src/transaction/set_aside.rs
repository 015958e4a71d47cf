//! Moves published files out of the readers' way.
//!
//! Owns the order of writes: files renamed into their place, one by one -> the place synced -> the directory
//! synced. Nothing is overwritten, because a place belongs to one rollback and a name comes once.

use crate::disk::{Disk, DiskError};
use crate::ids::CheckpointId;
use crate::transaction::SinkNames;

/// Moves every published file of a sink that belongs to a checkpoint later than `after` into the directory
/// `place`, below the one that `disk` is rooted at. A name says the checkpoint after whose barrier its file was
/// begun, so exactly what a job that goes on from `after` makes again is moved. May be repeated, after success
/// and after a crash at any point. Answers the names of all such files that lie in the place.
///
/// # Errors
/// The disk fails; some may have been moved.
pub fn set_aside(
    disk: &dyn Disk,
    names: &SinkNames,
    after: CheckpointId,
    place: &str,
) -> Result<Vec<String>, DiskError> {
    let is_later =
        |name: &String| names.published_checkpoint(name).is_some_and(|number| number > after);
    let mut found = disk.list("")?;
    found.retain(is_later);
    if !found.is_empty() {
        disk.make_directory(place)?;
    }
    for name in &found {
        disk.rename(name, &format!("{place}/{name}"))?;
    }
    let mut moved = disk.list(place)?;
    moved.retain(is_later);
    // Also when an earlier try has moved them: that need not be durable yet.
    if !moved.is_empty() {
        disk.sync_dir(place)?;
        disk.sync_dir("")?;
    }
    Ok(moved)
}
