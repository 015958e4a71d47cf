//! Chains: which entry counts.

use super::*;
use crate::state::NEVER;

/// The key of all entries.
fn key() -> Vec<u8> {
    key_in(1, "k")
}

fn map_entry<'a>(key: &'a [u8], bytes: &'a [u8]) -> Item<'a> {
    Item::MapEntry { key, bytes, expires_at: NEVER }
}

fn file(is_base: bool, items: &[(u16, Item<'_>)]) -> MemoryFile {
    let key = key();
    let entries: Vec<_> = items.iter().map(|(state, item)| (*state, &key[..], *item)).collect();
    let mut all = segments(&entries);
    all.sort_by_key(|segment| segment.state);
    write(&header(&three_states(), is_base), all).0
}

/// A delta with list chunks of one item each, after an optional head.
fn list_file(is_base: bool, head: Option<(bool, u64)>, chunks: &[(u64, &str)]) -> MemoryFile {
    let mut segment = Segment { group: 1, state: 1, entries: 0, bytes: Buffer::default() };
    if let Some((cleared, first)) = head {
        put_entry(&mut segment.bytes, &key(), Item::ListHead { cleared, first });
    }
    for (number, item) in chunks {
        let mut items = crate::column::BytesColumn::default();
        items.push(item.as_bytes());
        put_chunk(&mut segment.bytes, &key(), *number, &items, &[]);
    }
    segment.entries = chunks.len() as u32 + u32::from(head.is_some());
    write(&header(&three_states(), is_base), vec![segment]).0
}

fn merged(chain: &[&MemoryFile], now_ms: i64) -> MemoryFile {
    let file = MemoryFile::default();
    let chain = chain.iter().map(|file| open(file)).collect();
    merge(chain, now_ms, Box::new(file.clone()), "merged", || ()).unwrap();
    file
}

fn values(chain: &[&MemoryFile]) -> Vec<String> {
    let items = dump(chain).unwrap().into_iter();
    items.map(|item| String::from_utf8(item.value).unwrap()).collect()
}

/// Asserts what a chain says, however its files are merged before.
fn assert_says(chain: &[&MemoryFile], expected: &[&str]) {
    assert_eq!(values(chain), expected);
    for split in 1..=chain.len() {
        let (older, newer) = chain.split_at(split);
        let older = merged(older, i64::MIN);
        assert_eq!(values(&[&[&older], newer].concat()), expected, "the first {split} merged");
    }
    for split in 1..chain.len() {
        let (older, newer) = chain.split_at(split);
        let newer = merged(newer, i64::MIN);
        assert_eq!(values(&[older, &[&newer]].concat()), expected, "those from {split} on merged");
    }
}

#[test]
fn the_newest_value_counts_and_a_tombstone_ends_it() {
    let one = file(true, &[(0, value(b"1"))]);
    let two = file(false, &[(0, value(b"2"))]);
    let gone = file(false, &[(0, Item::ValueGone)]);
    assert_says(&[&one, &two], &["2"]);
    assert_says(&[&one, &gone], &[]);
    assert_says(&[&one, &gone, &two], &["2"]);
    assert_says(&[&one, &two, &gone], &[]);
}

#[test]
fn a_cleared_map_hides_older_entries_only() {
    let base = file(true, &[(2, map_entry(b"a", b"1")), (2, map_entry(b"b", b"1"))]);
    let change = file(false, &[(2, map_entry(b"b", b"2")), (2, map_entry(b"c", b"2"))]);
    let removal = file(false, &[(2, Item::MapEntryGone { key: b"b" })]);
    let clear = file(false, &[(2, Item::MapCleared), (2, map_entry(b"c", b"3"))]);
    assert_says(&[&base, &change], &["1", "2", "2"]);
    assert_says(&[&base, &change, &removal], &["1", "2"]);
    assert_says(&[&base, &change, &clear], &["3"]);
    assert_says(&[&base, &clear, &change], &["2", "2"]);
    assert_says(&[&base, &change, &clear, &removal], &["3"]);
}

#[test]
fn list_chunks_are_replaced_by_number_trimmed_and_cleared() {
    let base = list_file(true, None, &[(0, "a"), (1, "b")]);
    let append = list_file(false, None, &[(1, "B"), (2, "c")]);
    let trim = list_file(false, Some((false, 2)), &[(3, "d")]);
    let clear = list_file(false, Some((true, 0)), &[(0, "x")]);
    assert_says(&[&base, &append], &["a", "B", "c"]);
    assert_says(&[&base, &append, &trim], &["c", "d"]);
    assert_says(&[&base, &append, &trim, &clear], &["x"]);
    assert_says(&[&base, &clear, &append], &["x", "B", "c"]);
    let cleared_and_trimmed = list_file(false, Some((false, 1)), &[]);
    assert_says(&[&base, &trim, &clear, &append, &cleared_and_trimmed], &["B", "c"]);
}

#[test]
fn a_merged_base_leaves_out_what_has_expired() {
    let mortal = |bytes| Item::Value { bytes, expires_at: 50 };
    let base = file(true, &[(0, mortal(b"1")), (2, map_entry(b"a", b"2"))]);
    assert_eq!(values(&[&merged(&[&base], 49)]), ["1", "2"]);
    assert_eq!(values(&[&merged(&[&base], 50)]), ["2"]);
    // In a delta the entry hides what older files say, so it stays.
    let older = file(true, &[(0, value(b"0"))]);
    let delta = merged(&[&file(false, &[(0, mortal(b"1"))])], 50);
    assert_eq!(values(&[&older, &delta]), ["1"]);
}

#[test]
fn files_that_do_not_follow_one_another_are_refused() {
    let (base, delta) = (file(true, &[]), file(false, &[]));
    assert!(matches!(dump(&[&base, &base]), Err(SnapshotError::Mismatch { what: "kind", .. })));
    assert!(matches!(dump(&[&delta]), Err(SnapshotError::Mismatch { what: "kind", .. })));
    assert!(dump(&[]).is_err());
    let mut other = header(&three_states()[..2], false);
    let (states, _) = write(&other, Vec::new());
    assert!(matches!(dump(&[&base, &states]), Err(SnapshotError::Mismatch { what: "states", .. })));
    other = SnapshotHeader { hash_seed: 6, ..header(&three_states(), false) };
    let (seed, _) = write(&other, Vec::new());
    assert!(dump(&[&base, &seed]).is_err());
}

#[test]
fn writing_and_merging_pause_between_any_thousand_entries() {
    use std::cell::Cell;
    thread_local!(static PAUSES: Cell<usize> = const { Cell::new(0) });
    let pause = || PAUSES.set(PAUSES.get() + 1);
    let mut entries = Segment { group: 0, state: 0, entries: 0, bytes: Buffer::default() };
    let keys = (0..50_000u32).map(|key| key.to_le_bytes()).filter(|key| group_of(key) == 0);
    for key in keys.take(10_000) {
        put_entry(&mut entries.bytes, &key, value(b"v"));
        entries.entries += 1;
    }
    let file = MemoryFile::default();
    let writer = SnapshotWriter::new(Box::new(file.clone()), "f", &header(&three_states(), true));
    let mut writer = writer.unwrap().pausing(pause);
    writer.add(entries).unwrap();
    writer.finish().unwrap();
    assert!(PAUSES.replace(0) >= 10);
    merge(vec![open(&file)], 0, Box::new(MemoryFile::default()), "merged", pause).unwrap();
    assert!(PAUSES.replace(0) >= 10);
}
