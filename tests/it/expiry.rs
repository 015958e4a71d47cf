//! Keyed state with a time to live goes away by itself, also when nothing comes any more.

use std::io::Write;

use rustix::process::Signal;

use crate::cli::until_metrics;
use crate::harness::{Place, Running};

const JOB: &str = r#"
    name = "expiry"
    [sources.in]
    connector = "stdin"
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "in"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    config = { emit = "every" }
    [sinks.out]
    connector = "stdout"
    from = "count"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

/// Keys of the operator `count`, as the metrics say.
fn keys(metrics: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| {
        line.starts_with("tidemill_keys{") && line.contains(r#"node="count",kind="operator""#)
    });
    line?.rsplit(' ').next()?.parse().ok()
}

/// Starts the job and has it count a few words.
fn counted(place: &Place, timeout: &str) -> Running {
    let run = place.run().words("--metrics 127.0.0.1:0 --report json");
    let run = if timeout.is_empty() { run } else { run.set(&format!("state-timeout={timeout}")) };
    let mut running = run.start();
    running.stdin().write_all(b"ebb flow ebb\n").expect("it reads");
    assert_eq!(running.lines(3), ["ebb\t1", "flow\t1", "ebb\t2"]);
    running
}

#[test]
fn state_that_is_not_written_for_its_time_goes_while_the_job_is_idle() {
    let place = Place::with_job(JOB);
    let mut running = counted(&place, "300ms");
    let address = running.address_after("Metrics are served on http://");
    until_metrics(address, |text| keys(text) == Some(0));
    until_metrics(address, |text| {
        text.contains("tidemill_job_records_in_total{tenant=\"default\",job=\"expiry\"} 1")
    });
    // What has gone is counted from the beginning.
    running.stdin().write_all(b"ebb\n").expect("it reads");
    assert_eq!(running.lines(4)[3], "ebb\t1");
    until_metrics(address, |text| keys(text) == Some(0));
    running.signal(Signal::TERM);
    running.end().expect(143).says(&["\"keys\": 0", "\"state_bytes\": 0"]);
}

#[test]
fn state_without_a_time_to_live_stays() {
    let place = Place::with_job(JOB);
    for timeout in ["", "1h"] {
        let mut running = counted(&place, timeout);
        let address = running.address_after("Metrics are served on http://");
        until_metrics(address, |text| keys(text) == Some(2));
        running.stdin().write_all(b"ebb\n").expect("it reads");
        assert_eq!(running.lines(4)[3], "ebb\t3");
        running.close_stdin();
        running.end().expect(0).says(&["\"keys\": 2"]);
        std::fs::remove_dir_all(place.path(".tidemill")).expect("it has run");
    }
}
