//! Processes of the binary: started, watched while they run, and looked at when they have ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// How long anything may take: far more than it does, also on a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process to be.
pub(crate) struct Command {
    command: std::process::Command,
    input: Option<Vec<u8>>,
    stdout: Option<File>,
}

impl Command {
    /// The binary, to be run in `folder`, with a compile cache of the tests' own.
    pub(crate) fn tidemill(folder: &Path) -> Self {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
        command.current_dir(folder);
        command.env("XDG_CACHE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
        command.env_remove("TIDEMILL_LOG").env_remove("RUST_BACKTRACE");
        Self { command, input: None, stdout: None }
    }

    /// Appends arguments, parted by spaces.
    pub(crate) fn words(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    /// Puts something into its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Appends an argument as it is.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Overrides a setting of the job file.
    pub(crate) fn set(self, setting: &str) -> Self {
        self.arg("--set").arg(setting)
    }

    /// What the process finds on its standard input; nothing if not given.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Where its standard output goes, instead of to the test.
    pub(crate) fn stdout_to(mut self, path: &str) -> Self {
        self.stdout = Some(File::options().write(true).open(path).expect("it can be written to"));
        self
    }

    /// Runs it to its end, with nobody to read what it says on stderr.
    pub(crate) fn end_unheard(mut self) -> Ended {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary can be started");
        drop(child.stderr.take());
        let stdout = Tap::new(child.stdout.take().expect("stdout is piped"));
        Running { child, stdout, stderr: Tap::new(io::empty()) }.end()
    }

    /// Runs it to its end.
    pub(crate) fn end(mut self) -> Ended {
        let input = self.input.take().unwrap_or_default();
        let mut running = self.start();
        // A process that does not read its input to the end is not at fault.
        running.stdin().write_all(&input).ok();
        running.close_stdin();
        running.end()
    }

    /// Runs it with `--report json` to its end, which must be a good one; answers the report.
    #[track_caller]
    pub(crate) fn report(self) -> Value {
        self.words("--report json").end().expect(0).report()
    }

    /// Starts it, its standard input open.
    pub(crate) fn start(mut self) -> Running {
        let stdout = self.stdout.take().map_or_else(Stdio::piped, Stdio::from);
        self.command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().map_or_else(|| Tap::new(io::empty()), Tap::new);
        let stderr = Tap::new(child.stderr.take().expect("stderr is piped"));
        Running { child, stdout, stderr }
    }

    /// Starts it; whether its standard output is read is up to the caller.
    pub(crate) fn start_unread(mut self) -> (Running, ChildStdout) {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("the binary can be started");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = Tap::new(child.stderr.take().expect("stderr is piped"));
        (Running { child, stdout: Tap::new(io::empty()), stderr }, stdout)
    }
}

#[derive(Default)]
struct Poured {
    bytes: Vec<u8>,
    is_ended: bool,
}

/// What comes out of a pipe, gathered by a thread.
struct Tap {
    poured: Arc<(Mutex<Poured>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let poured = Arc::<(Mutex<Poured>, Condvar)>::default();
        let shared = Arc::clone(&poured);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut poured = shared.0.lock().expect("nobody panics with the lock");
                poured.bytes.extend_from_slice(&buffer[..count]);
                poured.is_ended = count == 0;
                drop(poured);
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Self { poured, thread: Some(thread) }
    }

    /// Waits until `look` finds what it wants in what came so far; `None` if it never does.
    fn wait<T>(&self, mut look: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut poured = self.poured.0.lock().expect("nobody panics with the lock");
        loop {
            if let Some(found) = look(&String::from_utf8_lossy(&poured.bytes)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if poured.is_ended || left.is_zero() {
                return None;
            }
            poured = self.poured.1.wait_timeout(poured, left).expect("as above").0;
        }
    }

    /// Waits until the pipe has ended, at most for `time`; answers whether it has.
    fn wait_end(&self, time: Duration) -> bool {
        let poured = self.poured.0.lock().expect("nobody panics with the lock");
        let waiting = |poured: &mut Poured| !poured.is_ended;
        let waited = self.poured.1.wait_timeout_while(poured, time, waiting);
        waited.expect("nobody panics with the lock").0.is_ended
    }

    fn so_far(&self) -> Vec<u8> {
        self.poured.0.lock().expect("nobody panics with the lock").bytes.clone()
    }

    fn into_bytes(mut self) -> Vec<u8> {
        let thread = self.thread.take().expect("it is joined once");
        thread.join().expect("reading a pipe does not panic");
        self.so_far()
    }
}

/// A process at work. Killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Tap,
    stderr: Tap,
}

impl Running {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input.
    pub(crate) fn stdin(&mut self) -> &mut ChildStdin {
        self.child.stdin.as_mut().expect("stdin is piped and open")
    }

    /// Tells it that its standard input has ended.
    pub(crate) fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until `look` finds what it wants in its standard output.
    #[track_caller]
    pub(crate) fn until_stdout<T>(&self, look: impl FnMut(&str) -> Option<T>) -> T {
        self.stdout.wait(look).unwrap_or_else(|| panic!("stdout never showed it; {}", self.words()))
    }

    /// Waits until `look` finds what it wants on its stderr.
    #[track_caller]
    pub(crate) fn until_stderr<T>(&self, look: impl FnMut(&str) -> Option<T>) -> T {
        self.stderr.wait(look).unwrap_or_else(|| panic!("stderr never showed it; {}", self.words()))
    }

    /// Waits until there are `count` whole lines on its standard output, and answers them.
    #[track_caller]
    pub(crate) fn lines(&self, count: usize) -> Vec<String> {
        self.until_stdout(|text| {
            let ended = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            let lines: Vec<String> = ended.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The address that it says behind `words` on stderr.
    #[track_caller]
    pub(crate) fn address_after(&self, words: &str) -> SocketAddr {
        let look = |text: &str| {
            let rest = text.split_once(words)?.1;
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
            rest[..end].trim_end_matches('.').parse().ok()
        };
        self.until_stderr(look)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are positive");
        let id = Pid::from_raw(id).expect("process ids are positive");
        // It may have ended by itself: the test then sees how.
        rustix::process::kill_process(id, signal).ok();
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until it has ended, at most for `time`; answers whether it has.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        self.stderr.wait_end(time.min(PATIENCE))
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        // Both pipes end with the process.
        let is_ended = self.stderr.wait_end(PATIENCE) && self.stdout.wait_end(PATIENCE);
        assert!(is_ended, "the process does not end; {}", self.words());
        let status = self.child.wait().expect("a child can be waited for");
        let Self { stdout, stderr, .. } = &mut self;
        let stdout = std::mem::replace(stdout, Tap::new(io::empty())).into_bytes();
        let stderr = std::mem::replace(stderr, Tap::new(io::empty())).into_bytes();
        Ended { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    fn words(&self) -> String {
        let text = |tap: &Tap| String::from_utf8_lossy(&tap.so_far()).into_owned();
        format!("stdout:\n{}\nstderr:\n{}", text(&self.stdout), text(&self.stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.stderr, self.text());
        self
    }

    /// Fails unless it was ended by this signal.
    #[track_caller]
    pub(crate) fn expect_killed_by(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal.as_raw()), "{}", self.stderr);
        self
    }

    /// Whether it ended well.
    pub(crate) fn has_succeeded(&self) -> bool {
        self.status.success()
    }

    /// Whether it was killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.status.signal() == Some(Signal::KILL.as_raw())
    }

    /// Its standard output as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The lines of its standard output.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// The report that it wrote as JSON to its standard output.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.text(), self.stderr))
    }

    /// Fails unless stderr holds all of `parts`, wherever its lines were broken.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        let said = bare(&self.stderr);
        for part in parts {
            assert!(said.contains(&bare(part)), "{part:?} is not in\n{}", self.stderr);
        }
        self
    }

    /// Forgets the log lines before the diagnostic, those of guests among them.
    pub(crate) fn only_diagnostic(mut self) -> Self {
        let start = self.stderr.rfind('\u{d7}').unwrap_or(self.stderr.len());
        self.stderr.drain(..start);
        self
    }

    /// Fails unless it gave up in good order: with this exit code, all of `parts` on stderr, and
    /// nothing that looks like a defect of the host.
    #[track_caller]
    pub(crate) fn refuses(self, code: i32, parts: &[&str]) -> Self {
        self.expect(code).says(parts).has_no_panic()
    }

    /// Fails if the host panicked.
    #[track_caller]
    pub(crate) fn has_no_panic(self) -> Self {
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace", "with the log lines of `-vv`"]
        {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
        self
    }
}

/// Without white space and the frames of diagnostics.
fn bare(text: &str) -> String {
    let is_frame = |c: char| ('\u{2500}'..='\u{257f}').contains(&c) || c == '×';
    text.chars().filter(|c| !c.is_whitespace() && !is_frame(*c)).collect()
}
