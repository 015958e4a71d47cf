//! Real connections, on a log on a real disk.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tidemill_core::connector::SourceReader;
use tidemill_core::limits::LINE_BYTES_MAX;
use tidemill_core::quota::Unmetered;

use super::*;
use crate::connectors::logged::tests::{Bench, Lane, beginning, forming};

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Connections that the tenant of these sources may have.
const OPEN_FILES: u64 = 40;

struct Server {
    bench: Bench,
    lane: Lane,
    address: SocketAddr,
    duplicates: Arc<AtomicU64>,
}

fn serve() -> Server {
    let mut bench = Bench::new();
    let lane = bench.begin(&beginning());
    let (address, duplicates) = listen(&bench, &ClientTable::default());
    Server { bench, lane, address, duplicates }
}

fn listen(bench: &Bench, table: &ClientTable) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let duplicates = Arc::<AtomicU64>::default();
    let account = Arc::new(Unmetered::with_open_files(OPEN_FILES));
    let forming = Forming { account, ..forming() };
    start(listener, table, duplicates.clone(), &bench.intake, forming).unwrap();
    (address, duplicates)
}

/// A client with id.
struct Client {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    /// The number that it was greeted with.
    known: usize,
}

impl Client {
    fn hello(address: SocketAddr, id: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        writeln!(stream, "TIDEMILL-CLIENT {id}").unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        let mut client = Self { stream, answers, known: 0 };
        client.known = client.answer("TIDEMILL-OK ");
        client
    }

    fn answer(&mut self, expected: &str) -> usize {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let number = line.trim_end().strip_prefix(expected);
        number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    }

    fn wait_for(&mut self, line: usize) {
        while self.answer("TIDEMILL-ACK ") < line {}
    }
}

#[test]
fn lines_of_many_clients_stay_whole_and_a_stop_ends_the_source() {
    let Server { mut bench, mut lane, address, .. } = serve();
    let clients = (0..8).map(|client| {
        thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            for line in 0..500 {
                // Two writes, so that a line is seldom in one packet.
                write!(stream, "{client} ").unwrap();
                writeln!(stream, "{line}").unwrap();
            }
            write!(stream, "{client} last").unwrap();
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut found = lane.take(8 * 501);
    clients.into_iter().for_each(|client| client.join().unwrap());
    lane.reader.stop();
    bench.end();
    assert!(TcpStream::connect(address).is_err());
    let mut expected: Vec<String> = (0..8)
        .flat_map(|client| (0..500).map(move |line| format!("{client} {line}")))
        .chain((0..8).map(|client| format!("{client} last")))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn an_over_long_line_costs_its_client_the_connection_and_nobody_else() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut good = TcpStream::connect(address).unwrap();
    let mut bad = TcpStream::connect(address).unwrap();
    bad.write_all(b"fine\n").unwrap();
    assert_eq!(lane.take(1), ["fine"]);
    bad.write_all(&vec![b'x'; LINE_BYTES_MAX + 2]).unwrap();
    bad.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    bad.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "error: a line is longer than 1048576 bytes; connection closed\n");
    let longest = "y".repeat(LINE_BYTES_MAX);
    good.write_all(longest.as_bytes()).unwrap();
    good.write_all(b"\r\n").unwrap();
    assert_eq!(lane.take(1), [longest]);
}

#[test]
fn a_second_line_that_is_too_long_is_found_however_much_comes_at_once() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut client = TcpStream::connect(address).unwrap();
    let first = "x".repeat(983_041);
    let second = "y".repeat(LINE_BYTES_MAX + 1);
    let sending = {
        let (mut client, both) = (client.try_clone().unwrap(), format!("{first}\n{second}\n"));
        thread::spawn(move || client.write_all(both.as_bytes()))
    };
    assert_eq!(lane.take(1), [first]);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "error: a line is longer than 1048576 bytes; connection closed\n");
    // It may have been cut off before it had sent everything.
    drop(sending.join().unwrap());
    let mut good = TcpStream::connect(address).unwrap();
    good.write_all(b"fine\n").unwrap();
    assert_eq!(lane.take(1), ["fine"]);
}

