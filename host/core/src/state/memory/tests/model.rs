//! Keyed state as plain maps, and how a backend's content compares with it.

use std::collections::BTreeMap;

use crate::batch::Dictionary;
use crate::column::{Layout, OptionalColumn};
use crate::describe::{StateDescription, StateKind, Ttl, TtlUpdate};
use crate::state::memory::MemoryBackend;
use crate::state::{NEVER, Resolved, SlotRef, StateBackend};

pub(super) const LIFE_MS: i64 = 40;
/// Each kind without and with a time to live, and each place that a value can lie in.
pub(super) const FIXED: usize = 0;
pub(super) const MORTAL_FIXED: usize = 1;
pub(super) const VALUE: usize = 2;
pub(super) const LIST: usize = 4;
pub(super) const MORTAL_LIST: usize = 5;
pub(super) const MAP: usize = 6;
pub(super) const MORTAL_MAP: usize = 7;
pub(super) const STATES: usize = 8;

pub(super) fn states() -> Vec<StateDescription> {
    let ttl = Ttl { milliseconds: LIFE_MS as u64, update: TtlUpdate::OnReadAndWrite };
    let kinds = [
        (StateKind::Value, Some(4)),
        (StateKind::Value, None),
        (StateKind::List, None),
        (StateKind::Map, None),
    ];
    let mut states = Vec::new();
    for (kind, width) in kinds {
        for ttl in [None, Some(ttl)] {
            let name = format!("s{}", states.len());
            states.push(StateDescription { name, kind, width, schema_version: 1, ttl });
        }
    }
    states
}

pub(super) fn expiry(state: usize, now_ms: i64) -> i64 {
    if state % 2 == 1 { now_ms + LIFE_MS } else { NEVER }
}

pub(super) fn kind(state: usize) -> StateKind {
    states()[state].kind
}

type Item = (Vec<u8>, i64);

/// What a key has in one state. A value is a map's entry under no key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Items {
    pub(super) entries: BTreeMap<Vec<u8>, Item>,
    pub(super) list: Vec<Item>,
}

/// By key and state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model(pub(super) BTreeMap<(u8, usize), Items>);

impl Model {
    pub(super) fn items(&mut self, key: u8, state: usize) -> &mut Items {
        self.0.entry((key, state)).or_default()
    }

    /// Without what has expired, and without what is empty.
    pub(super) fn live(&self, now_ms: i64) -> Self {
        let mut live = self.clone();
        for items in live.0.values_mut() {
            items.entries.retain(|_, (_, expires)| *expires > now_ms);
            items.list.retain(|(_, expires)| *expires > now_ms);
        }
        live.0.retain(|_, items| *items != Items::default());
        live
    }

    pub(super) fn keys(&self) -> usize {
        let mut keys: Vec<u8> = self.0.keys().map(|(key, _)| *key).collect();
        keys.dedup();
        keys.len()
    }
}

/// A key's bytes: some lie inline, some on the heap.
pub(super) fn key_bytes(key: u8) -> Vec<u8> {
    vec![key; 1 + 9 * (key as usize % 4)]
}

pub(super) fn resolve(backend: &mut MemoryBackend, keys: &[u8]) -> Vec<SlotRef> {
    let mut dictionary = Dictionary::default();
    keys.iter().for_each(|key| dictionary.keys.push(&key_bytes(*key)));
    dictionary.ensure_hashes(5);
    let mut resolved = Resolved::default();
    backend.resolve(&dictionary, &[], &mut resolved).unwrap();
    resolved.slots
}

/// All live items of the given keys, but their expiries, which no reader sees.
pub(super) fn content(backend: &mut MemoryBackend, keys: &[u8], now_ms: i64) -> Model {
    let mut model = Model::default();
    let slots = resolve(backend, keys);
    for (&slot, key) in slots.iter().zip(keys) {
        for state in 0..STATES {
            let items = model.items(*key, state);
            match kind(state) {
                StateKind::Value => {
                    let layout = Layout::of(states()[state].width);
                    let mut out = OptionalColumn::default();
                    backend.read_values(state, &[slot], now_ms, &mut out);
                    if let Some(value) = out.item(layout, 0) {
                        items.entries.insert(Vec::new(), (value.to_vec(), 0));
                    }
                }
                StateKind::List => backend.read_list(state, slot, now_ms, 0, &mut |item| {
                    items.list.push((item.to_vec(), 0));
                    true
                }),
                StateKind::Map => backend.scan_map(state, slot, &[], now_ms, &mut |key, item| {
                    items.entries.insert(key.to_vec(), (item.to_vec(), 0));
                    true
                }),
            }
        }
    }
    backend.settle();
    model.0.retain(|_, items| *items != Items::default());
    model
}

/// Asserts that a backend holds what the model does, now and at any time from then on.
pub(super) fn assert_holds(
    backend: &mut MemoryBackend,
    keys: &[u8],
    model: &Model,
    now_ms: i64,
    when: &str,
) {
    let mut times: Vec<i64> = vec![now_ms];
    for items in model.0.values() {
        times.extend(items.entries.values().chain(&items.list).map(|(_, expires)| *expires));
    }
    times.sort_unstable();
    times.dedup();
    for time in times.into_iter().filter(|time| (now_ms..NEVER).contains(time)) {
        let mut live = model.live(time);
        for items in live.0.values_mut() {
            items.entries.values_mut().chain(&mut items.list).for_each(|(_, expires)| *expires = 0);
        }
        assert_eq!(content(backend, keys, time), live, "{when}, at {time}");
    }
}
