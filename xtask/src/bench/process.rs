//! A process that is measured while it runs. Killed when it is dropped, so that none is left behind by an error.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::steps::Outcome;

/// How long it may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(super) struct Process(Child);

fn failed(error: std::io::Error) -> String {
    format!("tidemill: {error}")
}

impl Process {
    pub(super) fn spawn(command: &mut Command) -> Result<Self, String> {
        command.spawn().map(Self).map_err(failed)
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn take_stdout(&mut self) -> Result<ChildStdout, String> {
        self.0.stdout.take().ok_or_else(|| "the standard output of tidemill was taken".to_owned())
    }

    /// What it has written and nobody has read.
    pub(super) fn stdout(&mut self) -> Result<String, String> {
        let mut text = String::new();
        self.take_stdout()?.read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    }

    /// Has it killed by its number after a time, unless what is answered is dropped before: whoever waits for its output
    /// does not wait for ever.
    pub(super) fn killed_after(&self, time: Duration) -> Sender<()> {
        let (alive, is_over) = mpsc::channel::<()>();
        let id = self.number();
        thread::spawn(move || {
            if is_over.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                id.and_then(|id| kill_process(id, Signal::KILL).ok());
            }
        });
        alive
    }

    fn number(&self) -> Option<Pid> {
        i32::try_from(self.0.id()).ok().and_then(Pid::from_raw)
    }

    pub(super) fn has_ended(&mut self) -> Result<bool, String> {
        Ok(self.0.try_wait().map_err(failed)?.is_some())
    }

    /// Asks it to stop, which it must do with this exit code.
    pub(super) fn terminate_and_wait(&mut self, code: i32) -> Outcome {
        if self.has_ended()? {
            return Err(format!("tidemill ended by itself: {}", self.0.wait().map_err(failed)?));
        }
        let id = self.number().ok_or("tidemill has no number")?;
        kill_process(id, Signal::TERM).map_err(|error| failed(error.into()))?;
        let status = self.wait()?;
        match status.code() == Some(code) {
            true => Ok(()),
            false => Err(format!("tidemill was to end with {code} and not with {status}")),
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().map_err(failed)? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    return Err(format!("tidemill does not end within {PATIENCE:?}"));
                }
                None => thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Kills it with SIGKILL; whatever had ended by itself is an error.
    pub(super) fn kill(mut self) -> Outcome {
        let status = self.0.kill().and_then(|()| self.0.wait()).map_err(failed)?;
        match status.signal() == Some(Signal::KILL.as_raw()) {
            true => Ok(()),
            false => Err(format!("tidemill ended before it could be killed: {status}")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not an error for one that has ended.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
