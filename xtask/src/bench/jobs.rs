//! The workloads, end to end.
//!
//! Owns their definitions. Each is run at parallelism 1 and 2 with a checkpoint every second, exactly once, its output
//! counted, summed and thrown away (or written to files, and summed afterwards). A run whose outputs are not exactly what
//! they must be is a failure; that the operators are right in the first place is checked by published sums, on fewer
//! events. Where outputs depend on the order of events (running sums), only their number is compared, and the published sum at parallelism 1.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::figures::{Figure, Figures, median, number, whole};
use super::job::{ENDLESS, Job, Ran};
use super::{Wanted, operators};
use crate::steps::{Outcome, target};

/// A workload.
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// Its source; `#` stands for the number of events, `%` for the parallelism.
    source: &'static str,
    operators: &'static str,
    /// Where the sink is fed from.
    last: &'static str,
    sink: &'static str,
    /// Types and places of the fields that the published sum is of.
    fields: &'static str,
    /// Events of a check, and how many outputs with which sum of their fields must come of them, as published.
    check: (u64, Expected),
    /// Events that take some ten seconds, and what must come of them, by the sum of its bytes.
    alone: (u64, Expected),
    /// The same, of events that take the peer some ten seconds.
    beside: (u64, Expected),
}

/// What must come of a number of events.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) outputs: u64,
    /// Does not depend on the order of outputs; `None` where the outputs themselves depend on the order of events.
    sum: Option<u64>,
}

/// Which number of events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Alone,
    BesideThePeer,
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

const WORDS: &str = "[operators.split]\ncomponent = \"@/word_split.wasm\"\nfrom = \"records\"\n\
     [operators.count]\ncomponent = \"@/word_count.wasm\"\nfrom = \"split\"\nconfig = { emit = \"every\" }";
const BID: &str = "value-type = \"msgpack\"\nfields = [1, 2, 3, 6, 4, 5, 7]";
const NAMED_BID: &str = "value-type = \"json\"\n\
     fields = [\"auction\", \"bidder\", \"price\", \"date_time\", \"channel\", \"url\", \"extra\"]";
const PRICE: &str = "value-type = \"msgpack\"\nfields = [0, 1]";
const COUNT_OF_NUMBER: &str = "key-type = \"integer\"\nvalue-type = \"u64\"";
const COUNT_OF_WORD: &str = "key-type = \"text\"\nvalue-type = \"u64\"";

