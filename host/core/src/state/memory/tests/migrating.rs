//! Items of an older schema version, rewritten while they are put back.

use super::cases::{filled, group_of, set};
use super::model::*;
use super::world::{Change, KEYS, World};
use crate::column::{BytesColumn, Layout, OptionalColumn};
use crate::describe::StateDescription;
use crate::failure::{Failure, FaultCode, GuestFault};
use crate::ids::KeyGroup;
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, MIB};
use crate::snapshot::tests::{GROUPS, MemoryFile, header, open, write};
use crate::snapshot::{
    DumpedPlace, MigrateItems, MigrationError, Migrations, Restore, SnapshotError, StateDump,
    compare_states,
};
use crate::state::memory::MemoryBackend;
use crate::state::{EncodeBudget, NEVER, StateBackend};

/// The state that stays as it is.
const SAME: usize = VALUE + 1;

/// Rewrites items one by one, as often as it is asked to.
struct Rewrite<F> {
    rewrite: F,
    layouts: Vec<(Layout, Layout)>,
    calls: usize,
    /// More items than this at once are too many.
    items_max: usize,
}

impl<F: FnMut(&[u8]) -> Result<Vec<u8>, Failure>> MigrateItems for Rewrite<F> {
    fn migrate(&mut self, state: usize, items: &BytesColumn) -> Result<BytesColumn, Failure> {
        let (old, new) = self.layouts[state];
        self.calls += 1;
        assert_ne!(state, SAME, "its schema version is the same");
        let count = items.validate(old, "items").expect("it is in the old layout");
        assert!((1..=BATCH_RECORDS_MAX).contains(&count) && items.data.len() < 2 * BATCH_BYTES_MAX);
        if count > self.items_max {
            return Err(GuestFault::new(FaultCode::MemoryLimit, "too much").into());
        }
        let mut answer = BytesColumn::default();
        for index in 0..count {
            answer.push(&(self.rewrite)(items.item(old, index))?);
        }
        if let Layout::Fixed(width) = new {
            assert!(answer.narrow(width));
        }
        Ok(answer)
    }
}

/// The states with another schema version, but one.
fn raised() -> Vec<StateDescription> {
    let mut states = states();
    states.iter_mut().for_each(|state| state.schema_version = 2);
    states[SAME].schema_version = 1;
    states
}

/// What the chain holds of some key groups, rewritten for states of now; and the number of calls.
fn migrated(
    chain: &[MemoryFile],
    groups: &[u16],
    now: &[StateDescription],
    (items_max, state_bytes): (usize, u64),
    rewrite: impl FnMut(&[u8]) -> Result<Vec<u8>, Failure>,
) -> Result<(MemoryBackend, usize), SnapshotError> {
    let then = states();
    let layouts = then.iter().zip(now).map(|(a, b)| (Layout::of(a.width), Layout::of(b.width)));
    let layouts = layouts.collect();
    let mut rewrite = Rewrite { rewrite, layouts, calls: 0, items_max };
    let wanted: Vec<KeyGroup> = groups.iter().copied().map(KeyGroup).collect();
    let mut backend = MemoryBackend::new(now, GROUPS, wanted.iter().copied());
    let migrations = Migrations { migrate: &mut rewrite, state_bytes };
    let mapping = compare_states(&then, now);
    let chain = chain.iter().map(open).collect();
    let mut restore = Restore::migrating(chain, &wanted, &mapping, now, migrations)?;
    let budget = EncodeBudget { entries: 3, bytes: 200 };
    while !restore.step(&mut backend, budget)? {}
    Ok((backend, rewrite.calls))
}

const ALL: [u16; GROUPS as usize] = [0, 1, 2, 3];
const NO_LIMITS: (usize, u64) = (usize::MAX, u64::MAX - MIB as u64);

/// As many bytes as before, so that the model's states fit.
#[expect(clippy::unnecessary_wraps, reason = "others fail")]
fn flipped(item: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(item.iter().map(|byte| !byte).collect())
}

