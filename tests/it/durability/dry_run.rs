//! `run --dry-run`: it says what a run would do, ends as that would, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use super::history::{check_end, interrupted, use_version};
use super::inputs;
use crate::harness::{Command, Place};

/// Every file and folder of a place, with content and time of change.
fn tree(place: &Place) -> BTreeMap<PathBuf, (Option<Vec<u8>>, std::time::SystemTime)> {
    fn walk(folder: &Path, tree: &mut BTreeMap<PathBuf, (Option<Vec<u8>>, std::time::SystemTime)>) {
        for entry in fs::read_dir(folder).expect("the place is readable").flatten() {
            let (path, about) = (entry.path(), entry.metadata().expect("it is there"));
            let changed = about.modified().expect("the system knows it");
            if about.is_dir() {
                walk(&path, tree);
                tree.insert(path, (None, changed));
            } else {
                let content = about.is_file().then(|| fs::read(&path).expect("it is readable"));
                tree.insert(path, (content, changed));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&place.path(""), &mut found);
    found
}

/// A run that is only tried.
fn tried(place: &Place) -> Command {
    place.run().words("--dry-run")
}

/// What a run would do. Nothing in the place may change.
#[track_caller]
fn found(place: &Place, run: Command) -> Value {
    let before = tree(place);
    let ended = run.words("--report json").end().expect(0).has_no_panic();
    assert!(tree(place) == before, "something was changed");
    ended.report()
}

/// Fails unless a run and its trial are refused alike; the trial comes first and must change nothing.
#[track_caller]
fn is_refused(place: &Place, code: i32, words: &str, says: &[&str]) {
    let before = tree(place);
    tried(place).words(words).end().refuses(code, says);
    let report = tried(place).words(words).words("--report json").end().expect(code).report();
    assert_eq!((&report["outcome"], &report["exit_code"]), (&"failed".into(), &code.into()));
    assert!(tree(place) == before, "something was changed");
    place.run().words(words).end().refuses(code, says);
}

/// Counts words.
const JOB: &str = r#"
    name = "words"
    checkpoint-interval = "10ms"
    restart-strategy = "none"
    [sources.lines]
    connector = "file"
    path = "in/*.txt"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "lines"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    config = { emit = "every" }
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

#[test]
fn a_job_that_has_never_run_would_begin_and_does_not() {
    let place = Place::with_job(JOB);
    is_refused(&place, 66, "", &["no file matches", "job.toml:"]);
    let place = Place::with_job(JOB);
    inputs::few_words(&place);
    let report = found(&place, tried(&place));
    assert_eq!((&report["outcome"], &report["start"]), (&"dry-run".into(), &"new".into()));
    assert_eq!(
        (&report["checkpoint"], &report["operators"]),
        (&Value::Null, &Value::Array(vec![]))
    );
    assert!(!place.path(".tidemill").exists() && !place.path("out").exists());
    let text = tried(&place).end().expect(0).text();
    assert_eq!(
        text,
        "words would begin: it goes on from no checkpoint\ndry run: nothing was changed\n"
    );
}

#[test]
fn a_job_that_has_finished_has_nothing_left_to_do() {
    let place = Place::with_job(JOB);
    inputs::few_words(&place);
    place.run().end().expect(0);
    let report = found(&place, tried(&place));
    assert_eq!(report["start"], "finished");
    let fresh = found(&place, tried(&place).words("--fresh"));
    assert_eq!(fresh["start"], "new");
    assert!(fresh["removed_checkpoints"].as_u64() > Some(0), "{fresh}");
    // Its output is somebody else's for a job that knows nothing of it.
    let says = ["output file(s) of an earlier run", "--fresh"];
    is_refused(&place, 73, "--data-dir elsewhere", &says);
}

#[test]
fn what_becomes_of_each_state_is_told_and_then_done() {
    let place = interrupted("");
    let report = found(&place, tried(&place));
    let newest = place.tidemill("checkpoint inspect job.toml --format json").end().expect(0);
    assert_eq!(report["start"], "checkpoint");
    assert_eq!(report["checkpoint"], newest.report()["checkpoint"]);
    let fates = |report: &Value| -> BTreeMap<String, (String, Option<u64>)> {
        let operators = report["operators"].as_array().expect("operators");
        let history = operators.iter().find(|operator| operator["name"] == "history");
        let states = history.expect("it has state")["states"].as_array().expect("states");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let fate = |state: &Value| (text(&state["fate"]), state["migration"]["items"].as_u64());
        states.iter().map(|state| (text(&state["name"]), fate(state))).collect()
    };
    assert!(fates(&report).values().all(|fate| *fate == ("kept".to_owned(), None)));
    use_version(&place, 2);
    for words in ["", "--set parallelism=3"] {
        let report = found(&place, tried(&place).words(words));
        let fates = fates(&report);
        assert_eq!(fates["same"], ("kept".to_owned(), None));
        let keys = report["operators"].as_array().expect("operators").iter();
        let keys = keys.filter(|operator| operator["name"] == "history");
        let keys: u64 = keys.map(|history| history["keys"].as_u64().expect("a number")).sum();
        assert!(keys > 1);
        for state in ["count", "last"] {
            assert_eq!(fates[state], ("migrated".to_owned(), Some(keys)), "an item for each key");
        }
        assert!(fates["numbers"].1 > Some(keys) && fates["kinds"].1 >= Some(keys));
    }
    place.run().set("parallelism=3").end().expect(0).has_no_panic();
    check_end(&place);
}

#[test]
fn what_keeps_a_job_from_going_on_is_told_as_by_a_run() {
    let place = interrupted("");
    is_refused(&place, 78, "--set key-groups=64", &["has 128 key groups", "set key-groups = 128"]);
    let job = fs::read_to_string(place.path("job.toml")).expect("it was written");
    place.job(&job.replace("history_1.wasm", "word_count.wasm"));
    is_refused(&place, 78, "", &["operator history", "--allow-drop-state"]);
    let report = found(&place, tried(&place).words("--allow-drop-state"));
    let states = report["operators"].as_array().and_then(|all| all.last().cloned());
    let states = states.expect("it has state")["states"].clone();
    let fates = states.as_array().expect("states").iter().map(|state| state["fate"].clone());
    assert_eq!(fates.filter(|fate| fate == "dropped").count(), 5, "{states}");
    place.job(&job);
    let input = place.path("in/0.ndjson");
    let text = fs::read(&input).expect("it was written");
    fs::remove_file(&input).expect("it was there");
    is_refused(&place, 66, "", &["in/0.ndjson", "job.toml:"]);
    fs::write(&input, text).expect("it can be written");
    let folder = ".tidemill/history/checkpoints";
    let base = place.names(folder).into_iter().find(|name| name.ends_with(".base"));
    let base = place.path(folder).join(base.expect("a snapshot file"));
    let whole = fs::read(&base).expect("it is readable");
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&base, damaged).expect("it can be written");
    let name = base.file_name().expect("a name").to_string_lossy().into_owned();
    is_refused(&place, 74, "", &[&name]);
}

#[test]
fn a_savepoint_can_be_tried_before_it_is_begun_with() {
    let place = interrupted("");
    place.tidemill("savepoint create job.toml --to saved").end().expect(0);
    use_version(&place, 2);
    let elsewhere = "--data-dir elsewhere --from saved --set parallelism=2";
    let report = found(&place, tried(&place).words(elsewhere));
    assert_eq!((&report["start"], &report["savepoint"]), (&"savepoint".into(), &"saved".into()));
    assert_eq!((&report["parallelism"], &report["parallelism_then"]), (&2.into(), &1.into()));
    assert!(!place.path("elsewhere").exists());
    is_refused(&place, 73, "--from saved", &["is there already", "--fresh"]);
    let report = found(&place, tried(&place).words("--from saved --fresh"));
    assert!(report["removed_checkpoints"].as_u64() > Some(0), "{report}");
    is_refused(&place, 66, "--data-dir elsewhere --from out", &["holds no savepoint"]);
    // One that does not fit leaves nothing behind, not even what was there.
    let says = ["set key-groups = 128"];
    is_refused(&place, 78, "--from saved --fresh --set key-groups=64", &says);
    place.run().end().expect(0).has_no_panic();
    check_end(&place);
}

#[test]
fn a_running_job_is_told_and_not_disturbed() {
    let job = r#"
        name = "tcp"
        checkpoint-interval = "50ms"
        [sources.in]
        connector = "tcp"
        listen = "127.0.0.1:0"
        [sinks.out]
        connector = "discard"
        from = "in"
    "#;
    let place = Place::with_job(job);
    let running = place.run().start();
    running.address_after("Source in listens on ");
    // It says so before it takes the lock.
    while !place.path(".tidemill/tcp/events.ndjson").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    tried(&place).end().refuses(73, &["another tidemill process runs this job"]);
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
    // The input log is read, too.
    let report = found(&place, tried(&place));
    assert!(report["start"] == "checkpoint" || report["start"] == "new", "{report}");
    let log = place.names(".tidemill/tcp/wal").pop().expect("a segment of the log");
    let log = place.path(".tidemill/tcp/wal").join(log);
    let mut bytes = fs::read(&log).expect("it is readable");
    bytes[20] ^= 1;
    fs::write(&log, bytes).expect("it can be written");
    is_refused(&place, 74, "", &["the input log"]);
}
