//! Directed scenarios: what random runs meet too seldom to rely on.

use crate::disk::{Fuse, LastOperation, SimDisk};
use crate::keeper::Places;
use crate::rng::Rng;
use std::collections::BTreeSet;
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery;
use tidemill_core::ids::{CheckpointId, Incarnation};

fn manifest(checkpoint: u64) -> Manifest {
    Manifest {
        job: "job".to_owned(),
        identity: "id".to_owned(),
        files_identity: None,
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

/// A writer is killed in the middle of a manifest, a start acts on what it sees, and the power fails: answers
/// whether whatever the start saw is still there, for every place of the kill and several losses.
///
/// # Panics
/// When no kill came where it matters, so that nothing was tried.
pub fn manifest_that_was_found_is_kept() -> bool {
    let (mut found, mut kept) = (BTreeSet::new(), true);
    for operations in 1..12 {
        for seed in 0..8 {
            let places = Places::new(SimDisk::default());
            let last = LastOperation::Nothing;
            places.disk.set_fuse(Fuse { operations, only: None, last });
            let written = places.checkpoints.write_manifest(&manifest(7));
            places.disk.kill();
            // The writer was killed somewhere in the middle; the page cache survives.
            let start = recovery::decide(&places.job, &places.checkpoints);
            let saw = start.is_ok_and(|start| start.from.is_some());
            assert!(saw || written.is_err());
            places.disk.lose_power(&mut Rng::new(seed));
            let again = recovery::decide(&places.job, &places.checkpoints);
            kept &= !saw || again.is_ok_and(|again| again.from.is_some());
            found.insert((written.is_ok(), saw));
        }
    }
    assert!(found.contains(&(false, true)), "no crash came between link and sync: {found:?}");
    kept
}
