//! The manifest: the one durable record whose existence makes a checkpoint exist.
//!
//! Owns its content and its format: magic, format version, length, MessagePack with named fields, BLAKE3
//! digest over all before it. Knows nothing of files. Invariants: bytes that were changed or cut anywhere
//! are refused; a newer major format is refused by its number; a manifest is never overwritten.

use serde::{Deserialize, Serialize};

use crate::checksum::holds;
use crate::connector::{PartitionPosition, Prepared};
use crate::describe::StateDescription;
use crate::ids::{CheckpointId, Incarnation};

/// First bytes of every manifest.
pub const MAGIC: [u8; 8] = *b"TIDEMANI";
/// Version of the format that this code writes. A reader refuses a newer major and ignores fields of a
/// newer minor that it does not know.
pub const FORMAT: (u16, u16) = (1, 0);
/// A manifest is never larger: tables live in snapshot files.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

const HEADER_BYTES: usize = 8 + 2 + 2 + 8;
const DIGEST_BYTES: usize = 32;

/// A checkpoint of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the job.
    pub job: String,
    /// Made at random when the job was created; another job of the same name has another.
    pub identity: String,
    /// The identity under which the snapshot files were written, where it is another: the job has begun with a
    /// savepoint and has come to no checkpoint of its own.
    #[serde(default)]
    pub files_identity: Option<String>,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// When, in milliseconds since the Unix epoch; for people.
    pub created_ms: i64,
    /// Version of Tidemill that wrote it; for people.
    pub written_by: String,
    /// All input has ended and everything is in this checkpoint: there is nothing left to do.
    pub finished: bool,
    /// Seed of the key hash.
    pub hash_seed: u64,
    /// For each key group the lane that owns it.
    pub owners: Vec<u16>,
    /// Lanes.
    pub parallelism: u32,
    /// The job file's settings with every default filled in; for people.
    pub plan: String,
    /// Smallest WAL position that a partition needs, when any partition is logged.
    pub wal_start: Option<u64>,
    /// Sources, by name.
    pub sources: Vec<SourceSnapshot>,
    /// Operators, by name.
    pub operators: Vec<OperatorSnapshot>,
    /// Sinks, by name.
    pub sinks: Vec<SinkSnapshot>,
}

/// A source at a barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// Name of the node.
    pub name: String,
    /// All its partitions, in the order in which they were listed when the job was created.
    pub partitions: Vec<PartitionPosition>,
}

/// An operator at a barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Name of the node.
    pub name: String,
    /// BLAKE3 digest of the component, in hexadecimal.
    pub component: String,
    /// The states that the snapshot files hold, in the order of their ids.
    pub states: Vec<StateDescription>,
    /// Its tasks, by lane.
    pub tasks: Vec<TaskSnapshot>,
}

/// A task of an operator at a barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSnapshot {
    /// The lane.
    pub lane: u32,
    /// `close` has run, and its output belongs to this checkpoint.
    pub closed: bool,
    /// The task's clock, in milliseconds since the Unix epoch.
    pub clock_ms: i64,
    /// Calls made so far.
    pub calls: u64,
    /// Snapshot files of its keyed state: the base, then deltas in order. Empty for a task without state.
    pub files: Vec<SnapshotFile>,
    /// What the operator itself saved, for one that keeps state in its own memory.
    #[serde(with = "serde_bytes")]
    pub saved: Option<Vec<u8>>,
}

/// A snapshot file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Its name in the checkpoint directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// BLAKE3 digest of its content.
    pub digest: [u8; 32],
    /// It holds all of the task's state, not only what changed.
    pub is_base: bool,
    /// Entries in it.
    pub entries: u64,
}

/// A sink at a barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSnapshot {
    /// Name of the node.
    pub name: String,
    /// The directory that its files lie in, absolute; empty when it writes none.
    pub directory: String,
    /// Its tasks, by lane.
    pub tasks: Vec<SinkTaskSnapshot>,
}

/// A task of a sink at a barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkTaskSnapshot {
    /// The lane.
    pub lane: u32,
    /// Prepared and, as far as the writer of the manifest knew, not committed, in order.
    pub prepared: Vec<Prepared>,
    /// State of the writer at the barrier.
    #[serde(with = "serde_bytes")]
    pub state: Vec<u8>,
}

/// Why bytes are not a manifest that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// They do not begin as a manifest does.
    #[error("this is not a Tidemill manifest")]
    Foreign,
    /// A later Tidemill wrote it.
    #[error(
        "it has format {major}.{minor}; this Tidemill reads up to {}.x: use the version that wrote it",
        FORMAT.0
    )]
    Newer {
        /// Its major version.
        major: u16,
        /// Its minor version.
        minor: u16,
    },
    /// It was changed or cut after it was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

impl Manifest {
    /// The same without what its sources, operators and sinks had come to, of which there may be much.
    #[must_use]
    pub fn without_content(&self) -> Self {
        Self {
            job: self.job.clone(),
            identity: self.identity.clone(),
            files_identity: self.files_identity.clone(),
            checkpoint: self.checkpoint,
            incarnation: self.incarnation,
            created_ms: self.created_ms,
            written_by: self.written_by.clone(),
            finished: self.finished,
            hash_seed: self.hash_seed,
            owners: self.owners.clone(),
            parallelism: self.parallelism,
            plan: self.plan.clone(),
            wal_start: self.wal_start,
            sources: Vec::new(),
            operators: Vec::new(),
            sinks: Vec::new(),
        }
    }

