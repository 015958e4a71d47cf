//! The same workloads in Apache Flink, beside ours in turn.
//!
//! Knows the peer by its scripts in `benchmarks/flink` only; on a machine where it was not set up, that is said and the
//! rest goes on.

use std::process::{Command, Stdio};

use super::figures::{Figure, Figures, median, number, whole};
use super::jobs::{Expected, Length, Workload, each};
use super::{Wanted, report};
use crate::steps::{Outcome, root};

pub(super) fn peer(wanted: &Wanted, out: &mut Vec<Figure>) -> Outcome {
    let folder = root().join("benchmarks/flink");
    if !folder.join("work/classes").is_dir() {
        eprintln!("xtask: Flink is not set up: run benchmarks/flink/setup.sh; goes on without it");
        return Ok(());
    }
    each(wanted, |workload| {
        workload.check()?;
        let (events, expected) = workload.published();
        flink(workload, 1, events, expected, &["--check"])?;
        for parallelism in [1, 2] {
            out.extend(beside(workload, parallelism, wanted.runs)?);
        }
        Ok(())
    })
}

/// What should come out for a workload: of the rates, with the peer's object reuse on and off, of the CPU times and of
/// the peaks of memory; theirs / ours each, for rates ours / theirs. Empty where nothing is wanted.
struct Goals {
    rate: &'static str,
    rate_without_reuse: &'static str,
    cpu: &'static str,
    memory: &'static str,
}

fn goals(workload: &str) -> Goals {
    let none = Goals { rate: "", rate_without_reuse: "", cpu: "", memory: "" };
    match workload {
        "q0" | "q1" | "q2" => Goals { rate: ">= 1.3", rate_without_reuse: ">= 4", ..none },
        "count" => Goals { rate: ">= 4", cpu: ">= 4", ..none },
        "heavy" => Goals { rate: ">= 8", cpu: ">= 5", memory: ">= 5", ..none },
        "wordcount" => Goals { rate: ">= 5", cpu: ">= 5", ..none },
        "q1-files" => Goals { rate: ">= 4", ..none },
        _ => none,
    }
}

/// Ratio of rates, CPU times and memory, from runs in turn.
fn beside(workload: &Workload, parallelism: usize, runs: usize) -> Figures {
    let goals = goals(workload.name);
    let (mut ours, mut theirs) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    let mut without_reuse = Vec::new();
    let (events, expected) = workload.of(Length::BesideThePeer);
    for _ in 0..runs {
        let run = workload.run(parallelism, Length::BesideThePeer, &[])?;
        let values = [run.elapsed_s, run.cpu_s, run.peak_bytes];
        ours.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        let values = flink(workload, parallelism, events, expected, &[])?;
        theirs.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        if !goals.rate_without_reuse.is_empty() {
            let off = ["--object-reuse", "off"];
            let [elapsed_s, ..] = flink(workload, parallelism, events, expected, &off)?;
            without_reuse.push(elapsed_s);
        }
    }
    let [elapsed, cpu, memory] = ours.map(median);
    let [flink_elapsed, flink_cpu, flink_memory] = theirs.map(median);
    let events = events as f64;
    let name = |what: &str| format!("{} at parallelism {parallelism}: {what}", workload.name);
    let ratio = |what: &str, value, goal| Figure::new(name(what), value, "x").up(goal);
    let mut figures = vec![
        Figure::new(name("rate beside Flink"), events / elapsed / 1e6, "M/s").up(""),
        Figure::new(name("Flink's rate"), events / flink_elapsed / 1e6, "M/s"),
        ratio("rate / Flink's", flink_elapsed / elapsed, goals.rate),
        Figure::new(name("Flink's CPU time per event"), flink_cpu / events * 1e6, "us"),
        ratio("Flink's CPU time per event / ours", flink_cpu / cpu, goals.cpu),
        ratio("Flink's peak memory / ours", flink_memory / memory, goals.memory),
    ];
    if !without_reuse.is_empty() {
        let flink_elapsed = median(without_reuse);
        let rate = events / flink_elapsed / 1e6;
        figures.extend([
            Figure::new(name("Flink's rate without object reuse"), rate, "M/s"),
            ratio(
                "rate / Flink's without object reuse",
                flink_elapsed / elapsed,
                goals.rate_without_reuse,
            ),
        ]);
    }
    Ok(figures)
}

/// Elapsed seconds, seconds of CPU time, and bytes of peak memory of one run, whose outputs must be as many as ours. Their sum
/// is that of fields, which `--check` makes.
fn flink(
    workload: &Workload,
    parallelism: usize,
    events: u64,
    expected: Expected,
    more: &[&str],
) -> Result<[f64; 3], String> {
    let mut command = Command::new(root().join("benchmarks/flink/run.sh"));
    command.args([workload.name, &parallelism.to_string(), &events.to_string()]);
    let report = report(command.args(more).stdin(Stdio::null()))?;
    let of = format!("{} in Flink", workload.name);
    let sum = match report["sum"].as_str().map(|sum| u64::from_str_radix(sum, 16)) {
        None => None,
        Some(sum) => Some(sum.map_err(|error| format!("{of}: its sum: {error}"))?),
    };
    expected.holds(&of, whole(&report["outputs"])?, sum)?;
    Ok([
        number(&report["elapsed_s"])?,
        number(&report["cpu_s"])?,
        number(&report["peak_memory_bytes"])?,
    ])
}
