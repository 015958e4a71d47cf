//! Jobs that go on as something else: with other lanes, other components, other settings.

use std::collections::BTreeMap;

use super::case::{OFTEN, SLOW_WORDS as JOB, published, sorted};
use super::failpoints::run_to;
use super::inputs;
use crate::harness::Place;

/// A place whose job was killed when its second checkpoint was committed.
fn interrupted() -> Place {
    let place = Place::in_memory();
    place.job(JOB);
    inputs::few_words(&place);
    run_to(&place, "commit.after", 2, &[]);
    place
}

/// Each word in `in/`, as often as it comes.
fn words(place: &Place) -> BTreeMap<String, u64> {
    let mut words = BTreeMap::new();
    for name in place.names("in") {
        let text = std::fs::read_to_string(place.path("in").join(name)).expect("it was written");
        text.split_whitespace().for_each(|word| *words.entry(word.to_owned()).or_default() += 1);
    }
    words
}

/// Fails unless the counts of each word are 1, 2, 3 and so on, each once, over all words.
#[track_caller]
fn check_counts(place: &Place) {
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for line in sorted(published(place).into_values()) {
        let (word, count) = line.split_once('\t').expect("a word and a count");
        found.entry(word.to_owned()).or_default().push(count.parse().expect("a count"));
    }
    for counts in found.values_mut() {
        counts.sort_unstable();
    }
    let expected = words(place).into_iter().map(|(word, n)| (word, (1..=n).collect()));
    assert!(found == expected.collect(), "the counts are not 1 to n, each once");
}

/// Runs the changed job; it must be refused, and go on as it was.
#[track_caller]
fn is_refused(place: &Place, job: &str, says: &[&str]) {
    let before = published(place);
    place.job(job);
    place.run().end().refuses(78, says);
    assert!(published(place) == before, "a job that is refused publishes nothing new");
    place.job(JOB);
}

/// What `tidemill state dump` says of the state `seen` of an operator.
fn seen(place: &Place, operator: &str) -> BTreeMap<String, u64> {
    let dump = place.tidemill("state dump job.toml --operator").arg(operator).end().expect(0);
    let mut seen = BTreeMap::new();
    for line in dump.lines() {
        let item: serde_json::Value = serde_json::from_str(&line).expect("a dump is JSON");
        let key = item["key"].as_str().expect("words are text").to_owned();
        let value = match &item["value"] {
            serde_json::Value::String(text) => text.as_bytes().to_vec(),
            hex => {
                let hex = hex["hex"].as_str().expect("bytes are hexadecimal");
                let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
                (0..hex.len()).step_by(2).map(byte).collect()
            }
        };
        if item["state"] == "seen" {
            let count = u64::from_le_bytes(value.try_into().expect("eight bytes"));
            assert_eq!(seen.insert(key, count), None, "each key once");
        }
    }
    seen
}

#[test]
fn counts_stay_exact_when_the_number_of_lanes_changes() {
    let place = Place::in_memory();
    place.job(JOB);
    inputs::many_lines(&place);
    for (lanes, at) in [(1, 2), (3, 2), (2, 1), (4, 2)] {
        run_to(&place, "commit.after", at, &[&format!("parallelism={lanes}")]);
    }
    let ended = place.run().set("parallelism=2").end().expect(0);
    ended.says(&["Going on from checkpoint"]).has_no_panic();
    check_counts(&place);
    assert!(seen(&place, "count") == words(&place), "the state holds the last counts");
}

