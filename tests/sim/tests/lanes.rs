//! Lanes under a seeded world: nothing is lost, nothing is counted twice, nothing gets stuck.

use tidemill_sim::world::World;

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 3000;

#[test]
fn every_record_arrives_as_often_as_the_graph_says_and_no_lane_gets_stuck() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            world.run();
            world.check();
        }));
        assert!(outcome.is_ok(), "seed {seed} fails");
    }
}

#[test]
fn a_seed_reproduces_a_run_step_by_step() {
    for seed in [1, 7, 99] {
        let trace = World::new(seed).run().to_owned();
        assert!(!trace.is_empty());
        assert_eq!(World::new(seed).run(), trace, "seed {seed}");
    }
}
