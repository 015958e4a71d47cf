//! Jobs on several lanes give what a model computes from the same events.
//!
//! At parallelism above 1 the order of records between keys is free, so outputs are compared as
//! multisets, or by what must hold for each key: counts run from 1 to n, each once, and the last one
//! comes with the whole sum.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::harness::Place;
use crate::harness::events::{Trade, generated, totals, uniform, words};

/// Lanes and partitions to try.
const SHAPES: [(usize, usize); 4] = [(1, 1), (2, 1), (2, 2), (2, 3)];

const COUNT_BIDS: &str = r#"
    name = "count"
    [sources.events]
    connector = "nexmark"
    events = 20000
    [operators.split]
    component = "@operators/nexmark.wasm"
    from = "events"
    config = { query = "split" }
    [operators.count]
    component = "@operators/nexmark_count.wasm"
    from = "split.bids"
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "integer"
    value-type = "u64"
"#;

const COUNT_RECORDS: &str = r#"
    name = "heavy"
    [sources.records]
    connector = "nexmark"
    stream = "uniform"
    events = 20000
    encoding = "msgpack"
    key = "key"
    [operators.count]
    component = "@operators/heavy.wasm"
    from = "records"
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "integer"
    value-type = "u64"
"#;

const COUNT_WORDS: &str = r#"
    name = "words"
    [sources.lines]
    connector = "nexmark"
    stream = "lines"
    events = 4000
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
    format = "ndjson"
    key-type = "text"
    value-type = "u64"
"#;

const PASS_BIDS: &str = r#"
    name = "bids"
    [sources.events]
    connector = "nexmark"
    events = 20000
    [operators.query]
    component = "@operators/nexmark.wasm"
    from = "events"
    config = { query = "q0" }
    [sinks.out]
    connector = "file"
    from = "query.bids"
    path = "out"
"#;

const ENRICH: &str = r#"
    name = "enrich"
    [sources.events]
    connector = "nexmark"
    events = 20000
    encoding = "msgpack"
    [operators.split]
    component = "@operators/nexmark.wasm"
    from = "events"
    config = { query = "split" }
    [operators.enrich]
    component = "@operators/enrich.wasm"
    inputs.bids = "split.bids"
    inputs.auctions = "split.auctions"
    [sinks.out]
    connector = "file"
    from = "enrich"
    path = "out"
    format = "text"
    value-type = "msgpack"
"#;

/// Runs a job in a shape of its own; answers the place with its output.
#[track_caller]
fn run(job: &str, source: &str, (lanes, partitions): (usize, usize), settings: &[&str]) -> Place {
    let place = Place::with_job(job);
    let run = place.run().set(&format!("parallelism={lanes}"));
    let run = run.set(&format!("sources.{source}.partitions={partitions}"));
    let report = settings.iter().fold(run, |run, setting| run.set(setting)).report();
    assert_eq!(report["outcome"], "finished");
    place
}

/// Fails unless the counts of each key are 1 to n, each once, and its last line ends the history of
/// the model: count and, where there is one, sum.
#[track_caller]
fn check_counts<K: Ord + Display>(
    found: Vec<(String, Vec<u64>)>,
    model: &BTreeMap<K, Vec<u64>>,
    shape: (usize, usize),
) {
    let mut by_key = BTreeMap::<String, Vec<Vec<u64>>>::new();
    for (key, fields) in found {
        by_key.entry(key).or_default().push(fields);
    }
    assert_eq!(by_key.len(), model.len(), "keys, {shape:?}");
    for (key, last) in model {
        let outputs = &mut by_key.get_mut(&key.to_string()).expect("a key of the model");
        outputs.sort_unstable();
        let counts = outputs.iter().map(|fields| fields[0]);
        assert!(counts.eq(1..=last[0]), "counts of {key}, {shape:?}: {outputs:?}");
        assert_eq!(outputs.last(), Some(last), "{key}, {shape:?}");
    }
}

/// Lines of a key and its fields, parted by tabs.
fn tabbed(lines: Vec<String>) -> Vec<(String, Vec<u64>)> {
    let parse = |line: String| {
        let mut fields = line.split('\t').map(str::to_owned);
        let key = fields.next().expect("a line has a field");
        (key, fields.map(|field| field.parse().expect("integers")).collect())
    };
    lines.into_iter().map(parse).collect()
}

#[test]
fn bids_of_each_auction_are_counted_once_each() {
    let bids = Trade::of(&generated("nexmark", 20_000)).bids;
    let totals = totals(bids.iter().map(|bid| (bid.auction, bid.price)));
    let model = totals.iter().map(|(key, (count, sum))| (*key, vec![*count, *sum])).collect();
    for shape in SHAPES {
        let place = run(COUNT_BIDS, "events", shape, &[]);
        check_counts(tabbed(place.lines("out")), &model, shape);
    }
}

#[test]
fn records_of_each_key_are_counted_once_each() {
    let totals = totals(uniform(&generated("uniform", 20_000)));
    let model = totals.iter().map(|(key, (count, sum))| (*key, vec![*count, *sum])).collect();
    for shape in SHAPES {
        let place = run(COUNT_RECORDS, "records", shape, &[]);
        check_counts(tabbed(place.lines("out")), &model, shape);
    }
}

#[test]
fn words_are_counted_once_each() {
    let words = words(&generated("lines", 4000));
    let model = words.into_iter().map(|(word, count)| (word, vec![count])).collect();
    for shape in SHAPES {
        let place = run(COUNT_WORDS, "lines", shape, &[]);
        let parse = |line: &String| {
            let record: serde_json::Value = serde_json::from_str(line).expect("NDJSON");
            let word = record["key"].as_str().expect("a word").to_owned();
            (word, vec![record["value"].as_u64().expect("a count")])
        };
        check_counts(place.lines("out").iter().map(parse).collect(), &model, shape);
    }
}

#[test]
fn bids_pass_through_unchanged_on_any_number_of_lanes() {
    let mut model = generated("nexmark", 20_000);
    model.retain(|event| event.starts_with(r#"{"type":"bid","#));
    model.sort_unstable();
    for shape in SHAPES {
        let place = run(PASS_BIDS, "events", shape, &[]);
        assert!(place.sorted_lines("out") == model, "{shape:?}");
    }
}

#[test]
fn a_join_is_the_same_however_records_are_batched_and_held_up() {
    let line = |row: [u64; 4]| row.map(|field| field.to_string()).join("\t");
    let mut model: Vec<String> =
        Trade::of(&generated("nexmark", 20_000)).enriched().into_iter().map(line).collect();
    model.sort_unstable();
    let settings: [&[&str]; 5] = [
        &[],
        &["batch-records=1"],
        &["queue-bytes=1"],
        &["batch-records=1", "queue-bytes=1", "linger=0"],
        &["batch-records=7", "batch-bytes=100", "key-groups=2"],
    ];
    for settings in settings {
        for shape in [(1, 1), (2, 3)] {
            let place = run(ENRICH, "events", shape, settings);
            assert!(place.sorted_lines("out") == model, "{shape:?} {settings:?}");
        }
    }
}

#[test]
fn more_lanes_than_partitions_or_cores_do_no_harm() {
    let words = words(&generated("lines", 4000));
    let model = words.into_iter().map(|(word, count)| (word, vec![count])).collect();
    let place = run(COUNT_WORDS, "lines", (16, 3), &["sinks.out.format=text"]);
    check_counts(tabbed(place.lines("out")), &model, (16, 3));
}
