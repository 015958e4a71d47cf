//! The workloads, end to end.
//!
//! Owns their definitions. Each is run at parallelism 1 and 2 with a checkpoint every second, exactly once, its output
//! counted and thrown away (or written to files); before that its output is checked against published sums, on
//! fewer events.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::figures::{Figure, Figures, median, number};
use super::job::{ENDLESS, Job};
use super::{Wanted, operators, report, tidemill};
use crate::steps::{Outcome, root, target};

/// A workload.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Its source; `#` stands for the number of events, `%` for the parallelism.
    source: &'static str,
    operators: &'static str,
    /// Where the sink is fed from.
    last: &'static str,
    sink: &'static str,
    pub(super) events: u64,
    /// Outputs for each 50 events at least: a run with fewer has lost some.
    outputs_per_50: u64,
    /// The sample job with the same operators that says its check sum, and what that is.
    check: (&'static str, u64, u64),
}

const EVENTS: &str = "connector = \"nexmark\"\nevents = #\npartitions = %\n\
                      stream = \"nexmark\"\nencoding = \"msgpack\"";
const UNIFORM: &str = "connector = \"nexmark\"\nevents = #\npartitions = %\n\
                       stream = \"uniform\"\nencoding = \"msgpack\"\nkey = \"key\"";
const LINES: &str = "connector = \"nexmark\"\nevents = #\npartitions = %\nstream = \"lines\"";
const FILES: &str = "connector = \"file\"\npath = \"../input/#/part-*\"\nformat = \"lines\"";
const COUNT: &str = "[operators.prices]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"prices\" }\n\
     [operators.count]\ncomponent = \"@/nexmark_count.wasm\"\nfrom = \"prices.prices\"\nconfig = { values = \"prices\" }";
const DISCARD: &str = "connector = \"discard\"";
const TO_FILES: &str =
    "connector = \"file\"\npath = \"out\"\nformat = \"text\"\nvalue-type = \"text\"";

/// Generated events are MessagePack arrays, those in files NDJSON; lines are text.
pub(super) const WORKLOADS: [Workload; 8] = [
    Workload {
        name: "q0",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q0\" }",
        last: "query.bids",
        sink: DISCARD,
        events: 40_000_000,
        outputs_per_50: 46,
        check: ("nexmark/q0.toml", 368_000, 0xc5ab_96a8_0cc8_9bfe),
    },
    Workload {
        name: "q1",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q1\" }",
        last: "query.bids",
        sink: DISCARD,
        events: 36_000_000,
        outputs_per_50: 46,
        check: ("nexmark/q1.toml", 368_000, 0xe338_415d_d42f_e693),
    },
    Workload {
        name: "q2",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q2\" }",
        last: "query.bids",
        sink: DISCARD,
        events: 40_000_000,
        outputs_per_50: 0,
        check: ("nexmark/q2.toml", 3_017, 0x89dc_1d70_d05c_5fea),
    },
    Workload {
        name: "count",
        source: EVENTS,
        operators: COUNT,
        last: "count",
        sink: DISCARD,
        events: 20_000_000,
        outputs_per_50: 46,
        check: ("nexmark-count/job.toml", 368_000, 0x7e82_e590_831e_df68),
    },
    Workload {
        name: "heavy",
        source: UNIFORM,
        operators: "[operators.count]\ncomponent = \"@/heavy.wasm\"\nfrom = \"records\"",
        last: "count",
        sink: DISCARD,
        events: 10_000_000,
        outputs_per_50: 50,
        check: ("heavy/job.toml", 400_000, 0xf7d6_9b7a_4150_426d),
    },
    Workload {
        name: "wordcount",
        source: LINES,
        operators: "[operators.split]\ncomponent = \"@/word_split.wasm\"\nfrom = \"records\"\n\
             [operators.count]\ncomponent = \"@/word_count.wasm\"\nfrom = \"split\"\nconfig = { emit = \"every\" }",
        last: "count",
        sink: DISCARD,
        events: 1_500_000,
        outputs_per_50: 500,
        check: ("word-count/job.toml", 400_000, 0xd967_ef8a_92b8_75b4),
    },
    Workload {
        name: "q1-files",
        source: FILES,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q1\" }",
        last: "query.bids",
        sink: TO_FILES,
        events: 3_000_000,
        outputs_per_50: 46,
        check: ("nexmark/q1.toml", 368_000, 0xe338_415d_d42f_e693),
    },
    Workload {
        name: "count-files",
        source: FILES,
        operators: COUNT,
        last: "count",
        sink: DISCARD,
        events: 3_000_000,
        outputs_per_50: 46,
        check: ("nexmark-count/job.toml", 368_000, 0x7e82_e590_831e_df68),
    },
];

