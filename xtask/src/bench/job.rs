//! A job in a folder of its own, run by the binary that users run: to its end, for a while, or until it is killed.
//!
//! Knows nothing of what is measured. The folder is gone when the job is dropped.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{operators, report, tidemill};
use crate::demo::checkpoints;
use crate::steps::{Outcome, target};

/// More events than any run takes.
pub(super) const ENDLESS: u64 = 1 << 50;

/// How long a job may take to come to some checkpoints.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Job {
    folder: PathBuf,
}

impl Job {
    /// Makes its folder anew, with a job file: `text`, behind the name.
    pub(super) fn new(name: &str, text: &str) -> Result<Self, String> {
        let folder = target().join("bench").join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("job.toml"), format!("name = \"{name}\"\n{text}")).map_err(failed)?;
        Ok(Self { folder })
    }

    /// The job that most measures of durability are made with: it counts by `keys` keys on one lane. `more` are
    /// settings of its source.
    pub(super) fn heavy(
        name: &str,
        keys: u64,
        events: u64,
        interval: &str,
        more: &str,
    ) -> Result<Self, String> {
        let component = operators().join("heavy.wasm");
        let text = format!(
            r#"parallelism = 1
checkpoint-interval = "{interval}"
[sources.records]
connector = "nexmark"
stream = "uniform"
keys = {keys}
events = {events}
encoding = "msgpack"
key = "key"
{more}
[operators.count]
component = {component:?}
from = "records"
[sinks.out]
connector = "discard"
from = "count"
key-type = "integer"
value-type = "u64"
"#
        );
        Self::new(name, &text)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn command(&self, before: &[&str], more: &[&str]) -> Command {
        let program = tidemill();
        let mut command = match before {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(["run", "job.toml", "--report", "json", "-q"]).args(more);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs it for so long, then stops it at a checkpoint; answers the report.
    pub(super) fn run_for(&self, seconds: u64) -> Result<Value, String> {
        let failed = |error: std::io::Error| format!("tidemill: {error}");
        let mut child = self.command(&[], &[]).stdout(Stdio::piped()).spawn().map_err(failed)?;
        std::thread::sleep(Duration::from_secs(seconds));
        let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        stop.map_err(|error| format!("kill: {error}"))?;
        let mut text = String::new();
        let stdout = child.stdout.as_mut().ok_or("tidemill has no stdout")?;
        stdout.read_to_string(&mut text).map_err(failed)?;
        child.wait().map_err(failed)?;
        serde_json::from_str(&text).map_err(|error| format!("tidemill gave no report: {error}"))
    }

    /// Runs it for so long, then kills it with SIGKILL.
    pub(super) fn kill_after(&self, seconds: u64) -> Outcome {
        let failed = |error: std::io::Error| format!("tidemill: {error}");
        let mut child = self.command(&[], &[]).stdout(Stdio::null()).spawn().map_err(failed)?;
        std::thread::sleep(Duration::from_secs(seconds));
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        Ok(())
    }

    /// Runs it until so many checkpoints are complete, then kills it with SIGKILL.
    pub(super) fn kill_after_checkpoints(&self, count: usize) -> Outcome {
        let failed = |error: std::io::Error| format!("tidemill: {error}");
        let name = self.folder.file_name().unwrap_or_default();
        let events = self.folder.join(".tidemill").join(name).join("events.ndjson");
        let mut child = self.command(&[], &[]).stdout(Stdio::null()).spawn().map_err(failed)?;
        let began = Instant::now();
        while checkpoints(&events) < count && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        match checkpoints(&events) >= count {
            true => Ok(()),
            false => Err(format!("{}: not {count} checkpoints in {PATIENCE:?}", name.display())),
        }
    }

    /// Runs it to its end; answers the report.
    pub(super) fn report(&self, more: &[&str]) -> Result<Value, String> {
        self.report_behind(&[], more)
    }

    /// The same; `before` is put in front of the command.
    pub(super) fn report_behind(&self, before: &[&str], more: &[&str]) -> Result<Value, String> {
        report(&mut self.command(before, more))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
