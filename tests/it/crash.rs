//! Jobs that are killed: what they leave is invisible to readers and cleaned by the next run.

use rustix::process::Signal;

use crate::harness::events::generated;
use crate::harness::{Place, Running};

const EVENTS: usize = 60_000;

/// Enough events that a run lasts until it is killed.
const MANY: &str = "sources.events.events=100000000";

const JOB: &str = r#"
    name = "crash"
    parallelism = 2
    [sources.events]
    connector = "nexmark"
    events = 60000
    partitions = 2
    [operators.query]
    component = "@operators/nexmark.wasm"
    from = "events"
    config = { query = "q0" }
    [sinks.out]
    connector = "file"
    from = "query.bids"
    path = "out"
"#;

/// Waits until a run has written something that is not yet published.
#[track_caller]
fn until_it_writes(place: &Place, running: &mut Running) {
    let has_bytes = |name: &String| {
        std::fs::metadata(place.path("out").join(name)).is_ok_and(|file| file.len() > 0)
    };
    while !place.names("out").iter().any(|name| is_unfinished(name) && has_bytes(name)) {
        assert!(!running.has_ended(), "it ended before it could be killed");
        std::thread::yield_now();
    }
}

/// A file with records that is not published; locks have other names.
fn is_unfinished(name: &str) -> bool {
    name.starts_with(".tm-") && name.ends_with(|c: char| c.is_ascii_digit())
}

fn bids() -> Vec<String> {
    let mut bids = generated("nexmark", EVENTS);
    bids.retain(|event| event.starts_with(r#"{"type":"bid","#));
    bids.sort_unstable();
    bids
}

#[test]
fn after_kills_nothing_is_visible_and_the_next_run_is_right() {
    let place = Place::with_job(JOB);
    for _ in 0..3 {
        let mut running = place.run().set(MANY).start();
        until_it_writes(&place, &mut running);
        running.signal(Signal::KILL);
        running.end().expect_killed_by(Signal::KILL);
        let names = place.names("out");
        assert!(names.iter().any(|name| is_unfinished(name)), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("part-")), "{names:?}");
    }
    let report = place.run().report();
    assert_eq!(report["outcome"], "finished");
    assert!(place.sorted_lines("out") == bids(), "the output is that of a run without kills");
}

#[test]
fn a_kill_does_not_harm_what_an_earlier_run_has_published() {
    let place = Place::with_job(JOB);
    place.run().set("sources.events.events=1000").report();
    let (names, lines) = (place.names("out"), place.sorted_lines("out"));
    // Another job that writes into the same directory.
    let mut running = place.run().set("name=other").set(MANY).start();
    until_it_writes(&place, &mut running);
    running.signal(Signal::KILL);
    running.end().expect_killed_by(Signal::KILL);
    place.run().set("name=other").set("sources.events.events=1").report();
    let left: Vec<String> =
        place.names("out").into_iter().filter(|name| !name.contains("other")).collect();
    assert_eq!((left, place.sorted_lines("out")), (names, lines), "one event gives no bid");
}
