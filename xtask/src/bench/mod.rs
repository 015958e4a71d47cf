//! Measures the product: the binary and the code that users run, with their defaults.
//!
//! Prints a table and writes the figures as JSON to `target/bench/figures.json`. A workload whose output is not what
//! it must be is a failure, not a figure.

mod durability;
mod figures;
mod idle;
mod instructions;
mod job;
mod jobs;
mod latency;
mod peer;
mod sandbox;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::steps::{Outcome, build_operators, cargo, root, target};
use figures::Figures;

const USAGE: &str = "\
usage: cargo xtask bench [SCENARIO]... [--runs N] [--barriers N] [--compare OLD.json] [--workload NAME]...
scenarios: jobs peer sandbox micro instructions latency idle pause cost recovery call-recovery wal (all but peer
without any)";

/// What the command line asks for.
pub(crate) struct Wanted {
    scenarios: Vec<String>,
    /// Workloads of `jobs` and `peer`; all when there is none.
    workloads: Vec<String>,
    barriers: u64,
    /// How often each thing is run.
    runs: usize,
    compare: Option<PathBuf>,
}

type Scenario = (&'static str, fn(&Wanted) -> Figures);

const SCENARIOS: [Scenario; 12] = [
    ("jobs", jobs::jobs),
    ("peer", peer::peer),
    ("sandbox", sandbox::sandbox),
    ("micro", sandbox::micro),
    ("instructions", instructions::instructions),
    ("latency", latency::latency),
    ("idle", idle::idle),
    ("pause", durability::pause),
    ("cost", durability::cost),
    ("recovery", durability::recovery),
    ("call-recovery", durability::call_recovery),
    ("wal", durability::wal),
];

/// Operators of the tests that are measured, too.
const TEST_OPERATORS: [&str; 2] = ["count-columns", "misbehave"];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let wanted = wanted(arguments)?;
    build_operators()?;
    let mut build = vec!["build", "--profile", "operator", "--target", "wasm32-wasip2"];
    TEST_OPERATORS.iter().for_each(|operator| build.extend(["-p", operator]));
    cargo(&build)?;
    cargo(&["build", "--release", "--package", "tidemill-runtime", "--bin", "tidemill"])?;
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut figures = Vec::new();
    for (name, measure) in SCENARIOS {
        let is_default = wanted.scenarios.is_empty() && name != "peer";
        if is_default || wanted.scenarios.iter().any(|wanted| wanted == name) {
            eprintln!("xtask: {name}");
            figures.extend(measure(&wanted)?);
        }
    }
    figures::print(&figures);
    let path = folder.join("figures.json");
    figures::write(&figures, &path)?;
    eprintln!("xtask: {}", path.display());
    match &wanted.compare {
        None => Ok(()),
        Some(old) => match figures::compare(&figures, old)? {
            0 => Ok(()),
            worse => Err(format!("{worse} figures are worse than before by more than 5 %")),
        },
    }
}

fn wanted(arguments: &[String]) -> Result<Wanted, String> {
    let (scenarios, workloads) = (Vec::new(), Vec::new());
    let mut wanted = Wanted { scenarios, workloads, barriers: 200, runs: 5, compare: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(USAGE);
        let count = |text: &String| text.parse::<u64>().ok().filter(|n| *n > 0).ok_or(USAGE);
        match word.as_str() {
            "--barriers" => wanted.barriers = count(value()?)?,
            "--runs" => wanted.runs = count(value()?)? as usize,
            "--compare" => wanted.compare = Some(value()?.into()),
            "--workload" => wanted.workloads.push(jobs::known(value()?)?),
            name if SCENARIOS.iter().any(|(known, _)| *known == name) => {
                wanted.scenarios.push(name.to_owned());
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wanted)
}

/// The binary that users run.
fn tidemill() -> PathBuf {
    target().join("release/tidemill")
}

/// Where the sample operators are.
fn operators() -> PathBuf {
    target().join("wasm32-wasip2/operator")
}

/// Runs a command that prints JSON.
fn report(command: &mut Command) -> Result<Value, String> {
    let shown = format!("{command:?}");
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown}: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{shown} gave no JSON: {error}"))
}

/// A benchmark, to be run. All are built with the same packages, whichever theirs is, so that what they depend on is
/// built once.
fn cargo_bench(name: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["bench", "--quiet", "--package", "tidemill-bench"]);
    command.args(["--package", "tidemill-sandbox", "--bench", name]).current_dir(root());
    command
}
