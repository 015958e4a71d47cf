//! Snapshot files: what comes back, what is refused, and the bytes that may never change.

mod codec;
mod damage;
mod merging;

use std::sync::{Arc, Mutex};

use super::*;
use crate::describe::{StateDescription, StateKind};
use crate::disk::{DiskError, DiskFile};
use crate::ids::{CheckpointId, Incarnation};
use crate::key_group::{hash_key, key_group};

pub(crate) const GROUPS: u32 = 4;
const HASH_SEED: u64 = 5;

/// A file in memory; clones are the same file.
#[derive(Clone, Default)]
pub(crate) struct MemoryFile(Arc<Mutex<Vec<u8>>>);

impl MemoryFile {
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.to_vec())))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> Result<u64, DiskError> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let bytes = self.0.lock().unwrap();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut all = self.0.lock().unwrap();
        assert_eq!(offset, all.len() as u64, "written in order, each byte once");
        all.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

pub(crate) fn header(states: &[StateDescription], is_base: bool) -> SnapshotHeader {
    SnapshotHeader {
        identity: "tide-1".to_owned(),
        operator: "count".to_owned(),
        lane: 0,
        checkpoint: CheckpointId(7),
        incarnation: Incarnation(2),
        key_groups: GROUPS,
        hash_seed: HASH_SEED,
        states: states.to_vec(),
        is_base,
    }
}

/// Writes a file of segments and opens nothing.
pub(crate) fn write(header: &SnapshotHeader, segments: Vec<Segment>) -> (MemoryFile, Written) {
    let file = MemoryFile::default();
    let mut writer = SnapshotWriter::new(Box::new(file.clone()), "f", header).unwrap();
    segments.into_iter().for_each(|segment| writer.add(segment).unwrap());
    let (written, _) = writer.finish().unwrap();
    (file, written)
}

pub(crate) fn open(file: &MemoryFile) -> SnapshotReader {
    SnapshotReader::open(Box::new(file.clone()), "f", None).unwrap()
}

fn three_states() -> Vec<StateDescription> {
    let state = |name: &str, kind| StateDescription {
        name: name.to_owned(),
        kind,
        width: None,
        schema_version: 1,
        ttl: None,
    };
    vec![state("v", StateKind::Value), state("l", StateKind::List), state("m", StateKind::Map)]
}

/// A segment per entry, in the order of their sections: (state, key, item).
fn segments(entries: &[(u16, &[u8], Item<'_>)]) -> Vec<Segment> {
    let place = |(state, key, _): &(u16, &[u8], Item<'_>)| (group_of(key), *state);
    let mut sorted: Vec<_> = entries.iter().collect();
    sorted.sort_by_key(|entry| place(entry));
    let mut segments = Vec::new();
    for entry in sorted {
        let (group, state) = place(entry);
        let mut segment = Segment { group, state, entries: 1, bytes: Buffer::default() };
        put_entry(&mut segment.bytes, entry.1, entry.2);
        segments.push(segment);
    }
    segments
}

fn group_of(key: &[u8]) -> u16 {
    key_group(hash_key(HASH_SEED, key), GROUPS).0
}

/// A key in a key group of [`GROUPS`]: the first that a counter comes to behind `name`.
fn key_in(group: u16, name: &str) -> Vec<u8> {
    let mut keys = (0..).map(|n| format!("{name}{n}").into_bytes());
    keys.find(|key| group_of(key) == group).unwrap()
}

fn value(bytes: &[u8]) -> Item<'_> {
    Item::Value { bytes, expires_at: crate::state::NEVER }
}

fn dump(chain: &[&MemoryFile]) -> Result<Vec<DumpedItem>, SnapshotError> {
    let open = |file: &&MemoryFile| SnapshotReader::open(Box::new((*file).clone()), "f", None);
    let chain = chain.iter().map(open).collect::<Result<_, _>>()?;
    StateDump::new(chain, None)?.collect()
}

#[test]
fn parts_are_sorted_as_one_and_equal_state_makes_equal_bytes() {
    let keys: Vec<Vec<u8>> = (0..5000u32).map(|key| key.to_le_bytes().to_vec()).collect();
    let entries: Vec<_> = keys.iter().map(|key| (0, &key[..], value(key))).collect();
    let mut reversed = entries.clone();
    reversed.reverse();
    let header = header(&three_states(), true);
    let (file, written) = write(&header, segments(&entries));
    let (other, _) = write(&header, segments(&reversed));
    assert_eq!(file.bytes(), other.bytes());
    assert_eq!((written.entries, written.bytes), (5000, file.bytes().len() as u64));
    assert_eq!(written.digest, *blake3::hash(&file.bytes()).as_bytes());
    verify(&file, "f", written.bytes, &written.digest).unwrap();
    let items = dump(&[&file]).unwrap();
    assert_eq!(items.len(), 5000);
    let place = |item: &DumpedItem| (item.group, hash_key(HASH_SEED, &item.key));
    assert!(items.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])));
}

