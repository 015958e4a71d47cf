//! The compiler of components, in a process of its own.
//!
//! A file that nobody trusts may blow up the compiler's time or memory, or crash it. So a child of the same
//! binary parses and compiles it, under limits of the system and with nothing within its reach; the host takes
//! what it answers for hostile, and its death for a refusal. Owns the child from start to end and what its end
//! means. Must not know what is compiled or how: that is the sandbox's.
//!
//! | file | what it owns |
//! |---|---|
//! | `child` | what the child does |
//! | `confine` | the layers that the child puts around itself |
//! | `ended` | what the end of a child means |
//! | `fault` | misdeeds of a child, for tests |

mod child;
mod confine;
mod ended;
mod fault;

use std::io::{self, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tidemill_core::limits::AdmissionLimits;
use tidemill_core::quota::TenantUsage;
use tidemill_sandbox::AdmissionError;
use tidemill_sandbox::compiler::codec::{self, Answer};
use tidemill_sandbox::compiler::{Compilation, Compiler, Confinement, Layer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::{machine, spawner};
pub(crate) use child::serve;
use ended::{Ended, refusal};

/// The hidden subcommand that the child runs.
pub(crate) const SUBCOMMAND: &str = "compile-component";

/// This very binary, also after another was installed in its place.
const THIS_BINARY: &str = "/proc/self/exe";
/// Bytes of what a child writes to stderr that are looked at.
const WORDS_BYTES_MAX: u64 = 16 * 1024;
/// How long a child that ends without an answer may take to be gone, with all its memory.
const PARTING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// At most one child at a time: compiling takes no more than one core from those who run. First come, first served, which a mutex of
/// the standard library does not promise: whoever asks often enough could have it again and again.
static ONE: Mutex<()> = Mutex::const_new(());

/// Compiles each file in a new child process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChildCompiler;

impl Compiler for ChildCompiler {
    fn compile(
        &self,
        bytes: &[u8],
        limits: &AdmissionLimits,
        tenant: &TenantUsage,
    ) -> Result<Compilation, AdmissionError> {
        heed_children();
        let _one = ONE.blocking_lock();
        let (limits, wall) = fault::limits(limits);
        let answer = ask(bytes, &limits, wall, tenant)?;
        warn_once(&answer.confinement);
        answer.into_compilation()
    }
}

/// Has the system keep what becomes of children. Whoever started this process may have had it throw that away (SIGCHLD ignored, which
/// is handed on): how a compiler ended and what it used would be lost.
fn heed_children() {
    static HEEDED: Once = Once::new();
    HEEDED.call_once(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        // A handler stays when the runtime that it was set from is gone.
        let heeded = runtime.and_then(|runtime| {
            let _inside = runtime.enter();
            signal(SignalKind::child())
        });
        if let Err(error) = heeded {
            tracing::debug!("The ends of children may be lost: {error}.");
        }
    });
}

fn warn_once(confinement: &Confinement) {
    static WARNED: Once = Once::new();
    if !confinement.missing.is_empty() {
        let missing: Vec<&str> = confinement.missing.iter().copied().map(Layer::name).collect();
        let missing = missing.join(", ");
        WARNED.call_once(|| {
            tracing::warn!("Components are compiled without {missing}: this system lacks it.");
        });
    }
}

/// Has a child compile a file, when there is no other.
fn ask(
    bytes: &[u8],
    limits: &AdmissionLimits,
    wall: Duration,
    tenant: &TenantUsage,
) -> Result<Answer, AdmissionError> {
    let no_child = |error: io::Error| {
        let words = format!("the process of the compiler cannot be started: {error}");
        match is_shortage(&error) {
            true => AdmissionError::HostFull(words),
            false => AdmissionError::Host(words),
        }
    };
    let before_us = machine::children_cpu_us();
    let mut child = Reaped(command().spawn().map_err(no_child)?);
    let talk = Talk::begin(&mut child.0, bytes, limits).map_err(no_child)?;
    let answer = talk.answer.recv_timeout(wall);
    let is_late = matches!(answer, Err(RecvTimeoutError::Timeout));
    let answer = answer.ok().and_then(Result::ok);
    // One that has said nothing that counts is dying, or has closed its output and goes on.
    let is_dying = !is_late && answer.is_none();
    let status = if is_dying { child.end_within(PARTING) } else { None };
    child.kill();
    let cpu_us = machine::children_cpu_us().saturating_sub(before_us);
    tenant.compile_cpu_us.fetch_add(cpu_us, Relaxed);
    let words = talk.words.recv_timeout(PARTING).unwrap_or_default();
    tracing::debug!(?status, is_late, cpu_us, words, "The compiler's process has ended.");
    match answer {
        Some(answer) => Ok(answer),
        None => Err(refusal(&Ended { status, is_late, words: &words, cpu_us, wall }, limits)),
    }
}

/// Whether the system has no process, thread, memory or descriptor to give now.
fn is_shortage(error: &io::Error) -> bool {
    let of_files = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|code| of_files.contains(&code))
}

fn command() -> Command {
    let mut command = Command::new(THIS_BINARY);
    command.arg(SUBCOMMAND).env_clear().current_dir("/");
    // The allocator is to commit what is used, and not a whole arena ahead, which would count as used.
    command.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    fault::pass_on(&mut command);
    command
}

/// The threads that talk to a child. They end with it; nobody waits for them longer than for it.
struct Talk {
    answer: Receiver<io::Result<Answer>>,
    words: Receiver<String>,
}

impl Talk {
    fn begin(child: &mut Child, bytes: &[u8], limits: &AdmissionLimits) -> io::Result<Self> {
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let (say_answer, answer) = mpsc::channel();
        let (say_words, words) = mpsc::channel();
        let (file, asked, given) = (bytes.to_vec(), limits.clone(), limits.clone());
        // A receiver that is gone has seen enough; a child that takes no request will be found dead.
        start("compiler-request", move || drop(request(stdin, &file, &asked)))?;
        start("compiler-answer", move || drop(say_answer.send(read(stdout, &given))))?;
        start("compiler-words", move || drop(say_words.send(listen(stderr))))?;
        Ok(Self { answer, words })
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    spawner::builder(name)?.spawn(work).map(drop)
}

fn request(mut stdin: ChildStdin, bytes: &[u8], limits: &AdmissionLimits) -> io::Result<()> {
    codec::write_request(&mut stdin, bytes, limits)
}

fn read(mut stdout: ChildStdout, limits: &AdmissionLimits) -> io::Result<Answer> {
    codec::read_answer(&mut stdout, limits)
}

/// The beginning of what a child says; the rest is read and forgotten, so that it is not held up.
fn listen(mut stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    let heard = (&mut stderr).take(WORDS_BYTES_MAX).read_to_end(&mut words);
    heard.and_then(|_| io::copy(&mut stderr, &mut io::sink())).ok();
    String::from_utf8_lossy(&words).into_owned()
}

/// A child that is not left behind, whatever happens.
struct Reaped(Child);

impl Reaped {
    fn end_within(&mut self, time: Duration) -> Option<std::process::ExitStatus> {
        let began = Instant::now();
        loop {
            match self.0.try_wait() {
                Ok(None) if began.elapsed() < time => thread::sleep(LOOK_AGAIN),
                ended => return ended.ok().flatten(),
            }
        }
    }

    fn kill(&mut self) {
        // One that is gone already cannot be killed, and one that was waited for is not waited for again.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        self.kill();
    }
}