/// The workloads whose recovery is measured.
const RECOVERED: [&str; 2] = ["count", "heavy"];
/// Checkpoints after which they are killed.
const CHECKPOINTS: usize = 4;

/// The workload's name, if there is one.
pub(super) fn known(name: &str) -> Result<String, String> {
    let names = WORKLOADS.map(|workload| workload.name);
    match names.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("there is no workload {name:?}; there are {}", names.join(", "))),
    }
}

/// Those of the workloads that are wanted.
pub(super) fn chosen(wanted: &Wanted) -> impl Iterator<Item = &'static Workload> {
    let is_chosen = |workload: &&Workload| {
        wanted.workloads.is_empty() || wanted.workloads.iter().any(|name| name == workload.name)
    };
    WORKLOADS.iter().filter(is_chosen)
}

/// What one run came to.
pub(super) struct Run {
    pub(super) elapsed_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_bytes: f64,
    checkpoint_ms: f64,
    pause_p99_ms: f64,
}

impl Workload {
    /// Runs the sample job, whose sink sums the fields of what it gets, and compares the sum.
    pub(super) fn check(&self) -> Outcome {
        let (job, outputs, sum) = self.check;
        let data = target().join("bench/check");
        let mut command = Command::new(tidemill());
        command.arg("run").arg(root().join("sample-operators").join(job));
        command.arg("--data-dir").arg(&data).args(["--fresh", "--report", "json", "-q"]);
        let report = report(command.stdin(Stdio::null()))?;
        let sink = &report["sinks"][0];
        let found = sink["check_sum_of_fields"].as_str().unwrap_or("none");
        let is_right = sink["records"] == outputs && found == sum.to_string();
        fs::remove_dir_all(&data).ok();
        match is_right {
            true => Ok(()),
            false => Err(format!(
                "{}: {} outputs with the sum {found}; it must be {outputs} with {sum}",
                self.name, sink["records"]
            )),
        }
    }

    /// Runs it once; `before` is put in front of the command.
    pub(super) fn run(&self, parallelism: usize, before: &[&str]) -> Result<Run, String> {
        let job = self.job(parallelism, self.events)?;
        self.outcome(&job.report_behind(before, &["--fresh"])?)
    }

    fn job(&self, parallelism: usize, events: u64) -> Result<Job, String> {
        if self.source == FILES {
            self.make_input()?;
        }
        let source = self.source.replace('#', &events.to_string());
        let source = source.replace('%', &parallelism.to_string());
        let operators = self.operators.replace('@', &operators().to_string_lossy());
        let Self { name, last, sink, .. } = self;
        Job::new(
            name,
            &format!(
                "parallelism = {parallelism}\ncheckpoint-interval = \"1s\"\n\
                 [sources.records]\n{source}\n{operators}\n[sinks.out]\n{sink}\nfrom = \"{last}\"\n"
            ),
        )
    }

    /// Makes the files that the source reads, unless they are there: one for each number of events.
    fn make_input(&self) -> Outcome {
        let input = target().join("bench/input").join(self.events.to_string());
        if input.is_dir() {
            return Ok(());
        }
        let events = EVENTS.replace("msgpack", "ndjson").replace('#', &self.events.to_string());
        let text = format!(
            "checkpoint-interval = \"1day\"\n[sources.records]\n{}\n[sinks.out]\n{}\nfrom = \"records\"\n",
            events.replace('%', "1"),
            TO_FILES
        );
        let job = Job::new("make-input", &text)?;
        job.report(&["--fresh"])?;
        let failed = |error: std::io::Error| format!("{}: {error}", input.display());
        fs::create_dir_all(target().join("bench/input")).map_err(failed)?;
        fs::rename(job.folder().join("out"), &input).map_err(failed)
    }

