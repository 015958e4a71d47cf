//! The canary: a well-behaved job beside the attack, whose output must be exact and in time.
//!
//! Open loop: 1,000 lines a second are sent when they are due, whether or not earlier ones have come out, and the
//! time of a line counts from when it was due. Each line is a word; what comes out is how often it came so far.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::process::PATIENCE;

/// Between one line and the next.
const TICK: Duration = Duration::from_millis(1);
/// Different words.
const WORDS: u64 = 97;

/// The canary's job file; the components lie in `operators`.
pub fn job(operators: &Path) -> String {
    format!(
        r#"name = "canary"
tenant = "alice"
checkpoint-interval = "1s"
[sources.lines]
connector = "tcp"
listen = "127.0.0.1:0"
[operators.split]
component = "{0}/word_split.wasm"
from = "lines"
[operators.count]
component = "{0}/word_count.wasm"
from = "split"
config = {{ emit = "every" }}
[sinks.out]
connector = "stdout"
from = "count"
format = "text"
key-type = "text"
value-type = "u64"
"#,
        operators.display()
    )
}

/// Times of lines, from when each was due until it came out.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// In milliseconds, in the order of the lines.
    pub ms: Vec<f64>,
}

impl Latencies {
    /// The time that this share of the lines does not exceed.
    pub fn at(&self, share: f64) -> f64 {
        let mut sorted = self.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * share) as usize).copied().unwrap_or(f64::INFINITY)
    }

    /// Without the first `count` lines: first connections and pages.
    #[must_use]
    pub fn without_first(&self, count: usize) -> Self {
        Self { ms: self.ms.get(count..).unwrap_or_default().to_vec() }
    }
}

/// A canary at work.
pub struct Canary {
    is_over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    sender: JoinHandle<std::io::Result<u64>>,
    reader: JoinHandle<Result<Latencies, String>>,
}

fn word(line: u64) -> String {
    let n = line % WORDS;
    let letter = |n: u64| char::from(b'a' + (n % 26) as u8);
    format!("{}{}x", letter(n / 26), letter(n))
}

impl Canary {
    /// Begins to send to `address`, and to read `stdout`.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn start(address: SocketAddr, stdout: ChildStdout) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("canary: {error}"))?;
        stream.set_nodelay(true).map_err(|error| format!("canary: {error}"))?;
        let (sent, received) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let is_over = Arc::<AtomicBool>::default();
        let begin = Instant::now();
        let (over, count) = (is_over.clone(), sent.clone());
        let sender = thread::spawn(move || send(stream, begin, &over, &count));
        let count = received.clone();
        let reader = thread::spawn(move || read(BufReader::new(stdout), begin, &count));
        Ok(Self { is_over, sent, received, sender, reader })
    }

    /// Sends no more, and waits until nothing comes out any more: what is missing then is told by `end`.
    pub fn finish(&self) {
        const QUIET: Duration = Duration::from_millis(100);
        self.is_over.store(true, SeqCst);
        let deadline = Instant::now() + PATIENCE;
        let is_missing =
            || !self.sender.is_finished() || self.received.load(SeqCst) < self.sent.load(SeqCst);
        while is_missing() && !self.reader.is_finished() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        // There must not be more than was sent, either.
        thread::sleep(QUIET);
    }

    /// The times of all lines, when the process has ended.
    ///
    /// # Errors
    /// When output was wrong, or lines are missing.
    pub fn end(self) -> Result<Latencies, String> {
        self.is_over.store(true, SeqCst);
        let panicked = |_| "a thread of the canary panicked".to_owned();
        let sent =
            self.sender.join().map_err(panicked)?.map_err(|error| format!("canary: {error}"))?;
        let latencies = self.reader.join().map_err(panicked)??;
        match latencies.ms.len() as u64 {
            received if received == sent => Ok(latencies),
            received => Err(format!("of {sent} lines of the canary {received} came out")),
        }
    }
}

fn due(begin: Instant, line: u64) -> Instant {
    begin + TICK * u32::try_from(line).unwrap_or(u32::MAX)
}

fn send(
    mut stream: TcpStream,
    begin: Instant,
    is_over: &AtomicBool,
    sent: &AtomicU64,
) -> std::io::Result<u64> {
    let (mut next, mut lines) = (0, String::new());
    while !is_over.load(SeqCst) {
        thread::sleep(due(begin, next).saturating_duration_since(Instant::now()));
        lines.clear();
        while due(begin, next) <= Instant::now() {
            lines += &word(next);
            lines.push('\n');
            next += 1;
        }
        stream.write_all(lines.as_bytes())?;
        sent.store(next, SeqCst);
    }
    Ok(next)
}

fn read(mut out: impl BufRead, begin: Instant, received: &AtomicU64) -> Result<Latencies, String> {
    let (mut latencies, mut line) = (Latencies::default(), String::new());
    for n in 0.. {
        line.clear();
        let length = out.read_line(&mut line).map_err(|error| format!("canary: {error}"))?;
        if length == 0 {
            break;
        }
        let expected = format!("{}\t{}\n", word(n), n / WORDS + 1);
        if line != expected {
            return Err(format!("line {n} of the canary is {line:?} and not {expected:?}"));
        }
        latencies.ms.push(due(begin, n).elapsed().as_secs_f64() * 1e3);
        received.store(n + 1, SeqCst);
    }
    Ok(latencies)
}
