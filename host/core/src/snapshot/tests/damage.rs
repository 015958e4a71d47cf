//! Changed, cut and foreign files.

use super::*;
use crate::column::BytesColumn;

/// A file with an entry of every kind that a base has.
fn sample() -> MemoryFile {
    let mut items = BytesColumn::default();
    items.push(b"one");
    items.push(b"");
    let [a, b, c] = [(0, "a"), (2, "b"), (3, "c")].map(|(group, name)| key_in(group, name));
    let mut all = segments(&[
        (0, &a, value(b"1")),
        (0, &b, Item::Value { bytes: b"22", expires_at: 99 }),
        (2, &b, Item::MapEntry { key: b"x", bytes: b"y", expires_at: 98 }),
        (2, &b, Item::MapEntry { key: b"z", bytes: b"", expires_at: 97 }),
    ]);
    let mut list = Segment { group: 3, state: 1, entries: 1, bytes: Buffer::default() };
    put_chunk(&mut list.bytes, &c, 4, &items, &[7, 8]);
    all.push(list);
    write(&header(&three_states(), true), all).0
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let file = sample();
    let (bytes, length) = (file.bytes(), file.bytes().len() as u64);
    let digest = *blake3::hash(&bytes).as_bytes();
    assert_eq!(dump(&[&file]).unwrap().len(), 6);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = MemoryFile::holding(&flipped);
        // The minor version is not trusted with anything; all else is under a checksum.
        assert!(dump(&[&flipped]).is_err(), "bit {bit}");
        assert!(verify(&flipped, "f", length, &digest).is_err(), "bit {bit}");
    }
}

#[test]
fn a_file_cut_or_lengthened_anywhere_is_refused() {
    let bytes = sample().bytes();
    let digest = *blake3::hash(&bytes).as_bytes();
    let length = bytes.len() as u64;
    for cut in 0..bytes.len() {
        let file = MemoryFile::holding(&bytes[..cut]);
        assert!(dump(&[&file]).is_err(), "cut at {cut}");
        assert!(verify(&file, "f", length, &digest).is_err(), "cut at {cut}");
    }
    let longer = MemoryFile::holding(&[&bytes[..], &[0]].concat());
    assert!(dump(&[&longer]).is_err() && verify(&longer, "f", length, &digest).is_err());
}

#[test]
fn errors_name_the_file_and_the_place() {
    let bytes = sample().bytes();
    let mut flipped = bytes.clone();
    let block = bytes.len() / 2;
    flipped[block] ^= 1;
    let error = dump(&[&MemoryFile::holding(&flipped)]).unwrap_err();
    assert!(
        matches!(&error, SnapshotError::Damaged { name, offset, .. }
        if name == "f" && *offset <= block as u64 && *offset > 0),
        "{error}"
    );
    for format in [9, 1] {
        let mut other = bytes.clone();
        other[8] = format;
        let error = dump(&[&MemoryFile::holding(&other)]).unwrap_err();
        assert!(error.to_string().contains(&format!("format {format}.0")), "{error}");
        assert!(!error.is_damage());
    }
    let foreign = dump(&[&MemoryFile::holding(b"something else altogether")]).unwrap_err();
    assert!(matches!(foreign, SnapshotError::Foreign { .. }));
}

/// The file's content is believed only after its checksums, so these bytes get all of them right.
fn forged(section: &[u8], entries: &[u8]) -> MemoryFile {
    let header = header(&three_states(), true);
    let mut bytes = header.encode("f").unwrap();
    let start = bytes.len() as u64;
    block::put_block(&mut bytes, &[section, entries].concat(), &mut Vec::new());
    let index_offset = bytes.len() as u64;
    let index = [&0u16.to_le_bytes()[..], &start.to_le_bytes()].concat();
    bytes.extend_from_slice(&index);
    let mut footer = block::Footer {
        index_offset,
        index_count: 1,
        index_crc: crc32fast::hash(&index),
        entries: 1,
        digest: [0; 32],
    };
    footer.digest = *blake3::hash(&[&bytes[..], &footer.head()].concat()).as_bytes();
    bytes.extend_from_slice(&footer.encode());
    MemoryFile::holding(&bytes)
}

#[test]
fn content_that_makes_no_sense_under_good_checksums_is_refused() {
    let section = [block::SECTION, 0, 0, 0, 0];
    let mut good = Vec::new();
    put_entry(&mut good, &key_in(0, "a"), value(b"1"));
    assert_eq!(dump(&[&forged(&section, &good)]).unwrap().len(), 1);
    let mut other_group = Vec::new();
    put_entry(&mut other_group, &key_in(1, "a"), value(b"1"));
    let twice = [&good[..], &good].concat();
    let mut keys = ["a", "b"].map(|name| key_in(0, name));
    keys.sort_unstable_by_key(|key| std::cmp::Reverse(hash_key(HASH_SEED, key)));
    let mut falling = Vec::new();
    keys.iter().for_each(|key| put_entry(&mut falling, key, value(b"1")));
    let cases: [(&[u8], &[u8], &str); 8] = [
        (&section, &other_group, "another key group than its hash"),
        (&section, &twice, "entries are out of order"),
        (&section, &falling, "entries are out of order"),
        (&section, &good[..good.len() - 1], "an entry makes no sense"),
        (&section, &[], "another number of entries"),
        (&[block::SECTION, 0, 0, 3, 0], &good, "sections are out of order"),
        (&[block::SECTION, 1, 0, 0, 0], &good, "not where the index says"),
        (&[], &good, "a section is missing"),
    ];
    for (section, entries, what) in cases {
        let error = dump(&[&forged(section, entries)]).unwrap_err();
        assert!(error.to_string().contains(what), "{error}; expected: {what}");
    }
}

#[test]
fn what_a_backend_hands_over_wrongly_is_not_written() {
    let header = header(&three_states(), true);
    let [first, second] =
        [0, 1].map(|group| segments(&[(0, &key_in(group, "a"), value(b"1"))]).remove(0));
    let refused = |all: Vec<Segment>| {
        let file = Box::new(MemoryFile::default());
        let mut writer = SnapshotWriter::new(file, "f", &header).unwrap();
        let added = all.into_iter().try_for_each(|segment| writer.add(segment));
        matches!(
            added.and_then(|()| writer.finish().map(drop)),
            Err(SnapshotError::BadSegment { .. })
        )
    };
    assert!(!refused(vec![first.clone(), second.clone()]));
    assert!(refused(vec![second, first.clone()]), "out of order");
    assert!(refused(vec![first.clone(), first.clone()]), "twice");
    assert!(refused(vec![Segment { group: 2, ..first.clone() }]), "another key group");
    assert!(refused(vec![Segment { state: 3, ..first.clone() }]), "an unknown state");
    assert!(refused(vec![Segment { bytes: vec![1, 2].into(), ..first }]), "no entry");
}

#[test]
fn the_bytes_of_a_file_stay_as_published() {
    let published: Vec<u8> = include_str!("golden.hex")
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    // What was written must be readable for ever. That it is written so today may change with the
    // compressor only.
    assert_eq!(dump(&[&MemoryFile::holding(&published)]), dump(&[&sample()]));
    assert_eq!(sample().bytes(), published);
}
