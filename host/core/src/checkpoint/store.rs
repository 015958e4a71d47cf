//! Where checkpoints lie, and the order of writes that makes and drops them.
//!
//! Owns the names in a checkpoint directory and what is written there, over any [`Disk`]. Knows nothing
//! of what a snapshot file holds. Order for a new checkpoint: snapshot files durable (the caller's) ->
//! manifest written whole and durable under its name, which must be free -> sinks commit (the caller's)
//! -> `committed` replaced. Order for dropping: manifests, oldest first -> directory synced -> files that no
//! manifest names. So a manifest's files are there as long as it is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::manifest::{
    MANIFEST_BYTES_MAX, Manifest, ManifestError, SnapshotFile, manifest_name, parse_manifest_name,
};
use super::rollback;
use crate::disk::{Disk, DiskError, create_whole, read_whole, replace_whole};
use crate::ids::{CheckpointId, Incarnation, LaneId, NodeId};
use crate::planted::{self, Bug};

/// The mark of the newest checkpoint whose sinks have all committed.
const COMMITTED: &str = "committed";
/// How the names of snapshot files begin.
const STATE: &str = "state-";
/// Bytes that are copied at a time.
const COPY_BYTES: usize = 1024 * 1024;
/// The end of a name that is not complete.
const TEMPORARY: &str = ".tmp";

/// The checkpoints of one job.
#[derive(Clone)]
pub struct CheckpointStore {
    disk: Arc<dyn Disk>,
}

/// What could not be done with a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is a checkpoint where none may be.
    #[error("{name} is there already: name a directory that holds no checkpoint")]
    Taken {
        /// The manifest that is there.
        name: String,
    },
    /// A snapshot file is not what its manifest says.
    #[error("{name} is damaged: its length or digest is not the one in the manifest")]
    File {
        /// Its name.
        name: String,
    },
    /// A manifest cannot be used.
    #[error("{name}: {error}")]
    Manifest {
        /// Its name.
        name: String,
        /// Why.
        error: ManifestError,
    },
}

/// The content of the mark.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    checkpoint: CheckpointId,
    incarnation: Incarnation,
}

/// A manifest that is there, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredManifest {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Who wrote it.
    pub incarnation: Incarnation,
}

/// The names of the files of manifests.
#[derive(Clone, Debug, Default)]
pub struct KnownFiles(BTreeMap<StoredManifest, Vec<String>>);

impl StoredManifest {
    /// Its name in the directory.
    pub fn name(&self) -> String {
        manifest_name(self.checkpoint, self.incarnation)
    }
}

