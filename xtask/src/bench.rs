//! Measures what the promises cost, with the binary and the code that users run.
//!
//! Runs that are compared are made in turn (A B A B), and the figure is the ratio of their medians, so that a
//! machine that is busy for a while does not decide. Prints a table, and writes the figures as JSON to
//! `target/bench/figures.json`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::steps::{Outcome, build_operators, cargo, target};

const USAGE: &str = "usage: cargo xtask bench [pause|cost|recovery|call-recovery|wal]... [--barriers N] [--pairs N]";

/// One measured value.
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// What it should be, for people.
    goal: &'static str,
}

/// What the command line asks for.
struct Wanted {
    names: Vec<String>,
    barriers: u64,
    pairs: usize,
}

type Figures = Result<Vec<Figure>, String>;
type Scenario = (&'static str, fn(&Wanted) -> Figures);

const SCENARIOS: [Scenario; 5] = [
    ("pause", pause),
    ("cost", cost),
    ("recovery", recovery),
    ("call-recovery", call_recovery),
    ("wal", wal),
];

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let wanted = wanted(arguments)?;
    build_operators()?;
    let misbehave =
        ["build", "--profile", "operator", "--target", "wasm32-wasip2", "-p", "misbehave"];
    cargo(&misbehave)?;
    cargo(&["build", "--release", "--package", "tidemill-runtime", "--bin", "tidemill"])?;
    let mut figures = Vec::new();
    for (name, measure) in SCENARIOS {
        if wanted.names.is_empty() || wanted.names.iter().any(|wanted| wanted == name) {
            eprintln!("xtask: {name}");
            figures.extend(measure(&wanted)?);
        }
    }
    for Figure { name, value, unit, goal } in &figures {
        println!("{name:<56} {value:>10.2} {unit:<8} {goal}");
    }
    let shown = |figure: &Figure| json!({ "name": figure.name, "value": figure.value, "unit": figure.unit });
    let path = target().join("bench/figures.json");
    let text = format!("{:#}\n", json!(figures.iter().map(shown).collect::<Vec<_>>()));
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("xtask: {}", path.display());
    Ok(())
}

fn wanted(arguments: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted { names: Vec::new(), barriers: 200, pairs: 5 };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|text| text.parse::<u64>().ok()).filter(|n| *n > 0);
        match word.as_str() {
            "--barriers" => wanted.barriers = number().ok_or(USAGE)?,
            "--pairs" => wanted.pairs = number().ok_or(USAGE)? as usize,
            name if SCENARIOS.iter().any(|(known, _)| *known == name) => {
                wanted.names.push(name.to_owned());
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wanted)
}

/// A job that counts by `keys` keys on one lane, ready to run in its own folder.
struct Heavy {
    folder: PathBuf,
}

impl Heavy {
    /// `more` are settings of its source.
    fn new(name: &str, keys: u64, events: u64, interval: &str, more: &str) -> Result<Self, String> {
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
    fn run_for(&self, seconds: u64) -> Result<Value, String> {
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
    fn kill_after(&self, seconds: u64) -> Outcome {
        let failed = |error: std::io::Error| format!("tidemill: {error}");
        let mut child = self.command(&[]).stdout(Stdio::null()).spawn().map_err(failed)?;
        std::thread::sleep(Duration::from_secs(seconds));
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        Ok(())
    }

    /// Runs it to its end; answers the report.
    fn report(&self, more: &[&str]) -> Result<Value, String> {
        report(&mut self.command(more))
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok();
    }
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

fn number(value: &Value) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{value} is no number"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The pause of a lane over many barriers, with a million and with ten million keys, about a million of them
/// changed between two checkpoints.
fn pause(wanted: &Wanted) -> Figures {
    let mut figures = Vec::new();
    let cases =
        [(1_000_000, "1 M keys", ""), (10_000_000, "10 M keys", "events-per-second = 1_000_000")];
    for (keys, shown, more) in cases {
        let job = Heavy::new("pause", keys, 1 << 50, "1s", more)?;
        let report = job.run_for(wanted.barriers + 3)?;
        let durability = &report["durability"];
        let figure = |what: &str, field: &str, divide: f64, unit, goal| {
            let value = number(&durability[field])? / divide;
            Ok::<_, String>(Figure { name: format!("{shown}: {what}"), value, unit, goal })
        };
        figures.extend([
            figure("barriers", "pauses", 1.0, "", "200")?,
            figure("pause of a lane, median", "pause_p50_us", 1000.0, "ms", "")?,
            figure("pause of a lane, p99", "pause_p99_us", 1000.0, "ms", "< 1")?,
            figure("pause of a lane, longest", "pause_max_us", 1000.0, "ms", "")?,
            figure("alignment, newest", "last_alignment_us", 1000.0, "ms", "")?,
            figure("checkpoint, mean", "mean_duration_ms", 1.0, "ms", "")?,
            figure("state written by the newest", "last_delta_bytes", 1e6, "MB", "")?,
        ]);
        let elapsed_s = number(&report["elapsed_s"])?;
        let share = number(&durability["s_checkpoint"])?;
        let work = Duration::from_secs_f64(elapsed_s * share / number(&durability["pauses"])?);
        let machine = machine_pauses(work, wanted.barriers as usize);
        let figure = |what: &str, value| {
            let name = format!("{shown}: {what}");
            Figure { name, value, unit: "ms", goal: "" }
        };
        figures.extend([
            figure("a lane's work on a checkpoint, mean", work.as_secs_f64() * 1e3),
            figure("a loop instead of that work, longest 0.2 ms, median", machine.0),
            figure("a loop instead of that work, longest 0.2 ms, p99", machine.1),
        ]);
    }
    Ok(figures)
}

/// What the machine does to any program on two of its cores: a loop computes as long as a lane works on one
/// checkpoint, in stretches of 0.2 ms, and the longest stretch is taken, like a pause; this `count` times.
/// Answers median and 99th percentile in milliseconds. Another loop keeps a second core busy, as the job does.
fn machine_pauses(work: Duration, count: usize) -> (f64, f64) {
    let ended = AtomicBool::new(false);
    let mut longest: Vec<f64> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                std::hint::spin_loop();
            }
        });
        let one = |_| {
            let begin = Instant::now();
            let mut longest = Duration::ZERO;
            while begin.elapsed() < work {
                let stretch = Instant::now();
                while stretch.elapsed() < Duration::from_micros(200) {}
                longest = longest.max(stretch.elapsed());
            }
            longest.as_secs_f64() * 1e3
        };
        let longest = (0..count).map(one).collect();
        ended.store(true, Relaxed);
        longest
    });
    longest.sort_by(f64::total_cmp);
    (longest[count / 2], longest[count * 99 / 100])
}

