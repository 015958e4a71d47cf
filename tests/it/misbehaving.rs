//! Operators that break the rules: the job fails with a stable code, and nothing is published.
//!
//! The operator under test is `operators/misbehave`; its records of the key `bad` break the rule that
//! its configuration names. Good records before the bad one have been processed and emitted by then.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::Place;

const JOB: &str = r#"
    name = "misbehave"
    [sources.records]
    connector = "file"
    path = "in.ndjson"
    format = "ndjson"
    key = "k"
    [operators.odd]
    component = "@operators/misbehave.wasm"
    from = "records"
    [operators.odd.config]
    mode = "none"
    greeting = "good morning"
    [sinks.out]
    connector = "file"
    from = "odd"
    path = "out"
"#;

/// Batches before the bad one, so that some output waits to be published.
const GOOD: usize = 3000;

/// A place with good records and a bad one behind them.
fn place(job: &str) -> Place {
    let place = Place::with_job(job);
    let mut lines: String =
        (0..GOOD).map(|n| format!("{{\"k\":\"k{}\",\"n\":{n}}}\n", n % 7)).collect();
    lines += "{\"k\":\"bad\"}\n{\"k\":\"k0\"}\n";
    place.write("in.ndjson", lines);
    place
}

/// Runs the job of `place` in this mode, which must fail it; `says` is on stderr.
#[track_caller]
fn fails(place: &Place, mode: &str, settings: &[&str], says: &[&str]) {
    let run = place.run().set(&format!("operators.odd.config.mode={mode}"));
    let run = run.set("batch-records=512");
    let ended = settings.iter().fold(run, |run, setting| run.set(setting)).end().expect(1);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    place.has_no_output();
    let place_of_it = ["odd (lane 0): ", "job.toml:", "[operators.odd]"];
    let ended = ended.only_diagnostic().says(&place_of_it).says(says);
    for word in ["RUST_BACKTRACE", "host fault", "please report"] {
        assert!(!ended.stderr.contains(word), "{}", ended.stderr);
    }
}

#[test]
fn a_job_without_the_bad_mode_goes_well() {
    let place = place(JOB);
    let report = place.run().report();
    assert_eq!(report["records_out"], GOOD + 2);
    assert_eq!(report["keys"], 8);
}

#[test]
fn a_panic_is_told_with_its_text_and_place() {
    let says = ["a record cannot be processed: TRAP: ", "misbehave/src/lib.rs:", "the tide is out"];
    fails(&place(JOB), "panic", &[], &says);
    let says =
        ["cargo test", "; or: on-poison = \"dead-letter\"", "value \"{\\\"k\\\":\\\"bad\\\"}\""];
    fails(&place(JOB), "panic", &[], &says);
    fails(&place(JOB), "open", &[], &["TRAP", "it cannot even begin"]);
    fails(&place(JOB), "close", &[], &["TRAP", "it cannot end well"]);
}

#[test]
fn a_panic_fails_the_job_on_any_lane_and_the_same_way_each_time() {
    let place = place(JOB);
    for _ in 0..3 {
        let run = place.run().set("operators.odd.config.mode=panic").set("parallelism=2");
        let ended = run.end().expect(1).only_diagnostic();
        ended.says(&["odd (lane ", "TRAP", "the tide is out"]);
        place.has_no_output();
    }
}

#[test]
fn a_call_without_end_is_ended() {
    let says = ["CPU_LIMIT", "ms of CPU time", "are allowed", "a loop without end"];
    fails(&place(JOB), "loop", &[], &says);
    fails(&place(JOB), "wait", &[], &says);
    let settings =
        ["operators.odd.limits.process-cpu=10ms", "operators.odd.limits.process-cpu-max=20ms"];
    fails(&place(JOB), "loop", &settings, &["CPU_LIMIT", "10 ms are allowed"]);
}

#[test]
fn memory_and_stack_are_limited() {
    fails(&place(JOB), "memory", &[], &["MEMORY_LIMIT", "134217728", "keep data in state"]);
    let settings = ["operators.odd.limits.memory=8MiB"];
    fails(&place(JOB), "memory", &settings, &["MEMORY_LIMIT", "8388608"]);
    fails(&place(JOB), "stack", &[], &["STACK_LIMIT", "the guest's stack of 512 KiB is used up"]);
    fails(&place(JOB), "frames", &[], &["TRAP", "out of bounds memory access"]);
}

