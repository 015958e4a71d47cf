//! Jobs that are asked to stop: they drain what they have taken in, publish it, and say so.

use std::io::Read;
use std::process::ChildStdout;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::cli::until_metrics;
use crate::harness::{Place, Running};

/// Enough events that a run lasts until it is stopped.
const LONG: &str = r#"
    name = "long"
    parallelism = 2
    [sources.events]
    connector = "nexmark"
    events = 400000
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

/// Bids among the events of the job.
const BIDS: usize = 400_000 / 50 * 46;

/// Stops a long job by `signal`, and lets it go on to its end: both runs together count each bid once.
#[track_caller]
fn stops_and_goes_on(signal: Signal, code: i32) {
    let place = Place::with_job(LONG);
    let running = place.run().words("--metrics 127.0.0.1:0 --report json").start();
    until_it_runs(&running);
    running.signal(signal);
    let ended = running.end().expect(code).has_no_panic();
    let ended = ended.says(&["Stopping at a checkpoint; the next run goes on from there"]);
    let report = ended.report();
    check_stopped(&place, &report);
    let lines = place.lines("out");
    assert!(lines.len() < BIDS, "it was stopped too late to be tested");
    check_counts(&lines);
    let ended = place.run().words("--report json").end().expect(0);
    let ended = ended.says(&["Going on from checkpoint"]).has_no_panic();
    assert_eq!(ended.report()["outcome"], "finished");
    let lines = place.lines("out");
    assert_eq!(lines.len(), BIDS);
    check_counts(&lines);
}

/// Fails unless all that was read is counted and published.
#[track_caller]
fn check_stopped(place: &Place, report: &Value) {
    assert_eq!(report["outcome"], "stopped");
    let operators = report["operators"].as_array().expect("a report has operators");
    assert_eq!(operators[0]["records_in"], report["records_in"], "all events are split");
    assert_eq!(operators[1]["records_out"], report["records_out"], "all counts are written");
    assert_eq!(report["records_out"], place.lines("out").len());
}

/// Fails unless the counts of each auction are 1, 2, 3 and so on, each once.
#[track_caller]
fn check_counts(lines: &[String]) {
    let mut counts = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for line in lines {
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
fn a_job_stopped_by_sigterm_ends_with_143_and_goes_on_where_it_stopped() {
    stops_and_goes_on(Signal::TERM, 143);
}

#[test]
fn a_job_stopped_by_sigint_ends_with_130_and_goes_on_where_it_stopped() {
    stops_and_goes_on(Signal::INT, 130);
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

/// A run whose standard output is full, for nobody reads it, and that has been asked to stop.
fn held_up(settings: &[&str]) -> (Place, Running, ChildStdout) {
    let place = Place::with_job(TO_STDOUT);
    let run = settings.iter().fold(place.run(), |run, setting| run.set(setting));
    let (running, mut stdout) = run.start_unread();
    // One byte is read, and no more: the pipe fills up and the job waits.
    stdout.read_exact(&mut [0]).expect("it writes");
    running.signal(Signal::TERM);
    running.until_stderr(|text| text.contains("Once more stops at once").then_some(()));
    (place, running, stdout)
}

#[test]
fn a_second_signal_ends_a_job_that_comes_to_no_checkpoint() {
    let (place, running, stdout) = held_up(&[]);
    running.signal(Signal::TERM);
    let ended = running.end().expect(143).has_no_panic();
    ended.says(&["stopped without a last checkpoint; the next run goes on from the newest"]);
    assert!(!place.names("out").iter().any(|name| name.starts_with("part-")));
    drop(stdout);
}

#[test]
fn a_stop_that_comes_to_no_checkpoint_in_time_ends_with_75_even_if_nobody_reads() {
    let (place, running, stdout) = held_up(&["stop-timeout=200ms"]);
    let says = ["did not come to a checkpoint within 200ms", "nothing is lost", "stop-timeout"];
    running.end().refuses(75, &says);
    place.has_no_output();
    drop(stdout);
}

#[test]
fn a_stop_before_the_job_runs_ends_the_process() {
    // Its components are not in the cache, so they are compiled first.
    let place = Place::with_job(LONG);
    let cache = place.path("cache");
    let run = place.run().env("XDG_CACHE_HOME", cache.to_str().expect("it is UTF-8"));
    let running = run.words("--metrics 127.0.0.1:0").start();
    running.address_after("Metrics are served on http://");
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
}

/// CPU time that a process has used, in ticks of ten milliseconds.
fn cpu_ticks(running: &Running) -> u64 {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", running.id())).expect("it is there");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in brackets");
    rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_stop_that_one_lane_keeps_waiting_for_ever_ends_and_loses_nothing() {
    let timeouts = "parallelism = 2\n    stop-timeout = \"1s\"\n    heartbeat-timeout = \"4s\"";
    let place = Place::with_job(&LONG.replace("parallelism = 2", timeouts));
    let running = place.run().env("TIDEMILL_FAILPOINT", "host-call-hangs:30").start();
    running.until_stderr(|said| said.contains("host-call-hangs").then_some(()));
    running.signal(Signal::TERM);
    running.until_stderr(|said| said.contains("Stopping").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    // The stop has failed, and nobody does anything but wait for the lane.
    let before = cpu_ticks(&running);
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(&running) - before;
    assert!(used < 50, "{used} of some 100 ticks");
    let ended = running.end().expect(70);
    ended.says(&["has not made a step", "did not come to a checkpoint within 1s"]);
    place.run().end().expect(0);
    assert_eq!(place.lines("out").len(), BIDS);
}
