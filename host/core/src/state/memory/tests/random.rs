//! Any sequence of changes, freezes, slices, aborts, merges and crashes.

use proptest::prelude::*;

use super::model::{MORTAL_LIST, STATES};
use super::world::{Change, KEYS, World};
use crate::state::{EncodeBudget, StateBackend};

#[derive(Clone, Debug)]
enum Step {
    Change(u8, usize, Change),
    Look(u8),
    Later(u8),
    Sweep(usize),
    Freeze(bool),
    Encode(EncodeBudget),
    Complete,
    Abort,
    Merge(usize),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Some items are large enough to fill a list chunk, or most of one that may be opened again.
    let item = (any::<u8>(), prop_oneof![8 => 0..5usize, 1 => Just(3000), 1 => Just(60_000)]);
    let item = item.prop_map(|(byte, length)| vec![byte; length]);
    let change = prop_oneof![
        8 => (0..4u8, prop::option::weighted(0.8, item)).prop_map(|(entry, item)| Change::Set(entry, item)),
        1 => Just(Change::Clear),
        2 => (0..4u8).prop_map(Change::Refresh),
    ];
    let key = 0..KEYS.len() as u8;
    let budget = (1..12usize, 1..200usize);
    let step = prop_oneof![
        40 => (key.clone(), 0..STATES, change).prop_map(|(k, s, c)| Step::Change(k, s, c)),
        3 => key.prop_map(Step::Look),
        4 => (0..30u8).prop_map(Step::Later),
        3 => (1..20usize).prop_map(Step::Sweep),
        4 => prop::bool::weighted(0.15).prop_map(Step::Freeze),
        12 => budget.prop_map(|(entries, bytes)| Step::Encode(EncodeBudget { entries, bytes })),
        2 => Just(Step::Complete),
        1 => Just(Step::Abort),
        1 => (0..3usize).prop_map(Step::Merge),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_chain_of_snapshots_says_what_was_held_at_each_freeze(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Change(key, state, change) => world.change(key, state, &change),
                Step::Look(key) => {
                    let slots = super::model::resolve(&mut world.backend, &[key]);
                    world.backend.refresh(MORTAL_LIST, slots[0], None, i64::MAX, 0);
                    world.backend.settle();
                }
                Step::Later(ms) => world.now_ms += i64::from(ms),
                Step::Sweep(budget) => {
                    world.backend.expire(world.now_ms, budget);
                }
                Step::Freeze(full) => {
                    world.abort();
                    world.freeze(full);
                }
                Step::Encode(budget) => world.encode(budget),
                Step::Complete => {
                    world.complete();
                }
                Step::Abort => world.abort(),
                Step::Merge(from) => world.merge(from),
                Step::Crash => world.crash(),
            }
            prop_assert_eq!(world.backend.usage(), world.backend.recount());
        }
        world.check_end();
    }
}