/// Generated events are MessagePack arrays, those in files NDJSON; lines are text.
pub(super) const WORKLOADS: [Workload; 8] = [
    Workload {
        name: "q0",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q0\" }",
        last: "query.bids",
        sink: DISCARD,
        fields: BID,
        check: (400_000, Expected::exactly(368_000, 0xc5ab_96a8_0cc8_9bfe)),
        alone: (70_000_000, Expected::exactly(64_400_000, 0xcdba_60f8_6c97_c0d3)),
        beside: (45_000_000, Expected::exactly(41_400_000, 0x6a29_223c_3cbd_c25f)),
    },
    Workload {
        name: "q1",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q1\" }",
        last: "query.bids",
        sink: DISCARD,
        fields: BID,
        check: (400_000, Expected::exactly(368_000, 0xe338_415d_d42f_e693)),
        alone: (70_000_000, Expected::exactly(64_400_000, 0xfd36_f5ae_d85e_37d0)),
        beside: (45_000_000, Expected::exactly(41_400_000, 0x0c0c_67e8_357c_2a5f)),
    },
    Workload {
        name: "q2",
        source: EVENTS,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q2\" }",
        last: "query.bids",
        sink: DISCARD,
        fields: PRICE,
        check: (400_000, Expected::exactly(3_017, 0x89dc_1d70_d05c_5fea)),
        alone: (100_000_000, Expected::exactly(755_031, 0x902e_fcb1_4a01_92b1)),
        beside: (60_000_000, Expected::exactly(452_961, 0x33d8_2cf0_6914_d39e)),
    },
    Workload {
        name: "count",
        source: EVENTS,
        operators: COUNT,
        last: "count",
        sink: DISCARD,
        fields: COUNT_OF_NUMBER,
        check: (400_000, Expected::exactly(368_000, 0x7e82_e590_831e_df68)),
        alone: (50_000_000, Expected::any_order(46_000_000)),
        beside: (20_000_000, Expected::any_order(18_400_000)),
    },
    Workload {
        name: "heavy",
        source: UNIFORM,
        operators: "[operators.count]\ncomponent = \"@/heavy.wasm\"\nfrom = \"records\"",
        last: "count",
        sink: DISCARD,
        fields: COUNT_OF_NUMBER,
        check: (400_000, Expected::exactly(400_000, 0xf7d6_9b7a_4150_426d)),
        alone: (50_000_000, Expected::any_order(50_000_000)),
        beside: (10_000_000, Expected::any_order(10_000_000)),
    },
    Workload {
        name: "wordcount",
        source: LINES,
        operators: WORDS,
        last: "count",
        sink: DISCARD,
        fields: COUNT_OF_WORD,
        check: (40_000, Expected::exactly(400_000, 0xd967_ef8a_92b8_75b4)),
        alone: (7_000_000, Expected::exactly(70_000_000, 0x2c6d_622e_8854_8dd4)),
        beside: (2_000_000, Expected::exactly(20_000_000, 0x1765_eb45_2dc5_6539)),
    },
    Workload {
        name: "q1-files",
        source: FILES,
        operators: "[operators.query]\ncomponent = \"@/nexmark.wasm\"\nfrom = \"records\"\nconfig = { query = \"q1\" }",
        last: "query.bids",
        sink: TO_FILES,
        fields: NAMED_BID,
        check: (400_000, Expected::exactly(368_000, 0xe338_415d_d42f_e693)),
        alone: (10_000_000, Expected::exactly(9_200_000, 0xe26b_072b_6853_1fa2)),
        beside: (4_000_000, Expected::exactly(3_680_000, 0xd8d7_f3a5_9f78_1f14)),
    },
    Workload {
        name: "count-files",
        source: FILES,
        operators: COUNT,
        last: "count",
        sink: DISCARD,
        fields: COUNT_OF_NUMBER,
        check: (400_000, Expected::exactly(368_000, 0x7e82_e590_831e_df68)),
        alone: (10_000_000, Expected::any_order(9_200_000)),
        beside: (6_000_000, Expected::any_order(5_520_000)),
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

/// What one run came to.
pub(super) struct Run {
    pub(super) elapsed_s: f64,
    pub(super) cpu_s: f64,
    pub(super) peak_bytes: f64,
    checkpoint_ms: f64,
    /// The longest: there are too few in a run for a percentile.
    pause_ms: f64,
}

impl Expected {
    const fn exactly(outputs: u64, sum: u64) -> Self {
        Self { outputs, sum: Some(sum) }
    }

    const fn any_order(outputs: u64) -> Self {
        Self { outputs, sum: None }
    }

    /// Compares it with what was found; the sum where there is one.
    pub(super) fn holds(self, of: &str, outputs: u64, sum: Option<u64>) -> Outcome {
        let shown = |sum: Option<u64>| {
            sum.map_or_else(String::new, |sum| format!(" with the sum {sum:#x}"))
        };
        let is_sum = sum.is_none() || self.sum.is_none() || sum == self.sum;
        match outputs == self.outputs && is_sum {
            true => Ok(()),
            false => Err(format!(
                "{of}: {outputs} outputs{}; there must be {}{}",
                shown(sum),
                self.outputs,
                shown(self.sum)
            )),
        }
    }
}

impl Workload {
    /// How many events, and what must come of them.
    pub(super) fn of(&self, length: Length) -> (u64, Expected) {
        match length {
            Length::Alone => self.alone,
            Length::BesideThePeer => self.beside,
        }
    }

    /// What must come of the check, as published.
    pub(super) fn published(&self) -> (u64, Expected) {
        self.check
    }

    /// Runs it on fewer events, with a sink that sums the fields of what it gets, and compares the sum.
    pub(super) fn check(&self) -> Outcome {
        let (events, expected) = self.check;
        let sink = format!("{DISCARD}\n{}", self.fields);
        let ran = self.job(1, events, &sink)?.run(&[], &["--fresh"])?;
        let sink = &ran.report["sinks"][0];
        let sum = whole(&sink["check_sum_of_fields"])?;
        expected.holds(self.name, whole(&sink["records"])?, Some(sum))
    }

    /// Runs it once; `before` is put in front of the command.
    pub(super) fn run(
        &self,
        parallelism: usize,
        length: Length,
        before: &[&str],
    ) -> Result<Run, String> {
        let (events, expected) = self.of(length);
        let job = self.job(parallelism, events, self.sink)?;
        let Ran { report, elapsed_s } = job.run(before, &["--fresh"])?;
        let sink = &report["sinks"][0];
        let sum = match self.sink == TO_FILES {
            true => sum_of_lines(&job.folder().join("out"))?,
            false => whole(&sink["checksum"])?,
        };
        expected.holds(self.name, whole(&sink["records"])?, Some(sum))?;
        let durability = &report["durability"];
        Ok(Run {
            elapsed_s,
            cpu_s: number(&report["cpu_s"])?,
            peak_bytes: number(&report["peak_memory_bytes"])?,
            checkpoint_ms: number(&durability["mean_duration_ms"])?,
            pause_ms: number(&durability["pause_max_us"])? / 1000.0,
        })
    }

    fn job(&self, parallelism: usize, events: u64, sink: &str) -> Result<Job, String> {
        if self.source == FILES {
            Self::make_input(events)?;
        }
        let source = self.source.replace('#', &events.to_string());
        let source = source.replace('%', &parallelism.to_string());
        let operators = self.operators.replace('@', &operators().to_string_lossy());
        let Self { name, last, .. } = self;
        Job::new(
            name,
            &format!(
                "parallelism = {parallelism}\ncheckpoint-interval = \"1s\"\n\
                 [sources.records]\n{source}\n{operators}\n[sinks.out]\n{sink}\nfrom = \"{last}\"\n"
            ),
        )
    }

    /// Makes the files that the source reads, unless they are there.
    fn make_input(events: u64) -> Outcome {
        let input = target().join("bench/input").join(events.to_string());
        if input.is_dir() {
            return Ok(());
        }
        let source = EVENTS.replace("msgpack", "ndjson").replace('#', &events.to_string());
        let text = format!(
            "checkpoint-interval = \"1day\"\n[sources.records]\n{}\n[sinks.out]\n{TO_FILES}\nfrom = \"records\"\n",
            source.replace('%', "1"),
        );
        let job = Job::new("make-input", &text)?;
        job.run(&[], &["--fresh"])?;
        let failed = |error: std::io::Error| format!("{}: {error}", input.display());
        fs::create_dir_all(target().join("bench/input")).map_err(failed)?;
        fs::rename(job.folder().join("out"), &input).map_err(failed)
    }
}

/// The sum of the hashes (FNV-1a) of all lines of the published files of a folder, whatever their order.
fn sum_of_lines(folder: &Path) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut sum = 0u64;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")) {
            continue;
        }
        let mut file = BufReader::with_capacity(1 << 20, File::open(&path).map_err(failed)?);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            let hash = line.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
            sum = sum.wrapping_add(hash);
            line.clear();
        }
    }
    Ok(sum)
}