#[test]
fn only_the_wanted_key_groups_are_read() {
    let long = vec![1; 30_000];
    let keys: Vec<Vec<u8>> = (0..40).map(|n| key_in(n % 4, &format!("{n}-"))).collect();
    let entries: Vec<_> =
        (0..).zip(&keys).map(|(n, key)| (0, &key[..], value(&long[n..]))).collect();
    let (file, _) = write(&header(&three_states(), true), segments(&entries));
    for wanted in [&[0u16][..], &[3], &[1, 3], &[0, 1, 2, 3], &[]] {
        let wanted: Vec<_> = wanted.iter().map(|group| crate::ids::KeyGroup(*group)).collect();
        let items = StateDump::new(vec![open(&file)], Some(&wanted)).unwrap();
        let items: Vec<_> = items.map(Result::unwrap).collect();
        assert_eq!(items.len(), 10 * wanted.len());
        assert!(items.iter().all(|item| wanted.contains(&item.group)));
    }
}

#[test]
fn an_item_larger_than_a_block_has_one_of_its_own() {
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 3) as u8).collect();
    let mut keys = ["a", "b", "c"].map(|name| key_in(1, name));
    keys.sort_unstable_by_key(|key| hash_key(HASH_SEED, key));
    let [a, b, c] = &keys;
    let entries = [(0, &a[..], value(b"1")), (0, b, value(&large)), (0, c, value(b"3"))];
    let (file, _) = write(&header(&three_states(), true), segments(&entries));
    let items = dump(&[&file]).unwrap();
    let values: Vec<&[u8]> = items.iter().map(|item| &item.value[..]).collect();
    assert_eq!(values, [&b"1"[..], &large, b"3"]);
}

#[test]
fn a_file_that_is_not_what_the_manifest_says_is_refused_by_what_differs() {
    let (file, written) = write(&header(&three_states(), true), Vec::new());
    let expected = Expectations {
        bytes: written.bytes,
        identity: "tide-1",
        operator: "count",
        key_groups: GROUPS,
        hash_seed: HASH_SEED,
        is_base: true,
    };
    let refused = |expected: Expectations<'_>| match SnapshotReader::open(
        Box::new(file.clone()),
        "f",
        Some(&expected),
    ) {
        Err(SnapshotError::Mismatch { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    SnapshotReader::open(Box::new(file.clone()), "f", Some(&expected)).unwrap();
    assert_eq!(refused(Expectations { identity: "tide-2", ..expected }), "job identity");
    assert_eq!(refused(Expectations { operator: "other", ..expected }), "operator");
    assert_eq!(refused(Expectations { key_groups: 8, ..expected }), "key groups");
    assert_eq!(refused(Expectations { hash_seed: 6, ..expected }), "hash seed");
    assert_eq!(refused(Expectations { is_base: false, ..expected }), "kind");
    assert_eq!(refused(Expectations { bytes: 1, ..expected }), "length");
}

#[test]
fn states_are_compared_by_name_and_every_difference_is_told() {
    let stored = three_states();
    let mut present = three_states();
    present.swap(0, 2);
    assert_eq!(compare_states(&stored, &present).ids, [Some(2), Some(1), Some(0)]);
    assert_eq!(compare_states(&stored, &present).differences, []);
    present[2].schema_version = 2;
    present[2].width = Some(3);
    present[1].name = "new".to_owned();
    let mapping = compare_states(&stored, &present);
    assert_eq!(mapping.ids, [None, None, Some(0)]);
    assert_eq!(mapping.migrations, [StateMigration { stored: 0, id: 2 }]);
    let told = |mapping: &StateMapping| -> Vec<String> {
        mapping.differences.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&mapping),
        [
            "state \"v\" has schema version 2 in the component and 1 in the snapshot",
            "state \"l\" is in the snapshot and not in the component: its content would be lost",
            "state \"new\" is new and begins empty",
        ]
    );
    let back = compare_states(&present, &stored);
    assert_eq!((back.ids, back.migrations), (vec![Some(2), None, None], vec![]));
    present[2].schema_version = 0;
    present[2].kind = StateKind::Map;
    let mapping = compare_states(&stored, &present);
    assert_eq!(mapping.migrations, [], "no version changes the kind of a state");
    assert!(told(&mapping)[0].contains("has kind map in the component"), "{mapping:?}");
}

#[test]
fn a_width_goes_with_its_schema_version() {
    let (mut stored, mut present) = (three_states(), three_states());
    present[0].width = Some(3);
    let differences = |stored: &[StateDescription], present: &[StateDescription]| {
        let mapping = compare_states(stored, present);
        assert_eq!((mapping.ids[0], &mapping.migrations[..]), (None, &[][..]));
        mapping.differences.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = differences(&stored, &present);
    assert_eq!(told, ["state \"v\" has width 3 in the component and any in the snapshot"]);
    stored[0].schema_version = 3;
    let told = differences(&stored, &present);
    let says =
        "state \"v\" has schema version 3 in the snapshot, and the component knows it up to 1";
    assert_eq!(told, [says]);
}
