//! What sandboxes cost that do nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::figures::{Figure, Figures};
use super::operators;
use super::process::Process;
use crate::steps::{target, tidemill};

/// Lanes of the larger job, each with ten sandboxes.
const LANES: usize = 100;
const OPERATORS_PER_LANE: usize = 10;

/// The growth of resident memory by a thousand sandboxes that were called once and then wait, threads of lanes
/// included.
pub(super) fn idle() -> Figures {
    let folder = target().join("bench/idle");
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let few = resident_bytes(&folder, 1, 1)?;
    let many = resident_bytes(&folder, LANES, OPERATORS_PER_LANE)?;
    fs::remove_dir_all(&folder).ok();
    let sandboxes = LANES * OPERATORS_PER_LANE;
    let each = (many - few) / (sandboxes - 1) as f64;
    Ok(vec![
        Figure::new("1,000 idle sandboxes: resident memory", (many - few) / 1048576.0, "MiB")
            .down("< 200"),
        Figure::new("each of them, its share of a lane included", each / 1024.0, "KiB")
            .down("< 200"),
    ])
}

/// Resident memory of a job that has processed a few events in each sandbox and waits for the next.
fn resident_bytes(folder: &Path, lanes: usize, each: usize) -> Result<f64, String> {
    // One event a second for each lane: every sandbox is called soon, and hardly ever again.
    let mut text = format!(
        "name = \"idle\"\nparallelism = {lanes}\n[sources.events]\nconnector = \"nexmark\"\n\
         partitions = {lanes}\nevents-per-second = {}\n",
        lanes
    );
    for operator in 0..each {
        text += &format!(
            "[operators.q{operator}]\ncomponent = {:?}\nfrom = \"events\"\nconfig = {{ query = \"q0\" }}\n\
             [sinks.out{operator}]\nconnector = \"discard\"\nfrom = \"q{operator}.bids\"\n",
            operators().join("nexmark.wasm")
        );
    }
    let failed = |error: std::io::Error| format!("idle: {error}");
    fs::write(folder.join("job.toml"), text).map_err(failed)?;
    let mut command = Command::new(tidemill());
    command.args(["run", "job.toml", "--fresh", "-q"]).current_dir(folder);
    let process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()))?;
    thread::sleep(Duration::from_secs(6));
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).map_err(failed)?;
    process.kill()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| "idle: no VmRSS".to_owned())
}
