//! Job files and command lines that are wrong: refused before anything happens, with the place and
//! what to do.

use crate::harness::Place;

const SOURCE: &str = r#"
    [sources.lines]
    connector = "file"
    path = "in.txt"
"#;
const SPLIT: &str = r#"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "lines"
"#;
const COUNT: &str = r#"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    config = { emit = "every" }
"#;
const SINK: &str = r#"
    [sinks.out]
    connector = "file"
    path = "out"
    from = "count"
"#;

/// A place with a job of these parts, and an input for it.
fn place(parts: &[&str]) -> Place {
    let place = Place::with_job(&format!("name = \"bad\"\n{}", parts.concat()));
    place.write("in.txt", "a word\n");
    place
}

/// Fails unless the job is refused as a wrong job file: `says` names the place and what to do.
#[track_caller]
fn refused(parts: &[&str], says: &[&str]) {
    let place = place(parts);
    let ended = place.run().end().refuses(78, says).says(&["job.toml:"]);
    assert!(ended.stdout.is_empty(), "{}", ended.text());
    place.has_no_output();
    assert!(place.names(".tidemill").is_empty(), "the data directory is not touched");
}

#[test]
fn the_parts_of_these_jobs_make_a_good_one() {
    let place = place(&[SOURCE, SPLIT, COUNT, SINK]);
    let job = ["sinks.out.format=text", "sinks.out.key-type=text", "sinks.out.value-type=u64"];
    job.iter().fold(place.run(), |run, setting| run.set(setting)).end().expect(0);
    assert_eq!(place.sorted_lines("out"), ["a\t1", "word\t1"]);
}

#[test]
fn files_that_are_no_files_are_refused_and_nobody_waits_for_them() {
    let place = place(&[SOURCE, SPLIT, COUNT, SINK]);
    place.fifo("fifo");
    let fifo = ["it is no regular file"];
    place.tidemill("run fifo").end().refuses(66, &fifo);
    place.tidemill("run job.toml --tenants fifo").end().refuses(66, &fifo);
    place.tidemill("inspect fifo").end().refuses(66, &fifo);
    place.run().set("operators.split.component=fifo").end().refuses(66, &fifo);
    place.tidemill("run /dev/zero").end().refuses(66, &fifo);
    place.write("large.toml", vec![b'#'; 1024 * 1024 + 1]);
    let large = ["it has 1048577 bytes; at most 1048576 are allowed"];
    place.tidemill("run large.toml").end().refuses(66, &large);
    place.has_no_output();
}

#[test]
fn a_missing_job_file_is_named() {
    let place = Place::new();
    let says = ["cannot read the job file job.toml", "No such file", "give the path of a job file"];
    place.run().end().refuses(66, &says);
    place.tidemill("run .").end().refuses(66, &["cannot read the job file"]);
    place.tidemill("explain job.toml").end().refuses(66, &says);
}

#[test]
fn a_job_file_that_is_no_text_is_refused() {
    let place = Place::new();
    place.write("job.toml", b"name = \"\xff\"\n");
    place.run().end().refuses(66, &["job.toml", "UTF-8"]);
}

#[test]
fn malformed_toml_is_shown_where_it_breaks() {
    refused(&["[sources\n"], &["this is not TOML", "job.toml:2", "[sources"]);
    refused(&["a = 1\na = 2\n"], &["job.toml:3", "a = 2"]);
    refused(&["\0"], &["this is not TOML"]);
}

