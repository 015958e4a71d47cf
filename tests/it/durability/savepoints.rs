//! Savepoints: made of jobs that run and of jobs that do not, and begun with.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::harness::{Place, Running};

pub(super) const TCP: &str = r#"
    name = "tcp"
    checkpoint-interval = "50ms"
    [sources.in]
    connector = "tcp"
    listen = "127.0.0.1:0"
    [operators.count]
    component = "@operators/word_count.wasm"
    from = "split"
    config = { emit = "every" }
    [operators.split]
    component = "@operators/word_split.wasm"
    from = "in"
    [sinks.out]
    connector = "file"
    from = "count"
    path = "out"
    format = "text"
    key-type = "text"
    value-type = "u64"
"#;

/// Sends words as client `pump`, and waits until the last is acknowledged; answers how many were known before.
pub(super) fn send(address: SocketAddr, words: &[&str]) -> u64 {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let mut number = |word: &str| -> u64 {
        let line = answers.next().expect("an answer").expect("it is text");
        let number = line.strip_prefix(word).unwrap_or_else(|| panic!("{line}"));
        number.trim().parse().expect("a number")
    };
    stream.write_all(b"TIDEMILL-CLIENT pump\n").expect("it reads");
    let known = number("TIDEMILL-OK");
    words.iter().for_each(|word| writeln!(stream, "{word}").expect("it reads"));
    while number("TIDEMILL-ACK") < known + words.len() as u64 {}
    known
}

pub(super) fn listening(running: &Running) -> SocketAddr {
    running.address_after("Source in listens on ")
}

/// The counts of a word that were published in a folder, sorted.
pub(super) fn count_of(place: &Place, folder: &str, word: &str) -> Vec<u64> {
    let lines = place.published(folder).into_iter();
    let counts = lines.filter_map(|line| {
        let (found, count) = line.split_once('\t').expect("a word and a count");
        (found == word).then(|| count.parse().expect("a count"))
    });
    let mut counts: Vec<u64> = counts.collect();
    counts.sort_unstable();
    counts
}

fn savepoint(place: &Place, to: &str) -> String {
    let made = place.tidemill(&format!("savepoint create job.toml --to {to}")).end().expect(0);
    made.text().trim().to_owned()
}

#[test]
fn a_job_that_begins_with_a_savepoint_goes_on_counting_and_knows_its_clients() {
    let place = Place::with_job(TCP);
    let running = place.run().start();
    assert_eq!(send(listening(&running), &["a", "b", "a"]), 0);
    let path = savepoint(&place, "saved");
    assert!(path.ends_with("/saved"), "{path}");
    let shown = place.tidemill("savepoint inspect saved --format json").end().expect(0).report();
    assert_eq!((&shown["job"], &shown["finished"]), (&"tcp".into(), &false.into()));
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();

    let elsewhere = |words: &str| place.run().words(&format!("--data-dir elsewhere {words}"));
    let begun = || elsewhere("--from saved").set("sinks.out.path=new");
    let running = begun().start();
    // Lines that were logged and not in the savepoint's checkpoint stay with the old job.
    let known = send(listening(&running), &["a"]);
    assert!(known <= 3, "{known}");
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
    begun().end().refuses(73, &["is there already", "--fresh"]);
    // It goes on by itself from here, under an identity of its own.
    let running = elsewhere("").set("sinks.out.path=new").start();
    assert_eq!(send(listening(&running), &["a"]), known + 1);
    running.signal(Signal::KILL);
    running.end().expect_killed_by(Signal::KILL);
    let mut running = elsewhere("").set("sinks.out.path=new").start();
    assert_eq!(send(listening(&running), &["a"]), known + 2);
    while place.published("new").len() < 3 {
        assert!(!running.has_ended(), "it ended before all was published");
        std::thread::yield_now();
    }
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
    let mut counts: Vec<u64> = place
        .lines("new")
        .iter()
        .map(|line| line.split('\t').nth(1).and_then(|count| count.parse().ok()).expect("a count"))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [counts[0], counts[0] + 1, counts[0] + 2], "each count once");
}

#[test]
fn a_job_that_does_not_run_has_its_newest_checkpoint_copied() {
    let place = Place::with_job(TCP);
    let says = ["the job has come to no checkpoint yet"];
    place.tidemill("savepoint create job.toml").end().refuses(74, &says);
    let running = place.run().start();
    send(listening(&running), &["a"]);
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
    let made = place.tidemill("savepoint create job.toml").end().expect(0).text();
    let list = place.tidemill("savepoint list job.toml").end().expect(0).text();
    assert!(list.contains(made.trim()), "{list}");
    savepoint(&place, "saved");
    let again = place.tidemill("savepoint create job.toml --to saved").end();
    again.refuses(74, &["is there already", "name a directory that holds no checkpoint"]);
    let state = |name: &String| name.starts_with("state-");
    let folder = ".tidemill/tcp/checkpoints";
    let state = place.names(folder).into_iter().find(state).expect("it has state");
    let whole = fs::read(place.path(folder).join(&state)).expect("it is there");
    let cut = fs::write(place.path(folder).join(&state), &whole[1..]);
    cut.expect("it can be written");
    let damaged = place.tidemill("savepoint create job.toml --to damaged").end();
    damaged.refuses(74, &[&state, "is damaged"]);
    let cut = fs::write(place.path("saved").join(&state), &whole[1..]);
    cut.expect("it can be written");
    let from = place.tidemill("run job.toml --from saved --data-dir elsewhere").end();
    from.refuses(74, &[&state, "is damaged"]);
    let empty = place.tidemill("savepoint inspect out").end();
    empty.refuses(66, &["there is no checkpoint"]);
}
