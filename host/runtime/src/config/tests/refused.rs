//! Each way in which a job file can be wrong: the place, the words and the help.

use std::path::Path;

use tidemill_core::graph::{GraphError, GraphProblem};

use super::{load, refused_with, show};
use crate::config::JobPlan;

#[track_caller]
fn refused(text: &str, expected: &str) {
    refused_with(text, &[], expected);
}

/// One line of a job's own settings.
#[track_caller]
fn setting(line: &str, expected: &str) {
    refused(&format!("name = \"a\"\n{line}\n"), expected);
}

#[test]
fn a_file_that_is_not_there() {
    let error = JobPlan::load(Path::new("/nowhere/job.toml"), &[]).unwrap_err();
    assert_eq!(
        show(&error),
        "cannot read the job file /nowhere/job.toml: No such file or directory (os error 2)\n\
         help: give the path of a job file (TOML)"
    );
}

#[test]
fn text_that_is_not_toml() {
    setting("key-groups 128", "job.toml:2:12: this is not TOML: key with no value, expected `=`");
    setting("name = \"b\"", "job.toml:2:1: `name` is set twice\nhelp: keep one of them");
}

#[test]
fn a_job_without_name() {
    refused("parallelism = 1\n", "job.toml:1:1: `name` is missing\nhelp: add `name = ...`");
    refused("", "job.toml:1:1: `name` is missing\nhelp: add `name = ...`");
}

#[test]
fn a_name_that_breaks_the_rule() {
    let rule = "help: 1 to 63 of a-z, 0-9 and '-', the first a letter or digit; it names the \
    job's data directory";
    refused(
        "name = \"Word Count\"",
        &format!("job.toml:1:8: name: \"Word Count\" cannot name a job\n{rule}"),
    );
    refused("name = \"-a\"", &format!("job.toml:1:8: name: \"-a\" cannot name a job\n{rule}"));
    refused("name = \"\"", &format!("job.toml:1:8: name: \"\" cannot name a job\n{rule}"));
    let long = "a".repeat(64);
    refused(
        &format!("name = \"{long}\""),
        &format!("job.toml:1:8: name: {long:?} cannot name a job\n{rule}"),
    );
}

#[test]
fn an_unknown_setting_names_the_nearest() {
    setting(
        "parallelsm = 2",
        "job.toml:2:1: there is no setting `parallelsm` here\nhelp: did you mean `parallelism`?",
    );
    setting(
        "colour = \"blue\"",
        "job.toml:2:1: there is no setting `colour` here\nhelp: it can hold `name`, \
         `tenant`, `parallelism`, `key-groups`, `state-timeout`, `state-backend`, `batch-records`, \
         `batch-bytes`, `linger`, `queue-bytes`, `checkpointing-mode`, `checkpoint-interval`, \
         `min-pause-between-checkpoints`, `checkpoint-timeout`, `tolerable-failed-checkpoints`, \
         `checkpoints-retained`, `checkpoint-dir`, `heartbeat-interval`, `heartbeat-timeout`, \
         `stop-timeout`, `storage-timeout`, `wal`, `wal-quota`, `restart-strategy`, `on-poison`, \
         `poison-limit`, `dead-letter-dir`, `sources`, `operators`, `sinks`",
    );
    setting(
        "[source.in]",
        "job.toml:2:2: there is no setting `source` here\nhelp: did you mean `sources`?",
    );
}

#[test]
fn a_value_of_the_wrong_type() {
    refused(
        "name = 7",
        "job.toml:1:8: name: expected a string, found the number 7\nhelp: put it in quotes: \"7\"",
    );
    setting(
        "parallelism = \"two\"",
        "job.toml:2:15: parallelism: expected a whole number, 0 or more, found \"two\"",
    );
    setting(
        "parallelism = 1.5",
        "job.toml:2:15: parallelism: expected a whole number, 0 or more, found the number 1.5",
    );
    setting(
        "parallelism = -1",
        "job.toml:2:15: parallelism: expected a whole number, 0 or more, found the number -1",
    );
    setting(
        "linger = true",
        "job.toml:2:10: linger: expected a duration such as \"500ms\" or \"1h\", or a number of \
        milliseconds, found the boolean true",
    );
    setting("sources = [1]", "job.toml:2:11: sources: expected a table, found a list");
    setting(
        "state-backend = 1",
        "job.toml:2:17: state-backend: expected \"memory\", \"disk\", found the number 1",
    );
    setting(
        "key-groups = 99999999999999999999",
        "job.toml:2:14: key-groups: expected a whole number, 0 or more, found the number \
        99999999999999999999, which is too large",
    );
    setting(
        "linger = 2026-11-21",
        "job.toml:2:10: linger: expected a duration such as \"500ms\" or \"1h\", or a number of \
        milliseconds, found a date or time",
    );
}

#[test]
fn a_duration_or_size_that_cannot_be_read() {
    setting(
        "state-timeout = \"soon\"",
        "job.toml:2:17: state-timeout: expected a duration such as \"500ms\" or \"1h\", or a \
        number of milliseconds, found \"soon\"",
    );
    setting(
        "linger = \"5\"",
        "job.toml:2:10: linger: expected a duration such as \"500ms\" or \"1h\", or a number of \
        milliseconds, found \"5\"",
    );
    setting(
        "batch-bytes = \"256\"",
        "job.toml:2:15: batch-bytes: expected a size such as \"64MiB\" (a whole number, under 16 EiB), or a number of bytes, \
        found \"256\"",
    );
    setting(
        "queue-bytes = -1",
        "job.toml:2:15: queue-bytes: expected a size such as \"64MiB\" (a whole number, under 16 EiB), or a number of bytes, \
        found the number -1",
    );
}