/// What a checkpoint each second costs in throughput.
fn cost(wanted: &Wanted) -> Figures {
    let events = 20_000_000;
    let often = Heavy::new("cost-often", 1_000_000, events, "1s", "")?;
    let never = Heavy::new("cost-never", 1_000_000, events, "1day", "")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..wanted.pairs {
        with.push(number(&often.report(&["--fresh"])?["elapsed_s"])?);
        without.push(number(&never.report(&["--fresh"])?["elapsed_s"])?);
    }
    let (with, without) = (median(with), median(without));
    let figure =
        |name: &str, value, unit, goal| Figure { name: name.to_owned(), value, unit, goal };
    Ok(vec![
        figure("heavy, a checkpoint each second", events as f64 / with / 1e6, "M/s", ""),
        figure("heavy, one checkpoint at the end", events as f64 / without / 1e6, "M/s", ""),
        figure("throughput given up for it", (1.0 - without / with) * 100.0, "%", "< 10"),
    ])
}

/// From the start of a process after SIGKILL to running lanes, with state to restore; the median of several
/// restarts. Beside it what the machine takes to give a program that much memory, each page touched once.
fn recovery(wanted: &Wanted) -> Figures {
    let mut figures = Vec::new();
    for (keys, shown, life_s) in [(1_000_000, "1 M keys", 8), (10_000_000, "10 M keys", 25)] {
        let job = Heavy::new("recovery", keys, 1 << 50, "2s", "")?;
        let (mut took_s, mut touch_s, mut state_bytes) = (Vec::new(), Vec::new(), 0.0);
        job.kill_after(life_s)?;
        for _ in 0..wanted.pairs {
            let report = job.run_for(life_s / 2)?;
            took_s.push(number(&report["durability"]["last_recovery_ms"])? / 1000.0);
            state_bytes = number(&report["state_bytes"])?;
            touch_s.push(first_touch(state_bytes as usize).as_secs_f64());
        }
        let figure = |what: &str, value, unit, goal| {
            let name = format!("{shown}: {what}");
            Figure { name, value, unit, goal }
        };
        figures.extend([
            figure("resident state", state_bytes / f64::from(1 << 30), "GiB", ""),
            figure("recovery of the job", median(took_s), "s", "< 1 + 1 per GiB"),
            figure("first touch of as much memory", median(touch_s), "s", ""),
        ]);
    }
    Ok(figures)
}

/// How long it takes to touch each page of so much new memory once.
fn first_touch(bytes: usize) -> Duration {
    const PAGE_BYTES: usize = 4096;
    let begin = Instant::now();
    // The system gives zeroed memory only when it is written to.
    let mut memory = vec![0u8; bytes];
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    std::hint::black_box(&memory);
    begin.elapsed()
}

/// Runs a benchmark that prints one line of JSON.
fn cargo_bench(name: &str) -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root: &Path = &crate::steps::root();
    let bench = ["bench", "--quiet", "--package", "tidemill-bench", "--bench", name];
    report(Command::new(cargo).args(bench).current_dir(root))
}

fn call_recovery(_: &Wanted) -> Figures {
    let times = cargo_bench("call_recovery")?;
    let figure =
        |name: &str, value: f64, goal| Figure { name: name.to_owned(), value, unit: "ms", goal };
    let (plain, trap) = (number(&times["plain_us"])? / 1000.0, number(&times["trap_us"])? / 1000.0);
    Ok(vec![
        figure("a batch of 4,096 records, 1 M keys", plain, ""),
        figure("the same with a record that traps, found and skipped", trap, "< 5 + the batch"),
    ])
}

fn wal(_: &Wanted) -> Figures {
    let rates = cargo_bench("wal")?;
    let (log, each, grouped) =
        (number(&rates["log"])?, number(&rates["plain_each"])?, number(&rates["plain_grouped"])?);
    let figure =
        |name: &str, value, unit, goal| Figure { name: name.to_owned(), value, unit, goal };
    Ok(vec![
        figure("input log, batches of 64 KiB", log, "MB/s", ""),
        figure("plain write and fdatasync of each 64 KiB", each, "MB/s", ""),
        figure("plain write and fdatasync of each 4 MiB", grouped, "MB/s", ""),
        figure("input log / plain, each 64 KiB", log / each * 100.0, "%", ">= 80"),
        figure("input log / plain, each 4 MiB", log / grouped * 100.0, "%", ""),
    ])
}
