//! Single cases that a random sequence meets rarely.

use super::model::*;
use super::world::{Change, KEYS, WHOLE, World, restored, write_value};
use crate::batch::Dictionary;
use crate::ids::KeyGroup;
use crate::key_group::{hash_key, key_group};
use crate::snapshot::tests::{GROUPS, open};
use crate::snapshot::{Item, Restore};
use crate::state::memory::MemoryBackend;
use crate::state::{EncodeBudget, NEVER, Resolved, RestoreError, StateBackend};

pub(super) fn group_of(key: u8) -> u16 {
    key_group(hash_key(5, &key_bytes(key)), GROUPS).0
}

pub(super) fn set(byte: u8) -> Change {
    Change::Set(byte, Some(vec![byte; 3]))
}

/// A world whose first snapshot holds every state of every key.
pub(super) fn filled() -> World {
    let mut world = World::new();
    for key in KEYS {
        (0..STATES).for_each(|state| world.change(key, state, &set(1)));
    }
    world.freeze(false);
    world.complete();
    world
}

#[test]
fn only_what_changed_is_in_a_delta() {
    let mut world = filled();
    world.change(3, VALUE, &set(2));
    world.change(3, MAP, &set(2));
    world.change(4, LIST, &set(2));
    world.freeze(false);
    assert_eq!(world.complete(), 3);
    world.freeze(false);
    assert_eq!(world.complete(), 0);
    world.freeze(true);
    assert_eq!(world.complete(), KEYS.len() as u64 * STATES as u64 + 1);
    assert_eq!(world.chain.len(), 1);
}

#[test]
fn a_slot_is_not_given_to_another_key_while_a_snapshot_needs_its_tombstone() {
    let mut world = filled();
    (0..STATES).for_each(|state| world.change(0, state, &Change::Clear));
    world.freeze(false);
    // Key 9 lies in the same key group, so it would get the slot.
    let other = (9..).find(|key| group_of(*key) == group_of(0)).unwrap();
    let before = resolve(&mut world.backend, &[0])[0];
    let taken = resolve(&mut world.backend, &[other])[0];
    assert_ne!(before, taken);
    world.backend.settle();
    assert_eq!(world.complete(), STATES as u64);
    // Now the snapshot holds the tombstones, and the slot is free for the next.
    world.backend.expire(world.now_ms, 10);
    assert_eq!(world.backend.slots_in_use(), KEYS.len() - 1);
    let reused = resolve(&mut world.backend, &[other])[0];
    assert!([before, taken].contains(&reused));
    world.backend.settle();
    world.change(0, VALUE, &set(3));
    world.check_end();
}

#[test]
fn a_key_that_comes_back_under_a_snapshot_is_deleted_in_it_and_there_in_the_next() {
    let mut world = filled();
    (0..STATES).for_each(|state| world.change(2, state, &Change::Clear));
    world.freeze(false);
    (0..STATES).for_each(|state| world.change(2, state, &set(8)));
    assert_eq!(world.complete(), STATES as u64);
    world.freeze(false);
    // Each map and list says too that older entries are gone.
    assert_eq!(world.complete(), STATES as u64 + 4);
    world.check_end();
}

#[test]
fn any_number_of_aborted_snapshots_loses_nothing() {
    let mut world = filled();
    for byte in 2..6 {
        (0..STATES).for_each(|state| world.change(byte, state, &set(byte)));
        world.freeze(false);
        world.encode(EncodeBudget { entries: usize::from(byte) * 2, bytes: 1000 });
        (0..STATES).for_each(|state| world.change(byte, state, &set(byte + 1)));
        world.change(0, usize::from(byte), &Change::Clear);
        world.abort();
    }
    world.freeze(false);
    world.complete();
    world.check_end();
}

#[test]
fn a_snapshot_that_is_not_encoded_to_its_end_does_not_count_as_completed() {
    let mut world = filled();
    (0..STATES).for_each(|state| world.change(1, state, &set(4)));
    world.freeze(false);
    world.backend.encode(EncodeBudget { entries: 1, bytes: 1 });
    world.backend.settle_snapshot(true);
    world.freeze(false);
    assert!(world.complete() >= STATES as u64);
}

