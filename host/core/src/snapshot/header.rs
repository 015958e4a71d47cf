//! What a snapshot file says of itself, and whether its states are those of today.
//!
//! Owns the bytes of the header: magic, format version, length, MessagePack with named fields, CRC. Knows
//! nothing of the content behind it.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use crate::checksum::holds;
use crate::describe::StateDescription;
use crate::ids::{CheckpointId, Incarnation};

/// First bytes of every snapshot file.
pub const MAGIC: [u8; 8] = *b"TIDESNAP";
/// Version of the format that this code writes. A reader refuses another major and ignores fields of a
/// newer minor that it does not know. In format 1 each entry held the hash of its key.
pub const FORMAT: (u16, u16) = (2, 0);

/// Bytes before the body: magic, version, length.
pub(super) const PREFIX_BYTES: usize = 8 + 2 + 2 + 4;
/// A header's body is never larger: a few names for each of at most 64 states.
pub(super) const BODY_BYTES_MAX: usize = crate::limits::MIB;
pub(super) const CRC_BYTES: usize = 4;

/// What a snapshot file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// The job's identity, made at random when it was created.
    pub identity: String,
    /// Name of the operator.
    pub operator: String,
    /// Lane of the task.
    pub lane: u32,
    /// The checkpoint that it was written for.
    pub checkpoint: CheckpointId,
    /// Who wrote it.
    pub incarnation: Incarnation,
    /// Key groups of the job.
    pub key_groups: u32,
    /// Seed of the key hash.
    pub hash_seed: u64,
    /// The states, in the order of their ids.
    pub states: Vec<StateDescription>,
    /// It holds all of the task's state, not only what changed.
    pub is_base: bool,
}

impl SnapshotHeader {
    /// The bytes that a file begins with.
    pub(super) fn encode(&self, name: &str) -> Result<Vec<u8>, SnapshotError> {
        let bad = |what: String| SnapshotError::BadSegment { name: name.to_owned(), what };
        let body = rmp_serde::to_vec_named(self).map_err(|error| bad(error.to_string()))?;
        if body.len() > BODY_BYTES_MAX {
            return Err(bad(format!("a header of {} bytes", body.len())));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.0.to_le_bytes());
        bytes.extend_from_slice(&FORMAT.1.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Checks the bytes before the body; answers the body's length.
    pub(super) fn decode_prefix(prefix: &[u8], name: &str) -> Result<usize, SnapshotError> {
        let mut front = super::entry::Front(prefix);
        let magic: Option<[u8; 8]> = front.array();
        if magic != Some(MAGIC) {
            return Err(SnapshotError::Foreign { name: name.to_owned() });
        }
        let damaged = |what: &str| SnapshotError::Damaged {
            name: name.to_owned(),
            offset: 8,
            what: what.to_owned(),
        };
        let major = front.array().map(u16::from_le_bytes);
        let minor = front.array().map(u16::from_le_bytes);
        let length = front.array().map(u32::from_le_bytes);
        let (Some(major), Some(minor), Some(length)) = (major, minor, length) else {
            return Err(damaged("it is cut short"));
        };
        // Another format may go on otherwise, so its number is believed without the CRC.
        match major.cmp(&FORMAT.0) {
            Ordering::Greater => {
                return Err(SnapshotError::Newer { name: name.to_owned(), major, minor });
            }
            Ordering::Less => {
                return Err(SnapshotError::Older { name: name.to_owned(), major, minor });
            }
            Ordering::Equal => {}
        }
        if length as usize > BODY_BYTES_MAX {
            return Err(damaged("its header is too long"));
        }
        Ok(length as usize)
    }

    /// The header in `bytes`, which are prefix, body and CRC.
    pub(super) fn decode(bytes: &[u8], name: &str) -> Result<Self, SnapshotError> {
        let damaged = |what: String| SnapshotError::Damaged {
            name: name.to_owned(),
            offset: PREFIX_BYTES as u64,
            what,
        };
        let (content, crc) = bytes.split_at(bytes.len().saturating_sub(CRC_BYTES));
        if !holds(crc32fast::hash(content).to_le_bytes() == crc) {
            return Err(damaged("its header does not match its checksum".to_owned()));
        }
        let header: Self = rmp_serde::from_slice(content.get(PREFIX_BYTES..).unwrap_or_default())
            .map_err(|error| damaged(error.to_string()))?;
        let has_groups = (1..=crate::limits::KEY_GROUPS_MAX).contains(&header.key_groups);
        match has_groups && header.states.len() <= usize::from(u16::MAX) {
            true => Ok(header),
            false => Err(damaged("its header has impossible key groups or states".to_owned())),
        }
    }
}

/// How the states of a snapshot differ from those of the component at hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateDifference {
    /// The component has no such state any more: its content would be lost.
    #[error(
        "state {name:?} is in the snapshot and not in the component: its content would be lost"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// The snapshot has no such state: it begins empty. Harmless.
    #[error("state {name:?} is new and begins empty")]
    Added {
        /// Its name.
        name: String,
    },
    /// Both have the state, in another shape: its content cannot be put back.
    #[error("state {name:?} has {what} {found} in the component and {stored} in the snapshot")]
    Changed {
        /// Its name.
        name: String,
        /// What differs.
        what: &'static str,
        /// In the snapshot.
        stored: String,
        /// In the component.
        found: String,
    },
    /// The snapshot holds items of an older schema version: the component must rewrite them.
    #[error(
        "state {name:?} has schema version {found} in the component and {stored} in the snapshot"
    )]
    Older {
        /// Its name.
        name: String,
        /// In the snapshot.
        stored: u32,
        /// In the component.
        found: u32,
    },
    /// The snapshot holds items of a newer schema version than the component knows.
    #[error(
        "state {name:?} has schema version {stored} in the snapshot, and the component knows it up to {found}"
    )]
    Newer {
        /// Its name.
        name: String,
        /// In the snapshot.
        stored: u32,
        /// In the component.
        found: u32,
    },
}

