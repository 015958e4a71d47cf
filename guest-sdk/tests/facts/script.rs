//! An operator whose body is given by the test.

use std::cell::Cell;

use tidemill_sdk::testing::Harness;
use tidemill_sdk::{
    BadRecord, BatchContext, Context, Counter, Description, Gauge, Histogram, Input, InputBatch,
    ListState, MapState, OpenContext, Operator, Output, Record, Result, StateOptions, ValueState,
};

pub(crate) type Process = fn(&Handles, Record<'_>, &mut Context) -> Result<()>;
pub(crate) type ProcessBatch =
    fn(&Handles, &InputBatch, &mut BatchContext) -> Result<Vec<BadRecord>>;
pub(crate) type Close = fn(&mut Context) -> Result<()>;

thread_local! {
    static SCRIPT: Cell<Script> = const { Cell::new(Script::PASS) };
}

/// The bodies of an operator.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) process: Process,
    pub(crate) batch: Option<ProcessBatch>,
    pub(crate) close: Close,
}

impl Script {
    /// Passes values on.
    pub(crate) const PASS: Self =
        Self { process: |_, record, ctx| ctx.emit(record.value()), batch: None, close: |_| Ok(()) };
}

/// Everything that can be described, with handles to it.
pub(crate) struct Handles {
    pub(crate) plain: Input,
    pub(crate) numbers: Output,
    pub(crate) text: ValueState<String>,
    pub(crate) sum: ValueState<u64>,
    pub(crate) list: ListState<String>,
    pub(crate) map: MapState<String, u64>,
    pub(crate) brief: ValueState<u64>,
    pub(crate) used: ListState<u64>,
    pub(crate) seen: Counter,
    pub(crate) level: Gauge,
    pub(crate) sizes: Histogram,
    /// Calls that this instance has seen.
    pub(crate) calls: Cell<u64>,
}

pub(crate) struct Scripted {
    handles: Handles,
}

impl Operator for Scripted {
    fn describe() -> Description {
        let second = std::time::Duration::from_secs(1);
        Description::new("scripted", "1")
            .keyed_input("keyed")
            .input("plain")
            .keyed_input_of::<u64>("amounts")
            .output("out")
            .output_of::<u64>("numbers")
            .value_state::<String>("text")
            .list_state::<String>("list")
            .value_state::<u64>("sum")
            .map_state::<String, u64>("map")
            .value_state_with::<u64>("brief", StateOptions::new().ttl(second))
            .list_state_with::<u64>("used", StateOptions::new().ttl_since_use(second))
            .counter("seen", "records", "")
            .gauge("level", "", "")
            .histogram("sizes", "bytes", "")
    }

    fn open(ctx: &mut OpenContext) -> Result<Self> {
        let handles = Handles {
            plain: ctx.input("plain")?,
            numbers: ctx.output("numbers")?,
            text: ctx.value_state("text")?,
            sum: ctx.value_state("sum")?,
            list: ctx.list_state("list")?,
            map: ctx.map_state("map")?,
            brief: ctx.value_state("brief")?,
            used: ctx.list_state("used")?,
            seen: ctx.counter("seen")?,
            level: ctx.gauge("level")?,
            sizes: ctx.histogram("sizes")?,
            calls: Cell::new(0),
        };
        Ok(Self { handles })
    }

    fn process(&mut self, record: Record<'_>, ctx: &mut Context) -> Result<()> {
        (SCRIPT.get().process)(&self.handles, record, ctx)
    }

    fn process_batch(
        &mut self,
        batch: &InputBatch,
        ctx: &mut BatchContext,
    ) -> Result<Vec<BadRecord>> {
        self.handles.calls.set(self.handles.calls.get() + 1);
        match SCRIPT.get().batch {
            Some(process) => process(&self.handles, batch, ctx),
            None => ctx.for_each(batch, |record, ctx| self.process(record, ctx)),
        }
    }

    fn close(&mut self, ctx: &mut Context) -> Result<()> {
        (SCRIPT.get().close)(ctx)
    }
}

/// An open operator with these bodies.
pub(crate) fn open(script: Script) -> Harness<Scripted> {
    open_with(script, |harness| harness)
}

pub(crate) fn open_with(
    script: Script,
    set_up: impl FnOnce(Harness<Scripted>) -> Harness<Scripted>,
) -> Harness<Scripted> {
    SCRIPT.set(script);
    set_up(Harness::new()).open().unwrap()
}

/// An open operator that processes each record like this.
pub(crate) fn processing(process: Process) -> Harness<Scripted> {
    open(Script { process, ..Script::PASS })
}

pub(crate) fn texts(harness: &Harness<Scripted>) -> Vec<(String, String)> {
    harness.outputs_as("out").unwrap()
}

/// The values of an output as text.
pub(crate) fn values(harness: &Harness<Scripted>) -> Vec<String> {
    texts(harness).into_iter().map(|(_, value)| value).collect()
}
