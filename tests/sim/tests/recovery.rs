//! Crashes at one chosen operation: bugs that the seeds found, told by themselves.

use std::collections::BTreeSet;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery;
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_sim::disk::{Fuse, LastOperation, SimDisk};
use tidemill_sim::keeper::Places;
use tidemill_sim::rng::Rng;

fn manifest(checkpoint: u64) -> Manifest {
    Manifest {
        job: "job".to_owned(),
        identity: "id".to_owned(),
        checkpoint: CheckpointId(checkpoint),
        incarnation: Incarnation(1),
        created_ms: 0,
        written_by: String::new(),
        finished: false,
        hash_seed: 0,
        owners: vec![0],
        parallelism: 1,
        plan: String::new(),
        wal_start: None,
        sources: Vec::new(),
        operators: Vec::new(),
        sinks: Vec::new(),
    }
}

#[test]
fn a_manifest_that_a_start_has_found_is_not_lost_with_the_power() {
    let mut found = BTreeSet::new();
    for operations in 1..12 {
        for seed in 0..8 {
            let places = Places::new(SimDisk::default());
            let last = LastOperation::Nothing;
            places.disk.set_fuse(Fuse { operations, only: None, last });
            let written = places.checkpoints.write_manifest(&manifest(7));
            places.disk.kill();
            // The writer was killed somewhere in the middle; the page cache survives.
            let start = recovery::decide(&places.job, &places.checkpoints).unwrap();
            assert!(start.from.is_some() || written.is_err());
            places.disk.lose_power(&mut Rng::new(seed));
            let again = recovery::decide(&places.job, &places.checkpoints).unwrap();
            assert!(again.from.is_some() || start.from.is_none(), "operation {operations}");
            found.insert((written.is_ok(), start.from.is_some()));
        }
    }
    assert!(found.contains(&(false, true)), "no crash came between link and sync: {found:?}");
}
