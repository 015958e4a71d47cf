//! A job whose operator has two versions, and what each must hold of the input.

use std::collections::BTreeMap;

use serde_json::Value;

use super::case::{published, sorted};
use super::failpoints::run_to;
use crate::harness::Place;

const JOB: &str = r#"
    name = "history"
    checkpoint-interval = "10ms"
    state-timeout = "1h"
    # The starts that are refused are no reason to wait before the next one.
    restart-strategy = "none"
    batch-records = 128
    queue-bytes = "8KiB"
    [sources.in]
    connector = "file"
    path = "in/*.ndjson"
    format = "ndjson"
    key = "k"
    [operators.slow]
    component = "@operators/misbehave.wasm"
    from = "in"
    config = { mode = "slow" }
    [operators.history]
    component = "@operators/history_1.wasm"
    from = "slow"
    [sinks.out]
    connector = "file"
    from = "history"
    path = "out"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

/// What a key has in a state: a value under no name, entries under their own, list items under their index.
type Items = BTreeMap<(String, String, String), Vec<u8>>;

/// Makes the job one of the operator's version 1 or 2.
pub(super) fn use_version(place: &Place, version: u32) {
    place.job(&JOB.replace("history_1", &format!("history_{version}")));
}

/// A place whose job was killed when a checkpoint with state was committed. `extra` lines come first.
pub(super) fn interrupted(extra: &str) -> Place {
    let place = Place::in_memory();
    use_version(&place, 1);
    let line = |n: usize| format!("{{\"k\":\"key {}\",\"n\":{n}}}\n", n * n % 61);
    // So many that a run on a busy machine comes to several checkpoints.
    let lines: String = (0..100_000).map(line).collect();
    place.write("in/0.ndjson", format!("{extra}{lines}"));
    run_to(&place, "commit.after", 2, &[]);
    // On a busy machine there are checkpoints before the first record.
    while dumped(&place).is_empty() {
        run_to(&place, "commit.after", 1, &[]);
    }
    place
}

/// The values of each key in the input, in order.
fn input(place: &Place) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(place.path("in/0.ndjson")).expect("it was written");
    let mut values = BTreeMap::<String, Vec<String>>::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("it was written as JSON");
        let key = value["k"].as_str().expect("a key").to_owned();
        values.entry(key).or_default().push(line.to_owned());
    }
    values
}

/// What version 2 must hold in the end.
fn expected(place: &Place) -> Items {
    let mut items = Items::new();
    for (key, values) in input(place) {
        let mut put = |state: &str, name: String, bytes: Vec<u8>| {
            items.insert((key.clone(), state.to_owned(), name), bytes);
        };
        let count = values.len() as u64;
        let none = String::new;
        put("count", none(), [count.to_le_bytes(), (count * count).to_le_bytes()].concat());
        put("same", none(), count.to_le_bytes().into());
        put("last", none(), format!("last was {}", values[values.len() - 1]).into_bytes());
        for number in 1..=count {
            put("numbers", (number - 1).to_string(), number.to_string().into_bytes());
        }
        for kind in 0..3 {
            let of_kind = (1..=count).filter(|number| number % 3 == kind).count() as u64;
            if of_kind > 0 {
                put("kinds", format!("kind {kind}"), of_kind.to_le_bytes().into());
            }
        }
    }
    items
}

fn bytes(value: &Value) -> Vec<u8> {
    if let Value::String(text) = value {
        return text.clone().into_bytes();
    }
    let hex = value["hex"].as_str().expect("bytes are text or hexadecimal");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// What the newest checkpoint holds.
fn dumped(place: &Place) -> Items {
    let dump = place.tidemill("state dump job.toml --operator history").end().expect(0);
    let mut items = Items::new();
    for line in dump.lines() {
        let item: Value = serde_json::from_str(&line).expect("a dump is JSON");
        let text = |name: &str| item[name].as_str().expect("text").to_owned();
        assert!(item["expires-at-ms"].is_i64(), "it expires: {item}");
        let name = match (&item["map-key"], &item["index"]) {
            (Value::String(key), _) => key.clone(),
            (_, Value::Number(index)) => index.to_string(),
            _ => String::new(),
        };
        let place = (text("key"), text("state"), name);
        assert_eq!(items.insert(place, bytes(&item["value"])), None, "each item once");
    }
    items
}

/// Fails unless all input is counted, each record once, and version 2 holds what it must.
#[track_caller]
pub(super) fn check_end(place: &Place) {
    check_counts(place);
    assert!(dumped(place) == expected(place), "the state is not that of the whole input");
}

/// Fails unless the counts of each key are 1, 2, 3 and so on, each once.
#[track_caller]
pub(super) fn check_counts(place: &Place) {
    let lines = input(place).into_iter().flat_map(|(key, values)| {
        (1..=values.len()).map(move |n| format!("{key}\t{n}")).collect::<Vec<_>>()
    });
    let expected = sorted(lines);
    assert!(sorted(published(place).into_values()) == expected, "counts are not 1 to n, each once");
}

/// The schema versions that the newest checkpoint has, by state.
pub(super) fn versions(place: &Place) -> BTreeMap<String, u64> {
    let shown = place.tidemill("checkpoint inspect job.toml --format json").end().expect(0);
    let manifest = shown.report();
    let operators = manifest["operators"].as_array().expect("operators");
    let history = operators.iter().find(|operator| operator["name"] == "history");
    let states = history.expect("it has state")["states"].as_array().expect("states");
    let version = |state: &Value| {
        let name = state["name"].as_str().expect("a name").to_owned();
        (name, state["schema_version"].as_u64().expect("a number"))
    };
    states.iter().map(version).collect()
}
