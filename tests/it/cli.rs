//! Commands beside `run`, and the metrics of a running job.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, operators, root};

/// The answer of a job's metrics address to a request for `path`.
fn scrape(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("{request} HTTP/1.1\r\nhost: tests\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Scrapes a job's metrics until they are as wanted.
#[track_caller]
pub(crate) fn until_metrics(address: SocketAddr, mut wanted: impl FnMut(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        // Before the job runs the address is bound and does not answer yet, so this waits.
        let text = scrape(address, "GET /metrics").expect("the job serves its metrics");
        if wanted(&text) {
            return;
        }
        assert!(Instant::now() < deadline, "the metrics are never as wanted:\n{text}");
    }
}

const JOB: &str = r#"
    name = "demo"
    parallelism = 2
    state-timeout = "1h"
    [sources.events]
    connector = "nexmark"
    [operators.split]
    component = "@operators/nexmark.wasm"
    from = "events"
    config = { query = "split" }
    [operators.count]
    component = "@operators/nexmark_count.wasm"
    from = "split.bids"
    [sinks.out]
    connector = "discard"
    from = "count"
"#;

#[test]
fn functions_of_operators_are_listed_for_perf() {
    let place = Place::with_job(JOB);
    let running = place.run().words("--perf-map").start();
    let list = PathBuf::from(format!("/tmp/perf-{}.map", running.id()));
    let deadline = Instant::now() + Duration::from_secs(60);
    // A function for each line: address, bytes, name.
    let is_listed = |line: &str| line.split(' ').nth(2).is_some_and(|name| name.contains("wasm["));
    while !std::fs::read_to_string(&list).is_ok_and(|list| list.lines().any(is_listed)) {
        assert!(Instant::now() < deadline, "{} lists no function", list.display());
        std::thread::yield_now();
    }
    running.signal(Signal::TERM);
    running.end().expect(143);
    std::fs::remove_file(list).unwrap();
}

#[test]
fn metrics_of_an_endless_job_are_served_while_it_runs() {
    let place = Place::with_job(JOB);
    let running = place.run().words("--metrics 127.0.0.1:0").start();
    let address = running.address_after("Metrics are served on http://");
    let counter = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?.rsplit(' ').next()?;
        line.parse::<u64>().ok()
    };
    let count = r#"tidemill_records_in_total{tenant="default",job="demo",node="count",kind="operator",lane="1"}"#;
    let mut first = None;
    until_metrics(address, |text| {
        let now = counter(text, count).filter(|records| *records > 0);
        first = first.or(now);
        now > first
    });
    until_metrics(address, |text| {
        counter(text, "tidemill_job_records_out_total{").is_some_and(|records| records > 0)
            && counter(text, "tidemill_keys{").is_some()
            && text.contains("# TYPE tidemill_records_in counter")
            && text.ends_with("# EOF\n")
    });
    let answer = scrape(address, "GET /").expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let answer = scrape(address, "POST /metrics").expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
}

#[test]
fn explain_shows_the_job_with_its_defaults_and_does_nothing() {
    let place = Place::with_job(JOB);
    let text = place.tidemill("explain job.toml --set queue-bytes=64KiB").end().expect(0).text();
    let rows: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for row in [
        "parallelism 2",
        "key-groups 128",
        "state-timeout 1h",
        "queue-bytes 64KiB",
        "checkpoint-interval 10s",
        "restart-strategy.type exponential-delay",
        "encoding ndjson",
        "config.query split",
        "on-poison fail",
        "split.bids -> count.bids keyed",
    ] {
        assert!(rows.iter().any(|found| found == row), "{row:?} is not in\n{text}");
    }
    assert!(text.contains("input      bids (keyed"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour into a pipe");
    let report = place.tidemill("explain job.toml --format json").end().expect(0).report();
    assert_eq!(report["settings"]["parallelism"], "2");
    assert_eq!(report["operators"][1]["description"]["inputs"][0]["keyed"], true);
    let edges = report["edges"].as_array().expect("edges");
    let kinds: Vec<&str> = edges.iter().filter_map(|edge| edge["kind"].as_str()).collect();
    assert_eq!(kinds, ["forward", "keyed", "forward"]);
    assert_eq!(place.names(""), ["job.toml"], "nothing is written");
}

#[test]
fn inspect_shows_what_a_component_is() {
    let place = Place::new();
    let component = operators().join("enrich.wasm");
    let text = place.tidemill("inspect").arg(&component).end().expect(0).text();
    for row in ["component", "enrich 0.1.0", "bids (keyed", "seller (value", "waiting (list"] {
        assert!(text.contains(row), "{row:?} is not in\n{text}");
    }
    let inspect = place.tidemill("inspect --format json").arg(&component);
    let report = inspect.end().expect(0).report();
    assert_eq!((&report["admitted"], &report["kind"]), (&true.into(), &"component".into()));
    let states: Vec<&Value> =
        report["description"]["states"].as_array().expect("states").iter().collect();
    assert_eq!((&states[0]["name"], &states[0]["width"]), (&"seller".into(), &8.into()));
    let bytes = std::fs::metadata(&component).expect("it was built").len();
    assert_eq!(report["bytes"], bytes);
    let imports = report["imports"].as_array().expect("imports");
    assert!(imports.contains(&"tidemill:operator/state@0.1.0".into()));
}

#[test]
fn the_schema_is_the_one_that_is_documented() {
    let schema = Place::new().tidemill("schema").end().expect(0).text();
    let documented = std::fs::read_to_string(root().join("docs/job.schema.json"));
    assert!(
        schema == documented.expect("it is there"),
        "run: tidemill schema > docs/job.schema.json"
    );
}

#[test]
fn completions_are_scripts_that_their_shell_accepts() {
    let place = Place::new();
    let script = place.tidemill("completions bash").end().expect(0).text();
    assert!(script.contains("complete -F _tidemill") && script.contains("--data-dir"), "{script}");
    let file = place.write("completions.bash", script);
    let read = std::process::Command::new("bash").arg("-n").arg(file).status();
    assert!(read.expect("bash can be started").success());
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = place.tidemill("completions").arg(shell).end().expect(0).text();
        assert!(script.contains("inspect"), "{shell}");
    }
}

#[test]
fn help_names_every_command_and_exit_code() {
    let place = Place::new();
    let help = place.tidemill("--help").end().expect(0).text();
    for word in [
        "run",
        "explain",
        "inspect",
        "checkpoint",
        "state",
        "new",
        "schema",
        "completions",
        "Exit codes:",
        "143",
    ] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    let version = place.tidemill("--version").end().expect(0).text();
    assert_eq!(version, format!("tidemill {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_report_is_for_people_unless_json_is_asked_for() {
    let place = Place::with_job(JOB);
    let ended = place.run().set("sources.events.events=1000").end().expect(0);
    assert_eq!(ended.text(), "");
    let ended =
        ended.says(&["demo finished after", "source events out 1,000", "operator count in 920"]);
    assert!(!ended.stderr.contains('\u{1b}'), "no colour into a pipe");
    let run = place.run().set("sources.events.events=1000").words("--fresh --report json");
    let report = run.end().expect(0).report();
    assert_eq!((&report["job"], &report["outcome"]), (&"demo".into(), &"finished".into()));
    assert_eq!(report["operators"][1]["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["sinks"][0]["records"], 920);
    let run = place.run().words("--report json --data-dir job.toml");
    let report = run.end().expect(73).report();
    assert_eq!((&report["outcome"], &report["exit_code"]), (&"failed".into(), &73.into()));
    assert!(report["help"].as_str().is_some_and(|help| help.contains("--data-dir")));
}
