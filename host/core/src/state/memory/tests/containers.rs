//! Single cases of lists and maps under a snapshot.

use super::cases::{filled, set};
use super::model::*;
use super::world::{Change, World};
use crate::describe::{StateDescription, StateKind, Ttl, TtlUpdate};
use crate::ids::KeyGroup;
use crate::snapshot::StateDump;
use crate::snapshot::tests::open;
use crate::state::StateBackend;
use crate::state::memory::MemoryBackend;

fn entry(key: u8, byte: u8) -> Change {
    Change::Set(key, Some(vec![byte]))
}

#[test]
fn a_container_that_is_cleared_before_it_is_encoded_is_in_the_snapshot() {
    for state in [LIST, MORTAL_LIST, MAP, MORTAL_MAP] {
        let mut world = filled();
        world.change(1, state, &entry(7, 7));
        world.freeze(false);
        world.change(1, state, &Change::Clear);
        world.change(1, state, &entry(8, 8));
        assert_eq!(world.complete(), 1, "the entry or chunk of before");
        world.freeze(false);
        assert_eq!(world.complete(), 2, "that it was cleared, and what came then");
        world.check_end();
    }
}

#[test]
fn a_map_that_changes_while_the_encoder_is_inside_is_frozen_as_it_was() {
    for full in [false, true] {
        let mut world = World::new();
        (0..9).for_each(|key| world.change(1, MAP, &entry(key * 2, 1)));
        world.freeze(full);
        world.complete();
        (0..9).for_each(|key| world.change(1, MAP, &entry(key * 2, 2)));
        world.change(1, MAP, &Change::Set(10, None));
        world.freeze(full);
        world.encode_entries(4);
        // Before and behind the encoder: changed, removed and made anew.
        for key in [0, 1, 2, 10, 12, 13, 14] {
            world.change(1, MAP, &entry(key, 3));
        }
        world.change(1, MAP, &Change::Set(4, None));
        world.change(1, MAP, &Change::Set(16, None));
        world.change(1, MAP, &Change::Set(13, None));
        assert_eq!(world.complete(), if full { 8 } else { 9 });
        world.check_end();
    }
}

#[test]
fn a_map_cleared_while_the_encoder_is_inside_is_frozen_as_it_was() {
    let mut world = World::new();
    (0..9).for_each(|key| world.change(1, MAP, &entry(key, 1)));
    world.freeze(true);
    world.encode_entries(4);
    world.change(1, MAP, &entry(7, 2));
    world.change(1, MAP, &Change::Clear);
    assert_eq!(world.complete(), 9);
    world.check_end();
}

#[test]
fn a_large_map_expires_in_slices_and_all_of_it() {
    let mut world = World::new();
    let slot = resolve(&mut world.backend, &[1])[0];
    for key in 0..5000u32 {
        let expires_at = if key % 3 == 0 { 2000 } else { 1000 };
        let key = key.to_be_bytes();
        world.backend.write_map(MORTAL_MAP, slot, &key, Some(b"v"), expires_at);
    }
    let entries = |backend: &MemoryBackend, now_ms| {
        let mut count = 0;
        backend.scan_map(MORTAL_MAP, slot, b"", now_ms, &mut |_, _| {
            count += 1;
            true
        });
        count
    };
    assert_eq!(entries(&world.backend, 0), 5000);
    let before = world.backend.usage().bytes;
    assert_eq!(world.backend.expire(1000, 1), Some(1000), "there is more to look at");
    assert!(entries(&world.backend, 0) > 4000);
    let mut slices = 1;
    while world.backend.expire(1000, 1) == Some(1000) {
        slices += 1;
    }
    assert!(slices >= 5, "{slices}");
    assert_eq!(entries(&world.backend, 0), 1667);
    assert!(world.backend.usage().bytes < before / 2);
    // No earlier than a second after the round before.
    while world.backend.expire(2001, 100).is_some() {}
    assert_eq!((entries(&world.backend, 0), world.backend.usage().keys), (0, 0));
}

