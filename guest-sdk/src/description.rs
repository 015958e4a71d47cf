//! What an operator says of itself: its inputs, outputs, states and metrics.
//!
//! A plain value that is built once and given to the host; handles are resolved against it in
//! `open`, so that a name which was not described is found before the first record.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::codec::Encode;
use crate::error::{Error, Result};

/// What an operator is. Names are unique among the inputs, the outputs, the states and the
/// metrics; inputs and outputs are numbered in the order in which they are described.
///
/// ```
/// use std::time::Duration;
/// use tidemill_sdk::{Description, StateOptions};
///
/// Description::new("sessions", "1.0.0")
///     .keyed_input("clicks")
///     .output_of::<u64>("lengths")
///     .value_state_with::<u64>("started", StateOptions::new().ttl(Duration::from_secs(3600)))
///     .counter("late", "records", "Clicks that came after their session.");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Description {
    pub(crate) raw: raw::Description,
}

impl Description {
    /// An operator without inputs, outputs, states and metrics so far.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            raw: raw::Description {
                name: name.into(),
                version: version.into(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                states: Vec::new(),
                metrics: Vec::new(),
            },
        }
    }

    /// An input whose records may come in any order and at any task; no state can be used.
    pub fn input(self, name: impl Into<String>) -> Self {
        self.add_input(name.into(), false, None)
    }

    /// Like [`input`](Self::input), with values of type `T`.
    pub fn input_of<T: Encode + ?Sized>(self, name: impl Into<String>) -> Self {
        self.add_input(name.into(), false, T::WIDTH)
    }

    /// An input whose records are partitioned by key; state belongs to the key.
    pub fn keyed_input(self, name: impl Into<String>) -> Self {
        self.add_input(name.into(), true, None)
    }

    /// Like [`keyed_input`](Self::keyed_input), with values of type `T`.
    pub fn keyed_input_of<T: Encode + ?Sized>(self, name: impl Into<String>) -> Self {
        self.add_input(name.into(), true, T::WIDTH)
    }

    /// An output with values of any length.
    pub fn output(self, name: impl Into<String>) -> Self {
        self.add_output(name.into(), None)
    }

    /// An output with values of type `T`.
    pub fn output_of<T: Encode + ?Sized>(self, name: impl Into<String>) -> Self {
        self.add_output(name.into(), T::WIDTH)
    }

    /// A state that holds one `T` per key.
    pub fn value_state<T: Encode>(self, name: impl Into<String>) -> Self {
        self.value_state_with::<T>(name, StateOptions::new())
    }

    /// Like [`value_state`](Self::value_state), with options.
    pub fn value_state_with<T: Encode>(self, name: impl Into<String>, with: StateOptions) -> Self {
        self.add_state(name.into(), raw::StateKind::Value, T::WIDTH, with)
    }

    /// A state that holds a list of `T` per key.
    pub fn list_state<T: Encode>(self, name: impl Into<String>) -> Self {
        self.list_state_with::<T>(name, StateOptions::new())
    }

    /// Like [`list_state`](Self::list_state), with options.
    pub fn list_state_with<T: Encode>(self, name: impl Into<String>, with: StateOptions) -> Self {
        self.add_state(name.into(), raw::StateKind::List, T::WIDTH, with)
    }

    /// A state that holds a map from `K` to `V` per key.
    pub fn map_state<K: Encode, V: Encode>(self, name: impl Into<String>) -> Self {
        self.map_state_with::<K, V>(name, StateOptions::new())
    }

    /// Like [`map_state`](Self::map_state), with options.
    pub fn map_state_with<K: Encode, V: Encode>(
        self,
        name: impl Into<String>,
        with: StateOptions,
    ) -> Self {
        self.add_state(name.into(), raw::StateKind::Map, V::WIDTH, with)
    }

    /// A metric that only grows.
    pub fn counter(self, name: &str, unit: &str, help: &str) -> Self {
        self.add_metric(name, raw::MetricKind::Counter, unit, help)
    }

    /// A metric that has a value at any time.
    pub fn gauge(self, name: &str, unit: &str, help: &str) -> Self {
        self.add_metric(name, raw::MetricKind::Gauge, unit, help)
    }

    /// A metric of which the distribution counts.
    pub fn histogram(self, name: &str, unit: &str, help: &str) -> Self {
        self.add_metric(name, raw::MetricKind::Histogram, unit, help)
    }

    fn add_input(mut self, name: String, keyed: bool, value_width: Option<u32>) -> Self {
        self.raw.inputs.push(raw::InputDescription { name, keyed, value_width });
        self
    }

    fn add_output(mut self, name: String, value_width: Option<u32>) -> Self {
        self.raw.outputs.push(raw::OutputDescription { name, value_width });
        self
    }

    fn add_state(
        mut self,
        name: String,
        kind: raw::StateKind,
        width: Option<u32>,
        StateOptions { ttl, schema_version }: StateOptions,
    ) -> Self {
        self.raw.states.push(raw::StateDescription { name, kind, width, schema_version, ttl });
        self
    }

    fn add_metric(mut self, name: &str, kind: raw::MetricKind, unit: &str, help: &str) -> Self {
        self.raw.metrics.push(raw::MetricDescription {
            name: name.to_owned(),
            kind,
            unit: unit.to_owned(),
            help: help.to_owned(),
        });
        self
    }

    /// Whether all names are there and unique.
    pub(crate) fn check(&self) -> Result<()> {
        let raw::Description { name, version: _, inputs, outputs, states, metrics } = &self.raw;
        unique("operator", [name].into_iter())?;
        unique("input", inputs.iter().map(|input| &input.name))?;
        unique("output", outputs.iter().map(|output| &output.name))?;
        unique("state", states.iter().map(|state| &state.name))?;
        unique("metric", metrics.iter().map(|metric| &metric.name))
    }
}

fn unique<'d>(what: &str, names: impl Iterator<Item = &'d String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() {
            return Err(Error::fatal(format!("the description has an empty {what} name")));
        }
        if !seen.insert(name) {
            return Err(Error::fatal(format!("the description has two of {what} `{name}`")));
        }
    }
    Ok(())
}

/// How long the items of a state live, and which version of their form the operator writes.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct StateOptions {
    ttl: Option<raw::Ttl>,
    schema_version: u32,
}

impl StateOptions {
    /// Items live until they are removed; schema version 1.
    pub const fn new() -> Self {
        Self { ttl: None, schema_version: 1 }
    }

    /// An item is gone when it was not written for this long, in processing time.
    pub fn ttl(mut self, after: Duration) -> Self {
        self.ttl = Some(ttl(after, raw::TtlUpdate::OnCreateAndWrite));
        self
    }

    /// An item is gone when it was neither read nor written for this long, in processing time.
    pub fn ttl_since_use(mut self, after: Duration) -> Self {
        self.ttl = Some(ttl(after, raw::TtlUpdate::OnReadAndWrite));
        self
    }

    /// The form of the items: to be raised when items of the former version cannot be read.
    pub const fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = version;
        self
    }
}

impl Default for StateOptions {
    fn default() -> Self {
        Self::new()
    }
}

fn ttl(after: Duration, update: raw::TtlUpdate) -> raw::Ttl {
    raw::Ttl { milliseconds: u64::try_from(after.as_millis()).unwrap_or(u64::MAX), update }
}
