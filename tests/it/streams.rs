//! Standard input, standard output and sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;

use crate::harness::Place;

const FROM_STDIN: &str = r#"
    name = "lines"
    [sources.in]
    connector = "stdin"
    [sinks.out]
    connector = "stdout"
    from = "in"
"#;

const COUNT_STDIN: &str = r#"
    name = "count"
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

const FROM_TCP: &str = r#"
    name = "tcp"
    parallelism = 2
    [sources.in]
    connector = "tcp"
    listen = "127.0.0.1:0"
    [sinks.out]
    connector = "stdout"
    from = "in"
"#;

const ENDLESS: &str = r#"
    name = "endless"
    [sources.in]
    connector = "nexmark"
    stream = "lines"
    [sinks.out]
    connector = "stdout"
    from = "in"
"#;

#[test]
fn lines_of_stdin_come_out_as_they_went_in() {
    let place = Place::with_job(FROM_STDIN);
    let ended = place.run().input("one\n\ntwo\r\n\u{1f30a}\nlast").end().expect(0);
    assert_eq!(ended.text(), "one\n\ntwo\n\u{1f30a}\nlast\n");
    let ended = place.run().words("--fresh").end().expect(0);
    assert_eq!(ended.text(), "");
}

#[test]
fn stdout_carries_data_and_stderr_everything_else() {
    let place = Place::with_job(COUNT_STDIN);
    let run = place.run().words("-vv --report json --metrics 127.0.0.1:0");
    let ended = run.input("to be or not to be\n").end().expect(0);
    assert_eq!(ended.lines(), ["to\t1", "be\t1", "or\t1", "not\t1", "to\t2", "be\t2"]);
    // The report gives way to the sink.
    ended.says(&["\"outcome\": \"finished\"", "\"records_out\": 6", "Metrics are served on"]);
    let quiet = place.run().words("--fresh -q").input("be\n").end().expect(0);
    assert_eq!((quiet.text().as_str(), quiet.stderr.as_str()), ("be\t1\n", ""));
}

#[test]
fn a_line_comes_out_while_the_next_is_awaited() {
    let place = Place::with_job(COUNT_STDIN);
    let mut running = place.run().start();
    for n in 1..=3 {
        running.stdin().write_all(b"tide\n").expect("it reads");
        assert_eq!(running.lines(n)[n - 1], format!("tide\t{n}"));
    }
    running.close_stdin();
    running.end().expect(0);
}

#[test]
fn a_bad_line_of_stdin_is_shown_by_record_and_byte() {
    let place = Place::with_job(FROM_STDIN);
    let run = place.run().set("sources.in.format=ndjson").input("{}\n[]\n");
    run.end().refuses(65, &["in: standard input, record 2 at byte 3", "one JSON object"]);
}

#[test]
fn a_stop_while_stdin_is_open_keeps_what_came_and_publishes() {
    let place = Place::with_job(COUNT_STDIN);
    let mut running = place.run().start();
    running.stdin().write_all(b"half a line\nand the beginning of ano").expect("it reads");
    assert_eq!(running.lines(3), ["half\t1", "a\t1", "line\t1"]);
    running.signal(Signal::INT);
    let ended = running.end().expect(130).has_no_panic();
    assert_eq!(ended.lines(), ["half\t1", "a\t1", "line\t1"]);
}

#[test]
fn lines_of_two_clients_arrive_once_each() {
    let place = Place::with_job(FROM_TCP);
    let running = place.run().start();
    let address = running.address_after("Source in listens on ");
    let mut expected = Vec::new();
    std::thread::scope(|scope| {
        for client in ["a", "b"] {
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                for n in 0..5000 {
                    // Lines are cut anywhere.
                    let line = format!("client {client} line {n}\n");
                    let (first, second) = line.split_at(n % line.len());
                    stream.write_all(first.as_bytes()).expect("it reads");
                    stream.write_all(second.as_bytes()).expect("it reads");
                }
            });
            expected.extend((0..5000).map(|n| format!("client {client} line {n}")));
        }
    });
    let mut found = running.lines(expected.len());
    running.signal(Signal::TERM);
    let ended = running.end().expect(143).has_no_panic();
    assert_eq!(ended.lines().len(), expected.len(), "nothing comes twice");
    found.sort_unstable();
    expected.sort_unstable();
    assert!(found == expected, "every line arrived once");
}