/// A state whose items must be rewritten before they can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateMigration {
    /// Its id in the snapshot.
    pub stored: usize,
    /// Its id now.
    pub id: usize,
}

/// Where the states of a snapshot go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateMapping {
    /// For each state of the snapshot the id that it has now; `None` for one that cannot be put back as it is.
    pub ids: Vec<Option<usize>>,
    /// The states that go where they belong once they are rewritten.
    pub migrations: Vec<StateMigration>,
    /// What differs, in the order of the snapshot's states, then what is new. Whether that is acceptable is
    /// the caller's to say. A changed time to live is no difference: it holds for what is written from now on.
    pub differences: Vec<StateDifference>,
}

/// Compares the states of a snapshot with those of the component at hand, by name. The kind of a state is
/// fixed, its width goes with its schema version.
pub fn compare_states(stored: &[StateDescription], present: &[StateDescription]) -> StateMapping {
    let mut mapping = StateMapping::default();
    for (index, state) in stored.iter().enumerate() {
        let Some(id) = present.iter().position(|other| other.name == state.name) else {
            mapping.ids.push(None);
            mapping.differences.push(StateDifference::Missing { name: state.name.clone() });
            continue;
        };
        let difference = difference(state, &present[id]);
        mapping.ids.push(difference.is_none().then_some(id));
        if matches!(difference, Some(StateDifference::Older { .. })) {
            mapping.migrations.push(StateMigration { stored: index, id });
        }
        mapping.differences.extend(difference);
    }
    for state in present {
        if !stored.iter().any(|other| other.name == state.name) {
            mapping.differences.push(StateDifference::Added { name: state.name.clone() });
        }
    }
    mapping
}

/// What keeps the items of a state from being put back as they are.
fn difference(then: &StateDescription, now: &StateDescription) -> Option<StateDifference> {
    let name = then.name.clone();
    let (stored, found) = (then.schema_version, now.schema_version);
    if then.kind != now.kind {
        let (stored, found) = (then.kind.name().to_owned(), now.kind.name().to_owned());
        return Some(StateDifference::Changed { name, what: "kind", stored, found });
    }
    match stored.cmp(&found) {
        Ordering::Less => Some(StateDifference::Older { name, stored, found }),
        Ordering::Greater => Some(StateDifference::Newer { name, stored, found }),
        Ordering::Equal if then.width != now.width => {
            let shown = |width: Option<u32>| width.map_or("any".to_owned(), |w| w.to_string());
            let (stored, found) = (shown(then.width), shown(now.width));
            Some(StateDifference::Changed { name, what: "width", stored, found })
        }
        Ordering::Equal => None,
    }
}
