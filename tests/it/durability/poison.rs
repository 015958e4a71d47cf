//! Records that an operator cannot process: one costs only itself, whatever it does to the sandbox.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use super::case::{OFTEN, published, sorted};
use crate::harness::{Command, Place};

const RECORDS: usize = 60_000;
/// Every so-manieth record is one that cannot be processed.
const EVERY: usize = 6_000;
const BAD: usize = RECORDS / EVERY;

/// Counts the records of each key behind an operator that cannot process some of them.
fn place() -> Place {
    let place = Place::in_memory();
    place.job(&format!(
        r#"
        name = "poison"
        parallelism = 2
        {OFTEN}
        [sources.records]
        connector = "file"
        path = "in.ndjson"
        format = "ndjson"
        key = "k"
        [operators.odd]
        component = "@operators/misbehave.wasm"
        from = "records"
        config = {{ mode = "panic" }}
        [operators.count]
        component = "@operators/word_count.wasm"
        from = "odd"
        config = {{ emit = "every" }}
        [sinks.out]
        connector = "file"
        from = "count"
        path = "out"
        format = "text"
        key-type = "text"
        value-type = "u64"
        "#
    ));
    let mut text = String::new();
    for n in 0..RECORDS {
        let key = if n % EVERY == EVERY / 2 { "bad".to_owned() } else { format!("k{}", n % 13) };
        writeln!(text, "{{\"k\":\"{key}\",\"n\":{n}}}").expect("text grows");
    }
    place.write("in.ndjson", text);
    place
}

fn run(place: &Place, on_poison: &str, mode: &str) -> Command {
    let run = place.run().set(&format!("on-poison={on_poison}"));
    run.set(&format!("operators.odd.config.mode={mode}"))
}

/// Fails unless all good records are counted, once, and no other.
#[track_caller]
fn check_counts(place: &Place) {
    let mut expected = BTreeMap::<String, u64>::new();
    for n in (0..RECORDS).filter(|n| n % EVERY != EVERY / 2) {
        *expected.entry(format!("k{}", n % 13)).or_default() += 1;
    }
    let lines = expected.iter().flat_map(|(k, n)| (1..=*n).map(move |n| format!("{k}\t{n}")));
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    let found = sorted(published(place).into_values());
    assert!(found == lines, "{} counts, not {}", found.len(), lines.len());
}

/// Fails unless the dead letters are those of the bad records, once each, as they are documented.
#[track_caller]
fn check_dead_letters(place: &Place, code: &str, error: &str) {
    let mut numbers: Vec<u64> = Vec::new();
    for line in place.lines("dead-letters") {
        let letter: Value = serde_json::from_str(&line).expect("a dead letter is JSON");
        let fields: Vec<&String> = letter.as_object().expect("an object").keys().collect();
        let all = ["clock_ms", "code", "error", "key", "lane", "operator", "timestamp_ms", "value"];
        assert_eq!(
            {
                let mut f = fields;
                f.sort();
                f
            },
            all
        );
        assert_eq!((&letter["operator"], &letter["code"]), (&"odd".into(), &code.into()));
        assert_eq!(letter["key"], "bad");
        assert!(letter["error"].as_str().is_some_and(|text| text.contains(error)), "{line}");
        let value = letter["value"].as_str().expect("the value is text");
        let value: Value = serde_json::from_str(value).expect("the value is what was read");
        numbers.push(value["n"].as_u64().expect("a number"));
    }
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..BAD).map(|n| (n * EVERY + EVERY / 2) as u64).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn poison_in_the_middle_of_a_batch_is_skipped_and_nothing_else_is() {
    for mode in ["panic", "reject", "stack", "exit"] {
        let place = place();
        let report = run(&place, "skip", mode).report();
        assert_eq!(report["outcome"], "finished", "{mode}");
        check_counts(&place);
        assert!(place.names("dead-letters").is_empty());
        assert_eq!(logged(&place), BAD as u64, "{mode}");
    }
}

/// Poison records that the job's event log tells of.
fn logged(place: &Place) -> u64 {
    let text = std::fs::read_to_string(place.path(".tidemill/poison/events.ndjson"));
    let text = text.expect("there is an event log");
    let events = text.lines().map(|line| serde_json::from_str(line).expect("an event is JSON"));
    let events = events.collect::<Vec<Value>>().into_iter();
    let told = events.filter(|event| event["event"] == "poison" && event["operator"] == "odd");
    told.map(|event| event["count"].as_u64().expect("a count")).sum()
}

#[test]
fn dead_letters_are_as_documented_and_come_once() {
    for (mode, code, error) in
        [("panic", "TRAP", "the tide is out"), ("reject", "REJECTED", "a record that nobody wants")]
    {
        let place = place();
        run(&place, "dead-letter", mode).report();
        check_counts(&place);
        check_dead_letters(&place, code, error);
    }
}

#[test]
fn dead_letters_come_once_through_kills() {
    for at in ["snapshot.synced:5", "manifest.before:2", "commit.sink:3", "commit.after:2"] {
        let place = place();
        let run = || run(&place, "dead-letter", "panic").set("batch-records=64");
        let run = || run().set("checkpoint-interval=10ms").set("queue-bytes=8KiB");
        run().env("TIDEMILL_FAILPOINT", at).end().expect_killed_by(Signal::KILL);
        run().end().expect(0);
        check_counts(&place);
        check_dead_letters(&place, "TRAP", "the tide is out");
    }
}

#[test]
fn more_poison_than_allowed_fails_the_job_which_goes_on_when_it_is_raised() {
    let place = place();
    let ended = run(&place, "skip", "panic").set("poison-limit=2").end();
    let says = [
        "odd (lane ",
        "more than 2 records within a minute",
        "mend the input or the operator, or raise `poison-limit`",
    ];
    ended.expect(1).says(&says);
    run(&place, "skip", "panic").end().expect(0);
    check_counts(&place);
}

#[test]
fn a_job_that_failed_on_poison_goes_on_when_it_may_skip_it() {
    let place = place();
    let ended = run(&place, "fail", "panic").end().expect(1);
    ended.says(&["a record cannot be processed: TRAP"]);
    run(&place, "skip", "panic").end().expect(0);
    check_counts(&place);
}
