//! Runs an operator natively, so that `cargo test` needs no WebAssembly.
//!
//! Has the semantics of the host: batches with distinct keys, state in an overlay that a failed
//! call leaves no trace of, time-to-live by a clock that the test turns, chance from a seed. Two
//! things are on purpose stricter than life: the operator is dropped and opened again after each
//! call, and any breach of the contract is a panic. A panic of the operator, which the host would
//! pin on a record, is a panic of the test. An operator that keeps state in its own memory is saved and
//! restored around each drop, if the harness is told so ([`Harness::with_snapshot`]). One that migrates can begin
//! with what an older version has stored ([`Harness::stored_value`] and its like).
//!
//! ```
//! use tidemill_sdk::testing::Harness;
//! # use tidemill_sdk::{Context, Description, OpenContext, Operator, Record, Result, ValueState};
//! # struct WordCount { seen: ValueState<u64> }
//! # impl Operator for WordCount {
//! #     fn describe() -> Description {
//! #         Description::new("word-count", "1.0.0")
//! #             .keyed_input("words")
//! #             .output_of::<u64>("counts")
//! #             .value_state::<u64>("seen")
//! #     }
//! #     fn open(ctx: &mut OpenContext) -> Result<Self> {
//! #         Ok(Self { seen: ctx.value_state("seen")? })
//! #     }
//! #     fn process(&mut self, _record: Record<'_>, ctx: &mut Context) -> Result<()> {
//! #         let n = self.seen.update(ctx, |n| n.unwrap_or(0) + 1)?;
//! #         ctx.emit(&n)
//! #     }
//! # }
//!
//! # fn main() -> Result<()> {
//! let mut harness = Harness::<WordCount>::new().batch_size(2).open()?;
//! harness.send("words", &[("tide", ""), ("mill", ""), ("tide", "")])?;
//! assert_eq!(
//!     harness.outputs_as::<String, u64>("counts")?,
//!     [("tide".into(), 1), ("mill".into(), 1), ("tide".into(), 2)],
//! );
//! assert_eq!(harness.value::<u64>("seen", "tide")?, Some(2));
//! # Ok(())
//! # }
//! ```

mod calls;
mod columns;
pub(crate) mod imports;
mod inspect;
mod migrate;
mod model;
mod state;

use std::fmt;

use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::error::Result;
use crate::log::Level;
use crate::operator::{Operator, Running};
use crate::snapshot::Snapshot;
use calls::Saving;
use model::Model;

/// A record that was emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// Its event time, in milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

/// A record that the operator could not process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The input at which it came in.
    pub input: String,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Vec<u8>,
    /// What the operator said of it.
    pub reason: String,
}

/// A line that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// Runs an operator of type `O`: first set it up, then [`open`](Self::open) it, then send records.
pub struct Harness<O> {
    context: raw::Context,
    /// Out of place only while operator code runs.
    model: Option<Model>,
    running: Option<Running<O>>,
    keep_instance: bool,
    saving: Option<Saving<O>>,
    batches: Batches,
    rejected: Vec<Rejected>,
}

/// How many records a call gets.
#[derive(Clone, Copy, Debug)]
enum Batches {
    Exactly(usize),
    UpTo { max: usize, chance: u64 },
}

impl<O: Operator> Harness<O> {
    /// An operator that is not open yet; the clock stands at 2020-01-01.
    pub fn new() -> Self {
        let mut model = Model::new(O::describe().raw);
        model.now_ms = 1_577_836_800_000;
        Self {
            context: raw::Context {
                tenant: "tenant".to_owned(),
                job: "job".to_owned(),
                operator_id: model.description.name.clone(),
                task: 0,
                parallelism: 1,
                incarnation: 0,
                config: Vec::new(),
            },
            model: Some(model),
            running: None,
            keep_instance: false,
            saving: None,
            batches: Batches::Exactly(256),
            rejected: Vec::new(),
        }
    }

    /// Sets a value of the operator's configuration.
    #[must_use]
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.context.config.retain(|(name, _)| name != key);
        self.context.config.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Says which one of how many parallel tasks this is.
    #[must_use]
    pub fn task(mut self, task: u32, parallelism: u32) -> Self {
        self.context.task = task;
        self.context.parallelism = parallelism;
        self
    }

    /// Gives each call this many records, as long as there are as many; 256 by default.
    #[must_use]
    pub fn batch_size(mut self, records: usize) -> Self {
        self.batches = Batches::Exactly(records.max(1));
        self
    }

    /// Gives each call from one to `max` records, by chance from the seed.
    #[must_use]
    pub fn batches_up_to(mut self, max: usize, seed: u64) -> Self {
        self.batches = Batches::UpTo { max: max.max(1), chance: seed };
        self
    }

    /// Seeds what the operator gets as chance.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.model_mut().seed = seed;
        self
    }

    /// Sets the clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn starts_at_ms(mut self, now_ms: i64) -> Self {
        self.model_mut().now_ms = now_ms;
        self
    }

    /// Keeps the operator between calls. A test that passes only with this shows an operator that
    /// will give wrong results when its sandbox is replaced.
    #[must_use]
    pub fn keep_instance(mut self) -> Self {
        self.keep_instance = true;
        self
    }

    /// Opens the operator.
    ///
    /// # Errors
    /// What the operator says, or what is wrong with its description.
    pub fn open(mut self) -> Result<Self> {
        self.ensure_open()?;
        Ok(self)
    }

    /// Sends keyed records to an input.
    ///
    /// # Errors
    /// Fatal ones of the operator; the state is then as before the call that failed. Bad records
    /// are found in [`rejected`](Self::rejected).
    pub fn send<K, V>(&mut self, input: &str, records: &[(K, V)]) -> Result<()>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let records = records.iter();
        self.run(input, records.map(|(key, value)| (Some(key.as_ref()), value.as_ref(), 0)))
    }

    /// Sends records with key, value and event time to an input.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_at<K, V>(&mut self, input: &str, records: &[(K, V, i64)]) -> Result<()>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let records = records.iter();
        self.run(input, records.map(|(key, value, at)| (Some(key.as_ref()), value.as_ref(), *at)))
    }

    /// Sends records without keys to an input.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_unkeyed<V: AsRef<[u8]>>(&mut self, input: &str, values: &[V]) -> Result<()> {
        self.run(input, values.iter().map(|value| (None, value.as_ref(), 0)))
    }

    /// Ends all inputs.
    ///
    /// # Errors
    /// What the operator says.
    pub fn close(&mut self) -> Result<()> {
        self.run_close()
    }

    /// Turns the clock on.
    pub fn advance_ms(&mut self, by_ms: u64) {
        let now_ms = &mut self.model_mut().now_ms;
        *now_ms = now_ms.saturating_add_unsigned(by_ms);
    }
}

impl<O: Snapshot> Harness<O> {
    /// Saves the operator after each call, and restores it where it is opened again: a test that passes
    /// shows that what it saves is all that it needs.
    #[must_use]
    pub fn with_snapshot(mut self) -> Self {
        self.saving = Some(Saving::new());
        self
    }

    /// What was saved after the newest call; `None` before the first.
    pub fn saved(&self) -> Option<&[u8]> {
        self.saving.as_ref()?.saved.as_deref()
    }
}

/// Also for operators that are not `Debug`, so that tests can use `unwrap_err`.
impl<O> fmt::Debug for Harness<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness").field("context", &self.context).finish_non_exhaustive()
    }
}

impl<O: Operator> Default for Harness<O> {
    fn default() -> Self {
        Self::new()
    }
}
