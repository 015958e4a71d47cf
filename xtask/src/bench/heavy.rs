//! The job that most measures of durability are made with.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::report;
use crate::steps::{Outcome, target};

/// A job that counts by `keys` keys on one lane, ready to run in its own folder.
pub(super) struct Heavy {
    folder: PathBuf,
}

impl Heavy {
    /// `more` are settings of its source.
    pub(super) fn new(
        name: &str,
        keys: u64,
        events: u64,
        interval: &str,
        more: &str,
    ) -> Result<Self, String> {
        let folder = target().join("bench").join(name);
        let component = target().join("wasm32-wasip2/operator/heavy.wasm");
        let text = format!(
            r#"name = "{name}"
parallelism = 1
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
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).map_err(failed)?;
        fs::write(folder.join("job.toml"), text).map_err(failed)?;
        Ok(Self { folder })
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(target().join("release/tidemill"));
        command.args(["run", "job.toml", "--report", "json", "-q"]).args(more);
        command.current_dir(&self.folder).stdin(Stdio::null());
        command
    }

    /// Runs it for so long, then stops it at a checkpoint; answers the report.
    pub(super) fn run_for(&self, seconds: u64) -> Result<Value, String> {
        let failed = |error: std::io::Error| format!("tidemill: {error}");
        let mut child = self.command(&[]).stdout(Stdio::piped()).spawn().map_err(failed)?;
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
        let mut child = self.command(&[]).stdout(Stdio::null()).spawn().map_err(failed)?;
        std::thread::sleep(Duration::from_secs(seconds));
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        Ok(())
    }

    /// Runs it to its end; answers the report.
    pub(super) fn report(&self, more: &[&str]) -> Result<Value, String> {
        report(&mut self.command(more))
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
}
