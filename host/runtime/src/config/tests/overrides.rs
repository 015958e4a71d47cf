//! `--set KEY=VALUE`.

use super::{load, refused_with};

const JOB: &str = "name = \"a\"\n[sources.in]\nconnector = \"stdin\"\n";

#[test]
fn a_value_is_toml_or_else_a_string() {
    let plan =
        load(JOB, &["name=word-count", "parallelism=2", "linger=5ms", "state-timeout = \"1h\""]);
    let plan = plan.unwrap();
    assert_eq!((plan.name.as_str(), plan.parallelism), ("word-count", 2));
    assert_eq!((plan.linger_us, plan.state_timeout_ms), (5_000, Some(3_600_000)));
}

#[test]
fn a_later_override_wins() {
    assert_eq!(load(JOB, &["parallelism=2", "parallelism=3"]).unwrap().parallelism, 3);
}

#[test]
fn dotted_keys_reach_into_tables_and_make_them() {
    let sets =
        ["operators.op.component=x.wasm", "operators.op.config.emit=every", "operators.op.from=in"];
    let plan = load(JOB, &sets).unwrap();
    assert_eq!(plan.operators[0].config, [("emit".to_owned(), "every".to_owned())]);
    assert_eq!(plan.operators[0].inputs[0].from, "in");
}

#[test]
fn an_error_shows_the_override() {
    refused_with(
        JOB,
        &["linger=1ms", "parallelism=0"],
        "--set:1:13: parallelism: 0 is outside 1 to 256",
    );
    refused_with(
        JOB,
        &["sources.in.formt=csv"],
        "--set:1:12: sources.in: there is no setting `formt` here\nhelp: did you mean `format`?",
    );
    refused_with(
        JOB,
        &["sources.in.format=cs"],
        "--set:1:19: sources.in.format: \"cs\" is not one of `lines`, `ndjson`, `csv`\nhelp: did \
        you mean \"csv\"?",
    );
}

#[test]
fn an_override_that_is_none() {
    let reads = "an override reads KEY=VALUE, for example `--set parallelism=2`";
    refused_with(JOB, &["parallelism"], &format!("--set:1:1: {reads}: there is no `=`"));
    refused_with(JOB, &["=2"], &format!("--set:1:1: {reads}: the key is a dotted name"));
    refused_with(JOB, &["a..b=2"], &format!("--set:1:1: {reads}: the key is a dotted name"));
    refused_with(
        JOB,
        &["name.x=2"],
        "--set:1:1: `name` is a value and has no settings below it\nhelp: override the whole \
        value instead",
    );
}

#[test]
fn a_value_cannot_smuggle_in_another_setting() {
    refused_with(
        JOB,
        &["parallelism=2\nlinger=5"],
        "--set:1:13: parallelism: expected a whole number, 0 or more, found \"2\\nlinger=5\"",
    );
}
