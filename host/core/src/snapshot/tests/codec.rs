//! The bytes of entries, and of files that are no files.

use proptest::prelude::*;

use super::*;
use crate::column::BytesColumn;
use crate::snapshot::entry::RawEntry;
use crate::state::NEVER;

fn decode(bytes: &[u8]) -> Option<RawEntry<'_>> {
    RawEntry::decode(bytes, |key| hash_key(HASH_SEED, key))
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..max)
}

/// Encodes the item that `kind` picks from parts.
fn encoded(
    kind: u8,
    number: u64,
    key: &[u8],
    sub: &[u8],
    items: &[Vec<u8>],
    expires: Option<i64>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let first = &items[0];
    let expires_at = expires.unwrap_or(NEVER);
    let item = match kind {
        0 => Item::Value { bytes: first, expires_at },
        1 => Item::ValueGone,
        2 => Item::MapCleared,
        3 => Item::MapEntry { key: sub, bytes: first, expires_at },
        4 => Item::MapEntryGone { key: sub },
        5 => Item::ListHead { cleared: number.is_multiple_of(2), first: number },
        _ => {
            let mut column = BytesColumn::default();
            items.iter().for_each(|item| column.push(item));
            let expires: Vec<i64> = expires.iter().cycle().take(items.len()).copied().collect();
            let expires = if expires.len() == items.len() { expires } else { Vec::new() };
            put_chunk(&mut out, key, number, &column, &expires);
            let entry = decode(&out).unwrap();
            let Item::ListChunk { number: found, chunk } = entry.item() else { panic!("a chunk") };
            assert_eq!((found, chunk.decode()), (number, (column, expires)));
            return out;
        }
    };
    put_entry(&mut out, key, item);
    assert_eq!(decode(&out).unwrap().item(), item);
    out
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_was_and_a_cut_one_not_at_all(
        kind in 0..7u8,
        number: u64,
        key in bytes(300),
        sub in bytes(20),
        items in prop::collection::vec(bytes(200), 1..5),
        expires in prop::option::of(any::<i64>().prop_filter("not never", |at| *at != NEVER)),
    ) {
        let out = encoded(kind, number, &key, &sub, &items, expires);
        let entry = decode(&out).unwrap();
        prop_assert_eq!((entry.hash, entry.key), (hash_key(HASH_SEED, &key), &key[..]));
        prop_assert_eq!(entry.bytes.len(), out.len());
        for cut in 0..out.len() {
            prop_assert!(decode(&out[..cut]).is_none());
        }
        let followed = [&out[..], &[1, 2, 3]].concat();
        prop_assert_eq!(decode(&followed).unwrap().bytes, &out[..]);
    }

    #[test]
    fn a_short_value_becomes_the_same_entry_as_any_other(
        key: [u8; 22],
        value: [u8; 16],
        key_bytes in 0..=22usize,
        value_bytes in 0..=16usize,
    ) {
        let (mut short, mut any) = (b"before".to_vec(), b"before".to_vec());
        put_short_value(&mut short, (&key, key_bytes), (&value, value_bytes));
        let item = Item::Value { bytes: &value[..value_bytes], expires_at: NEVER };
        put_entry(&mut any, &key[..key_bytes], item);
        prop_assert_eq!(short, any);
    }

    #[test]
    fn bytes_that_decode_have_one_meaning_and_one_encoding(
        kind in 0..8u8,
        expires: bool,
        mut rest in bytes(60),
    ) {
        // The tag is made likely to mean something; small bytes are likely lengths.
        rest.iter_mut().for_each(|byte| *byte %= 9);
        let all = [&[kind | if expires { 0x80 } else { 0 }], &rest[..]].concat();
        if let Some(entry) = decode(&all) {
            let mut again = Vec::new();
            put_entry(&mut again, entry.key, entry.item());
            prop_assert_eq!(&again[..], entry.bytes);
        }
    }

    #[test]
    fn any_bytes_behind_a_good_header_are_refused(rest in bytes(400), flips in 0..5usize) {
        let good = write(&header(&three_states(), true), Vec::new()).0.bytes();
        let mut all = good.clone();
        let footer = all.split_off(good.len() - block::FOOTER_BYTES);
        all.extend_from_slice(&rest);
        // Now and then with the old footer, which knows of none of this.
        if flips == 0 {
            all.extend_from_slice(&footer);
        }
        let file = MemoryFile::holding(&all);
        prop_assert!(rest.is_empty() || dump(&[&file]).is_err());
    }
}