    /// The bytes of the manifest.
    ///
    /// # Errors
    /// [`ManifestError::Damaged`] when it cannot be expressed (it is larger than any manifest may be).
    pub fn encode(&self) -> Result<Vec<u8>, ManifestError> {
        let body = rmp_serde::to_vec_named(self)
            .map_err(|error| ManifestError::Damaged(error.to_string()))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len() + DIGEST_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.0.to_le_bytes());
        bytes.extend_from_slice(&FORMAT.1.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&body);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(ManifestError::Damaged(format!("{} bytes are too many", bytes.len())));
        }
        Ok(bytes)
    }

    /// The manifest that `bytes` hold.
    ///
    /// # Errors
    /// See [`ManifestError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let damaged = |what: &str| ManifestError::Damaged(what.to_owned());
        if bytes.len() < HEADER_BYTES {
            return Err(match MAGIC.starts_with(&bytes[..bytes.len().min(MAGIC.len())]) {
                true => damaged("it is cut short"),
                false => ManifestError::Foreign,
            });
        }
        if bytes[..8] != MAGIC {
            return Err(ManifestError::Foreign);
        }
        let (content, digest) = bytes.split_at(bytes.len().saturating_sub(DIGEST_BYTES));
        let is_whole = holds(blake3::hash(content).as_bytes() == digest);
        let (major, minor) =
            (u16::from_le_bytes([bytes[8], bytes[9]]), u16::from_le_bytes([bytes[10], bytes[11]]));
        // A newer format may end otherwise, so its number is believed without the digest.
        if major > FORMAT.0 {
            return Err(ManifestError::Newer { major, minor });
        }
        if !is_whole {
            return Err(damaged("its digest does not match its content"));
        }
        let length = content.get(12..HEADER_BYTES).and_then(|bytes| bytes.try_into().ok());
        let body = content.get(HEADER_BYTES..).unwrap_or_default();
        if length.map(u64::from_le_bytes) != Some(body.len() as u64) {
            return Err(damaged("its length does not match its content"));
        }
        rmp_serde::from_slice(body).map_err(|error| ManifestError::Damaged(error.to_string()))
    }

    /// Names of all snapshot files that the checkpoint needs.
    pub fn files(&self) -> impl Iterator<Item = &SnapshotFile> {
        self.operators.iter().flat_map(|operator| &operator.tasks).flat_map(|task| &task.files)
    }
}

/// The name of a manifest, in the checkpoint directory. Sorts by checkpoint, then by incarnation.
pub fn manifest_name(checkpoint: CheckpointId, incarnation: Incarnation) -> String {
    format!("manifest-{:020}-{:010}", checkpoint.0, incarnation.0)
}

/// The checkpoint and incarnation that a name stands for, if it is a manifest's.
pub fn parse_manifest_name(name: &str) -> Option<(CheckpointId, Incarnation)> {
    let (checkpoint, incarnation) = name.strip_prefix("manifest-")?.split_once('-')?;
    let found = (CheckpointId(checkpoint.parse().ok()?), Incarnation(incarnation.parse().ok()?));
    (manifest_name(found.0, found.1) == name).then_some(found)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connector::{Position, PreparedFile};

    pub(crate) fn sample() -> Manifest {
        let file = |name: &str| SnapshotFile {
            name: name.to_owned(),
            bytes: 7,
            digest: [3; 32],
            is_base: true,
            entries: 1,
        };
        let prepared = Prepared {
            checkpoint: CheckpointId(4),
            files: vec![PreparedFile {
                in_progress: ".tm".to_owned(),
                published: "part".to_owned(),
                bytes: 9,
                digest: [1; 32],
            }],
            state: vec![1, 2],
        };
        let position = Position { offset: 12, detail: vec![0xff], ended: false };
        Manifest {
            job: "tide".to_owned(),
            identity: "abc".to_owned(),
            files_identity: None,
            checkpoint: CheckpointId(4),
            incarnation: Incarnation(2),
            created_ms: 5,
            written_by: "0.1.0".to_owned(),
            finished: false,
            hash_seed: 77,
            owners: vec![0, 1, 0],
            parallelism: 2,
            plan: "name = \"tide\"".to_owned(),
            wal_start: None,
            sources: vec![SourceSnapshot {
                name: "in".to_owned(),
                partitions: vec![PartitionPosition { partition: "0".to_owned(), position }],
            }],
            operators: vec![OperatorSnapshot {
                name: "count".to_owned(),
                component: "00".to_owned(),
                states: Vec::new(),
                tasks: vec![TaskSnapshot {
                    files: vec![file("a")],
                    saved: Some(vec![1]),
                    ..TaskSnapshot::default()
                }],
            }],
            sinks: vec![SinkSnapshot {
                name: "out".to_owned(),
                directory: "/out".to_owned(),
                tasks: vec![SinkTaskSnapshot { lane: 0, prepared: vec![prepared], state: vec![] }],
            }],
        }
    }

    #[test]
    fn a_manifest_comes_back_as_it_was() {
        let manifest = sample();
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()), Ok(manifest));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let bytes = sample().encode().unwrap();
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Manifest::decode(&longer).is_err());
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = sample().encode().unwrap();
        bytes[8] = 2;
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Newer { major: 2, minor: 0 }));
        assert_eq!(Manifest::decode(b"no manifest at all, but long"), Err(ManifestError::Foreign));
    }

    #[test]
    fn names_sort_by_checkpoint_and_only_our_own_are_recognised() {
        let name = manifest_name(CheckpointId(12), Incarnation(3));
        assert_eq!(parse_manifest_name(&name), Some((CheckpointId(12), Incarnation(3))));
        assert!(name < manifest_name(CheckpointId(100), Incarnation(1)));
        for foreign in ["manifest-1-1", "manifest-", "manifest-x-y", "other"] {
            assert_eq!(parse_manifest_name(foreign), None, "{foreign}");
        }
        assert_eq!(parse_manifest_name(&format!("{name}.tmp")), None);
    }
}
