//! Jobs that are asked to stop: they drain what they have taken in, publish it, and say so.

use std::io::Read;

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::until_metrics;
use crate::harness::{Ended, Place, Running};

const ENDLESS: &str = r#"
    name = "endless"
    parallelism = 2
    [sources.events]
    connector = "nexmark"
    partitions = 3
    encoding = "msgpack"
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

/// Waits until records have reached a sink.
fn until_it_runs(running: &Running) {
    let address = running.address_after("Metrics are served on http://");
    until_metrics(address, |text| {
        let line = text.lines().find(|line| line.starts_with("tidemill_job_records_out_total"));
        line.is_some_and(|line| !line.ends_with(" 0"))
    });
}

/// Stops an endless job by `signal` and answers how it ended, and its place.
#[track_caller]
fn stopped_by(signal: Signal, code: i32) -> (Place, Ended) {
    let place = Place::with_job(ENDLESS);
    let running = place.run().words("--metrics 127.0.0.1:0 --report json").start();
    until_it_runs(&running);
    running.signal(signal);
    let ended = running.end().expect(code).says(&["the job drains"]).has_no_panic();
    (place, ended)
}

/// Fails unless all that was read is counted and published.
#[track_caller]
fn check_drained(place: &Place, report: &Value) {
    assert_eq!(report["outcome"], "stopped");
    let operators = report["operators"].as_array().expect("a report has operators");
    assert_eq!(operators[0]["records_in"], report["records_in"], "all events are split");
    assert_eq!(operators[1]["records_out"], report["records_out"], "all counts are written");
    let lines = place.lines("out");
    assert_eq!(report["records_out"], lines.len());
    let mut counts = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for line in &lines {
        let mut fields = line.split('\t');
        let (auction, count) = (fields.next().expect("a key"), fields.next().expect("a count"));
        counts.entry(auction).or_default().push(count.parse().expect("a count"));
    }
    for (auction, counts) in &mut counts {
        counts.sort_unstable();
        let expected = 1..=counts.len() as u64;
        assert!(counts.iter().copied().eq(expected), "{auction}: {counts:?}");
    }
}

#[test]
fn sigterm_drains_publishes_and_ends_with_143() {
    let (place, ended) = stopped_by(Signal::TERM, 143);
    check_drained(&place, &ended.report());
}

#[test]
fn sigint_drains_publishes_and_ends_with_130() {
    let (place, ended) = stopped_by(Signal::INT, 130);
    check_drained(&place, &ended.report());
}

#[test]
fn a_stopped_job_is_run_again_only_afresh() {
    let (place, _) = stopped_by(Signal::TERM, 143);
    let says = ["this job has been run before and was stopped", "--fresh"];
    place.run().set("sources.events.events=10").end().refuses(73, &says);
    let report = place.run().set("sources.events.events=10").words("--fresh").report();
    assert_eq!((&report["records_in"], &report["records_out"]), (&10.into(), &6.into()));
    assert_eq!(place.lines("out").len(), 6);
}

const TO_STDOUT: &str = r#"
    name = "to-stdout"
    [sources.lines]
    connector = "nexmark"
    stream = "lines"
    [sinks.out]
    connector = "stdout"
    from = "lines"
    [sinks.files]
    connector = "file"
    from = "lines"
    path = "out"
"#;

#[test]
fn a_second_signal_ends_a_job_that_cannot_drain() {
    let place = Place::with_job(TO_STDOUT);
    let (running, mut stdout) = place.run().start_unread();
    // One byte is read, and no more: the pipe fills up and the job waits.
    stdout.read_exact(&mut [0]).expect("it writes");
    running.signal(Signal::TERM);
    running.until_stderr(|text| text.contains("Once more stops it at once").then_some(()));
    running.signal(Signal::TERM);
    running.end().expect(143).says(&["stopped before the job had drained"]).has_no_panic();
    assert!(!place.names("out").iter().any(|name| name.starts_with("part-")));
    drop(stdout);
}

#[test]
fn a_stop_before_the_job_runs_ends_the_process() {
    // A pipe for a job file: the process waits for its text.
    let place = Place::new();
    let made = std::process::Command::new("mkfifo").arg(place.path("job.toml")).status();
    assert!(made.is_ok_and(|made| made.success()));
    let running = place.run().words("--metrics 127.0.0.1:0").start();
    running.address_after("Metrics are served on http://");
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
}
