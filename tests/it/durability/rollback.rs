//! Jobs that go back behind damaged checkpoints when they are told to: what was published since is set aside,
//! and the whole is exactly once from the older checkpoint on.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rustix::process::Signal;

use super::case::{published, sorted};
use super::damage::{CHECKPOINTS, job, stored};
use super::failpoints::run_to;
use super::inputs;
use super::savepoints::{TCP, count_of, listening, send};
use crate::harness::{Command, Ended, Place};

/// A place whose job was killed when its third checkpoint was committed; all are kept.
fn interrupted() -> Place {
    let place = Place::in_memory();
    job(&place);
    inputs::few_words(&place);
    run_to(&place, "commit.after", 3, &["checkpoints-retained=9"]);
    place
}

/// What a run without disturbance publishes.
fn expected() -> Vec<String> {
    let place = Place::in_memory();
    job(&place);
    inputs::few_words(&place);
    place.run().end().expect(0);
    sorted(published(&place).into_values())
}

fn accepted(place: &Place) -> Command {
    place.run().words("--accept-rollback")
}

fn manifest(place: &Place, checkpoint: u64) -> PathBuf {
    let start = format!("manifest-{checkpoint:020}-");
    let mut names = place.names(CHECKPOINTS).into_iter().filter(|name| name.starts_with(&start));
    place.path(CHECKPOINTS).join(names.next().expect("it is there"))
}

/// Flips a bit in the middle of a file.
fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("it can be written");
}

/// Everything that was set aside in `out`: names and contents.
fn set_aside(place: &Place) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in place.names("out").iter().filter(|name| name.starts_with(".rolled-back-words-")) {
        for name in place.names(&format!("out/{folder}")) {
            let path = place.path("out").join(folder).join(&name);
            let text = fs::read_to_string(path).expect("it is text");
            assert_eq!(found.insert(name, text), None, "each once");
        }
    }
    found
}