#[test]
fn a_tenant_has_so_many_connections_and_gets_them_back() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut clients: Vec<_> =
        (0..OPEN_FILES).map(|_| TcpStream::connect(address).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"in\n").unwrap();
    }
    lane.take(clients.len());
    let refused = || {
        let mut answer = String::new();
        // What is sent after the connection is closed may come first.
        TcpStream::connect(address).unwrap().read_to_string(&mut answer).ok();
        answer
    };
    assert_eq!(refused(), "error: too many connections\n");
    drop(clients);
    // Until the host has seen that they are gone.
    let mut client = loop {
        let mut stream = TcpStream::connect(address).unwrap();
        writeln!(stream, "TIDEMILL-CLIENT a").ok();
        let mut answer = String::new();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        if answers.read_line(&mut answer).is_ok() && answer.starts_with("TIDEMILL-OK") {
            break stream;
        }
    };
    client.write_all(b"later\n").unwrap();
    assert_eq!(lane.take(1), ["later"]);
}

#[test]
fn long_lines_that_are_not_whole_share_their_room() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let most = LONG_LINES_BYTES_MAX as usize / LINE_BYTES_MAX;
    let mut clients = Vec::new();
    let mut refused = 0;
    for _ in 0..2 * most {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // Whoever is turned away may hear of it in the middle.
        client.write_all(&vec![b'x'; LINE_BYTES_MAX]).ok();
        let mut answer = String::new();
        if client.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
            assert_eq!(answer, "error: too many long lines at once; connection closed\n");
            refused += 1;
        } else {
            clients.push(client);
        }
    }
    assert!((most..=most + 1).contains(&clients.len()) && refused >= most - 1, "{refused}");
    for client in &mut clients {
        client.write_all(b"\n").unwrap();
        assert_eq!(lane.take(1)[0].len(), LINE_BYTES_MAX);
    }
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(&vec![b'y'; LINE_BYTES_MAX]).unwrap();
    client.write_all(b"\n").unwrap();
    assert_eq!(lane.take(1)[0].len(), LINE_BYTES_MAX);
}

#[test]
fn an_over_long_line_of_a_client_with_id_leaves_what_was_acknowledged() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut client = Client::hello(address, "a");
    client.stream.write_all(b"one\ntwo\n").unwrap();
    client.stream.write_all(&vec![b'x'; LINE_BYTES_MAX + 2]).unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = String::new();
    client.answers.read_to_string(&mut answers).unwrap();
    let end = "TIDEMILL-ACK 2\nerror: a line is longer than 1048576 bytes; connection closed\n";
    assert!(answers.ends_with(end), "{answers}");
    assert_eq!(lane.take(2), ["one", "two"]);
    assert_eq!(Client::hello(address, "a").known, 2);
}

#[test]
fn an_address_in_use_says_what_to_do() {
    let listener = bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let error = bind(address).unwrap_err();
    assert_eq!(error.fault, ConnectorFault::CannotCreate);
    assert!(error.message.contains(&address.to_string()), "{error}");
    assert!(error.message.contains("use another port"), "{error}");
}

#[test]
fn a_client_with_id_hears_of_all_its_lines_before_the_connection_ends() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut client = Client::hello(address, "a");
    assert_eq!(client.known, 0);
    client.stream.write_all(b"one\r\ntwo\nthree, which may be cut").unwrap();
    client.stream.shutdown(Shutdown::Write).unwrap();
    client.wait_for(2);
    assert_eq!(client.answers.read_line(&mut String::new()).unwrap(), 0, "closed");
    assert_eq!(lane.take(2), ["one", "two"]);
    let mut again = Client::hello(address, "a");
    assert_eq!(again.known, 2);
    again.stream.write_all(b"three\n").unwrap();
    again.wait_for(3);
    assert_eq!(lane.take(1), ["three"]);
}

