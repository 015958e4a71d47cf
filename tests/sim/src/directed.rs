//! Directed scenarios: what random runs meet too seldom to rely on.

use crate::disk::{Fuse, LastOperation, SimDisk};
use crate::keeper::Places;
use crate::rng::Rng;
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery;
use tidemill_core::ids::{CheckpointId, Incarnation};
use tidemill_core::wal::{KnownDurable, Sizes, WalWriter, recover};

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

/// A log is cut off in the middle of a group that needs more zeros than there are: answers whether what was synced
/// before is always found, and the rest is never taken for damage, for every place of the loss and several losses.
///
/// # Panics
/// When no group was torn, so that nothing was tried.
pub fn torn_group_is_cut() -> bool {
    let sizes = Sizes {
        segment_bytes: 64 * 1024,
        fill_bytes: 512,
        fill_ahead_bytes: 512,
        reserve_bytes: 256,
        quota_bytes: 1024 * 1024,
    };
    let (mut torn, mut is_cut) = (0, true);
    for operations in 1..8 {
        for seed in 0..64 {
            let disk = SimDisk::default();
            let known = KnownDurable::default();
            let begun = recover(&disk, "wal", &known).and_then(|found| {
                WalWriter::begin(Arc::new(disk.clone()), found, Incarnation(1), [7; 16], sizes)
            });
            let mut log = begun.expect("nothing is in the way");
            let partition = log.partition("in", "p").expect("short names");
            log.append(partition, &[1; 20]).expect("there is room");
            let durable = log.sync().expect("the machine is on");
            for _ in 0..3 {
                log.append(partition, &[2; 900]).expect("there is room");
            }
            let last = LastOperation::Nothing;
            disk.set_fuse(Fuse { operations, only: None, last });
            torn += u64::from(log.sync().is_err());
            disk.lose_power(&mut Rng::new(seed));
            let found = recover(&disk, "wal", &known);
            is_cut &= found.is_ok_and(|found| found.last_lsn >= durable);
        }
    }
    assert!(torn > 0, "no loss came inside the group");
    is_cut
}
