//! A backend beside its model, with the snapshot in flight and the chain of files so far.

use super::model::*;
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::StateKind;
use crate::ids::KeyGroup;
use crate::snapshot::tests::{GROUPS, MemoryFile, header, open, write};
use crate::snapshot::{Restore, Segment, merge};
use crate::state::memory::MemoryBackend;
use crate::state::{EncodeBudget, ExpiresAt, SlotRef, StateBackend};

pub(super) const KEYS: [u8; 6] = [0, 1, 2, 3, 4, 5];
pub(super) const WHOLE: EncodeBudget = EncodeBudget { entries: usize::MAX, bytes: usize::MAX };

pub(super) struct World {
    pub(super) backend: MemoryBackend,
    pub(super) model: Model,
    pub(super) now_ms: i64,
    flight: Option<Flight>,
    pub(super) chain: Vec<MemoryFile>,
    /// What was held at the newest completed snapshot, and when.
    completed: Option<(Model, i64)>,
}

struct Flight {
    is_base: bool,
    segments: Vec<Segment>,
    frozen: (Model, i64),
}

pub(super) fn fresh(owned: impl Iterator<Item = u16>) -> MemoryBackend {
    MemoryBackend::new(&states(), GROUPS, owned.map(KeyGroup))
}

/// A backend that holds what the chain says of the given key groups, put together of several.
pub(super) fn restored(chain: &[MemoryFile], groups: &[u16]) -> MemoryBackend {
    let mut parts = groups.rchunks(3).map(|groups| restored_part(chain, groups));
    let mut whole = parts.next().unwrap_or_else(|| fresh(std::iter::empty()));
    parts.for_each(|part| whole.absorb(part));
    whole
}

fn restored_part(chain: &[MemoryFile], groups: &[u16]) -> MemoryBackend {
    let mut backend = fresh(groups.iter().copied());
    let wanted: Vec<KeyGroup> = groups.iter().copied().map(KeyGroup).collect();
    let ids = (0..STATES).map(Some).collect();
    let mut restore = Restore::new(chain.iter().map(open).collect(), &wanted, ids).unwrap();
    let budget = EncodeBudget { entries: 3, bytes: 200 };
    while !restore.step(&mut backend, budget).unwrap() {}
    backend
}

pub(super) fn write_value(
    backend: &mut MemoryBackend,
    state: usize,
    slot: SlotRef,
    item: Option<&[u8]>,
    expires_at: ExpiresAt,
) {
    let mut values = OptionalColumn::default();
    values.push(Layout::of(states()[state].width), 0, item);
    backend.write_values(state, &[slot], &[0], &values, expires_at);
}

impl World {
    pub(super) fn new() -> Self {
        let mut backend = fresh(0..GROUPS as u16);
        backend.track(false);
        let (model, now_ms, chain) = (Model::default(), 1000, Vec::new());
        Self { backend, model, now_ms, flight: None, chain, completed: None }
    }

    /// Makes one change of a key's items, as a call of its own.
    pub(super) fn change(&mut self, key: u8, state: usize, change: &Change) {
        let slot = resolve(&mut self.backend, &[key])[0];
        let (now_ms, expires_at) = (self.now_ms, expiry(state, self.now_ms));
        let backend = &mut self.backend;
        // Writes meet live items only: the model forgets the expired where the backend may.
        let items = self.model.items(key, state);
        match (change, kind(state)) {
            (Change::Set(entry, item), StateKind::Map) => {
                backend.write_map(state, slot, &[*entry], item.as_deref(), expires_at);
                match item {
                    Some(item) => items.entries.insert(vec![*entry], (item.clone(), expires_at)),
                    None => items.entries.remove(&vec![*entry]),
                };
            }
            (Change::Set(_, item), StateKind::Value) => {
                let mut item = item.clone();
                if state <= MORTAL_FIXED {
                    item.iter_mut().for_each(|item| item.resize(4, 7));
                }
                write_value(backend, state, slot, item.as_deref(), expires_at);
                items.entries.clear();
                items.entries.extend(item.map(|item| (Vec::new(), (item, expires_at))));
            }
            (Change::Set(_, item), StateKind::List) => {
                let mut column = BytesColumn::default();
                item.iter().for_each(|item| column.push(item));
                backend.append_list(state, slot, &column, expires_at);
                items.list.extend(item.iter().map(|item| (item.clone(), expires_at)));
            }
            (Change::Clear, kind) => {
                match kind {
                    StateKind::Value => write_value(backend, state, slot, None, expires_at),
                    StateKind::List => backend.clear_list(state, slot),
                    StateKind::Map => backend.clear_map(state, slot),
                }
                *items = Items::default();
            }
            (Change::Refresh(entry), kind) => {
                let entry = [*entry];
                let key = (kind == StateKind::Map).then_some(&entry[..]);
                backend.refresh(state, slot, key, now_ms, expires_at);
                let entry = key.unwrap_or(&[]).to_vec();
                let item = items.entries.get_mut(&entry);
                for (_, expires) in items.list.iter_mut().chain(item) {
                    if *expires > now_ms {
                        *expires = expires_at;
                    }
                }
            }
        }
        self.backend.settle();
    }

