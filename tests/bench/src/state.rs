//! Keyed state by itself, without lane and sandbox: a backend, batches for it, and its hot path.

use tidemill_core::batch::{Batch, Dictionary, RecordKeys};
use tidemill_core::column::{BytesColumn, OptionalColumn};
use tidemill_core::describe::{StateDescription, StateKind};
use tidemill_core::ids::KeyGroup;
use tidemill_core::snapshot::Segment;
use tidemill_core::state::memory::MemoryBackend;
use tidemill_core::state::{EncodeBudget, NEVER, Resolved, SlotRef, StateBackend};

use crate::job::keyed_batches;

/// Key groups of the backend.
pub const GROUPS: u32 = 128;
/// Seed of the hashes of keys.
pub const SEED: u64 = 5;
/// Bytes of an item.
pub const WIDTH: usize = 16;
/// The states, by their index.
pub const VALUE: usize = 0;
/// See [`VALUE`].
pub const LIST: usize = 1;
/// See [`VALUE`].
pub const MAP: usize = 2;

/// A state of each kind.
pub fn states() -> Vec<StateDescription> {
    let state = |name: &str, kind, width| StateDescription {
        name: name.to_owned(),
        kind,
        width,
        schema_version: 1,
        ttl: None,
    };
    vec![
        state("value", StateKind::Value, Some(WIDTH as u32)),
        state("list", StateKind::List, None),
        state("map", StateKind::Map, None),
    ]
}

/// A backend without keys that owns all key groups.
pub fn empty() -> MemoryBackend {
    MemoryBackend::new(&states(), GROUPS, (0..GROUPS as u16).map(KeyGroup))
}

/// Batches with as many records as there are keys, hashed.
pub fn batches(keys: u64) -> Vec<Batch> {
    let mut batches = keyed_batches(keys as usize, keys).to_vec();
    batches.iter_mut().for_each(|batch| batch.ensure_hashes(SEED));
    batches
}

/// The keys of a batch.
///
/// # Panics
/// It is not keyed.
pub fn dictionary(batch: &Batch) -> &Dictionary {
    match &batch.keys {
        RecordKeys::Of { dictionary, .. } => dictionary,
        RecordKeys::None => panic!("the batches are keyed"),
    }
}

/// Finds the slots of the keys of a batch.
///
/// # Panics
/// A key group is not owned.
pub fn resolve(backend: &mut MemoryBackend, batch: &Batch) -> Vec<SlotRef> {
    let mut resolved = Resolved::default();
    let found = backend.resolve(dictionary(batch), &[], &mut resolved);
    found.expect("all key groups are owned");
    resolved.slots
}

/// Reads the values of slots.
pub fn read(backend: &mut MemoryBackend, slots: &[SlotRef]) -> OptionalColumn {
    let mut out = OptionalColumn::default();
    backend.read_values(VALUE, slots, 0, &mut out);
    out
}

/// Writes the values of slots.
pub fn write(backend: &mut MemoryBackend, slots: &[SlotRef]) {
    let values = OptionalColumn {
        present: vec![0xff; slots.len().div_ceil(8)],
        values: BytesColumn { data: vec![7; slots.len() * WIDTH], ends: Vec::new() },
    };
    let places: Vec<u32> = (0..slots.len() as u32).collect();
    backend.write_values(VALUE, slots, &places, &values, NEVER);
}

/// A backend in which most of the keys have a value.
pub fn filled(batches: &[Batch]) -> MemoryBackend {
    let mut backend = empty();
    for batch in batches {
        let slots = resolve(&mut backend, batch);
        write(&mut backend, &slots);
        backend.settle();
    }
    backend
}

/// Encodes a snapshot of the whole state, and hands out its segments.
pub fn encode(backend: &mut MemoryBackend, mut each: impl FnMut(Segment)) {
    backend.freeze(true);
    loop {
        let step = backend.encode(EncodeBudget::default());
        step.segments.into_iter().for_each(&mut each);
        if step.done {
            return backend.settle_snapshot(true);
        }
    }
}

/// One batch after the other, so that those of a large state are cold when their turn comes.
pub struct Turns<'b> {
    batches: &'b [Batch],
    next: usize,
}

impl<'b> Turns<'b> {
    /// Begins with the second one.
    pub fn new(batches: &'b [Batch]) -> Self {
        Self { batches, next: 0 }
    }

    /// The next one; after the last the first.
    pub fn take(&mut self) -> &'b Batch {
        self.next = (self.next + 1) % self.batches.len();
        &self.batches[self.next]
    }
}