    fn outcome(&self, report: &Value) -> Result<Run, String> {
        let outputs = number(&report["sinks"][0]["records"])? as u64;
        let wanted = self.events / 50 * self.outputs_per_50;
        if number(&report["records_in"])? as u64 != self.events || outputs < wanted {
            return Err(format!("{}: {outputs} outputs, at least {wanted} wanted", self.name));
        }
        let durability = &report["durability"];
        Ok(Run {
            elapsed_s: number(&report["elapsed_s"])?,
            cpu_s: number(&report["cpu_s"])?,
            peak_bytes: number(&report["peak_memory_bytes"])?,
            checkpoint_ms: number(&durability["mean_duration_ms"])?,
            pause_p99_ms: number(&durability["pause_p99_us"])? / 1000.0,
        })
    }
}

/// All workloads at parallelism 1 and 2; for `heavy` also how far a second core goes, and for those with much state
/// how soon a job that was killed goes on.
pub(super) fn jobs(wanted: &Wanted) -> Figures {
    let mut figures = Vec::new();
    for workload in chosen(wanted) {
        workload.check()?;
        for parallelism in [1, 2] {
            let runs: Result<Vec<Run>, String> =
                (0..wanted.runs).map(|_| workload.run(parallelism, &[])).collect();
            figures.extend(of_runs(workload, parallelism, &runs?));
            if RECOVERED.contains(&workload.name) {
                figures.push(recovery(workload, parallelism, wanted.runs)?);
            }
        }
        if workload.name == "heavy" {
            figures.extend(scaling(workload, wanted.runs)?);
        }
    }
    Ok(figures)
}

fn of_runs(workload: &Workload, parallelism: usize, runs: &[Run]) -> Vec<Figure> {
    let events = workload.events as f64;
    let of = |each: fn(&Run) -> f64| median(runs.iter().map(each).collect());
    let name = |what: &str| format!("{} at parallelism {parallelism}: {what}", workload.name);
    vec![
        Figure::new(name("rate"), events / of(|run| run.elapsed_s) / 1e6, "M/s").up(""),
        Figure::new(name("CPU time per event"), of(|run| run.cpu_s) / events * 1e6, "us").down(""),
        Figure::new(name("peak memory"), of(|run| run.peak_bytes) / 1e6, "MB").down(""),
        Figure::new(name("checkpoint, mean"), of(|run| run.checkpoint_ms), "ms"),
        Figure::new(name("pause of a lane, p99"), of(|run| run.pause_p99_ms), "ms"),
    ]
}

/// Parallelism 2 on two cores against parallelism 1 on one, in turn.
fn scaling(workload: &Workload, runs: usize) -> Figures {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let Ok(run) = workload.run(1, &["taskset", "-c", "0"]) else {
            eprintln!("xtask: there is no `taskset` to bind a run to one core; goes on without it");
            return Ok(Vec::new());
        };
        one.push(run.elapsed_s);
        two.push(workload.run(2, &["taskset", "-c", "0,1"])?.elapsed_s);
    }
    let name = format!("{}: parallelism 2 on two cores / 1 on one", workload.name);
    Ok(vec![Figure::new(name, median(one) / median(two), "x").up(">= 1.7")])
}

/// From the start of a process to running lanes, when the one before it was killed with SIGKILL between two
/// checkpoints; the median over several jobs.
fn recovery(workload: &Workload, parallelism: usize, runs: usize) -> Result<Figure, String> {
    let mut took_s = Vec::new();
    for _ in 0..runs {
        // It never comes to its end by itself, however fast the machine is.
        let job = workload.job(parallelism, ENDLESS)?;
        job.kill_after_checkpoints(CHECKPOINTS)?;
        let report = job.run_for(3)?;
        let durability = &report["durability"];
        if number(&durability["resumed_from"])? < CHECKPOINTS as f64 {
            return Err(format!("{}: it did not go on from its checkpoint", workload.name));
        }
        took_s.push(number(&durability["last_recovery_ms"])? / 1000.0);
    }
    let name = format!("{} at parallelism {parallelism}: recovery after SIGKILL", workload.name);
    Ok(Figure::new(name, median(took_s), "s").down("< 1 + 1 per GiB"))
}