#[test]
fn output_and_state_are_limited() {
    fails(
        &place(JOB),
        "emit",
        &[],
        &["EMIT_LIMIT", "bytes emitted in one call; at most 16777216 are"],
    );
    let settings = ["operators.odd.limits.emit-records=10"];
    fails(
        &place(JOB),
        "emit",
        &settings,
        &["EMIT_LIMIT", "records emitted in one call; at most 10 are"],
    );
    fails(&place(JOB), "burst", &[], &["the record emits more than 1000000 records"]);
    fails(&place(JOB), "value", &[], &["ITEM_TOO_LARGE", "2097152", "at most 1048576"]);
    let settings = ["operators.odd.limits.state=64KiB"];
    fails(&place(JOB), "hoard", &settings, &["STATE_QUOTA", "65536", "state-timeout"]);
}

#[test]
fn values_that_break_the_contract_are_refused() {
    fails(&place(JOB), "output", &[], &["UNKNOWN_INDEX", "output 7 of 1"]);
    fails(&place(JOB), "column", &[], &["BAD_COLUMN"]);
    fails(&place(JOB), "slot", &[], &["BAD_SLOT", "99"]);
    fails(&place(JOB), "kind", &[], &["WRONG_STATE_KIND"]);
    fails(&place(JOB), "exit", &[], &["EXIT", "exit"]);
}

#[test]
fn a_record_without_key_does_not_reach_a_keyed_input() {
    let job = JOB.replace("from = \"odd\"", "from = \"count\"");
    let job = job
        + r#"
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "odd"
        config = { emit = "every" }
        "#;
    fails(&place(&job), "unkeyed", &[], &["MISSING_KEY", "emit with a key"]);
}

#[test]
fn what_the_operator_itself_says_is_passed_on() {
    let says =
        ["a record cannot be processed: REJECTED: a record that nobody wants", "key \"bad\""];
    fails(&place(JOB), "reject", &[], &says);
    fails(&place(JOB), "fatal", &[], &["the operator gave up: nothing works any more"]);
    let place = place(JOB);
    let run = place.run().set("operators.odd.config={ greeting = \"x\" }");
    run.end().expect(1).says(&["the operator gave up", "`mode`"]);
    place.has_no_output();
}

#[test]
fn what_an_operator_prints_becomes_log_lines_and_never_data() {
    let job = JOB.replace("connector = \"file\"\n    from", "connector = \"stdout\"\n    from");
    let job = job.replace("path = \"out\"", "");
    let place = place(&job);
    let ended = place.run().set("operators.odd.config.mode=print").words("-v").end().expect(0);
    assert_eq!(ended.lines().len(), GOOD + 2);
    assert!(ended.lines().iter().all(|line| line.starts_with("{\"k\":")), "{}", ended.text());
    let said = ["a word on stdout", "a word on stderr", "\\u{1b}[31man escape"];
    let ended = ended.says(&said);
    assert!(!ended.stderr.contains("\u{1b}[31m"), "{}", ended.stderr);
    let line = ended.stderr.lines().find(|line| line.contains("a word on stderr"));
    assert!(line.is_some_and(|line| line.contains("operator=\"odd\"")), "{}", ended.stderr);
}

#[test]
fn the_standard_library_finds_clock_and_chance_and_environment() {
    let now_ms =
        || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970").as_millis();
    let place = place(JOB);
    let before = now_ms();
    place.run().set("operators.odd.config.mode=std").report();
    let lines = place.lines("out");
    let facts: Vec<&str> =
        lines.iter().map(String::as_str).filter(|line| !line.starts_with('{')).collect();
    let [wall, rest @ ..] = facts.as_slice() else { panic!("{facts:?}") };
    let wall: u128 = wall.strip_prefix("wall clock ").and_then(|ms| ms.parse().ok()).expect("ms");
    assert!((before..=now_ms()).contains(&wall), "{wall}");
    let expected = [
        "slept 0 ms",
        "map of 1000, 31 gives 961",
        "greeting good morning, 0 arguments",
        "stdin has 0 bytes",
        "no thread",
    ];
    assert_eq!(rest, expected);
}

#[test]
fn an_operator_that_looks_for_files_finds_none_and_can_do_all_else() {
    let place = Place::with_job(
        r#"
        name = "files"
        [sources.lines]
        connector = "stdin"
        [operators.look]
        component = "@operators/look_for_files.wasm"
        from = "lines"
        [sinks.out]
        connector = "stdout"
        from = "look"
        "#,
    );
    let ended = place.run().words("-v").input("a line\n").end().expect(0);
    let nothing = ["read", "write", "list", "remove", "directory", "exists"];
    let mut expected = nothing.map(|what| format!("{what}: no")).to_vec();
    expected.push("clock: yes".to_owned());
    assert_eq!(ended.lines(), expected);
    ended.says(&["looked around"]);
    assert_eq!(place.names(""), [".tidemill", "job.toml"]);
    let run = place.run().words("--fresh").input("panic\n");
    let ended = run.end().expect(1).only_diagnostic();
    ended.says(&["look (lane 0): a record cannot be processed: TRAP: ", "nothing to be found"]);
}
