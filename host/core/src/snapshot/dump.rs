//! The items of a chain of snapshot files, one by one, for tools.

use std::collections::VecDeque;

use super::chain::Merged;
use super::entry::Item;
use super::error::SnapshotError;
use super::reader::SnapshotReader;
use super::restore::check_chain;
use crate::ids::KeyGroup;
use crate::state::{ExpiresAt, NEVER};

/// Which of the items of a key and state one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpedPlace {
    /// The value.
    Value,
    /// The entry of the map under this key.
    MapKey(Vec<u8>),
    /// The item of the list with this index, from 0, expired ones counted.
    Index(u64),
}

/// An item of keyed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedItem {
    /// The key group.
    pub group: KeyGroup,
    /// Name of the state.
    pub state: String,
    /// The key.
    pub key: Vec<u8>,
    /// Which of the items.
    pub place: DumpedPlace,
    /// Its bytes.
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_at: Option<ExpiresAt>,
}

/// The items of a chain, merged, in the order of key group, state, hash of the key, key, map key or index.
pub struct StateDump {
    merged: Merged,
    states: Vec<String>,
    /// Items of the list chunk at hand.
    items: VecDeque<DumpedItem>,
    /// The list at hand: state and key, and the index of its next item.
    list: (String, Vec<u8>),
    index: u64,
    is_over: bool,
}

impl StateDump {
    /// Readies a dump of the given key groups, or of all, from a chain: a base, then its deltas.
    ///
    /// # Errors
    /// As [`Restore::new`](super::Restore::new).
    pub fn new(
        chain: Vec<SnapshotReader>,
        groups: Option<&[KeyGroup]>,
    ) -> Result<Self, SnapshotError> {
        check_chain(&chain)?;
        let merged = Merged::new(chain, groups, i64::MIN)?;
        let described = merged.newest().map(|newest| &newest.header().states);
        let states = described.into_iter().flatten().map(|state| state.name.clone()).collect();
        let (items, list) = (VecDeque::new(), (String::new(), Vec::new()));
        Ok(Self { merged, states, items, list, index: 0, is_over: false })
    }

    /// Takes in the next entry; answers whether there was one.
    fn step(&mut self) -> Result<bool, SnapshotError> {
        if !self.merged.advance()? {
            return Ok(false);
        }
        let Some((section, entry)) = self.merged.entry() else {
            return Ok(false);
        };
        let group = KeyGroup(section.group);
        let state = self.states.get(usize::from(section.state)).cloned().unwrap_or_default();
        let key = entry.key.to_vec();
        let lives = |expires_at| (expires_at != NEVER).then_some(expires_at);
        let mut one = |place, value: &[u8], expires_at| {
            let (state, key, value) = (state.clone(), key.clone(), value.to_vec());
            self.items.push_back(DumpedItem { group, state, key, place, value, expires_at });
        };
        match entry.item() {
            Item::Value { bytes, expires_at } => one(DumpedPlace::Value, bytes, lives(expires_at)),
            Item::MapEntry { key, bytes, expires_at } => {
                one(DumpedPlace::MapKey(key.to_vec()), bytes, lives(expires_at));
            }
            Item::ListChunk { chunk, .. } => {
                let list = (state.clone(), key.clone());
                if self.list != list {
                    (self.list, self.index) = (list, 0);
                }
                let (items, expires) = chunk.decode();
                for (number, item) in items.iter().enumerate() {
                    let expires_at = expires.get(number).copied().unwrap_or(NEVER);
                    one(DumpedPlace::Index(self.index), item, lives(expires_at));
                    self.index += 1;
                }
            }
            // A chain that begins with a base has none of these.
            Item::ValueGone
            | Item::MapCleared
            | Item::MapEntryGone { .. }
            | Item::ListHead { .. } => {}
        }
        Ok(true)
    }
}

impl Iterator for StateDump {
    type Item = Result<DumpedItem, SnapshotError>;

    /// Ends after the first error.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(Ok(item));
            }
            if self.is_over {
                return None;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