    pub(super) fn freeze(&mut self, full: bool) {
        let is_base = self.backend.freeze(full);
        let frozen = (self.model.live(self.now_ms), self.now_ms);
        self.flight = Some(Flight { is_base, segments: Vec::new(), frozen });
    }

    pub(super) fn encode(&mut self, budget: EncodeBudget) {
        let step = self.backend.encode(budget);
        if let Some(flight) = &mut self.flight {
            flight.segments.extend(step.segments);
        } else {
            assert!(step.done && step.segments.is_empty());
        }
    }

    /// Encodes `count` entries, and stops where the encoder is then.
    pub(super) fn encode_entries(&mut self, count: u32) {
        let encoded = |world: &Self| {
            let segments = world.flight.iter().flat_map(|flight| &flight.segments);
            segments.map(|segment| segment.entries).sum::<u32>()
        };
        while encoded(self) < count {
            assert!(self.backend.is_encoding(), "there are that many");
            self.encode(EncodeBudget { entries: 1, bytes: 1 });
        }
    }

    pub(super) fn abort(&mut self) {
        self.backend.settle_snapshot(false);
        self.flight = None;
    }

    /// Encodes the rest of the snapshot in flight, writes its file and checks that the chain says what was
    /// held at the freeze. Answers the file's entries.
    pub(super) fn complete(&mut self) -> u64 {
        while self.backend.is_encoding() {
            self.encode(EncodeBudget { entries: 5, bytes: 300 });
        }
        let Some(flight) = self.flight.take() else {
            return 0;
        };
        let (file, written) = write(&header(&states(), flight.is_base), flight.segments);
        if flight.is_base {
            self.chain.clear();
        }
        self.chain.push(file);
        self.backend.settle_snapshot(true);
        let all: Vec<u16> = (0..GROUPS as u16).collect();
        let mut copy = restored(&self.chain, &all);
        assert_holds(&mut copy, &KEYS, &flight.frozen.0, flight.frozen.1, "restored");
        self.completed = Some(flight.frozen);
        written.entries
    }

    /// Merges the files from `from` on into one.
    pub(super) fn merge(&mut self, from: usize) {
        let Some((_, now_ms)) = self.completed else {
            return;
        };
        let tail = self.chain.split_off(from.min(self.chain.len() - 1));
        let file = MemoryFile::default();
        merge(tail.iter().map(open).collect(), now_ms, Box::new(file.clone()), "merged", || ())
            .unwrap();
        self.chain.push(file);
    }

    /// Goes on from the newest completed snapshot, as after the loss of the process.
    pub(super) fn crash(&mut self) {
        let Some((model, _)) = &self.completed else {
            return;
        };
        self.model.clone_from(model);
        self.flight = None;
        self.backend = restored(&self.chain, &(0..GROUPS as u16).collect::<Vec<_>>());
        self.backend.track(true);
    }

    /// Checks the backend, two halves of it restored elsewhere, and that nothing is kept for nothing.
    pub(super) fn check_end(mut self) {
        assert_holds(&mut self.backend, &KEYS, &self.model, self.now_ms, "at the end");
        self.abort();
        self.freeze(false);
        self.complete();
        let live = self.model.live(self.now_ms);
        for half in [[0u16, 1], [2, 3]] {
            let mut part = restored(&self.chain, &half);
            let owned = |key: u8| half.contains(&super::cases::group_of(key));
            let mine: Vec<u8> = KEYS.into_iter().filter(|key| owned(*key)).collect();
            let mut model = live.clone();
            model.0.retain(|(key, _), _| owned(*key));
            assert_holds(&mut part, &mine, &model, self.now_ms, "half of the groups");
        }
        self.now_ms += 10_000;
        while let Some(next_ms) = self.backend.expire(self.now_ms, 2) {
            self.now_ms = self.now_ms.max(next_ms);
        }
        self.freeze(false);
        self.complete();
        self.backend.expire(self.now_ms, 100);
        assert_eq!(self.backend.usage(), self.backend.recount());
        let live = self.model.live(self.now_ms);
        assert_eq!(self.backend.usage().keys, live.keys() as u64);
        assert_eq!(self.backend.slots_in_use(), live.keys());
        self.freeze(false);
        assert_eq!(self.complete(), 0, "nothing changed since the last snapshot");
    }
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Sets or removes the value or the map entry, or appends to the list.
    Set(u8, Option<Vec<u8>>),
    Clear,
    Refresh(u8),
}
