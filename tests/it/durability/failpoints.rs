//! Kills at every named place in the binary, and at a second one while the next run recovers.
//!
//! The places are those of builds with debug assertions, which the tests' own build is.

use rustix::process::Signal;

use super::case::{Case, Watch};
use super::inputs;
use crate::harness::Place;

/// While a job is at work: a place, and which of the times that it is passed.
const AT_WORK: [(&str, usize); 18] = [
    ("snapshot.written", 1),
    ("snapshot.written", 5),
    ("snapshot.synced", 1),
    ("snapshot.synced", 4),
    ("manifest.before", 1),
    ("manifest.before", 2),
    ("manifest.after", 1),
    ("manifest.after", 2),
    ("commit.before", 1),
    ("commit.before", 2),
    ("commit.sink", 1),
    ("commit.sink", 4),
    ("commit.mark", 1),
    ("commit.mark", 2),
    ("commit.after", 1),
    ("commit.after", 2),
    ("checkpoint.drop", 2),
    ("checkpoint.dropped", 2),
];

/// Before a job is at work, whether it goes on or not.
const AT_START: [&str; 6] = [
    "recovery.before",
    "recovery.begun",
    "sinks.before",
    "sinks.clean-up",
    "sinks.opened",
    "state.restored",
];

/// Passed by a recovery that finds a checkpoint whose output is not committed.
const IN_RECOVERY: [&str; 4] = ["commit.before", "commit.sink", "commit.mark", "commit.after"];

/// Many small checkpoints, and two sinks that commit one after the other into one directory.
fn case(prepare: fn(&Place)) -> Case {
    let job = r#"
        name = "words"
        parallelism = 2
        checkpoint-interval = "10ms"
        checkpoints-retained = 2
        # Little lies in the queues, so a barrier is soon through.
        batch-records = 128
        queue-bytes = "8KiB"
        restart-strategy = { type = "fixed-delay", attempts = 1000, delay = "1ms" }
        [sources.lines]
        connector = "file"
        path = "in/*.txt"
        [operators.split]
        component = "@operators/word_split.wasm"
        from = "lines"
        [operators.slow]
        component = "@operators/misbehave.wasm"
        from = "split"
        config = { mode = "slow" }
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "slow"
        config = { emit = "every" }
        [sinks.first]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "text"
        value-type = "u64"
        [sinks.second]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "text"
        value-type = "u64"
    "#;
    Case { job: job.to_owned(), prepare, in_memory: true }
}

/// Runs until the place named `at` is passed for the `count`-th time, which must kill it.
#[track_caller]
pub(super) fn run_to(place: &Place, at: &str, count: usize, settings: &[&str]) {
    let run = place.run().env("TIDEMILL_FAILPOINT", &format!("{at}:{count}"));
    let run = settings.iter().fold(run, |run, setting| run.set(setting));
    let ended = run.end().has_no_panic();
    assert!(ended.is_killed(), "{at} was not passed {count} times:\n{}", ended.stderr);
    ended.expect_killed_by(Signal::KILL);
}

#[test]
fn a_kill_at_any_place_loses_and_repeats_nothing() {
    let case = case(inputs::few_words);
    let (expected, _) = case.undisturbed();
    let at_start = AT_START.map(|at| (at, 1));
    for (at, count) in AT_WORK.into_iter().chain(at_start).chain([("first.written", 1)]) {
        println!("killed at {at}:{count}");
        let place = case.place();
        let mut watch = Watch::new(&expected);
        run_to(&place, at, count, &[]);
        watch.check(&place);
        place.run().end().expect(0).has_no_panic();
        watch.check_end(&place);
    }
}

#[test]
fn a_second_kill_while_the_job_recovers_loses_and_repeats_nothing() {
    let case = case(inputs::few_words);
    let (expected, _) = case.undisturbed();
    for first in ["manifest.after", "commit.sink", "snapshot.synced"] {
        // After the first two the newest checkpoint's output is not committed.
        let recovery = if first == "snapshot.synced" { [].as_slice() } else { &IN_RECOVERY };
        for second in recovery.iter().chain(&AT_START) {
            println!("killed at {first} and at {second}");
            let place = case.place();
            let mut watch = Watch::new(&expected);
            run_to(&place, first, 2, &[]);
            watch.check(&place);
            run_to(&place, second, 1, &[]);
            watch.check(&place);
            place.run().end().expect(0).has_no_panic();
            watch.check_end(&place);
        }
    }
}

#[test]
fn a_kill_while_snapshot_files_are_merged_loses_and_repeats_nothing() {
    let case = case(inputs::many_lines);
    let (expected, _) = case.undisturbed();
    for at in ["merge.written", "merge.synced"] {
        println!("killed at {at}");
        let place = case.place();
        let mut watch = Watch::new(&expected);
        // A chain of snapshot files goes on over several runs, until it is long enough.
        for _ in 0..4 {
            run_to(&place, "commit.after", 3, &[]);
        }
        run_to(&place, at, 1, &[]);
        watch.check(&place);
        place.run().end().expect(0).has_no_panic();
        watch.check_end(&place);
    }
}

#[test]
fn a_fresh_start_that_is_killed_is_made_again() {
    let case = case(inputs::few_words);
    let (expected, _) = case.undisturbed();
    let place = case.place();
    run_to(&place, "commit.after", 2, &[]);
    let fresh = || place.run().words("--fresh");
    for at in ["fresh.dropped", "recovery.begun", "sinks.opened", "first.written"] {
        fresh().env("TIDEMILL_FAILPOINT", &format!("{at}:1")).end().expect_killed_by(Signal::KILL);
    }
    fresh().end().expect(0).has_no_panic();
    Watch::new(&expected).check_end(&place);
}
