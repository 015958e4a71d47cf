//! Jobs that are stopped with a savepoint and go on elsewhere: nothing that was acknowledged is lost or comes twice.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::case::{published, sorted};
use super::damage::job;
use super::inputs;
use super::savepoints::{TCP, count_of, listening, send};
use crate::harness::{Command, Ended, Place, Running};

/// A job over tcp that does not keep up with its input.
fn slow() -> String {
    let split = r#"from = "split""#;
    assert!(TCP.contains(split));
    let operator = r#"
    [operators.slow]
    component = "@operators/misbehave.wasm"
    from = "split"
    config = { mode = "slow" }
    "#;
    let job = TCP.replace(split, r#"from = "slow""#);
    let (before, sinks) = job.split_once("    [sinks.out]").expect("it has a sink");
    format!(
        "batch-records = 64\nqueue-bytes = \"1KiB\"\n{before}{operator}\n    [sinks.out]{sinks}"
    )
}

fn stop(place: &Place, to: &str) -> Command {
    place.tidemill(&format!("savepoint create job.toml --stop --to {to}"))
}

fn elsewhere(place: &Place) -> Command {
    place.run().words("--data-dir elsewhere --from saved")
}

/// Fails unless the job ended as one that was stopped with the savepoint `saved`.
#[track_caller]
fn check_stopped(place: &Place, ended: Ended) {
    let report = ended.expect(3).has_no_panic().says(&["Stopped with a savepoint"]).report();
    assert_eq!(report["outcome"], "stopped");
    assert_eq!(report["savepoint"], place.path("saved").display().to_string());
}

/// As client `pump`, sends the words `a` and `b` in turn, until the connection ends or `count` are known to be
/// durable; answers how many are.
fn pump(address: SocketAddr, count: u64) -> u64 {
    let stream = TcpStream::connect(address).expect("it listens");
    let mut sender = stream.try_clone().expect("a second handle");
    sender.write_all(b"TIDEMILL-CLIENT pump\n").expect("it reads");
    let mut answers = BufReader::new(stream).lines();
    let number = |line: Option<std::io::Result<String>>| -> Option<u64> {
        line?.ok()?.split_once(' ')?.1.trim().parse().ok()
    };
    let mut known = number(answers.next()).expect("a greeting");
    let first = known;
    let sending = thread::spawn(move || {
        for line in first..count {
            let word = if line % 2 == 0 { "a" } else { "b" };
            if writeln!(sender, "{word}").is_err() {
                return;
            }
            if count == ENDLESS && line % 500 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
    while known < count {
        match number(answers.next()) {
            Some(line) => known = line,
            None => break,
        }
    }
    sending.join().expect("it does not panic");
    known
}

/// Waits until this many lines are published.
#[track_caller]
fn until_published(place: &Place, running: &mut Running, count: usize) {
    while place.published("out").len() < count {
        assert!(!running.has_ended(), "it ended before all was published");
        thread::sleep(Duration::from_millis(2));
    }
}

fn terminated(running: Running) {
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
}

/// Fails unless each word was counted up to half of `count`, each count once.
#[track_caller]
fn check_counts(place: &Place, count: u64) {
    for word in ["a", "b"] {
        let found = count_of(place, "out", word);
        assert!(found.iter().copied().eq(1..=count / 2), "{word}: {} counts", found.len());
    }
}

/// Begins with the savepoint, has the client send the rest, and looks at the whole.
#[track_caller]
fn check_goes_on(place: &Place, acknowledged: u64, count: u64) {
    let mut running = elsewhere(place).start();
    assert!(
        pump(listening(&running), acknowledged) >= acknowledged,
        "an acknowledged line is lost"
    );
    assert_eq!(pump(listening(&running), count), count);
    until_published(place, &mut running, count as usize);
    terminated(running);
    check_counts(place, count);
}

/// A client that sends until the connection ends.
const ENDLESS: u64 = u64::MAX;

#[test]
fn every_acknowledged_line_is_in_the_savepoint_that_a_job_is_stopped_with() {
    let place = Place::with_job(&slow());
    let mut running = place.run().words("--report json").start();
    let address = listening(&running);
    let client = thread::spawn(move || pump(address, ENDLESS));
    // It is in the middle of its input, and the log is ahead of it.
    until_published(&place, &mut running, 1);
    let made = stop(&place, "saved").end().expect(0).has_no_panic().says(&["the job has stopped"]);
    assert_eq!(made.text().trim(), place.path("saved").display().to_string());
    // The command has waited for the end of the job.
    assert!(!place.path(".tidemill/tcp/control.sock").exists());
    check_stopped(&place, running.end());
    let acknowledged = client.join().expect("the client does not panic");
    println!("{acknowledged} lines were acknowledged");
    assert!(
        place.published("out").len() as u64 >= acknowledged,
        "the log was processed to its end"
    );
    let events = fs::read_to_string(place.path(".tidemill/tcp/events.ndjson")).expect("events");
    assert!(events.contains(r#""event":"savepoint-completed""#), "{events}");
    // More than the client ever sent, and as many of each word.
    let count = (place.published("out").len() as u64).max(acknowledged) / 2 * 2 + 1000;
    check_goes_on(&place, acknowledged, count);
}

#[test]
fn a_job_that_reads_files_goes_on_where_it_was_stopped_with_a_savepoint() {
    let place = || {
        let place = Place::in_memory();
        job(&place);
        inputs::many_lines(&place);
        place
    };
    let expected = {
        let place = place();
        place.run().end().expect(0);
        sorted(published(&place).into_values())
    };
    for wal in ["wal=auto", "wal=inputs"] {
        let place = place();
        let mut running = place.run().set(wal).words("--report json").start();
        until_published(&place, &mut running, 1);
        stop(&place, "saved").set(wal).end().expect(0).has_no_panic();
        let ended = running.end();
        // All of the files may be in the log already, and so be processed.
        if wal == "wal=auto" {
            check_stopped(&place, ended);
            let so_far = sorted(published(&place).into_values()).len();
            assert!(so_far < expected.len(), "it came to its end too soon");
        }
        elsewhere(&place).set(wal).end().expect(0).has_no_panic();
        let lines = sorted(published(&place).into_values());
        assert!(lines == expected, "{wal}: {} lines instead of {}", lines.len(), expected.len());
    }
}

#[test]
fn a_savepoint_that_cannot_be_made_leaves_the_job_running() {
    let place = Place::with_job(TCP);
    let says = ["no running job answers", "without --stop"];
    stop(&place, "saved").end().refuses(75, &says);
    let mut running = place.run().words("--report json").start();
    send(listening(&running), &["a"]);
    let made = place.tidemill("savepoint create job.toml --to taken").end().expect(0);
    assert!(made.text().contains("taken"));
    stop(&place, "taken").end().refuses(75, &["is there already"]);
    place.write("file", "");
    stop(&place, "file").end().refuses(75, &["no savepoint was made"]);
    assert!(!running.has_ended());
    assert_eq!(send(listening(&running), &["b"]), 1, "it goes on receiving");
    stop(&place, "saved").end().expect(0);
    check_stopped(&place, running.end());
    check_goes_on(&place, 2, 4);
}

#[test]
fn a_job_that_is_killed_while_it_is_stopped_with_a_savepoint_loses_nothing() {
    for at in ["manifest.before", "commit.mark", "savepoint.before", "savepoint.written"] {
        println!("killed at {at}");
        let place = Place::with_job(TCP);
        let run = || place.run().set("checkpoint-interval=1h").words("--report json");
        let running = run().env("TIDEMILL_FAILPOINT", &format!("{at}:1")).start();
        assert_eq!(pump(listening(&running), 100), 100);
        stop(&place, "saved").end().refuses(75, &["nothing is lost: run the job again"]);
        running.end().has_no_panic().expect_killed_by(Signal::KILL);
        let running = run().start();
        assert_eq!(pump(listening(&running), 200), 200);
        if at == "savepoint.written" {
            // It is complete, and only nobody heard of it.
            stop(&place, "saved").end().refuses(75, &["is there already"]);
            fs::remove_dir_all(place.path("saved")).expect("it was there");
        }
        stop(&place, "saved").end().expect(0);
        check_stopped(&place, running.end());
        check_goes_on(&place, 200, 300);
    }
}