#[test]
fn an_unknown_setting_gets_the_nearest_name() {
    refused(&["paralelism = 2\n", SOURCE], &["`paralelism`", "did you mean `parallelism`?"]);
    let sink = SINK.replace("path", "pth");
    refused(
        &[SOURCE, SPLIT, COUNT, &sink],
        &["there is no setting `pth`", "did you mean `path`?", "job.toml:"],
    );
    refused(
        &["colour = 1\n"],
        &["there is no setting `colour` here", "`name`, `tenant`, `parallelism`"],
    );
    let source = SOURCE.replace("file", "fiel");
    refused(&[&source], &[r#""fiel" is not one of"#, r#"did you mean "file"?"#]);
}

#[test]
fn a_value_of_the_wrong_kind_or_size_says_what_may_stand_there() {
    refused(
        &["parallelism = \"two\"\n", SOURCE],
        &["parallelism: expected a whole number", "\"two\""],
    );
    refused(&["parallelism = 0\n", SOURCE], &["parallelism: 0 is outside 1 to 256"]);
    refused(
        &["queue-bytes = \"1MB5\"\n", SOURCE],
        &["queue-bytes: expected a size such as \"64MiB\"", "1MB5"],
    );
    refused(
        &["state-timeout = \"soon\"\n", SOURCE],
        &["state-timeout: expected a duration such as", "soon"],
    );
    refused(&[SOURCE, SPLIT, "limits = { memory = \"1GiB\" }\n"], &["above the host's limit of"]);
    refused(&["parallelism = 2\nkey-groups = 1\n", SOURCE], &["key-groups = 2"]);
}

#[test]
fn a_cycle_names_its_nodes() {
    let split = SPLIT.replace("\"lines\"", "[\"lines\", \"count\"]");
    refused(
        &[SOURCE, &split, COUNT, SINK],
        &["the graph has a cycle: count -> split -> count", "read from somewhere else"],
    );
}

#[test]
fn an_unknown_node_or_output_gets_the_nearest_name() {
    let count = COUNT.replace("\"split\"", "\"splt\"");
    refused(
        &[SOURCE, SPLIT, &count, SINK],
        &["nothing is called \"splt\"; did you mean \"split\"?"],
    );
    let count = COUNT.replace("\"split\"", "\"split.wrds\"");
    refused(&[SOURCE, SPLIT, &count, SINK], &["\"split\" has no output \"wrds\"; it has words"]);
    let count = COUNT.replace("from = \"split\"", "inputs.wurds = \"split\"");
    refused(&[SOURCE, SPLIT, &count, SINK], &["it has no input \"wurds\"; it has words"]);
}

#[test]
fn a_graph_without_sources_or_edges_says_what_to_add() {
    refused(&[], &["add a [sources.NAME] table"]);
    let sink = SINK.replace("from = \"count\"", "");
    refused(&[SOURCE, SPLIT, COUNT, &sink], &["add `from = \"NODE\"`"]);
    let sink = SINK.replace("\"count\"", "\"out\"");
    refused(
        &[SOURCE, SPLIT, COUNT, &sink],
        &["\"out\" is a sink", "read from the node that feeds"],
    );
}

#[test]
fn records_without_keys_do_not_go_into_a_keyed_input() {
    let count = COUNT.replace("\"split\"", "\"lines\"");
    refused(
        &[SOURCE, &count, SINK],
        &["\"lines\" gives its records no key", "set the source's `key`"],
    );
}

#[test]
fn names_that_are_taken_or_cannot_be_used_are_refused() {
    let split = SPLIT.replace("operators.split", "operators.lines");
    refused(&[SOURCE, &split], &["two nodes are called \"lines\"", "the other one", "rename one"]);
    let split = SPLIT.replace("operators.split", "operators.\"../x\"");
    refused(&[SOURCE, &split], &["\"../x\" cannot name a node", "1 to 128 of a-z"]);
    for name in ["..", "Bad", "a/b", ""] {
        let place = place(&[SOURCE, SPLIT, COUNT, SINK]);
        let set = format!("name={name:?}");
        place.run().set(&set).end().refuses(78, &["cannot name a job", "a-z, 0-9 and '-'"]);
        place.has_no_output();
    }
}

#[test]
fn a_missing_component_shows_its_line_and_how_to_build() {
    let place = place(&[SOURCE, &SPLIT.replace("word_split", "word_splt"), COUNT, SINK]);
    let says = ["cannot read the component", "word_splt.wasm", "cargo build", "job.toml:"];
    place.run().end().refuses(66, &says);
    place.has_no_output();
}

#[test]
fn an_override_that_is_wrong_shows_the_command_line() {
    let place = place(&[SOURCE, SPLIT, COUNT, SINK]);
    for (set, says) in [
        ("parallelism", "KEY=VALUE"),
        ("=2", "KEY=VALUE"),
        ("paralelism=2", "did you mean `parallelism`?"),
        ("parallelism=two", "--set"),
        ("name.first=a", "`name` is a value and has no settings below it"),
        ("sinks.out.nothing=1", "there is no setting `nothing` here"),
    ] {
        place.run().set(set).end().refuses(78, &[says, set]);
        place.has_no_output();
    }
}

#[test]
fn a_command_line_that_is_wrong_shows_its_usage() {
    let place = Place::new();
    for words in ["", "rnu job.toml", "run", "explain a.toml b.toml", "run job.toml --fresg"] {
        let ended = place.tidemill(words).end().refuses(2, &["Usage"]);
        assert!(ended.stdout.is_empty(), "{}", ended.text());
    }
    place.tidemill("run job.toml --metrics 127.0.0.1").end().refuses(2, &["--metrics"]);
    place.tidemill("run job.toml --report xml").end().refuses(2, &["xml", "text, json"]);
}

#[test]
fn a_failure_can_be_had_as_json_in_the_log_and_in_the_report() {
    let place = place(&["paralelism = 2\n", SOURCE]);
    let ended = place.run().words("--log-format json").end().expect(78);
    let line = ended.stderr.lines().last().expect("a log line");
    let line: serde_json::Value = serde_json::from_str(line).expect("a JSON object");
    assert_eq!(line["exit_code"], 78);
    assert_eq!((&line["file"], &line["line"]), (&"job.toml".into(), &2.into()));
    assert_eq!(line["help"], "did you mean `parallelism`?");
}
