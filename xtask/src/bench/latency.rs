//! How long a line takes from a tcp client to standard output, through the log and an operator.
//!
//! Open loop: lines are sent when they are due, whether or not earlier ones have come out, and a line's time counts
//! from when it was due. Checkpoints run each second.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::figures::{Figure, Figures};
use super::operators;
use super::process::Process;
use crate::steps::{target, tidemill};

const LINES_PER_SECOND: u64 = 10_000;
const SECONDS: u64 = 20;
/// Not counted: the first connections, pages and checkpoints.
const WARM_UP_S: u64 = 3;
/// Lines that are due together.
const TICK: Duration = Duration::from_millis(1);

pub(super) fn latency() -> Figures {
    let folder = target().join("bench/latency");
    fs::remove_dir_all(&folder).ok();
    let failed = |error: std::io::Error| format!("latency: {error}");
    fs::create_dir_all(&folder).map_err(failed)?;
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(failed)?;
    let text = format!(
        "name = \"latency\"\nparallelism = 1\ncheckpoint-interval = \"1s\"\n\
         [sources.lines]\nconnector = \"tcp\"\nlisten = \"{address}\"\n\
         [operators.split]\ncomponent = {:?}\nfrom = \"lines\"\n\
         [sinks.out]\nconnector = \"stdout\"\nfrom = \"split\"\nformat = \"text\"\nkey-type = \"text\"\n",
        operators().join("word_split.wasm")
    );
    fs::write(folder.join("job.toml"), text).map_err(failed)?;
    let mut command = Command::new(tidemill());
    command.args(["run", "job.toml", "-q"]).current_dir(&folder);
    let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let out = BufReader::new(process.take_stdout()?);
    // Where lines are lost, the output ends with the process.
    let killed_after = process.killed_after(Duration::from_secs(SECONDS + 30));
    let measured = connect(&address.to_string()).and_then(|stream| measure(stream, out));
    drop(killed_after);
    process.kill()?;
    fs::remove_dir_all(&folder).ok();
    let mut times_ms = measured.map_err(failed)?;
    times_ms.sort_by(f64::total_cmp);
    let at = |share: f64| times_ms[((times_ms.len() - 1) as f64 * share) as usize];
    let name = |what: &str| format!("tcp line in to stdout line out, 10,000 lines/s: {what}");
    Ok(vec![
        Figure::new(name("median"), at(0.5), "ms").down(""),
        Figure::new(name("p99"), at(0.99), "ms").down("< 5"),
        Figure::new(name("p99.9"), at(0.999), "ms"),
    ])
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let begin = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Err(error) if begin.elapsed() > Duration::from_secs(10) => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
            stream => return stream,
        }
    }
}

/// Sends the lines and reads them again; answers the time of each after the warm-up, in milliseconds.
fn measure(mut stream: TcpStream, mut out: impl BufRead) -> std::io::Result<Vec<f64>> {
    stream.set_nodelay(true)?;
    let mut acknowledged = stream.try_clone()?;
    // Acknowledgements are read so that the connection does not fill up.
    thread::spawn(move || std::io::copy(&mut acknowledged, &mut std::io::sink()));
    let total = LINES_PER_SECOND * SECONDS;
    let begin = Instant::now();
    let due = move |line: u64| begin + TICK * (line / (LINES_PER_SECOND / 1000)) as u32;
    let sender = thread::spawn(move || -> std::io::Result<()> {
        let mut lines = Vec::new();
        let mut next = 0;
        while next < total {
            thread::sleep(due(next).saturating_duration_since(Instant::now()));
            lines.clear();
            while next < total && due(next) <= Instant::now() {
                lines.extend(word(next));
                lines.push(b'\n');
                next += 1;
            }
            stream.write_all(&lines)?;
        }
        // The other end is open until everything was read.
        thread::sleep(Duration::from_secs(2));
        Ok(())
    });
    let (mut times_ms, mut line) = (Vec::new(), Vec::new());
    for n in 0..total {
        line.clear();
        out.read_until(b'\n', &mut line)?;
        if !line.starts_with(&word(n)) {
            let found = String::from_utf8_lossy(&line).into_owned();
            return Err(std::io::Error::other(format!("line {n} came out as {found:?}")));
        }
        if n >= LINES_PER_SECOND * WARM_UP_S {
            times_ms.push(due(n).elapsed().as_secs_f64() * 1e3);
        }
    }
    sender.join().map_err(|_| std::io::Error::other("the sender panicked"))??;
    Ok(times_ms)
}

/// The number of a line, in letters: the operator at hand knows words only.
fn word(mut n: u64) -> Vec<u8> {
    let mut letters = [b'a'; 6];
    for letter in letters.iter_mut().rev() {
        *letter = b'a' + (n % 26) as u8;
        n /= 26;
    }
    letters.to_vec()
}
