//! Which checkpoint is gone back to, and a rollback that is cut off at every operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::checkpoint::manifest::{SnapshotFile, TaskSnapshot, tests::sample};
use crate::transaction::crash_disk::CrashDisk;
use crate::transaction::{FileId, SinkNames, set_aside};

fn stored(checkpoint: u64) -> StoredManifest {
    StoredManifest { checkpoint: CheckpointId(checkpoint), incarnation: Incarnation(2) }
}

fn candidate(checkpoint: u64, condition: Condition) -> Candidate {
    Candidate { stored: stored(checkpoint), condition }
}

fn damaged() -> Condition {
    Condition::Damaged("it is cut short".to_owned())
}

fn discarded(checkpoint: u64) -> Discarded {
    Discarded { manifest: stored(checkpoint).name(), reason: "it is cut short".to_owned() }
}

#[test]
fn a_newest_checkpoint_that_is_whole_is_not_given_up() {
    assert_eq!(decide(&[]), Ok(Decision::Nothing));
    assert_eq!(decide(&[candidate(3, Condition::Whole)]), Ok(Decision::Nothing));
    let gone = Condition::Unreachable("gone".to_owned());
    assert_eq!(decide(&[candidate(3, gone)]), Ok(Decision::Nothing));
}

#[test]
fn the_newest_that_is_whole_is_gone_back_to_and_all_newer_are_discarded() {
    let all = [
        candidate(5, damaged()),
        candidate(4, damaged()),
        candidate(3, Condition::Whole),
        candidate(2, damaged()),
    ];
    let to_third = Decision::GoBack { to: stored(3), discarded: vec![discarded(4), discarded(5)] };
    assert_eq!(decide(&all), Ok(to_third));
}

#[test]
fn nothing_is_given_up_for_a_checkpoint_that_cannot_be_gone_on_from() {
    let gone = Condition::Unreachable("gone".to_owned());
    let all = [candidate(5, damaged()), candidate(4, gone)];
    let (checkpoint, why) = (CheckpointId(4), "gone".to_owned());
    assert_eq!(decide(&all), Err(RollbackError::Unreachable { checkpoint, why }));
    let error = decide(&[candidate(5, damaged()), candidate(4, damaged())]).unwrap_err();
    assert_eq!(error, RollbackError::NoneWhole(vec![discarded(5), discarded(4)]));
    assert!(error.to_string().contains(&stored(4).name()), "{error}");
}

fn put(disk: &dyn Disk, name: &str, content: &[u8]) {
    let mut file = disk.create(name).unwrap();
    file.write_at(0, content).unwrap();
    file.sync().unwrap();
    disk.sync_dir("").unwrap();
}

/// A store with these checkpoints, each with a snapshot file of its own.
fn store(disk: &CrashDisk, checkpoints: impl IntoIterator<Item = u64>) -> CheckpointStore {
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    for checkpoint in checkpoints {
        let name = format!("state-{checkpoint}");
        put(disk, &name, name.as_bytes());
        let digest = *blake3::hash(name.as_bytes()).as_bytes();
        let bytes = name.len() as u64;
        let file = SnapshotFile { name, bytes, digest, is_base: true, entries: 1 };
        let mut manifest = sample();
        manifest.checkpoint = CheckpointId(checkpoint);
        manifest.operators[0].tasks =
            vec![TaskSnapshot { files: vec![file], ..TaskSnapshot::default() }];
        store.write_manifest(&manifest).unwrap();
    }
    store
}

fn conditions(store: &CheckpointStore) -> Vec<(u64, Condition)> {
    let (candidates, _) = survey(store, |_| Ok(())).unwrap();
    candidates.into_iter().map(|it| (it.stored.checkpoint.0, it.condition)).collect()
}

#[test]
fn damage_of_a_manifest_or_of_a_snapshot_file_is_found_and_older_checkpoints_are_not_read() {
    let disk = CrashDisk::default();
    let store = store(&disk, 1..=4);
    assert_eq!(conditions(&store), [(4, Condition::Whole)]);
    let mut bytes = read_whole(&disk, &stored(4).name(), 1 << 20).unwrap().unwrap();
    bytes[30] ^= 1;
    disk.remove(&stored(4).name()).unwrap();
    put(&disk, &stored(4).name(), &bytes);
    disk.remove("state-3").unwrap();
    disk.remove("state-2").unwrap();
    put(&disk, "state-2", b"state-x");
    let found = conditions(&store);
    assert_eq!(found.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [4, 3, 2, 1]);
    for ((_, condition), says) in found.iter().zip(["digest", "state-3", "state-2"]) {
        assert!(matches!(condition, Condition::Damaged(why) if why.contains(says)), "{found:?}");
    }
    assert_eq!(found[3].1, Condition::Whole);
    let (candidates, readable) = survey(&store, |_| Err("trimmed".to_owned())).unwrap();
    assert_eq!(candidates[3].condition, Condition::Unreachable("trimmed".to_owned()));
    assert_eq!(readable.len(), 3, "all but the damaged manifest");
}