/// The model after [`flipped`].
fn flipped_model(model: &Model) -> Model {
    let mut model = model.clone();
    for (_, items) in model.0.iter_mut().filter(|((_, state), _)| *state != SAME) {
        for (bytes, _) in items.entries.values_mut().chain(&mut items.list) {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
    model
}

/// A world with a base and a delta behind it.
fn world() -> World {
    let mut world = filled();
    world.now_ms += 7;
    (0..STATES).for_each(|state| world.change(2, state, &set(9)));
    world.change(4, LIST, &Change::Clear);
    world.freeze(false);
    world.complete();
    world
}

#[test]
fn items_are_rewritten_where_they_lie_and_keep_their_expiry() {
    let world = world();
    let expected = flipped_model(&world.model);
    for items_max in [usize::MAX, 3, 1] {
        let limits = (items_max, NO_LIMITS.1);
        let (mut whole, calls) = migrated(&world.chain, &ALL, &raised(), limits, flipped).unwrap();
        assert_holds(&mut whole, &KEYS, &expected, world.now_ms, "migrated");
        assert_eq!(whole.usage(), whole.recount());
        assert_eq!(calls == STATES - 1, items_max == usize::MAX, "a call for each state, or more");
    }
    // As the tasks of two lanes do.
    for half in [[0u16, 1], [2, 3]] {
        let (mut part, _) = migrated(&world.chain, &half, &raised(), NO_LIMITS, flipped).unwrap();
        let mine: Vec<u8> = KEYS.into_iter().filter(|key| half.contains(&group_of(*key))).collect();
        let mut model = expected.clone();
        model.0.retain(|(key, _), _| mine.contains(key));
        assert_holds(&mut part, &mine, &model, world.now_ms, "half of it");
    }
}

#[test]
fn the_first_snapshot_after_it_holds_everything() {
    let world = world();
    let (mut backend, _) = migrated(&world.chain, &ALL, &raised(), NO_LIMITS, flipped).unwrap();
    backend.track(false);
    assert!(backend.freeze(false), "it is a base");
    let step = backend.encode(EncodeBudget { entries: usize::MAX, bytes: usize::MAX });
    let (file, written) = write(&header(&raised(), true), step.segments);
    assert!(step.done && written.entries >= KEYS.len() as u64 * STATES as u64);
    let items: Vec<_> =
        StateDump::new(vec![open(&file)], None).unwrap().map(Result::unwrap).collect();
    assert!(items.iter().any(|item| item.value == [!9; 3]));
    let same = format!("s{SAME}");
    assert!(items.iter().filter(|item| item.state == same).all(|item| item.value != [!9; 3]));
}

#[test]
fn a_width_may_come_go_and_change() {
    let world = world();
    let mut now = raised();
    now[FIXED].width = Some(6);
    now[MORTAL_FIXED].width = None;
    now[VALUE].width = Some(5);
    let longer = |item: &[u8]| {
        let length = if item.len() == 4 { 6 } else { 5 };
        Ok(item.iter().chain(&[0; 6]).take(length).copied().collect())
    };
    let (mut backend, _) = migrated(&world.chain, &ALL, &now, NO_LIMITS, longer).unwrap();
    let slot = resolve(&mut backend, &[2]);
    for (state, length) in [(FIXED, 6), (MORTAL_FIXED, 6), (VALUE, 5)] {
        let mut out = OptionalColumn::default();
        backend.read_values(state, &slot, world.now_ms, &mut out);
        let item = out.item(Layout::of(now[state].width), 0).unwrap();
        assert_eq!((item.len(), &item[..3]), (length, &[9; 3][..]));
    }
}

#[test]
fn a_list_that_grows_is_parted_and_keeps_its_order() {
    const ITEMS: u32 = 30_000;
    let mut world = World::new();
    let slot = resolve(&mut world.backend, &[1])[0];
    let mut items = BytesColumn::default();
    (0..ITEMS).for_each(|number| items.push(&number.to_le_bytes()));
    world.backend.append_list(LIST, slot, &items, NEVER);
    let mut more = BytesColumn::default();
    more.push(b"last");
    world.backend.append_list(LIST, slot, &more, NEVER);
    world.backend.freeze(false);
    let step = world.backend.encode(EncodeBudget { entries: usize::MAX, bytes: usize::MAX });
    let (file, _) = write(&header(&states(), true), step.segments);
    let grown = |item: &[u8]| Ok([item, &[7; 60]].concat());
    let (mut backend, calls) = migrated(&[file], &ALL, &raised(), NO_LIMITS, grown).unwrap();
    assert_eq!(calls, (ITEMS as usize + 1).div_ceil(BATCH_RECORDS_MAX));
    let slot = resolve(&mut backend, &[1])[0];
    let mut number = 0;
    backend.read_list(LIST, slot, 0, 0, &mut |item| {
        let expected = if number < ITEMS { number.to_le_bytes() } else { *b"last" };
        assert_eq!((&item[..4], item.len()), (&expected[..], 64));
        number += 1;
        true
    });
    assert_eq!(number, ITEMS + 1);
    backend.track(false);
    backend.freeze(true);
    let step = backend.encode(EncodeBudget { entries: usize::MAX, bytes: usize::MAX });
    let entries: u32 = step.segments.iter().map(|segment| segment.entries).sum();
    assert!(entries as usize >= ITEMS as usize * 64 / (64 * 1024), "{entries} chunks");
}

/// The error of a migration that fails at items of these bytes.
fn failed_at(world: &World, bytes: &[u8], failure: &Failure) -> MigrationError {
    let rewrite = |item: &[u8]| {
        if item == bytes { Err(failure.clone()) } else { flipped(item) }
    };
    match migrated(&world.chain, &ALL, &raised(), NO_LIMITS, rewrite) {
        Err(SnapshotError::Migration(error)) => *error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it must fail"),
    }
}

#[test]
fn the_item_that_is_to_blame_is_named() {
    let mut world = world();
    world.change(3, MAP, &set(77));
    world.change(5, LIST, &set(78));
    world.change(5, LIST, &set(79));
    world.change(1, VALUE, &set(80));
    world.freeze(false);
    world.complete();
    let trap = Failure::from(GuestFault::new(FaultCode::Trap, "unreachable"));
    for failure in [trap, Failure::Fatal("no".to_owned())] {
        let at = |byte: u8| {
            let error = failed_at(&world, &[byte; 3], &failure);
            assert_eq!((error.stored, error.found, &error.failure), (1, 2, &failure));
            (error.state, error.item)
        };
        let map = (key_bytes(3), DumpedPlace::MapKey(vec![77]));
        assert_eq!(at(77), (format!("s{MAP}"), Some(map)));
        assert_eq!(at(79), (format!("s{LIST}"), Some((key_bytes(5), DumpedPlace::Index(2)))));
        assert_eq!(at(80), (format!("s{VALUE}"), Some((key_bytes(1), DumpedPlace::Value))));
    }
}

#[test]
fn what_no_item_is_to_blame_for_is_not_tried_again() {
    let world = world();
    let host = Failure::Host("the pool is full".to_owned());
    assert_eq!(failed_at(&world, &[9; 3], &host).item, None);
    let grown = |item: &[u8]| Ok(item.iter().copied().cycle().take(MIB).collect());
    let limits = (1, 2 * MIB as u64);
    let mut now = raised();
    now.iter_mut().for_each(|state| state.width = None);
    now[SAME] = states()[SAME].clone();
    let Err(SnapshotError::Migration(error)) = migrated(&world.chain, &ALL, &now, limits, grown)
    else {
        panic!("it must fail");
    };
    assert!(error.to_string().contains("STATE_QUOTA: the task would hold"), "{error}");
}

#[test]
fn messages_show_keys_as_text_or_in_hexadecimal() {
    let error = |key: &[u8], place| {
        let item = Some((key.to_vec(), place));
        let (state, failure) = ("seen".to_owned(), Failure::Fatal("no".to_owned()));
        MigrationError { state, stored: 1, found: 3, item, failure }.to_string()
    };
    let begins = "state \"seen\" cannot be migrated from schema version 1 to 3";
    let ends = "the operator gave up: no";
    let says = |key, place, what: &str| {
        assert_eq!(error(key, place), format!("{begins}, {what}: {ends}"));
    };
    says(b"tide", DumpedPlace::Value, "item of key \"tide\"");
    says(b"\xff\x01", DumpedPlace::Index(4), "item 4 of key 0xff01");
    says(b"a", DumpedPlace::MapKey(b"b".into()), "entry \"b\" of key \"a\"");
    assert!(error(&[b'x'; 4096], DumpedPlace::Value).len() < 200);
}