impl CheckpointStore {
    /// The checkpoints in the root of `disk`.
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk }
    }

    /// The disk, for snapshot files.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The manifests that are there, oldest first; and the one that the mark names, when it is newer than all of them:
    /// its output is published, so a start must not pass over it. It can then not be loaded.
    ///
    /// # Errors
    /// The disk fails.
    pub fn manifests(&self) -> Result<Vec<StoredManifest>, DiskError> {
        // The mark first: a job that runs meanwhile writes a manifest before it moves the mark.
        let mark = self.mark()?;
        let names = self.disk.list("")?;
        let found = names.iter().filter_map(|name| parse_manifest_name(name));
        let mut found: Vec<_> = found
            .map(|(checkpoint, incarnation)| StoredManifest { checkpoint, incarnation })
            .collect();
        found.sort_unstable();
        let marked =
            mark.map(|Mark { checkpoint, incarnation }| StoredManifest { checkpoint, incarnation });
        if marked.as_ref() > found.last() {
            found.extend(marked);
        }
        Ok(found)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is gone, damaged, of a newer format, or says that it is another one than its name does.
    pub fn load(&self, stored: &StoredManifest) -> Result<Manifest, StoreError> {
        let name = stored.name();
        let failed = |error| StoreError::Manifest { name: name.clone(), error };
        let damaged = |what: &str| failed(ManifestError::Damaged(what.to_owned()));
        let bytes = match read_whole(&*self.disk, &name, MANIFEST_BYTES_MAX) {
            Err(DiskError::NotFound { .. }) => return Err(damaged("it is missing")),
            bytes => bytes?,
        };
        let bytes = bytes.ok_or_else(|| damaged("it is larger than any manifest"))?;
        let manifest = Manifest::decode(&bytes).map_err(failed)?;
        if (manifest.checkpoint, manifest.incarnation) != (stored.checkpoint, stored.incarnation) {
            return Err(damaged("it is the manifest of another checkpoint"));
        }
        Ok(manifest)
    }

    /// Makes a checkpoint exist.
    ///
    /// # Errors
    /// The disk fails: whether the manifest exists is not known then, and only a new start finds out.
    pub fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let name = manifest_name(manifest.checkpoint, manifest.incarnation);
        let bytes = manifest
            .encode()
            .map_err(|error| StoreError::Manifest { name: name.clone(), error })?;
        Ok(create_whole(&*self.disk, &name, &bytes)?)
    }

    /// Records that the sinks have committed all that a manifest holds.
    ///
    /// # Errors
    /// The disk fails.
    pub fn mark_committed(
        &self,
        checkpoint: CheckpointId,
        incarnation: Incarnation,
    ) -> Result<(), StoreError> {
        let name = COMMITTED.to_owned();
        let bytes =
            rmp_serde::to_vec_named(&Mark { checkpoint, incarnation }).map_err(|error| {
                let error = ManifestError::Damaged(error.to_string());
                StoreError::Manifest { name, error }
            })?;
        Ok(replace_whole(&*self.disk, COMMITTED, &bytes)?)
    }

    /// Whether the sinks are known to have committed all that a manifest holds. A mark that cannot be read
    /// proves nothing: commits are made again, which changes nothing.
    ///
    /// # Errors
    /// The disk fails.
    pub fn is_committed(&self, stored: &StoredManifest) -> Result<bool, DiskError> {
        let mark = Mark { checkpoint: stored.checkpoint, incarnation: stored.incarnation };
        Ok(self.mark()? == Some(mark))
    }

    fn mark(&self) -> Result<Option<Mark>, DiskError> {
        match read_whole(&*self.disk, COMMITTED, 1024) {
            Ok(bytes) => Ok(rmp_serde::from_slice(&bytes.unwrap_or_default()).ok()),
            Err(DiskError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Drops all but the newest `retained` checkpoints, and files that none of those names and that are not of
    /// a checkpoint after the newest. `known` are the files of those that were looked at before: a manifest does not change. Not while a merge is in flight, nor before
    /// [`Ledger::may_collect`](super::ledger::Ledger::may_collect): a merged file has no manifest at first.
    ///
    /// # Errors
    /// The disk fails, or a manifest that is kept cannot be read; nothing that it might name is removed.
    pub fn drop_old(&self, retained: usize, known: &mut KnownFiles) -> Result<(), StoreError> {
        let manifests = self.manifests()?;
        let (old, kept) = manifests.split_at(manifests.len().saturating_sub(retained.max(1)));
        let mut named = BTreeSet::new();
        let ours =
            if planted::is(Bug::RetainedFilesCollected) { kept.len().saturating_sub(1) } else { 0 };
        known.0.retain(|stored, _| kept.contains(stored));
        for stored in &kept[ours..] {
            let files = match known.0.entry(stored.clone()) {
                Entry::Occupied(files) => files.into_mut(),
                Entry::Vacant(place) => {
                    let manifest = self.load(stored)?;
                    place.insert(manifest.files().map(|file| file.name.clone()).collect())
                }
            };
            named.extend(files.iter().cloned());
        }
        for stored in old {
            self.disk.remove(&stored.name())?;
        }
        if !old.is_empty() {
            self.disk.sync_dir("")?;
        }
        // Files of a checkpoint that is in flight have a higher number.
        let newest = kept.last().map(|stored| stored.checkpoint);
        self.drop_unnamed(&named, newest)
    }

    /// Removes every checkpoint, oldest first: until the last is gone, the newest is what a start finds. The mark goes
    /// before them, durably, so that none is missed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn drop_all(&self) -> Result<(), StoreError> {
        self.disk.remove(COMMITTED)?;
        self.disk.sync_dir("")?;
        for stored in self.manifests()? {
            self.disk.remove(&stored.name())?;
        }
        self.disk.sync_dir("")?;
        // What it would finish is gone with the manifests.
        rollback::forget(&*self.disk)?;
        self.drop_unnamed(&BTreeSet::new(), None)
    }

    /// Copies a checkpoint with all its files to an empty directory, under the manifest `renamed`, which names the
    /// same files. Order: files written, each synced -> directory synced -> manifest. So there is a whole
    /// checkpoint or none.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the target holds a checkpoint already, [`StoreError::File`] when a file is not what
    /// the manifest says; a disk fails.
    pub fn copy_to(&self, target: &Self, renamed: &Manifest) -> Result<(), StoreError> {
        if let Some(there) = target.manifests()?.first() {
            return Err(StoreError::Taken { name: there.name() });
        }
        for file in renamed.files() {
            target.disk.remove(&file.name)?;
            copy(&*self.disk, &*target.disk, file)?;
        }
        target.disk.sync_dir("")?;
        target.write_manifest(renamed)
    }

    fn drop_unnamed(
        &self,
        named: &BTreeSet<String>,
        up_to: Option<CheckpointId>,
    ) -> Result<(), StoreError> {
        for name in self.disk.list("")? {
            let is_old = match (name.strip_prefix(STATE), up_to) {
                (Some(rest), Some(newest)) => {
                    let number = rest.split('-').next().and_then(|number| number.parse().ok());
                    number.is_some_and(|number: u64| number <= newest.0)
                }
                (Some(_), None) => true,
                (None, _) => name.ends_with(TEMPORARY),
            };
            if is_old && !named.contains(&name) {
                self.disk.remove(&name)?;
            }
        }
        Ok(())
    }
}

/// Copies a file, durably, if it is what the manifest says.
fn copy(from: &dyn Disk, to: &dyn Disk, file: &SnapshotFile) -> Result<(), StoreError> {
    let source = from.open(&file.name)?;
    let mut target = to.create(&file.name)?;
    let mut block = vec![0; COPY_BYTES];
    let (mut offset, mut hasher) = (0, blake3::Hasher::new());
    loop {
        let read = source.read_at(offset, &mut block)?;
        target.write_at(offset, &block[..read])?;
        hasher.update(&block[..read]);
        offset += read as u64;
        if read < block.len() {
            break;
        }
    }
    match offset == file.bytes && *hasher.finalize().as_bytes() == file.digest {
        true => Ok(target.sync()?),
        false => Err(StoreError::File { name: file.name.clone() }),
    }
}

/// The name of a snapshot file.
pub fn snapshot_name(
    checkpoint: CheckpointId,
    incarnation: Incarnation,
    node: NodeId,
    lane: LaneId,
    is_base: bool,
) -> String {
    let kind = if is_base { "base" } else { "delta" };
    format!("{STATE}{:020}-{:010}-{}-{lane}.{kind}", checkpoint.0, incarnation.0, node.0)
}