#[test]
fn connections_that_are_cut_anywhere_lose_and_repeat_no_line() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let clients = ["a", "b"].map(|id| {
        thread::spawn(move || {
            let lines: Vec<String> = (0..3000).map(|line| format!("{id} {line}\n")).collect();
            let mut cut = 17;
            loop {
                let mut client = Client::hello(address, id);
                let rest = lines[client.known..].concat();
                if rest.is_empty() {
                    return;
                }
                cut = cut * 3 % 20_011;
                match rest.as_bytes().get(..cut) {
                    // In the middle of a line, and without hearing what was acknowledged.
                    Some(part) => client.stream.write_all(part).unwrap(),
                    None => {
                        client.stream.write_all(rest.as_bytes()).unwrap();
                        client.wait_for(lines.len());
                    }
                }
                if cut % 2 == 0 {
                    client.stream.shutdown(Shutdown::Both).unwrap();
                }
            }
        })
    });
    let found = lane.take(6000);
    clients.into_iter().for_each(|client| client.join().unwrap());
    for id in ["a ", "b "] {
        let own = found.iter().filter(|line| line.starts_with(id));
        assert!(own.map(String::as_str).eq((0..3000).map(|line| format!("{id}{line}"))));
    }
}

#[test]
fn the_newer_connection_of_a_client_wins_and_the_older_is_told() {
    let Server { bench: _bench, mut lane, address, duplicates } = serve();
    let mut older = Client::hello(address, "a");
    older.stream.write_all(b"one\n").unwrap();
    older.wait_for(1);
    let mut newer = Client::hello(address, "a");
    assert_eq!(newer.known, 1);
    let mut told = String::new();
    older.answers.read_line(&mut told).unwrap();
    assert_eq!(told, "error: a newer connection uses this client id; connection closed\n");
    newer.stream.write_all(b"two\n").unwrap();
    newer.wait_for(2);
    assert_eq!(lane.take(2), ["one", "two"]);
    assert_eq!(duplicates.load(Relaxed), 0);
}

#[test]
fn a_bad_id_is_refused_and_other_first_lines_are_records() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut bad = TcpStream::connect(address).unwrap();
    bad.write_all(b"TIDEMILL-CLIENT a b\nline\n").unwrap();
    bad.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    bad.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("error: a client id is 1 to 64 letters"), "{answer}");
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"TIDEMILL-CLIENTS\nline\n").unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    answer.clear();
    plain.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "", "nobody is acknowledged who has no id");
    assert_eq!(lane.take(2), ["TIDEMILL-CLIENTS", "line"]);
}

#[test]
fn the_table_of_a_position_is_that_of_the_lines_before_it() {
    let Server { mut bench, mut lane, address, .. } = serve();
    for (id, lines) in [("a", "1\n2\n"), ("b", "1\n")] {
        let mut client = Client::hello(address, id);
        client.stream.write_all(lines.as_bytes()).unwrap();
        client.wait_for(lines.len() / 2);
    }
    lane.take(3);
    let at = lane.position();
    bench.crash();
    let table = ClientTable::decode(&at.position.detail).unwrap();
    let lines: Vec<_> = table.iter().map(|(id, known)| (&**id, known.line)).collect();
    assert_eq!(lines, [("a", 2), ("b", 1)]);
    let _lane = bench.begin(&at);
    let (address, _) = listen(&bench, &table);
    assert_eq!(Client::hello(address, "a").known, 2);
}

#[test]
fn who_never_reads_what_it_is_told_is_read_all_the_same() {
    let Server { bench: _bench, mut lane, address, .. } = serve();
    let mut deaf = Client::hello(address, "deaf");
    for round in 0..200 {
        writeln!(deaf.stream, "{round}").unwrap();
        assert_eq!(lane.take(1), [round.to_string()]);
    }
}
