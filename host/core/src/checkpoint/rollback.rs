//! Going back behind damaged checkpoints, when a person accepts what that costs.
//!
//! Owns which checkpoint is gone back to, the record of it, and what is done to the checkpoint directory. The
//! output files of sinks are moved by [`set_aside`](crate::transaction::set_aside). Nothing is ever deleted.
//! Order, each step durable before the next:
//!
//! 1. the record: from here on every start finishes what it says, asked to or not;
//! 2. published files of later checkpoints are moved aside, sink by sink (the caller's);
//! 3. the discarded manifests are moved aside, the newest last;
//! 4. the mark `committed` names the checkpoint that was gone back to: its commit ended before any later
//!    manifest was written;
//! 5. the record is removed.
//!
//! So until 5 no start can go on with a part of it done, and each step may be repeated. Invariants: a newest
//! checkpoint that is whole is never given up; what cannot be read for another reason than damage is no
//! reason to give anything up.

use serde::{Deserialize, Serialize};

use super::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError};
use super::store::{CheckpointStore, StoreError, StoredManifest};
use crate::disk::{Disk, DiskError, create_whole, read_whole};
use crate::ids::{CheckpointId, Incarnation};
use crate::snapshot::{SnapshotError, verify};

/// The record of a rollback that is not finished.
const RECORD: &str = "rollback";
const DIGEST_BYTES: usize = 32;

/// What a checkpoint is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of it is as it was written.
    Whole,
    /// Its manifest or a file that it names is not.
    Damaged(String),
    /// It is whole, and the job cannot go on from it all the same.
    Unreachable(String),
}

/// A checkpoint that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its manifest's name.
    pub stored: StoredManifest,
    /// What it is worth.
    pub condition: Condition,
}

/// A checkpoint that is given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Name of its manifest.
    pub manifest: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: there is no checkpoint, or the newest is no reason to go back.
    Nothing,
    /// Go back.
    GoBack {
        /// The newest checkpoint that is whole.
        to: StoredManifest,
        /// All newer ones, oldest first.
        discarded: Vec<Discarded>,
    },
}

/// A directory that a sink publishes files in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPlace {
    /// The sink.
    pub sink: String,
    /// The directory, absolute.
    pub directory: String,
}

/// The record: all that is needed to finish a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Name of the job.
    pub job: String,
    /// The start that began it.
    pub begun_by: Incarnation,
    /// When it was begun, in milliseconds since the Unix epoch; part of the names of what is set aside.
    pub begun_ms: i64,
    /// The checkpoint that is gone back to.
    pub checkpoint: CheckpointId,
    /// Who wrote that.
    pub incarnation: Incarnation,
    /// What is given up, oldest first.
    pub discarded: Vec<Discarded>,
    /// Where later output may lie.
    pub sinks: Vec<SinkPlace>,
}

/// Why it is not gone back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    /// The disk fails.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A manifest cannot be read for another reason than damage, or the mark cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No checkpoint is whole.
    #[error("none of the checkpoints that are kept is whole: {}", list(.0))]
    NoneWhole(Vec<Discarded>),
    /// The job cannot go on from the newest that is whole.
    #[error(
        "checkpoint {checkpoint} is the newest that is whole, and the job cannot go on from it: {why}"
    )]
    Unreachable {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        why: String,
    },
    /// The record was changed after it was written.
    #[error(
        "the record `{RECORD}` of a rollback that was not finished is damaged; remove it and run again with \
         --accept-rollback"
    )]
    Record,
}

fn list(discarded: &[Discarded]) -> String {
    let named = discarded.iter().map(|it| format!("{}: {}", it.manifest, it.reason));
    named.collect::<Vec<_>>().join("; ")
}

/// Decides, from what the checkpoints are worth, newest first. Those behind the first that is not damaged do
/// not matter.
///
/// # Errors
/// [`RollbackError::NoneWhole`] and [`RollbackError::Unreachable`].
pub fn decide(newest_first: &[Candidate]) -> Result<Decision, RollbackError> {
    let mut discarded = Vec::new();
    for Candidate { stored, condition } in newest_first {
        match condition {
            Condition::Damaged(reason) => {
                let (manifest, reason) = (stored.name(), reason.clone());
                discarded.push(Discarded { manifest, reason });
            }
            Condition::Unreachable(why) if !discarded.is_empty() => {
                let (checkpoint, why) = (stored.checkpoint, why.clone());
                return Err(RollbackError::Unreachable { checkpoint, why });
            }
            Condition::Whole if !discarded.is_empty() => {
                discarded.reverse();
                return Ok(Decision::GoBack { to: stored.clone(), discarded });
            }
            Condition::Whole | Condition::Unreachable(_) => return Ok(Decision::Nothing),
        }
    }
    match discarded.is_empty() {
        true => Ok(Decision::Nothing),
        false => Err(RollbackError::NoneWhole(discarded)),
    }
}