#[test]
fn two_large_maps_of_one_key_expire_one_after_the_other() {
    let ttl = Some(Ttl { milliseconds: 1, update: TtlUpdate::OnCreateAndWrite });
    let state = |name: &str| StateDescription {
        name: name.to_owned(),
        kind: StateKind::Map,
        width: None,
        schema_version: 1,
        ttl,
    };
    let mut backend = MemoryBackend::new(&[state("a"), state("b")], 1, [KeyGroup(0)].into_iter());
    let slot = resolve(&mut backend, &[1])[0];
    // Of two and of three parts, whose entries live on but for the last ones.
    for (state, entries) in [(0, 2000u32), (1, 3000)] {
        for key in 0..entries {
            let expires_at = if key + 1 == entries { 1000 } else { 5000 };
            backend.write_map(state, slot, &key.to_be_bytes(), Some(b"v"), expires_at);
        }
    }
    backend.settle();
    let calls = (1..).find(|_| backend.expire(1000, 256) != Some(1000)).unwrap();
    assert!(calls <= 6, "{calls}");
    assert_eq!(backend.read_map(0, slot, &1999u32.to_be_bytes(), 0), None);
    assert_eq!(backend.read_map(1, slot, &2999u32.to_be_bytes(), 0), None);
    assert!(backend.read_map(1, slot, &7u32.to_be_bytes(), 0).is_some());
}

#[test]
fn chunks_that_have_expired_are_gone_from_the_chain() {
    let mut world = World::new();
    let long = |byte: u8| Change::Set(0, Some(vec![byte; 40_000]));
    (0..3).for_each(|byte| world.change(1, MORTAL_LIST, &long(byte)));
    world.freeze(false);
    world.complete();
    world.now_ms += LIFE_MS;
    world.change(1, MORTAL_LIST, &long(3));
    world.backend.expire(world.now_ms, 100);
    world.freeze(false);
    assert_eq!(world.complete(), 2, "the new chunk, and where the list begins");
    let items = StateDump::new(world.chain.iter().map(open).collect(), None).unwrap();
    let values: Vec<u8> = items.map(|item| item.unwrap().value[0]).collect();
    assert_eq!(values, [3]);
}

#[test]
fn chunks_that_expire_before_they_are_encoded_are_in_the_snapshot() {
    let mut world = World::new();
    let long = |byte: u8| Change::Set(0, Some(vec![byte; 40_000]));
    (0..3).for_each(|byte| world.change(1, MORTAL_LIST, &long(byte)));
    world.now_ms += LIFE_MS - 1;
    world.change(1, MORTAL_LIST, &long(3));
    world.freeze(false);
    world.encode_entries(1);
    world.now_ms += 1;
    world.backend.expire(world.now_ms, 100);
    world.change(1, MORTAL_LIST, &Change::Refresh(0));
    world.complete();
    world.check_end();
}

#[test]
fn a_list_that_grows_under_a_snapshot_is_frozen_as_it_was() {
    let mut world = filled();
    let long = |byte: u8| Change::Set(0, Some(vec![byte; 30_000]));
    (0..9).for_each(|byte| world.change(1, LIST, &long(byte)));
    world.freeze(false);
    world.encode_entries(2);
    (9..20).for_each(|byte| world.change(1, LIST, &long(byte)));
    world.complete();
    world.freeze(false);
    // Eleven items in chunks of two: the chunk that was frozen half full is left alone.
    assert_eq!(world.complete(), 6);
    world.check_end();
}

#[test]
fn small_chunks_of_earlier_snapshots_are_filled_up() {
    let mut world = World::new();
    for byte in 0..50 {
        world.change(1, LIST, &set(byte));
        world.freeze(false);
        world.complete();
    }
    let merged = world.backend.usage().bytes;
    world.crash();
    assert_eq!(world.backend.usage().bytes, merged);
    world.freeze(true);
    assert_eq!(world.complete(), 1);
}
