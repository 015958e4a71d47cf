//! Measures the product: the binary and the code that users run, with their defaults.
//!
//! Prints a table and writes the figures as JSON to `target/bench/figures.json` (those of parts of it to
//! `figures-PART.json`, and of what was not all measured to `...-incomplete.json`). A workload whose output is not what it must
//! be is a failure, not a figure; the others are measured.

mod durability;
mod figures;
mod idle;
mod instructions;
mod job;
mod jobs;
mod latency;
mod peer;
mod process;
mod sandbox;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::steps::{Outcome, build_operators, build_tidemill, cargo, root, target};
use figures::{Figure, Figures, Old};

const USAGE: &str = "\
usage: cargo xtask bench [SCENARIO]... [--runs N] [--barriers N] [--compare OLD.json] [--workload NAME]...
scenarios: jobs peer sandbox micro instructions latency idle pause cost recovery call-recovery wal; all without any
  --workload NAME     one of those of `jobs` and `peer`; all without it
  --runs N            runs of each thing in `jobs`, `peer`, `cost` and `recovery`, of which the median counts; 5
  --barriers N        checkpoints of `pause`; 200
  --compare OLD.json  figures of an earlier run: what became worse by more than 5 % is a failure";

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

/// Adds what it measures; what it has measured before it fails counts as well.
type Scenario = (&'static str, fn(&Wanted, &mut Vec<Figure>) -> Outcome);

const SCENARIOS: [Scenario; 12] = [
    ("jobs", jobs::jobs),
    ("peer", peer::peer),
    ("sandbox", |_, out| add(sandbox::sandbox(), out)),
    ("micro", |_, out| add(sandbox::micro(), out)),
    ("instructions", |_, out| add(instructions::instructions(), out)),
    ("latency", |_, out| add(latency::latency(), out)),
    ("idle", |_, out| add(idle::idle(), out)),
    ("pause", |wanted, out| add(durability::pause(wanted), out)),
    ("cost", |wanted, out| add(durability::cost(wanted), out)),
    ("recovery", |wanted, out| add(durability::recovery(wanted), out)),
    ("call-recovery", |_, out| add(durability::call_recovery(), out)),
    ("wal", |_, out| add(durability::wal(), out)),
];

/// Adds figures that are there together or not at all.
fn add(figures: Figures, out: &mut Vec<Figure>) -> Outcome {
    out.extend(figures?);
    Ok(())
}

/// Operators of the tests that are measured, too.
const TEST_OPERATORS: [&str; 2] = ["count-columns", "misbehave"];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    if let ["help" | "--help" | "-h"] = arguments.iter().map(String::as_str).collect::<Vec<_>>()[..]
    {
        println!("{USAGE}");
        return Ok(());
    }
    let wanted = wanted(arguments)?;
    // Before hours are spent.
    let old = wanted.compare.as_deref().map(Old::read).transpose()?;
    build_operators()?;
    let mut build = vec!["build", "--profile", "operator", "--target", "wasm32-wasip2"];
    TEST_OPERATORS.iter().for_each(|operator| build.extend(["-p", operator]));
    cargo(&build)?;
    build_tidemill()?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = |of: &str| folder.join(format!("{}{of}.json", wanted.called()));
    let (whole, incomplete) = (path(""), path("-incomplete"));
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (name, measure) in SCENARIOS {
        if wanted.scenarios.is_empty() || wanted.is_scenario(name) {
            eprintln!("xtask: {name}");
            // What others have measured, or will, is worth as much without it.
            if let Err(problem) = measure(&wanted, &mut figures) {
                eprintln!("xtask: {name}: {problem}");
                failed.push(name);
            }
            // Whoever stops it now has these.
            figures::write(&figures, &incomplete)?;
        }
    }
    figures::print(&figures);
    let path = match failed.is_empty() {
        true => fs::rename(&incomplete, &whole).map(|()| whole),
        false => Ok(incomplete),
    };
    let path = path.map_err(|error| format!("{}: {error}", folder.display()))?;
    eprintln!("xtask: {}", path.display());
    let worse = old.map_or(0, |old| figures::compare(&figures, &old));
    match (failed.is_empty(), worse) {
        (true, 0) => Ok(()),
        (true, worse) => Err(format!("{worse} figures are worse than before by more than 5 %")),
        (false, _) => Err(format!("not all figures of {}", failed.join(", "))),
    }
}

impl Wanted {
    fn is_scenario(&self, name: &str) -> bool {
        self.scenarios.iter().any(|wanted| wanted == name)
    }

    /// What the file of the figures is called: a run of parts does not take the place of a whole one.
    fn called(&self) -> String {
        let parts: Vec<&str> =
            self.scenarios.iter().chain(&self.workloads).map(String::as_str).collect();
        ["figures"].into_iter().chain(parts).collect::<Vec<_>>().join("-")
    }

    /// An option must have something to do with what is measured.
    fn check_option(&self, option: &str, scenarios: &[&str]) -> Outcome {
        let is_needed =
            self.scenarios.is_empty() || scenarios.iter().any(|name| self.is_scenario(name));
        match is_needed {
            true => Ok(()),
            false => Err(format!("{option} goes with {}\n{USAGE}", scenarios.join(", "))),
        }
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
            _ => return Err(format!("what is {word:?}?\n{USAGE}")),
        }
    }
    let with = [
        ("--barriers", &["pause"][..]),
        ("--runs", &["jobs", "peer", "cost", "recovery"]),
        ("--workload", &["jobs", "peer"]),
    ];
    let given = |option| arguments.iter().any(|word| word == option);
    let mut with = with.iter().filter(|(option, _)| given(option));
    with.try_for_each(|(option, scenarios)| wanted.check_option(option, scenarios))?;
    Ok(wanted)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted_by(words: &str) -> Result<Wanted, String> {
        wanted(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_option_that_would_do_nothing_is_refused() {
        for words in [
            "micro --runs 3",
            "pause --workload heavy",
            "jobs --barriers 9",
            "jobs --runs 0",
            "heavy",
        ] {
            assert!(wanted_by(words).is_err(), "{words}");
        }
        for words in ["", "--runs 3 --barriers 9 --workload q1", "pause jobs --barriers 9 --runs 1"]
        {
            assert!(wanted_by(words).is_ok(), "{words}");
        }
    }

    #[test]
    fn figures_of_parts_do_not_take_the_place_of_a_whole_run() {
        assert_eq!(wanted_by("").unwrap().called(), "figures");
        assert_eq!(
            wanted_by("jobs wal --workload heavy").unwrap().called(),
            "figures-jobs-wal-heavy"
        );
    }
}
