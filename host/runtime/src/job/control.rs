//! The control socket of a running job: a Unix socket in its directory, for its owner only.
//!
//! One request a connection: a line of JSON in, a line of JSON out. Owns the protocol and one thread that
//! waits at the socket. Must not decide anything: requests go to the supervisor. A job runs on without the
//! socket when it cannot be made (the path of one is short), with a warning.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::hand_over::Telling;
use super::savepoint;
use super::supervisor::{Event, SavepointRequest};
use super::{Shared, lock};
use crate::spawner;

/// The socket's name in the job's directory.
const SOCKET: &str = "control.sock";
/// A request is never longer.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// Pause after a failed accept: the usual cause, no free file descriptors, does not pass by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked of a running job.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Request {
    /// Take a checkpoint and copy it to a directory.
    Savepoint {
        /// The directory, absolute; it must hold no checkpoint.
        directory: PathBuf,
        /// The job is to stop with it, once it has processed all of its input log. The connection is closed
        /// when the job has ended.
        #[serde(default)]
        stop: bool,
    },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Answer {
    /// The savepoint is complete.
    Savepoint {
        /// The checkpoint that it is a copy of.
        checkpoint: u64,
        /// Where it lies.
        directory: PathBuf,
    },
    /// It could not be done.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Removes the socket and ends its thread when the job ends.
pub(super) struct ControlSocket(Option<Listening>);

struct Listening {
    path: PathBuf,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ControlSocket {
    /// Listens for requests until dropped.
    pub(super) fn open(directory: &Path, shared: &Arc<Shared>) -> Self {
        let path = directory.join(SOCKET);
        match listen(&path, shared.clone()) {
            Ok(listening) => Self(Some(listening)),
            Err(error) => {
                tracing::warn!("{}: {error}; the job runs without it.", path.display());
                Self(None)
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let Some(Listening { path, is_over, thread }) = self.0.take() else { return };
        is_over.store(true, SeqCst);
        // It waits for a connection, so it gets one.
        let is_told = UnixStream::connect(&path).is_ok();
        tidemill_storage::data_dir::remove_socket(&path);
        if is_told {
            thread.join().ok();
        }
    }
}

fn listen(path: &Path, shared: Arc<Shared>) -> std::io::Result<Listening> {
    // The job's lock is held, so one that is there is left over.
    tidemill_storage::data_dir::remove_socket(path);
    let listener = UnixListener::bind(path)?;
    tidemill_storage::data_dir::keep_private(path)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = is_over.clone();
    let serve = move || {
        for stream in listener.incoming() {
            if ended.load(SeqCst) {
                return;
            }
            let Ok(stream) = stream else {
                thread::sleep(ACCEPT_PAUSE);
                continue;
            };
            let shared = shared.clone();
            let answer = move || answer(&stream, &shared);
            // One that gets no thread sees its connection closed.
            spawner::builder("tidemill-answer").and_then(|thread| thread.spawn(answer)).ok();
        }
    };
    let thread = spawner::builder("tidemill-socket")?.spawn(serve)?;
    Ok(Listening { path: path.to_owned(), is_over, thread })
}

fn answer(stream: &UnixStream, shared: &Shared) {
    let answered = read(stream).map(|Request::Savepoint { directory, stop }| {
        // Whoever stops the job is told before its process may end.
        let mut telling = None;
        let answer = serve(directory, stop, shared, &mut telling);
        (answer, telling)
    });
    let (answer, telling) =
        answered.unwrap_or_else(|error| (Answer::Failed { reason: error.to_string() }, None));
    let line = serde_json::to_string(&answer).unwrap_or_default();
    let mut to = stream;
    // A client that has gone needs no answer.
    writeln!(to, "{line}").ok();
    let is_ending = telling.is_some();
    drop(telling);
    if is_ending {
        shared.hand_over.wait_end();
    }
}

fn read(stream: &UnixStream) -> std::io::Result<Request> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

fn serve<'a>(
    directory: PathBuf,
    stop: bool,
    shared: &'a Shared,
    telling: &mut Option<Telling<'a>>,
) -> Answer {
    let answer = savepoint::check_target(&directory).and_then(|()| {
        let (reply, replies) = mpsc::channel();
        let (asked, directory) = (Instant::now(), directory.clone());
        let wanted = SavepointRequest { directory, reply, asked, stops: stop };
        if stop {
            *telling = Some(shared.hand_over.ask(wanted)?);
            // One that is not running at this moment learns of it when it starts anew.
            tell(shared, Event::HandOverWanted).ok();
        } else {
            tell(shared, Event::SavepointWanted(wanted))?;
        }
        let gone = "the job ended or started anew before the savepoint was complete";
        replies.recv().unwrap_or_else(|_| Err(gone.to_owned()))
    });
    match answer {
        Ok(checkpoint) => Answer::Savepoint { checkpoint: checkpoint.0, directory },
        Err(reason) => Answer::Failed { reason },
    }
}

fn tell(shared: &Shared, event: Event) -> Result<(), String> {
    let supervisor = lock(&shared.supervisor);
    match supervisor.as_ref().is_some_and(|events| events.send(event).is_ok()) {
        true => Ok(()),
        false => Err("the job is not running at this moment; try again".to_owned()),
    }
}

/// Asks a running job; `None` when none listens at the socket. Of one that is to stop, waits for its end.
///
/// # Errors
/// The connection breaks, or the answer is none.
pub fn ask(directory: &Path, request: &Request) -> std::io::Result<Option<Answer>> {
    let Ok(mut stream) = UnixStream::connect(directory.join(SOCKET)) else {
        return Ok(None);
    };
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    let mut answers = BufReader::new(&stream);
    // A process that was killed resets the connection.
    if answers.read_line(&mut line).is_err() || line.is_empty() {
        let reason = "the process of the job ended before the savepoint was complete; nothing is lost: run the job \
                      again"
            .to_owned();
        return Ok(Some(Answer::Failed { reason }));
    }
    let answer = serde_json::from_str(&line)?;
    if matches!(answer, Answer::Savepoint { .. })
        && matches!(request, Request::Savepoint { stop: true, .. })
    {
        // However the process ends: the savepoint is complete.
        answers.read_line(&mut String::new()).ok();
    }
    Ok(Some(answer))
}