/// The files of checkpoints later than `after`.
fn later(files: &BTreeMap<String, String>, after: u64) -> BTreeMap<String, String> {
    let number = |name: &str| name.split('-').nth(3).and_then(|n| n.parse().ok()).unwrap_or(0);
    let later = files.iter().filter(|(name, _)| number(name) > after);
    later.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// Fails unless everything is published once and exactly `gone` lies aside.
#[track_caller]
fn check_end(place: &Place, gone: &BTreeMap<String, String>) {
    let lines = sorted(published(place).into_values());
    let expected = expected();
    let lost = expected.len() as i64 - lines.len() as i64;
    assert!(lines == expected, "{lost} of {} lines are lost", expected.len());
    assert!(set_aside(place) == *gone, "other files are set aside than were published");
    let left = place.names("out");
    let is_known = |name: &String| name.starts_with("part-") || name.starts_with(".rolled-back-");
    assert!(left.iter().all(is_known), "{left:?}");
}

/// The manifests that were set aside.
fn discarded(place: &Place) -> Vec<String> {
    let folders = place.names(CHECKPOINTS).into_iter();
    let folders = folders.filter(|name| name.starts_with("rolled-back-"));
    folders.flat_map(|folder| place.names(&format!("{CHECKPOINTS}/{folder}"))).collect()
}

#[test]
fn a_job_goes_back_behind_a_damaged_manifest_and_lists_what_it_set_aside() {
    let place = interrupted();
    let file = manifest(&place, 3);
    damage(&file);
    let before = published(&place);
    let gone = later(&before, 2);
    assert!(!gone.is_empty() && gone.len() < before.len());
    let ended = accepted(&place).words("--report json").end().expect(0).has_no_panic();
    let report = ended.report();
    check_end(&place, &gone);
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(discarded(&place), std::slice::from_ref(&name));
    let told = &report["rolled_back"];
    assert_eq!((&told["checkpoint"], &told["discarded"][0]["manifest"]), (&2.into(), &name.into()));
    assert_eq!(told["files"].as_array().map(Vec::len), Some(gone.len()));
    for file in told["files"].as_array().expect("paths") {
        let path = file.as_str().expect("a path");
        assert!(PathBuf::from(path).is_file(), "{path} is not there");
        ended_says(&ended, path);
    }
    ended_says(&ended, "Went back to checkpoint 2");
    let events = fs::read_to_string(place.path(".tidemill/words/events.ndjson")).expect("events");
    assert!(events.contains(r#""event":"rolled-back""#), "{events}");
}

#[test]
fn a_job_goes_back_behind_a_manifest_that_is_gone() {
    let place = interrupted();
    fs::remove_file(manifest(&place, 3)).expect("it was there");
    let gone = later(&published(&place), 2);
    assert!(!gone.is_empty());
    accepted(&place).end().expect(0).has_no_panic().says(&["Went back to checkpoint 2"]);
    check_end(&place, &gone);
}

#[track_caller]
fn ended_says(ended: &Ended, part: &str) {
    assert!(ended.stderr.contains(part), "{part:?} is not in\n{}", ended.stderr);
}

#[test]
fn a_job_goes_back_over_several_checkpoints_whatever_is_wrong_with_each() {
    let place = interrupted();
    let newest = manifest(&place, 3);
    fs::write(&newest, b"").expect("it can be written");
    // The file that checkpoint 2 has added.
    let start = format!("state-{:020}-", 2);
    let file = place.names(CHECKPOINTS).into_iter().rfind(|name| name.starts_with(&start));
    fs::remove_file(place.path(CHECKPOINTS).join(file.expect("it has state"))).expect("removed");
    let gone = later(&published(&place), 1);
    accepted(&place).end().expect(0).has_no_panic().says(&["Went back to checkpoint 1"]);
    assert_eq!(discarded(&place).len(), 2);
    check_end(&place, &gone);
}

#[test]
fn a_job_goes_back_to_its_beginning_when_nothing_else_is_whole() {
    let place = interrupted();
    (1..=3).for_each(|checkpoint| damage(&manifest(&place, checkpoint)));
    let gone = published(&place);
    accepted(&place).end().expect(0).has_no_panic().says(&["Went back to checkpoint 0"]);
    check_end(&place, &gone);
}

#[test]
fn without_damage_nothing_is_given_up() {
    let place = interrupted();
    let says = ["There is nothing to roll back", "Going on from checkpoint 3"];
    accepted(&place).end().expect(0).has_no_panic().says(&says);
    check_end(&place, &BTreeMap::new());
    accepted(&place).end().expect(0).says(&["There is nothing to roll back", "finished before"]);
    accepted(&place).words("--fresh").end().expect(2);
}

#[test]
fn a_job_that_cannot_go_back_changes_nothing() {
    let place = interrupted();
    damage(&manifest(&place, 3));
    let before = (stored(&place), published(&place));
    let says = ["has 128 key groups, and the job file says 64"];
    accepted(&place).set("key-groups=64").end().refuses(78, &says);
    assert!(before == (stored(&place), published(&place)));
    (0..=2).for_each(|checkpoint| damage(&manifest(&place, checkpoint)));
    let before = (stored(&place), published(&place));
    let says = ["none of the checkpoints that are kept is whole", "from a backup", "--fresh"];
    accepted(&place).end().refuses(74, &says);
    assert!(before == (stored(&place), published(&place)));
}

#[test]
fn a_rollback_that_is_killed_anywhere_is_finished_by_the_next_start() {
    let places = ["before", "recorded", "sink", "output", "manifests", "ended"];
    for (at, again) in places.iter().flat_map(|at| [(at, true), (at, false)]) {
        println!("killed at rollback.{at}");
        let place = interrupted();
        damage(&manifest(&place, 3));
        let gone = later(&published(&place), 2);
        let killed = accepted(&place).env("TIDEMILL_FAILPOINT", &format!("rollback.{at}:1"));
        killed.end().has_no_panic().expect_killed_by(Signal::KILL);
        match again {
            true => drop(accepted(&place).end().expect(0).has_no_panic()),
            // Nothing was accepted durably, and the damaged checkpoint is still the newest.
            false if *at == "before" => {
                place.run().end().refuses(74, &["--accept-rollback"]);
                continue;
            }
            false => drop(place.run().end().expect(0).has_no_panic()),
        }
        check_end(&place, &gone);
    }
}

#[test]
fn input_that_was_logged_is_processed_again_from_the_older_checkpoint_on() {
    let place = Place::with_job(TCP);
    let kept = |run: Command| run.set("checkpoints-retained=9").set("checkpoint-interval=1h");
    for _ in 0..3 {
        let running = kept(place.run()).start();
        send(listening(&running), &["a", "b"]);
        running.signal(Signal::TERM);
        running.end().expect(143).has_no_panic();
    }
    let checkpoints = ".tidemill/tcp/checkpoints";
    let names = place.names(checkpoints).into_iter();
    let newest: Vec<_> = names.filter(|name| name.starts_with("manifest-")).skip(2).collect();
    assert_eq!(newest.len(), 2, "one for each stop");
    newest.iter().for_each(|name| damage(&place.path(checkpoints).join(name)));
    // Without the log it cannot go on from there.
    let log = place.path(".tidemill/tcp/wal");
    fs::rename(&log, place.path("kept")).expect("moved");
    let before = place.published("out");
    let says = ["checkpoint 1 is the newest that is whole", "the input log", "--fresh"];
    kept(accepted(&place)).end().refuses(74, &says);
    assert_eq!(place.published("out"), before);
    fs::remove_dir_all(&log).ok();
    fs::rename(place.path("kept"), &log).expect("moved");
    let running = kept(accepted(&place)).start();
    assert_eq!(send(listening(&running), &["a", "b"]), 6, "what was acknowledged is known");
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic().says(&["Went back to checkpoint 1"]);
    // A stop leaves what is logged and not processed to the next run.
    let mut running = place.run().start();
    listening(&running);
    while place.published("out").len() < 8 {
        assert!(!running.has_ended(), "it ended before all was published");
        std::thread::yield_now();
    }
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
    for word in ["a", "b"] {
        assert_eq!(count_of(&place, "out", word), [1, 2, 3, 4]);
    }
}
