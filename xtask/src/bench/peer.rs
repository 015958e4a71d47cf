//! The same workloads in Apache Flink, beside ours in turn.
//!
//! Knows the peer by its scripts in `benchmarks/flink` only; on a machine where it was not set up, that is said and the
//! rest goes on.

use std::process::{Command, Stdio};

use super::figures::{Figure, Figures, median, number};
use super::jobs::{Workload, chosen};
use super::{Wanted, report};
use crate::steps::root;

pub(super) fn peer(wanted: &Wanted) -> Figures {
    let folder = root().join("benchmarks/flink");
    if !folder.join("work/classes").is_dir() {
        eprintln!("xtask: Flink is not set up: run benchmarks/flink/setup.sh; goes on without it");
        return Ok(Vec::new());
    }
    let mut figures = Vec::new();
    for workload in chosen(wanted) {
        workload.check()?;
        for parallelism in [1, 2] {
            figures.extend(beside(workload, parallelism, wanted.runs)?);
        }
    }
    Ok(figures)
}

/// Ratio of rates, CPU times and memory, from runs in turn.
fn beside(workload: &Workload, parallelism: usize, runs: usize) -> Figures {
    let (mut ours, mut theirs) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for _ in 0..runs {
        let run = workload.run(parallelism, &[])?;
        let values = [run.elapsed_s, run.cpu_s, run.peak_bytes];
        ours.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        let flink = flink(workload, parallelism)?;
        theirs.iter_mut().zip(flink).for_each(|(all, value)| all.push(value));
    }
    let [elapsed, cpu, memory] = ours.map(median);
    let [flink_elapsed, flink_cpu, flink_memory] = theirs.map(median);
    let events = workload.events as f64;
    let name = |what: &str| format!("{} at parallelism {parallelism}: {what}", workload.name);
    Ok(vec![
        Figure::new(name("rate beside Flink"), events / elapsed / 1e6, "M/s").up(""),
        Figure::new(name("Flink's rate"), events / flink_elapsed / 1e6, "M/s"),
        Figure::new(name("rate / Flink's"), flink_elapsed / elapsed, "x").up(""),
        Figure::new(name("Flink's CPU time per event"), flink_cpu / events * 1e6, "us"),
        Figure::new(name("Flink's CPU time per event / ours"), flink_cpu / cpu, "x").up(""),
        Figure::new(name("Flink's peak memory / ours"), flink_memory / memory, "x").up(""),
    ])
}

/// Elapsed seconds, seconds of CPU time, and bytes of peak memory of one run.
fn flink(workload: &Workload, parallelism: usize) -> Result<[f64; 3], String> {
    let mut command = Command::new(root().join("benchmarks/flink/run.sh"));
    command.args([workload.name, &parallelism.to_string(), &workload.events.to_string()]);
    let report = report(command.stdin(Stdio::null()))?;
    Ok([
        number(&report["elapsed_s"])?,
        number(&report["cpu_s"])?,
        number(&report["peak_memory_bytes"])?,
    ])
}
