//! The commit under crashes: at every operation, with every subset of what was not synced.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::crash_disk::CrashDisk;
use super::*;
use crate::connector::PreparedFile;
use crate::disk::Disk;
use crate::ids::{CheckpointId, Incarnation};

fn names() -> SinkNames {
    SinkNames::new("job", "out").unwrap()
}

fn content(number: u64) -> Vec<u8> {
    format!("file {number}").repeat(10 + number as usize).into_bytes()
}

/// Writes files as a sink's writer does before it answers a barrier.
fn prepare(disk: &CrashDisk, incarnation: u64, files: u64) -> Vec<PreparedFile> {
    let write = |number| {
        let id = FileId {
            incarnation: Incarnation(incarnation),
            checkpoint: CheckpointId(7),
            task: 0,
            number,
        };
        let (name, content) = (names().in_progress(id), content(number));
        let mut file = disk.create(&name).unwrap();
        file.write_at(0, &content).unwrap();
        file.sync().unwrap();
        PreparedFile {
            in_progress: name,
            published: names().published(id, "txt"),
            bytes: content.len() as u64,
            digest: *blake3::hash(&content).as_bytes(),
        }
    };
    let files = (0..files).map(write).collect();
    disk.sync_dir("").unwrap();
    files
}

/// Both kinds of disk: one with a rename to a new name, and one without.
fn disks() -> [fn() -> CrashDisk; 2] {
    [CrashDisk::default, CrashDisk::old]
}

fn nothing() -> BTreeSet<String> {
    BTreeSet::new()
}

/// Every file is there once, whole, under its published name, and a crash cannot change that.
fn assert_published(disk: &CrashDisk, files: &[PreparedFile]) {
    disk.crash(|_| false);
    let expected: Vec<_> =
        (0..).zip(files).map(|(number, file)| (file.published.clone(), content(number))).collect();
    assert_eq!(disk.listing().into_iter().collect::<Vec<_>>(), expected);
}

/// Commits until it succeeds, as often as there are crashes, given as (operation, subset of the changes
/// that survive a loss of power; `None` when only the process dies).
fn commit_through(disk: &CrashDisk, files: &[PreparedFile], crashes: &[(usize, Option<u64>)]) {
    for &(operations, kept) in crashes {
        disk.crash_after(operations);
        let result = commit(disk, files);
        assert!(disk.is_down() || result.is_ok());
        if let Ok(outcome) = result {
            assert_eq!(outcome.taken, Vec::<String>::new());
        }
        match kept {
            Some(kept) => disk.crash(|number| kept >> (number % 64) & 1 == 1),
            None => disk.restart(),
        }
    }
    let outcome = commit(disk, files).unwrap();
    assert_eq!(outcome.taken, Vec::<String>::new());
    assert_eq!(outcome.published.len() + outcome.found.len(), files.len());
}

#[test]
fn every_file_is_published_once_whatever_a_crash_at_any_operation_keeps() {
    for disk in disks() {
        every_crash_publishes_once(disk);
    }
}

fn every_crash_publishes_once(new_disk: fn() -> CrashDisk) {
    let mut crashes = 0;
    for operations in 0.. {
        let mut subsets = 1;
        let mut subset = 0;
        let mut is_down = true;
        while subset < subsets {
            let disk = new_disk();
            let files = prepare(&disk, 1, 3);
            disk.crash_after(operations);
            let result = commit(&disk, &files);
            is_down = disk.is_down();
            subsets = 1 << disk.unsynced();
            assert!(is_down || result.is_ok());
            disk.crash(|number| subset >> number & 1 == 1);
            commit_through(&disk, &files, &[]);
            assert_eq!(clean_up(&disk, &names(), &nothing()).unwrap(), Vec::<String>::new());
            assert_published(&disk, &files);
            subset += 1;
            crashes += 1;
        }
        if !is_down {
            break;
        }
    }
    assert!(crashes > 30, "{crashes}");
}