/// All workloads at parallelism 1 and 2; for `heavy` also how far a second core goes, and for those with much state
/// how soon a job that was killed goes on.
pub(super) fn jobs(wanted: &Wanted, out: &mut Vec<Figure>) -> Outcome {
    each(wanted, |workload| {
        workload.check()?;
        for parallelism in [1, 2] {
            let runs: Result<Vec<Run>, String> =
                (0..wanted.runs).map(|_| workload.run(parallelism, Length::Alone, &[])).collect();
            out.extend(of_runs(workload, parallelism, &runs?));
            if RECOVERED.contains(&workload.name) {
                out.push(recovery(workload, parallelism, wanted.runs)?);
            }
        }
        if workload.name == "heavy" {
            out.extend(scaling(workload, wanted.runs)?);
        }
        Ok(())
    })
}

/// Does something with each workload that is wanted; those behind one that fails have their turn as well.
pub(super) fn each(wanted: &Wanted, mut work: impl FnMut(&Workload) -> Outcome) -> Outcome {
    let is_wanted = |workload: &&Workload| {
        wanted.workloads.is_empty() || wanted.workloads.iter().any(|name| name == workload.name)
    };
    let failed = WORKLOADS.iter().filter(is_wanted).filter_map(|workload| work(workload).err());
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn of_runs(workload: &Workload, parallelism: usize, runs: &[Run]) -> Vec<Figure> {
    let events = workload.of(Length::Alone).0 as f64;
    let of = |each: fn(&Run) -> f64| median(runs.iter().map(each).collect());
    let name = |what: &str| format!("{} at parallelism {parallelism}: {what}", workload.name);
    vec![
        Figure::new(name("rate"), events / of(|run| run.elapsed_s) / 1e6, "M/s").up(""),
        Figure::new(name("CPU time per event"), of(|run| run.cpu_s) / events * 1e6, "us").down(""),
        Figure::new(name("peak memory"), of(|run| run.peak_bytes) / 1e6, "MB").down(""),
        Figure::new(name("checkpoint, mean"), of(|run| run.checkpoint_ms), "ms").down(""),
        Figure::new(name("longest pause of a lane"), of(|run| run.pause_ms), "ms"),
    ]
}

/// Parallelism 2 on two cores against parallelism 1 on one, in turn.
fn scaling(workload: &Workload, runs: usize) -> Figures {
    let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    if !taskset.is_ok_and(|status| status.success()) {
        eprintln!("xtask: there is no `taskset` to bind a run to one core; goes on without it");
        return Ok(Vec::new());
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let on = |cores| ["taskset", "-c", cores];
        one.push(workload.run(1, Length::Alone, &on("0"))?.elapsed_s);
        two.push(workload.run(2, Length::Alone, &on("0,1"))?.elapsed_s);
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
        let job = workload.job(parallelism, ENDLESS, workload.sink)?;
        job.kill_after_checkpoints(CHECKPOINTS)?;
        let started = job.run_for(3)?;
        started.resumed(CHECKPOINTS as f64)?;
        took_s.push(started.running_s);
    }
    let name = format!("{} at parallelism {parallelism}: recovery after SIGKILL", workload.name);
    Ok(Figure::new(name, median(took_s), "s").down("< 1 + 1 per GiB"))
}
