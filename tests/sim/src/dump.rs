//! The keyed state of an operator as it lies in the snapshot files of a manifest, by the product's reader.

use std::collections::BTreeMap;

use tidemill_core::checkpoint::manifest::{Manifest, OperatorSnapshot};
use tidemill_core::key_group::{hash_key, key_group};
use tidemill_core::snapshot::{DumpedItem, DumpedPlace, StateDump};

use crate::basis::KEY_GROUPS;
use crate::incarnation::open_chain;
use crate::keeper::Places;
use crate::trouble::{Violation, violation};

/// All that an operator holds for one key, by state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyState {
    /// Values.
    pub values: BTreeMap<String, Vec<u8>>,
    /// Lists.
    pub lists: BTreeMap<String, Vec<Vec<u8>>>,
    /// Maps.
    pub maps: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl KeyState {
    /// The entries of a map with text for keys.
    pub fn map(&self, state: &str) -> impl Iterator<Item = (String, &Vec<u8>)> {
        let entries = self.maps.get(state).into_iter().flatten();
        entries.map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value))
    }

    fn put(&mut self, item: DumpedItem) -> Result<(), String> {
        let DumpedItem { state, place, value, .. } = item;
        match place {
            DumpedPlace::Value => drop(self.values.insert(state, value)),
            DumpedPlace::MapKey(key) => {
                self.maps.entry(state).or_default().insert(key, value);
            }
            DumpedPlace::Index(index) => {
                let list = self.lists.entry(state).or_default();
                if list.len() as u64 != index {
                    return Err(format!("item {index} of a list of {}", list.len()));
                }
                list.push(value);
            }
        }
        Ok(())
    }
}

/// The state of an operator, by key.
///
/// # Errors
/// A file cannot be read, or a key lies with a task that does not own it.
pub fn state(
    places: &Places,
    manifest: &Manifest,
    snapshot: &OperatorSnapshot,
) -> Result<BTreeMap<String, KeyState>, Violation> {
    let failed = |error: &dyn std::fmt::Display| violation("snapshot files can be read", error);
    let disk = places.disk.rooted("checkpoints");
    let mut keys: BTreeMap<String, KeyState> = BTreeMap::new();
    for task in snapshot.tasks.iter().filter(|task| !task.files.is_empty()) {
        let chain = open_chain(&disk, &task.files, manifest, &snapshot.name);
        let chain = chain.map_err(|error| failed(&error))?;
        for item in StateDump::new(chain, None).map_err(|error| failed(&error))? {
            let item = item.map_err(|error| failed(&error))?;
            let group = key_group(hash_key(manifest.hash_seed, &item.key), KEY_GROUPS);
            let owner = manifest.owners.get(usize::from(group.0)).map(|owner| u32::from(*owner));
            if item.group != group || owner != Some(task.lane) {
                return Err(failed(&format!("lane {} holds a key of {group:?}", task.lane)));
            }
            let key = String::from_utf8_lossy(&item.key).into_owned();
            keys.entry(key).or_default().put(item).map_err(|error| failed(&error))?;
        }
    }
    Ok(keys)
}