#[test]
fn a_component_with_one_more_state_goes_on_with_the_others() {
    let place = interrupted();
    let job = JOB.replace(r#"word_count.wasm"#, "misbehave.wasm");
    place.job(&job.replace(r#"emit = "every""#, r#"mode = "none""#));
    place.run().set("sinks.out.value-type=bytes").end().expect(0).has_no_panic();
    assert!(seen(&place, "count") == words(&place), "it counted on from where the other was");
}

#[test]
fn a_component_without_one_of_the_states_needs_a_flag() {
    let place = interrupted();
    let slow = r#"misbehave.wasm"
    from = "split"
    config = { mode = "slow" }"#;
    assert!(JOB.contains(slow));
    let job = JOB.replace(
        slow,
        "word_count.wasm\"\n    from = \"split\"\n    config = { emit = \"every\" }",
    );
    is_refused(&place, &job, &["operator slow", "kept", "--allow-drop-state"]);
    place.job(&job);
    place.run().words("--allow-drop-state").end().expect(0).has_no_panic();
    assert!(seen(&place, "slow") == words(&place));
    check_counts(&place);
}

#[test]
fn an_operator_with_state_is_not_lost_by_mistake() {
    let place = interrupted();
    let job = JOB.replace(r#"from = "slow""#, r#"from = "split""#);
    let (before, rest) = job.split_once("    [operators.slow]").expect("it has the operator");
    let (_, after) = rest.split_once("    [operators.count]").expect("it has the operator");
    let job = format!("{before}    [operators.count]{after}");
    is_refused(&place, &job, &["operator slow is gone", "holds its state", "--allow-drop-state"]);
    place.job(&job);
    place.run().words("--allow-drop-state").end().expect(0).has_no_panic();
    check_counts(&place);
}

#[test]
fn what_is_fixed_when_a_job_is_created_cannot_be_changed() {
    let place = interrupted();
    let says = ["has 128 key groups, and the job file says 64", "set key-groups = 128"];
    is_refused(&place, &format!("key-groups = 64\n{JOB}"), &says);
    let renamed = JOB
        .replace("[sources.lines]", "[sources.text]")
        .replace("from = \"lines\"", "from = \"text\"");
    is_refused(&place, &renamed, &["source lines is gone", "--fresh"]);
    let more = format!(
        "{JOB}\n[sources.more]\nconnector = \"nexmark\"\nevents = 1\n\
                        [sinks.other]\nconnector = \"discard\"\nfrom = \"more\"\n"
    );
    is_refused(&place, &more, &["source more is new", "--fresh"]);
    place.run().end().expect(0).has_no_panic();
    check_counts(&place);
}

/// Changes the only input file of a job that was interrupted while it read it; the job must then name it.
#[track_caller]
fn a_changed_file_is_named(code: i32, says: &[&str], change: fn(&mut Vec<u8>, usize)) {
    let place = Place::in_memory();
    place.job(JOB);
    place.write("in/0.txt", inputs::lines(0, 20_000));
    run_to(&place, "commit.after", 2, &[]);
    let shown =
        place.tidemill("checkpoint inspect job.toml --format json").end().expect(0).report();
    let position = &shown["sources"][0]["partitions"][0]["position"];
    let read = position["offset"].as_u64().and_then(|read| usize::try_from(read).ok());
    let read = read.filter(|read| *read > 0).expect("some of it was read");
    assert_eq!(position["ended"], false, "not all of it was read");
    let whole = std::fs::read(place.path("in/0.txt")).expect("it was written");
    let mut changed = whole.clone();
    change(&mut changed, read);
    match changed.is_empty() {
        true => std::fs::remove_file(place.path("in/0.txt")).expect("it was there"),
        false => drop(place.write("in/0.txt", changed)),
    }
    let output = published(&place);
    place.run().end().refuses(code, says).says(&["in/0.txt", "job.toml:"]);
    assert!(published(&place) == output, "a job that is refused publishes nothing new");
    place.write("in/0.txt", whole);
    place.run().end().expect(0).has_no_panic();
    check_counts(&place);
}

#[test]
fn an_input_file_that_is_gone_is_named_and_the_job_goes_on_when_it_is_back() {
    a_changed_file_is_named(66, &["--fresh"], |text, _| text.clear());
}

#[test]
fn input_files_that_were_read_to_their_end_need_not_be_there() {
    for at in ["manifest.after", "commit.mark", "commit.after"] {
        let place = Place::in_memory();
        place.job(JOB);
        inputs::few_words(&place);
        let expected = words(&place);
        // Nothing but the last checkpoint, which is at the end of the input.
        run_to(&place, at, 1, &["checkpoint-interval=1h"]);
        std::fs::remove_dir_all(place.path("in")).expect("it was there");
        let ended = place.run().end().expect(0).has_no_panic();
        ended.says(&["has finished before", "4 partitions"]);
        assert!(seen(&place, "count") == expected);
        assert_eq!(published(&place).len(), 1);
        assert!(place.names("out").iter().all(|name| name.starts_with("part-")));
        // What there is is not given up for a start that finds no input.
        place.run().words("--fresh").end().refuses(66, &["no file matches", "job.toml:"]);
        assert!(seen(&place, "count") == expected);
        assert_eq!(published(&place).len(), 1);
    }
}

#[test]
fn an_input_file_that_has_grown_or_shrunk_is_named() {
    let says = ["bytes when the job was created", "put the file back as it was", "--fresh"];
    a_changed_file_is_named(65, &says, |text, _| text.extend_from_slice(b"one more line\n"));
    a_changed_file_is_named(65, &says, |text, _| text.truncate(text.len() - 4));
}

#[test]
fn an_input_file_that_was_changed_where_it_was_read_is_named() {
    let says = ["was changed since the checkpoint", "put the file back as it was", "--fresh"];
    a_changed_file_is_named(65, &says, |text, read| text[read - 3] ^= 1);
}

#[test]
fn a_generator_with_other_settings_is_refused() {
    let place = Place::in_memory();
    place.job(&format!(
        r#"
        name = "events"
        {OFTEN}
        [sources.events]
        connector = "nexmark"
        events = 2000000
        partitions = 2
        [sinks.out]
        connector = "discard"
        from = "events"
        "#
    ));
    run_to(&place, "commit.after", 1, &[]);
    for setting in ["partitions=3", "seed=7", "events=1000", "encoding=msgpack", "stream=lines"] {
        let run = place.run().set(&format!("sources.events.{setting}"));
        let name = setting.split_once('=').expect("a setting has a value").0;
        let says = [&format!("`{name}` was "), "set it back", "--fresh", "job.toml:"];
        let ended = run.end().has_no_panic().says(&says);
        assert!(!ended.has_succeeded(), "{}", ended.stderr);
    }
}
