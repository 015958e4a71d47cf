//! Jobs under a seeded world: nothing is lost, nothing is counted twice, nothing gets stuck.
//!
//! `SEEDS=100000 cargo test -p tidemill-sim --test seeds` tries more seeds than usual, `FIRST=5000` begins there,
//! and `SEED=7` runs that one alone and prints its job and the end of its trace when it fails.

use std::env;

use tidemill_sim::seeds::{try_seed, try_seeds};
use tidemill_sim::world::World;

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 2000;
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
    let (summary, failed) = try_seeds(seeds.clone());
    println!("{summary:?} in {:?}", began.elapsed());
    if let Some(failed) = failed {
        panic!("seed {} fails: {}", failed.seed, failed.violation);
    }
    // A world in which nothing happens would prove nothing.
    let count = seeds.end - seeds.start;
    assert!(summary.incarnations as u64 > 3 * count && summary.checkpoints > 5 * count);
}

fn explain(seed: u64) {
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
