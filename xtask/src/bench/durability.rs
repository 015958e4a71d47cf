//! What durability costs: pauses, throughput, recoveries, the input log.
//!
//! Runs that are compared are made in turn (A B A B), and the figure is the ratio of their medians, so that a
//! machine that is busy for a while does not decide. Where the machine itself has a part in a figure, a
//! measure of the machine stands beside it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::figures::{Figure, Figures, median, number};
use super::job::{ENDLESS, Job};
use super::{Wanted, cargo_bench, report};

/// The pause of a lane over many barriers, with a million and with ten million keys, about a million of them
/// changed between two checkpoints.
pub(super) fn pause(wanted: &Wanted) -> Figures {
    let mut figures = Vec::new();
    let cases =
        [(1_000_000, "1 M keys", ""), (10_000_000, "10 M keys", "events-per-second = 1_000_000")];
    for (keys, shown, more) in cases {
        let job = Job::heavy("pause", keys, ENDLESS, "1s", more)?;
        let report = job.run_for(wanted.barriers + 12)?.report;
        let durability = &report["durability"];
        let figure = |what: &str, field: &str, divide: f64, unit, goal: &'static str| {
            let value = number(&durability[field])? / divide;
            let figure = Figure::new(format!("{shown}: {what}"), value, unit);
            Ok::<_, String>(if goal.is_empty() { figure } else { figure.down(goal) })
        };
        figures.extend([
            figure("barriers", "pauses", 1.0, "", "")?,
            figure("pause of a lane, median", "pause_p50_us", 1000.0, "ms", "")?,
            figure("pause of a lane, p99", "pause_p99_us", 1000.0, "ms", "< 1")?,
            figure("pause of a lane, longest", "pause_max_us", 1000.0, "ms", "")?,
            figure("pause in own CPU time, median", "pause_cpu_p50_us", 1000.0, "ms", "")?,
            figure("pause in own CPU time, p99", "pause_cpu_p99_us", 1000.0, "ms", "")?,
            figure("pause in own CPU time, longest", "pause_cpu_max_us", 1000.0, "ms", "")?,
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
            Figure::new(name, value, "ms")
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
pub(super) fn cost(wanted: &Wanted) -> Figures {
    let events = 20_000_000;
    let often = Job::heavy("cost-often", 1_000_000, events, "1s", "")?;
    let never = Job::heavy("cost-never", 1_000_000, events, "1day", "")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..wanted.runs {
        with.push(often.run(&[], &["--fresh"])?.elapsed_s);
        without.push(never.run(&[], &["--fresh"])?.elapsed_s);
    }
    let (with, without) = (median(with), median(without));
    let rate = |name: &str, elapsed_s| Figure::new(name, events as f64 / elapsed_s / 1e6, "M/s");
    let given_up = Figure::new("throughput given up for it", (1.0 - without / with) * 100.0, "%");
    Ok(vec![
        rate("heavy, a checkpoint each second", with).up(""),
        rate("heavy, one checkpoint at the end", without).up(""),
        given_up.down("< 10"),
    ])
}

/// From the start of a process after SIGKILL to running lanes, with state to restore; the median of several
/// kills. Beside it what the machine takes to give a program that much memory, each page touched once.
pub(super) fn recovery(wanted: &Wanted) -> Figures {
    let mut figures = Vec::new();
    for (keys, shown, life_s) in [(1_000_000, "1 M keys", 8), (10_000_000, "10 M keys", 25)] {
        let job = Job::heavy("recovery", keys, ENDLESS, "2s", "")?;
        let (mut took_s, mut touch_s, mut state_bytes) = (Vec::new(), Vec::new(), 0.0);
        job.kill_after(life_s / 2)?;
        for _ in 0..wanted.runs {
            job.kill_after(life_s / 2)?;
            let started = job.run_for(life_s / 2)?;
            started.resumed(1.0)?;
            took_s.push(started.running_s);
            state_bytes = number(&started.report["state_bytes"])?;
            touch_s.push(first_touch(state_bytes as usize).as_secs_f64());
        }
        let figure = |what: &str, value, unit, goal: &'static str| {
            let name = format!("{shown}: {what}");
            let figure = Figure::new(name, value, unit);
            if goal.is_empty() { figure } else { figure.down(goal) }
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

pub(super) fn call_recovery() -> Figures {
    let times = report(&mut cargo_bench("call_recovery"))?;
    let figure = |name: &str, value: f64, goal| Figure::new(name, value, "ms").down(goal);
    let (plain, trap) = (number(&times["plain_us"])? / 1000.0, number(&times["trap_us"])? / 1000.0);
    Ok(vec![
        figure("a batch of 4,096 records, 1 M keys", plain, ""),
        figure("the same with a record that traps, found and skipped", trap, "< 5 + the batch"),
    ])
}

pub(super) fn wal() -> Figures {
    let rates = report(&mut cargo_bench("wal"))?;
    let (log, each, grouped) =
        (number(&rates["log"])?, number(&rates["plain_each"])?, number(&rates["plain_grouped"])?);
    let figure = |name: &str, value, unit, goal| Figure::new(name, value, unit).up(goal);
    Ok(vec![
        figure("input log, batches of 64 KiB", log, "MB/s", ""),
        figure("plain write and fdatasync of each 64 KiB", each, "MB/s", ""),
        figure("plain write and fdatasync of each 4 MiB", grouped, "MB/s", ""),
        figure("input log / plain, each 64 KiB", log / each, "x", ">= 0.8"),
        figure("input log / plain, each 4 MiB", log / grouped, "x", ""),
    ])
}