#[test]
fn a_stop_drains_what_clients_have_sent() {
    let place = Place::with_job(FROM_TCP);
    let running = place.run().start();
    let mut stream = TcpStream::connect(running.address_after("listens on ")).expect("it listens");
    let block = "a line that is drained\n".repeat(1000);
    for _ in 0..20 {
        stream.write_all(block.as_bytes()).expect("it reads");
    }
    // The first line is there, so the client is being read when the stop comes.
    running.lines(1);
    running.signal(Signal::TERM);
    let ended = running.end().expect(143).has_no_panic();
    assert!(ended.text().ends_with('\n'), "whole lines only");
    assert!(ended.lines().iter().all(|line| line == "a line that is drained"));
    assert!(TcpStream::connect(stream.peer_addr().expect("it was connected")).is_err());
}

#[test]
fn a_client_that_sends_too_long_a_line_is_told_and_the_job_goes_on() {
    let place = Place::with_job(FROM_TCP);
    let running = place.run().start();
    let address = running.address_after("Source in listens on ");
    let mut bad = TcpStream::connect(address).expect("it listens");
    bad.write_all(&vec![b'x'; 1024 * 1024 + 2]).expect("it reads");
    bad.shutdown(Shutdown::Write).ok();
    let mut answer = String::new();
    bad.read_to_string(&mut answer).expect("it answers");
    assert_eq!(answer, "error: a line is longer than 1048576 bytes; connection closed\n");
    let mut good = TcpStream::connect(address).expect("it still listens");
    good.write_all(b"fine").expect("it reads");
    good.shutdown(Shutdown::Write).expect("the last line needs no end");
    assert_eq!(running.lines(1), ["fine"]);
    running.signal(Signal::TERM);
    running.end().expect(143).has_no_panic();
}

#[test]
fn when_the_reader_of_stdout_has_seen_enough_the_job_ends_without_fuss() {
    let place = Place::with_job(ENDLESS);
    let (running, stdout) = place.run().start_unread();
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line comes");
    assert_eq!(line.split(' ').count(), 10);
    let ended = running.end().expect(74).has_no_panic();
    let ended = ended.says(&["the reader has closed the pipe"]);
    let lines = ended.stderr.lines().filter(|line| !line.trim().is_empty()).count();
    assert!(lines <= 2, "a word on it, and no more:\n{}", ended.stderr);
}

#[test]
fn a_full_device_behind_stdout_is_an_error() {
    let place = Place::with_job(FROM_STDIN);
    let run = place.run().input("a line\n").stdout_to("/dev/full");
    run.end().refuses(74, &["out: cannot write to standard output", "No space left"]);
    let explain = place.tidemill("explain job.toml").stdout_to("/dev/full");
    explain.end().refuses(74, &["cannot write to standard output", "disk full"]);
}

#[test]
fn a_job_goes_on_when_nobody_reads_what_it_says() {
    let place = Place::with_job(ENDLESS);
    let run = place.run().set("sources.in.events=1000").words("-vv --metrics 127.0.0.1:0");
    assert_eq!(run.end_unheard().expect(0).lines().len(), 1000);
    place.run().set("nothing=1").end_unheard().expect(78);
}

#[test]
fn results_for_a_reader_that_has_gone_are_no_failure() {
    for words in ["schema", "completions bash", "explain job.toml"] {
        let place = Place::with_job(FROM_STDIN);
        let (running, stdout) = place.tidemill(words).start_unread();
        drop(stdout);
        running.end().expect(0).has_no_panic();
    }
}