fn rollback() -> Rollback {
    Rollback {
        job: "job".to_owned(),
        begun_by: Incarnation(5),
        begun_ms: 77,
        checkpoint: CheckpointId(2),
        incarnation: Incarnation(2),
        discarded: vec![discarded(3), discarded(4)],
        sinks: Vec::new(),
    }
}

/// All steps, as a start makes them.
fn go_back(disk: &CrashDisk, store: &CheckpointStore) -> Result<(), RollbackError> {
    let rollback = match Rollback::unfinished(store)? {
        Some(unfinished) => unfinished,
        None if store.manifests()?.len() < 4 => return Ok(()),
        None => {
            rollback().begin(store)?;
            rollback()
        }
    };
    let names = SinkNames::new("job", "out").unwrap();
    set_aside(disk, &names, rollback.checkpoint, &rollback.output_place())?;
    rollback.set_manifests_aside(store)?;
    Ok(rollback.end(store)?)
}

fn published(checkpoint: u64) -> String {
    let checkpoint = CheckpointId(checkpoint);
    let file = FileId { incarnation: Incarnation(1), checkpoint, task: 0, number: 0 };
    SinkNames::new("job", "out").unwrap().published(file, "txt")
}

/// Checkpoints 1 to 4, each with a published file.
fn world() -> (CrashDisk, CheckpointStore) {
    let disk = CrashDisk::default();
    let store = store(&disk, 1..=4);
    (1..=4).for_each(|number| put(&disk, &published(number), published(number).as_bytes()));
    store.mark_committed(CheckpointId(4), Incarnation(2)).unwrap();
    (disk, store)
}

/// The names that are there, but for files in the making.
fn names(disk: &CrashDisk) -> Vec<String> {
    disk.listing().into_keys().filter(|name| !name.ends_with(".tmp")).collect()
}

#[test]
fn a_rollback_that_is_cut_off_anywhere_is_finished_and_loses_nothing() {
    let (disk, store) = world();
    go_back(&disk, &store).unwrap();
    assert!(store.is_committed(&stored(2)).unwrap());
    let expected = names(&disk);
    for number in [3, 4] {
        assert!(expected.contains(&format!(".rolled-back-job-77/{}", published(number))));
        assert!(expected.contains(&format!("rolled-back-77/{}", stored(number).name())));
    }
    let left: Vec<u64> = store.manifests().unwrap().iter().map(|it| it.checkpoint.0).collect();
    assert_eq!(left, [1, 2]);
    let mut crashes = 0;
    for operations in 0.. {
        let mut is_down = true;
        let mut subset = 0;
        let mut subsets = 1u64;
        while subset < subsets {
            let (disk, store) = world();
            let before: BTreeMap<_, _> = disk.listing();
            disk.crash_after(operations);
            let result = go_back(&disk, &store);
            is_down = disk.is_down();
            assert!(is_down || result.is_ok());
            subsets = 1 << disk.unsynced();
            disk.crash(|number| subset >> number & 1 == 1);
            let is_part_done = names(&disk) != before.keys().cloned().collect::<Vec<_>>();
            let is_recorded = Rollback::unfinished(&store).unwrap().is_some();
            assert!(!is_part_done || is_recorded || names(&disk) == expected, "{:?}", names(&disk));
            go_back(&disk, &store).unwrap();
            assert_eq!(names(&disk), expected);
            disk.crash(|_| false);
            assert_eq!(names(&disk), expected);
            subset += 1;
            crashes += 1;
        }
        if !is_down {
            break;
        }
    }
    assert!(crashes > 60, "{crashes}");
}

#[test]
fn a_record_that_was_changed_is_refused() {
    let disk = CrashDisk::default();
    let store = CheckpointStore::new(Arc::new(disk.clone()));
    assert_eq!(Rollback::unfinished(&store), Ok(None));
    rollback().begin(&store).unwrap();
    assert_eq!(Rollback::unfinished(&store), Ok(Some(rollback())));
    let whole = read_whole(&disk, RECORD, 1 << 20).unwrap().unwrap();
    for cut in 0..whole.len() {
        disk.remove(RECORD).unwrap();
        put(&disk, RECORD, &whole[..cut]);
        assert_eq!(Rollback::unfinished(&store), Err(RollbackError::Record), "cut at {cut}");
    }
}
