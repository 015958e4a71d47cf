//! Jobs under a seeded world: nothing is lost, nothing is counted twice, nothing gets stuck.
//!
//! `SEEDS=100000 cargo test -p tidemill-sim --test seeds` tries more seeds than usual, and `FIRST=5000` begins
//! there. `SEED=7` runs that one alone, and prints its job and the end of its trace when it fails; with
//! `BUG=LateAckCounted` a bug is planted before.

use std::env;

use tidemill_core::planted::{Bug, plant};
use tidemill_sim::seeds::{try_seed, try_seeds};
use tidemill_sim::world::World;

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 3000;
/// Lines of a trace that are printed.
const SHOWN_LINES: usize = 200;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_seed_ends_with_exactly_what_the_graph_says() {
    if let Some(seed) = number("SEED") {
        return explain(seed);
    }
    let first = number("FIRST").unwrap_or(0);
    let seeds = first..first + number("SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let (events, failed) = try_seeds(seeds);
    println!("{events:#?} in {:?}", began.elapsed());
    if let Some(failed) = failed {
        panic!("seed {} fails: {}", failed.seed, failed.violation);
    }
    // A world in which nothing happens would prove nothing.
    let often = [events.incarnations / 3, events.completed / 4, events.kills, events.power_losses];
    let often = often.into_iter().chain([events.aborted]);
    assert!(often.min() >= Some(events.runs / 2), "{events:?}");
    let sometimes = [events.rescaled, events.recommitted, events.chained, events.merged];
    let of_log = [events.replayed, events.pressed, events.filled, events.trimmed];
    let sometimes = sometimes.into_iter().chain([events.stops, events.failures]).chain(of_log);
    assert!(sometimes.min() >= Some(events.runs / 20), "{events:?}");
}

fn explain(seed: u64) {
    let name = env::var("BUG").unwrap_or_default();
    plant(Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name));
    let Err(violation) = try_seed(seed) else { return };
    let mut world = World::traced(seed);
    println!("{}", world.describe());
    let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
    let lines: Vec<&str> = world.trace().lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().for_each(|line| println!("{line}"));
    panic!("seed {seed} fails: {violation} ({again:?})");
}

#[test]
fn a_seed_reproduces_a_run_byte_by_byte() {
    for seed in 0..20 {
        let run = || {
            let mut world = World::traced(seed);
            let outcome = world.run();
            (world.trace().to_owned(), outcome)
        };
        let (trace, outcome) = run();
        assert!(!trace.is_empty());
        assert_eq!(run(), (trace, outcome), "seed {seed}");
    }
}
