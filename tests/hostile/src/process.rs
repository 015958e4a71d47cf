//! A process of the host: started, listened to, measured from outside, and stopped.
//!
//! Owns the child and the threads that read its pipes. A process that does not do as it must in time is killed and
//! its words are part of the error.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long anything may take: far more than it does, also on a machine that is busy otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// What the system says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
}

impl Usage {
    /// What the process with this number uses; `None` when there is none.
    pub fn of(id: u32) -> Option<Self> {
        let of = format!("/proc/{id}");
        let status = fs::read_to_string(format!("{of}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let descriptors = fs::read_dir(format!("{of}/fd")).ok()?.count() as u64;
        Some(Self { resident: field("VmRSS:")? * 1024, threads: field("Threads:")?, descriptors })
    }
}

/// A process at work. Killed when it is dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
    /// Its standard output, until somebody takes it.
    pub stdout: Option<ChildStdout>,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All that it said on stderr.
    pub stderr: String,
}

/// Where the binary lies and its artefacts are kept.
#[derive(Clone, Debug)]
pub struct Host {
    /// The binary under test.
    pub binary: PathBuf,
    /// The directory of its compile cache.
    pub cache: PathBuf,
}

impl Host {
    /// Starts `run` on job files of `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(
        &self,
        folder: &Path,
        jobs: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Process, String> {
        let mut command = Command::new(&self.binary);
        command.current_dir(folder).arg("run").args(jobs).args(["--report", "json"]);
        command.env("XDG_CACHE_HOME", &self.cache).env("A_SECRET_OF_THE_HOST", "hunter2");
        command.env_remove("TIDEMILL_LOG").env_remove("RUST_BACKTRACE");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error| format!("{} cannot be started: {error}", self.binary.display());
        let mut child = command.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let shared = said.clone();
        let listener = thread::spawn(move || {
            let Some(mut pipe) = stderr else { return };
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut said = shared.lock().unwrap_or_else(PoisonError::into_inner);
                said.extend_from_slice(&buffer[..count]);
            }
        });
        Ok(Process { child, said, listener: Some(listener), stdout })
    }
}

impl Host {
    /// Stops one job of a process, with a savepoint, as its owner would.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop_job(&self, folder: &Path, job: &str) -> Result<(), String> {
        let mut command = Command::new(&self.binary);
        command.current_dir(folder).args(["savepoint", "create", job, "--stop", "--to", "saved"]);
        let failed = |error| format!("{} cannot be started: {error}", self.binary.display());
        let ended = command.stdin(Stdio::null()).output().map_err(failed)?;
        match ended.status.success() {
            true => Ok(()),
            false => {
                Err(format!("{job} does not stop:\n{}", String::from_utf8_lossy(&ended.stderr)))
            }
        }
    }
}

impl Process {
    /// What it has said so far.
    pub fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits until `look` finds what it wants.
    ///
    /// # Errors
    /// When it is not found in time, or the process has ended without it.
    pub fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Asked before looking, so that its last words are looked at.
            let has_ended = self.child.try_wait().map_err(|error| error.to_string())?.is_some();
            if let Some(found) = look(&self.said()) {
                return Ok(found);
            }
            if has_ended || Instant::now() > deadline {
                let how = if has_ended { "ended" } else { "did nothing more" };
                return Err(format!("the host {how} before {what}; it said:\n{}", self.said()));
            }
            thread::sleep(LOOK);
        }
    }

    /// The address that its source listens on.
    ///
    /// # Errors
    /// When it never says so.
    pub fn address(&mut self) -> Result<SocketAddr, String> {
        self.until("its source listened", |said| {
            let rest = said.split_once("listens on ")?.1;
            rest.split_whitespace().next()?.trim_end_matches('.').parse().ok()
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it uses now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage, String> {
        Usage::of(self.id()).ok_or_else(|| format!("the host is gone; it said:\n{}", self.said()))
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        if let Some(id) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself: the caller sees how.
            rustix::process::kill_process(id, Signal::TERM).ok();
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not come to it.
    pub fn end(mut self) -> Result<Ended, String> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    return Err(format!("the host does not end; it said:\n{}", self.said()));
                }
                None => thread::sleep(LOOK),
            }
        };
        if let Some(listener) = self.listener.take() {
            listener.join().map_err(|_| "a reading thread panicked".to_owned())?;
        }
        Ok(Ended { code: status.code(), stderr: self.said() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not an error for one that has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