#[test]
fn a_number_outside_its_bounds() {
    setting("parallelism = 0", "job.toml:2:15: parallelism: 0 is outside 1 to 256");
    setting("key-groups = 40000", "job.toml:2:14: key-groups: 40000 is outside 1 to 32768");
    setting("batch-records = 8193", "job.toml:2:17: batch-records: 8193 is outside 1 to 8192");
    setting("batch-bytes = \"2MiB\"", "job.toml:2:15: batch-bytes: 2MiB is outside 1B to 1MiB");
    setting("linger = \"2m\"", "job.toml:2:10: linger: 2m is outside 0s to 1m");
    setting("state-timeout = 0", "job.toml:2:17: state-timeout: 0s is outside 1ms to 100years");
    setting("queue-bytes = 0", "job.toml:2:15: queue-bytes: 0B is outside 1B to 1GiB");
}

#[test]
fn more_lanes_than_key_groups() {
    setting(
        "parallelism = 5\nkey-groups = 4",
        "job.toml:3:14: key-groups: 5 lanes cannot share 4 key groups: each needs at least \
        one\nhelp: \
         lower `parallelism`, or set `key-groups = 8` (it cannot \
         change later without losing state)",
    );
    setting(
        "parallelism = 200",
        "job.toml:2:15: parallelism: 200 lanes cannot share 128 key groups: each needs at least \
        one\nhelp: \
         lower `parallelism`, or set `key-groups = 256` (it cannot \
         change later without losing state)",
    );
}

#[test]
fn the_disk_backend() {
    setting(
        "state-backend = \"disk\"",
        "job.toml:2:17: state-backend: the state backend \"disk\" does not exist yet\nhelp: say \
        \"memory\", or remove the line",
    );
    setting(
        "state-backend = \"memry\"",
        "job.toml:2:17: state-backend: \"memry\" is not one of `memory`, `disk`\nhelp: did you \
        mean \"memory\"?",
    );
}

#[test]
fn two_nodes_of_one_name() {
    let text = "name = \"a\"\n[sources.x]\nconnector = \"stdin\"\n[sinks.x]\nconnector = \
    \"stdout\"\nfrom = \"x\"\n";
    refused(
        text,
        "job.toml:4:8: sinks: two nodes are called \"x\"\n\
         help: a name is unique over sources, operators and sinks: rename one",
    );
    let error = load(text, &[]).unwrap_err();
    let labels: Vec<_> = miette::Diagnostic::labels(&error).unwrap().collect();
    assert_eq!(labels.len(), 2);
    assert_eq!((labels[1].label(), labels[1].offset()), (Some("the other one"), 20));
}

#[test]
fn a_node_name_that_breaks_the_rule() {
    let rule = "help: 1 to 128 of a-z, 0-9, '-' and '_', the first a letter or digit";
    refused(
        "name = \"a\"\n[sources.\"a.b\"]\nconnector = \"stdin\"\n",
        &format!("job.toml:2:10: sources: \"a.b\" cannot name a node\n{rule}"),
    );
    refused(
        "name = \"a\"\n[sinks._x]\nconnector = \"stdout\"\n",
        &format!("job.toml:2:8: sinks: \"_x\" cannot name a node\n{rule}"),
    );
}

#[test]
fn a_broken_rule_of_the_graph_points_at_its_edge() {
    let plan = load(
        "name = \"a\"\n[operators.op]\ncomponent = \"x.wasm\"\ninputs.a = \"in\"\ninputs.b = \
        [\"in\", { from = \"nin\" }]\n",
        &[],
    )
    .unwrap();
    let error = |edge| {
        let problem = GraphProblem::UnknownNode { name: "nin".into(), nearest: Some("in".into()) };
        show(&plan.locations.graph_error(&GraphError { node: "op".into(), edge, problem }))
    };
    let message = "operators.op: nothing is called \"nin\"; did you mean \"in\"?";
    assert_eq!(error(Some(0)), format!("job.toml:4:12: {message}"));
    assert_eq!(error(Some(1)), format!("job.toml:5:13: {message}"));
    assert_eq!(error(Some(2)), format!("job.toml:5:28: {message}"));
    assert_eq!(error(None), format!("job.toml:2:12: {message}"));
    let no_source = GraphError { node: String::new(), edge: None, problem: GraphProblem::NoSource };
    assert_eq!(
        show(&plan.locations.graph_error(&no_source)),
        "job.toml:1:1: the job has no source\nhelp: add a [sources.NAME] table"
    );
}

#[test]
fn a_component_that_is_not_there_points_at_its_line() {
    let plan = load("name = \"a\"\n[operators.op]\ncomponent = \"x.wasm\"\n", &[]).unwrap();
    let shown = show(&plan.check_components().unwrap_err());
    assert!(
        shown.starts_with("job.toml:3:13: operators.op: cannot read the component /"),
        "{shown}"
    );
    assert!(shown.contains("/x.wasm: No such file or directory"), "{shown}");
    assert!(shown.contains("help: build it first"), "{shown}");
}