#[test]
fn a_reader_never_gets_a_file_twice_however_often_the_process_dies() {
    for operations in 0..30 {
        let disk = CrashDisk::default();
        let files = prepare(&disk, 1, 3);
        disk.crash_after(operations);
        commit(&disk, &files).ok();
        disk.restart();
        let take = |disk: &CrashDisk| {
            let there: Vec<_> =
                disk.listing().into_keys().filter(|name| names().is_published(name)).collect();
            there.iter().for_each(|name| disk.remove(name).unwrap());
            there
        };
        let mut taken = take(&disk);
        let outcome = commit(&disk, &files).unwrap();
        assert_eq!(outcome.taken, taken);
        taken.extend(take(&disk));
        let published: Vec<_> = files.iter().map(|file| file.published.clone()).collect();
        assert_eq!(taken, published, "each once, and in the order of the commit");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_file_is_published_once_through_many_crashes(
        count in 0..6u64,
        kind in 0..2usize,
        crashes in prop::collection::vec((0..30usize, any::<Option<u64>>()), 0..6),
    ) {
        let disk = disks()[kind]();
        let files = prepare(&disk, 1, count);
        commit_through(&disk, &files, &crashes);
        assert_published(&disk, &files);
        let again = commit(&disk, &files).unwrap();
        prop_assert_eq!(again.found.len(), files.len());
        assert_published(&disk, &files);
    }
}

#[test]
fn a_commit_costs_one_sync_of_the_directory_or_two_however_many_files_it_has() {
    for (disk, syncs) in disks().into_iter().zip([1, 2]) {
        let disk = disk();
        let files = prepare(&disk, 1, 20);
        let before = disk.syncs();
        assert_eq!(commit(&disk, &files).unwrap().published.len(), 20);
        assert_eq!(disk.syncs() - before, syncs);
        let before = disk.syncs();
        commit(&disk, &[]).unwrap();
        assert_eq!(disk.syncs(), before, "nothing to do needs no disk");
    }
}

#[test]
fn what_a_reader_took_is_not_published_again() {
    for (operations, disk) in (0..40).flat_map(|n| disks().map(|disk| (n, disk()))) {
        let files = prepare(&disk, 1, 3);
        commit(&disk, &files).unwrap();
        disk.crash(|_| false);
        disk.remove(&files[1].published).unwrap();
        disk.sync_dir("").unwrap();
        disk.crash_after(operations);
        commit(&disk, &files).ok();
        disk.crash(|_| false);
        let outcome = commit(&disk, &files).unwrap();
        assert_eq!(outcome.taken, [files[1].published.clone()]);
        assert_eq!(outcome.found, [files[0].published.clone(), files[2].published.clone()]);
        assert_eq!(disk.listing().len(), 2);
    }
}

#[test]
fn a_file_in_the_way_is_named_and_kept_and_the_others_are_published() {
    let (shorter, same_length) = (b"foreign".to_vec(), vec![b'x'; content(0).len()]);
    let both = |foreign: Vec<u8>| disks().map(|disk| (foreign.clone(), disk()));
    for (foreign, disk) in [shorter, same_length].into_iter().flat_map(both) {
        let files = prepare(&disk, 1, 3);
        disk.create(&files[0].published).unwrap().write_at(0, &foreign).unwrap();
        for _ in 0..2 {
            let error = commit(&disk, &files).unwrap_err();
            let (published, in_progress) =
                (files[0].published.clone(), files[0].in_progress.clone());
            assert_eq!(error, CommitError::InTheWay { published, in_progress });
            let found = disk.listing();
            assert_eq!(found[&files[0].published], foreign);
            assert_eq!(found[&files[0].in_progress], content(0));
            assert_eq!(found[&files[2].published], content(2));
            assert_eq!(found.len(), 4);
        }
        disk.remove(&files[0].published).unwrap();
        commit(&disk, &files).unwrap();
        assert_published(&disk, &files);
    }
}

#[test]
fn a_prepared_file_that_lost_bytes_is_not_published() {
    let disk = CrashDisk::default();
    let mut files = prepare(&disk, 1, 2);
    files[0].bytes += 1;
    let error = commit(&disk, &files).unwrap_err();
    assert!(matches!(error, CommitError::Damaged { .. }), "{error}");
    let found: Vec<_> = disk.listing().into_keys().collect();
    assert_eq!(found, [files[0].in_progress.clone(), files[1].published.clone()]);
}

#[test]
fn only_what_nothing_names_is_cleaned_up_and_only_of_this_sink() {
    let disk = CrashDisk::default();
    let kept = prepare(&disk, 1, 2);
    let forgotten = prepare(&disk, 2, 1);
    commit(&disk, &kept[..1]).unwrap();
    for foreign in [".tm-job-out.lock", ".tm-job-out-2-1-7-0-0-0", ".tm-job-other-1-7-0-0", "mine"]
    {
        disk.create(foreign).unwrap();
    }
    let before = disk.listing();
    let keep = kept.iter().map(|file| file.in_progress.clone()).collect();
    let removed = clean_up(&disk, &names(), &keep).unwrap();
    assert_eq!(removed, [forgotten[0].in_progress.clone()]);
    let mut expected = before;
    expected.remove(&forgotten[0].in_progress);
    assert_eq!(disk.listing(), expected);
}
