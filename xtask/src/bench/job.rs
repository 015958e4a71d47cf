//! A job in a folder of its own, run by the binary that users run: to its end, for a while, or until it is killed.
//!
//! Knows nothing of what is measured. The folder is gone when the job is dropped.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::figures::number;
use super::process::Process;
use super::{operators, report};
use crate::demo::checkpoints;
use crate::steps::{Outcome, target, tidemill};

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

    /// Runs it for so long, then stops it at a checkpoint.
    pub(super) fn run_for(&self, seconds: u64) -> Result<Started, String> {
        let spawned_ms = wall_ms();
        let mut process = Process::spawn(self.command(&[], &[]).stdout(Stdio::piped()))?;
        std::thread::sleep(Duration::from_secs(seconds));
        // Only the end is written, and it fits in the pipe.
        process.terminate_and_wait(143)?;
        let report = serde_json::from_str(&process.stdout()?)
            .map_err(|error| format!("{}: tidemill gave no report: {error}", self.name()))?;
        let running_ms = newest(&self.events(), "job-started").ok_or("it never ran")?;
        Ok(Started { report, running_s: (running_ms - spawned_ms) as f64 / 1e3 })
    }

    /// Runs it for so long, then kills it with SIGKILL.
    pub(super) fn kill_after(&self, seconds: u64) -> Outcome {
        let process = Process::spawn(self.command(&[], &[]).stdout(Stdio::null()))?;
        std::thread::sleep(Duration::from_secs(seconds));
        process.kill()
    }

    /// Runs it until so many checkpoints are complete, then kills it with SIGKILL.
    pub(super) fn kill_after_checkpoints(&self, count: usize) -> Outcome {
        let events = self.events();
        let process = Process::spawn(self.command(&[], &[]).stdout(Stdio::null()))?;
        let began = Instant::now();
        while checkpoints(&events) < count && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        process.kill()?;
        match checkpoints(&events) >= count {
            true => Ok(()),
            false => Err(format!("{}: not {count} checkpoints in {PATIENCE:?}", self.name())),
        }
    }

    /// Runs it to its end; `before` is put in front of the command.
    pub(super) fn run(&self, before: &[&str], more: &[&str]) -> Result<Ran, String> {
        let began = Instant::now();
        let report = report(&mut self.command(before, more))?;
        let elapsed_s = began.elapsed().as_secs_f64();
        is_undisturbed(&report).map_err(|problem| format!("{}: {problem}", self.name()))?;
        Ok(Ran { report, elapsed_s })
    }

    fn name(&self) -> Cow<'_, str> {
        self.folder.file_name().unwrap_or_default().to_string_lossy()
    }

    fn events(&self) -> PathBuf {
        self.folder.join(".tidemill").join(&*self.name()).join("events.ndjson")
    }
}

/// A run that came to its end.
pub(super) struct Ran {
    pub(super) report: Value,
    /// From the start of the process to its end.
    pub(super) elapsed_s: f64,
}

/// A run that was stopped.
pub(super) struct Started {
    pub(super) report: Value,
    /// From the start of the process until its lanes ran.
    pub(super) running_s: f64,
}

impl Started {
    /// Whether it went on from a checkpoint, at least the one with this number.
    pub(super) fn resumed(&self, least: f64) -> Outcome {
        let from = number(&self.report["durability"]["resumed_from"])?;
        match from >= least {
            true => Ok(()),
            false => Err(format!("it went on from checkpoint {from}, and not from {least}")),
        }
    }
}

/// A run that began anew, or gave a checkpoint up, is none whose figures count.
fn is_undisturbed(report: &Value) -> Outcome {
    let durability = &report["durability"];
    let restarts = durability["restarts"].as_object().map_or(usize::MAX, serde_json::Map::len);
    let aborted = number(&durability["checkpoints_aborted"])?;
    match restarts == 0 && aborted == 0.0 && number(&durability["checkpoints_completed"])? > 0.0 {
        true => Ok(()),
        false => Err(format!("the run was disturbed: {durability}")),
    }
}

/// When the newest event of a kind was, in milliseconds since the Unix epoch.
fn newest(events: &Path, kind: &str) -> Option<i64> {
    let text = fs::read_to_string(events).ok()?;
    let events = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == kind).find_map(|event| event["time_ms"].as_i64())
}

fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)
}

impl Drop for Job {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