#[test]
fn a_restore_continues_the_chain_and_a_foreign_one_begins_anew() {
    let mut world = filled();
    world.crash();
    world.change(1, VALUE, &set(2));
    world.freeze(false);
    assert_eq!((world.complete(), world.chain.len()), (1, 2));
    world.crash();
    world.backend.rebase();
    world.freeze(false);
    assert!(world.complete() > 8);
    assert_eq!(world.chain.len(), 1);
}

#[test]
fn what_does_not_fit_a_state_is_not_put_back() {
    let key = key_bytes(1);
    let hash = hash_key(5, &key);
    let put = |state, item| restored_empty().restore(state, hash, &key, item);
    let value = |bytes| Item::Value { bytes, expires_at: NEVER };
    assert_eq!(put(VALUE, value(b"12345")), Ok(()));
    let width = RestoreError::Width { expected: 4, found: 5 };
    assert_eq!(put(FIXED, value(b"12345")), Err(width));
    assert_eq!(put(MAP, value(b"1")), Err(RestoreError::Kind));
    assert_eq!(put(VALUE, Item::ValueGone), Err(RestoreError::Kind));
    let mut elsewhere = super::world::fresh(std::iter::empty());
    let outcome = elsewhere.restore(VALUE, hash, &key, value(b"1"));
    assert_eq!(outcome, Err(RestoreError::NotOwned { key_group: group_of(1) }));
}

#[test]
fn slices_of_one_entry_go_through_a_key_group_of_many_words() {
    let states = &states()[..1];
    let mut backend = MemoryBackend::new(states, 1, std::iter::once(KeyGroup(0)));
    backend.track(false);
    let mut dictionary = Dictionary::default();
    (0..3000u32).for_each(|key| dictionary.keys.push(&key.to_le_bytes()));
    dictionary.ensure_hashes(5);
    let mut resolved = Resolved::default();
    backend.resolve(&dictionary, &[], &mut resolved).unwrap();
    let write = |backend: &mut MemoryBackend, every: usize| {
        for slot in resolved.slots.iter().step_by(every) {
            write_value(backend, FIXED, *slot, Some(b"1234"), NEVER);
        }
    };
    for every in [1, 97, 1500] {
        write(&mut backend, every);
        backend.freeze(false);
        let (mut entries, mut is_done) = (0, false);
        while !is_done {
            let step = backend.encode(EncodeBudget { entries: 1, bytes: 1 });
            let count: u32 = step.segments.iter().map(|segment| segment.entries).sum();
            assert!(count <= 1);
            (entries, is_done) = (entries + count as usize, step.done);
        }
        assert_eq!(entries, 3000usize.div_ceil(every));
        backend.settle_snapshot(true);
    }
}

fn restored_empty() -> MemoryBackend {
    super::world::fresh(0..GROUPS as u16)
}

#[test]
fn states_go_where_their_names_are_and_others_are_passed_over() {
    let world = filled();
    let mut ids: Vec<Option<usize>> = (0..STATES).map(Some).collect();
    ids.swap(MAP, MORTAL_MAP);
    ids[LIST] = None;
    let mut backend = restored_empty();
    let groups: Vec<KeyGroup> = (0..GROUPS as u16).map(KeyGroup).collect();
    let chain = world.chain.iter().map(open).collect();
    let mut restore = Restore::new(chain, &groups, ids).unwrap();
    while !restore.step(&mut backend, WHOLE).unwrap() {}
    assert_eq!(restore.entries(), KEYS.len() as u64 * (STATES as u64 - 1));
    let found = content(&mut backend, &KEYS, world.now_ms);
    let whole = content(&mut restored(&world.chain, &[0, 1, 2, 3]), &KEYS, world.now_ms);
    assert!(found.0.keys().all(|(_, state)| *state != LIST));
    assert_eq!(found.0[&(1, MAP)], whole.0[&(1, MORTAL_MAP)]);
}