/// Finds out what the checkpoints are worth: newest first, up to the first that is not damaged, with the
/// manifests that can be read. Reads every byte of them. `reach` says why a job cannot go on from an older
/// one.
///
/// # Errors
/// The disk fails: that is no damage.
pub fn survey(
    checkpoints: &CheckpointStore,
    reach: impl Fn(&Manifest) -> Result<(), String>,
) -> Result<(Vec<Candidate>, Vec<Manifest>), RollbackError> {
    let (mut candidates, mut readable) = (Vec::new(), Vec::new());
    for stored in checkpoints.manifests()?.into_iter().rev() {
        let condition = match checkpoints.load(&stored) {
            Ok(manifest) => {
                let condition = match first_damage(checkpoints, &manifest)? {
                    Some(damage) => Condition::Damaged(damage),
                    None if candidates.is_empty() => Condition::Whole,
                    None => {
                        reach(&manifest).map_or_else(Condition::Unreachable, |()| Condition::Whole)
                    }
                };
                readable.push(manifest);
                condition
            }
            Err(StoreError::Manifest { error, .. }) => Condition::Damaged(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let is_damaged = matches!(condition, Condition::Damaged(_));
        candidates.push(Candidate { stored, condition });
        if !is_damaged {
            break;
        }
    }
    Ok((candidates, readable))
}

/// What is wrong with the first snapshot file that is not as it was written. A job that has finished needs
/// none of them.
fn first_damage(
    checkpoints: &CheckpointStore,
    manifest: &Manifest,
) -> Result<Option<String>, RollbackError> {
    for file in manifest.files().filter(|_| !manifest.finished) {
        let opened = checkpoints.disk().open(&file.name).map_err(SnapshotError::from);
        let verified = opened.and_then(|open| verify(&*open, &file.name, file.bytes, &file.digest));
        match verified {
            Ok(()) => {}
            Err(SnapshotError::Disk(error)) if !matches!(error, DiskError::NotFound { .. }) => {
                return Err(error.into());
            }
            Err(error) => return Ok(Some(error.to_string())),
        }
    }
    Ok(None)
}

impl Rollback {
    /// The directory, beside the manifests, that discarded ones are moved to.
    pub fn manifest_place(&self) -> String {
        format!("rolled-back-{}", self.begun_ms)
    }

    /// The directory, in that of a sink, that published files are moved to. No pattern of readers matches it,
    /// unless it asks for names that begin with a dot.
    pub fn output_place(&self) -> String {
        format!(".rolled-back-{}-{}", self.job, self.begun_ms)
    }

    /// Makes the record durable.
    ///
    /// # Errors
    /// The disk fails, or there is one already.
    pub fn begin(&self, checkpoints: &CheckpointStore) -> Result<(), RollbackError> {
        let mut bytes = rmp_serde::to_vec_named(self).map_err(|error| StoreError::Manifest {
            name: RECORD.to_owned(),
            error: ManifestError::Damaged(error.to_string()),
        })?;
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        Ok(create_whole(&**checkpoints.disk(), RECORD, &bytes)?)
    }

    /// The rollback that was begun and not finished, if there is one.
    ///
    /// # Errors
    /// [`RollbackError::Record`]; the disk fails.
    pub fn unfinished(checkpoints: &CheckpointStore) -> Result<Option<Self>, RollbackError> {
        let bytes = match read_whole(&**checkpoints.disk(), RECORD, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(DiskError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // It is acted upon, so it must not be lost with the power after that.
        checkpoints.disk().sync_dir("")?;
        let (body, digest) = bytes.split_at(bytes.len().saturating_sub(DIGEST_BYTES));
        if blake3::hash(body).as_bytes() != digest {
            return Err(RollbackError::Record);
        }
        rmp_serde::from_slice(body).map(Some).map_err(|_| RollbackError::Record)
    }

    /// Steps 3 and 4. Nothing is left to do for a manifest that an earlier try has moved.
    ///
    /// # Errors
    /// The disk fails.
    pub fn set_manifests_aside(&self, checkpoints: &CheckpointStore) -> Result<(), RollbackError> {
        let (disk, place) = (checkpoints.disk(), self.manifest_place());
        disk.make_directory(&place)?;
        for Discarded { manifest, .. } in &self.discarded {
            match disk.rename(manifest, &format!("{place}/{manifest}")) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        disk.sync_dir(&place)?;
        disk.sync_dir("")?;
        Ok(checkpoints.mark_committed(self.checkpoint, self.incarnation)?)
    }

    /// Step 5.
    ///
    /// # Errors
    /// The disk fails.
    pub fn end(&self, checkpoints: &CheckpointStore) -> Result<(), DiskError> {
        forget(&**checkpoints.disk())
    }
}

/// Removes the record, durably, if there is one.
///
/// # Errors
/// The disk fails.
pub(super) fn forget(checkpoints: &dyn Disk) -> Result<(), DiskError> {
    checkpoints.remove(RECORD)?;
    checkpoints.sync_dir("")
}

#[cfg(test)]
mod tests;
