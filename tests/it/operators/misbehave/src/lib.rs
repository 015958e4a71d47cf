//! Breaks the rule that its configuration `mode` names, at each record whose key is `bad`.
//!
//! Other records are counted and go out with their value. What the standard library makes of clock,
//! chance and environment inside a sandbox is the mode `std`.

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill_sdk::bindings::tidemill::operator::types::{
    BytesColumn, KeySource, OptionalColumn, OutputBatch,
};
use tidemill_sdk::bindings::tidemill::operator::{output, state};
use tidemill_sdk::{
    Context, Description, Error, OpenContext, Operator, Record, Result, ResultExt, ValueState,
};

const MIB: usize = 1024 * 1024;

/// The operator.
#[derive(Debug)]
pub struct Misbehave {
    mode: String,
    seen: ValueState<u64>,
    kept: ValueState<Vec<u8>>,
}

impl Operator for Misbehave {
    fn describe() -> Description {
        Description::new("misbehave", env!("CARGO_PKG_VERSION"))
            .keyed_input("records")
            .output("out")
            .value_state::<u64>("seen")
            .value_state::<Vec<u8>>("kept")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let mode = ctx.required("mode")?.to_owned();
        assert!(mode != "open", "it cannot even begin");
        Ok(Self { mode, seen: ctx.value_state("seen")?, kept: ctx.value_state("kept")? })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        self.seen.update(ctx, |seen| seen.unwrap_or(0) + 1)?;
        if record.key() == b"bad" {
            self.misbehave(ctx)?;
        }
        if self.mode == "hoard" {
            self.kept.set(ctx, &vec![7; MIB / 4])?;
        }
        if self.mode == "slow" {
            // So that a job takes a while, and many checkpoints.
            for n in 0..20_000 {
                black_box(n);
            }
        }
        ctx.emit(record.value())
    }

    fn close(&mut self, _ctx: &mut Context) -> Result<()> {
        assert!(self.mode != "close", "it cannot end well");
        Ok(())
    }
}

impl Misbehave {
    fn misbehave(&self, ctx: &mut Context) -> Result<()> {
        match self.mode.as_str() {
            "panic" => panic!("the tide is out"),
            "loop" => loop {
                black_box(&self.mode);
            },
            "wait" => wait_for_the_clock(),
            "memory" => drop(black_box(use_up_memory())),
            "stack" => drop(black_box(descend(black_box(1)))),
            "frames" => drop(black_box(descend_with_frames(black_box(1)))),
            "exit" => std::process::exit(3),
            "reject" => return Err(Error::bad_record("a record that nobody wants")),
            "fatal" => return Err(Error::fatal("nothing works any more")),
            "emit" => emit_without_end(),
            "burst" => (0..2 * MIB).try_for_each(|_| ctx.emit("word"))?,
            "value" => output::emit(0, &one_record(vec![0; 2 * MIB])),
            "output" => output::emit(7, &one_record(Vec::new())),
            "column" => output::emit(0, &misshapen()),
            "slot" => state::value_write(0, &[99], &one_present()),
            "kind" => state::list_append(0, &[0], &column(vec![0; 8])),
            "unkeyed" => ctx.emit_unkeyed("no key")?,
            "print" => print(),
            "std" => use_std(ctx)?,
            // The others misbehave elsewhere.
            _ => {}
        }
        Ok(())
    }
}

/// Inside a call time stands still.
fn wait_for_the_clock() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {}
}

fn use_up_memory() -> Vec<Vec<u8>> {
    (0..).map(|n: usize| vec![n as u8; MIB]).take_while(|block| !block.is_empty()).collect()
}

/// Uses up the stack of the sandbox.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { descend(depth + 1).rotate_left(7) ^ depth }
}

/// Uses up the part of memory that a compiler lays frames in.
#[inline(never)]
fn descend_with_frames(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { frame[3] ^ descend_with_frames(depth + 1) }
}

/// Past the SDK, which would take the record for a bad one.
fn emit_without_end() {
    loop {
        output::emit(0, &one_record(vec![b'x'; MIB / 2]));
    }
}

fn column(data: Vec<u8>) -> BytesColumn {
    let ends = vec![u32::try_from(data.len()).unwrap_or(u32::MAX)];
    BytesColumn { data, ends }
}

fn one_record(value: Vec<u8>) -> OutputBatch {
    let (key_of, timestamps) = (Vec::new(), Vec::new());
    OutputBatch { keys: KeySource::None, key_of, values: column(value), timestamps }
}

/// Its last end is not where its data ends.
fn misshapen() -> OutputBatch {
    OutputBatch { values: BytesColumn { data: vec![1, 2, 3], ends: vec![9] }, ..one_record(vec![]) }
}

fn one_present() -> OptionalColumn {
    OptionalColumn { present: vec![1], values: BytesColumn { data: vec![0; 8], ends: Vec::new() } }
}

fn print() {
    println!("a word on stdout");
    eprintln!("a word on stderr");
    println!("\u{1b}[31man escape\u{1b}[0m");
}

/// Emits what the standard library finds, a fact for each record.
fn use_std(ctx: &mut Context) -> Result<()> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).or_fatal("clock")?;
    ctx.emit(&format!("wall clock {}", since_epoch.as_millis()))?;
    let start = Instant::now();
    std::thread::sleep(Duration::from_secs(3600));
    ctx.emit(&format!("slept {} ms", start.elapsed().as_millis()))?;
    let map: HashMap<u32, u32> = (0..1000).map(|n| (n, n * n)).collect();
    ctx.emit(&format!("map of {}, 31 gives {}", map.len(), map[&31]))?;
    let greeting = std::env::var("greeting").or_fatal("environment")?;
    ctx.emit(&format!("greeting {greeting}, {} arguments", std::env::args().count()))?;
    let mut input = String::new();
    let count = std::io::stdin().read_to_string(&mut input).or_fatal("stdin")?;
    ctx.emit(&format!("stdin has {count} bytes"))?;
    let thread = std::thread::Builder::new().spawn(|| {});
    ctx.emit(if thread.is_ok() { "a thread" } else { "no thread" })
}

tidemill_sdk::export!(Misbehave);
