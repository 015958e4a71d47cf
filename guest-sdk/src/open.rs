//! What an operator is told when it opens, and the handles that it takes then.
//!
//! Invariant: a handle is given out only for a name in the description, of the described kind and
//! width; later uses need not check again.

use std::any::type_name;
use std::fmt::Display;
use std::str::FromStr;

use crate::batch::Input;
use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::metrics::{Counter, Gauge, Histogram, kind_name};
use crate::output::Output;
use crate::state::{Aggregate, AggregatingState, ListState, MapState, ReducingState, ValueState};

/// The place of an operator in its job, its configuration, and its described names.
#[derive(Debug)]
pub struct OpenContext {
    pub(crate) raw: raw::Context,
    pub(crate) description: raw::Description,
}

impl OpenContext {
    /// The tenant that the job belongs to.
    pub fn tenant(&self) -> &str {
        &self.raw.tenant
    }

    /// The name of the job.
    pub fn job(&self) -> &str {
        &self.raw.job
    }

    /// The name of the operator in the job.
    pub fn operator_id(&self) -> &str {
        &self.raw.operator_id
    }

    /// Which one of the operator's parallel tasks this is, from 0.
    pub fn task(&self) -> u32 {
        self.raw.task
    }

    /// Number of parallel tasks of the operator.
    pub fn parallelism(&self) -> u32 {
        self.raw.parallelism
    }

    /// How often the task was started before.
    pub fn incarnation(&self) -> u64 {
        self.raw.incarnation
    }

    /// A value of the operator's configuration, if it is set.
    pub fn config(&self, key: &str) -> Option<&str> {
        let entry = self.raw.config.iter().find(|(name, _)| name == key);
        entry.map(|(_, value)| value.as_str())
    }

    /// A value of the configuration that must be set.
    pub fn required(&self, key: &str) -> Result<&str> {
        self.config(key).ok_or_else(|| Error::fatal(format!("config value `{key}` is missing")))
    }

    /// A value of the configuration as a `T`, if it is set.
    pub fn config_as<T>(&self, key: &str) -> Result<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.config(key) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(reason) => Err(Error::fatal(format!(
                "config value `{key}` = `{text}` is no {}: {reason}",
                type_name::<T>()
            ))),
        }
    }

    /// A value of the configuration as a `T`, or `default` if it is not set.
    pub fn config_or<T>(&self, key: &str, default: T) -> Result<T>
    where
        T: FromStr<Err: Display>,
    {
        Ok(self.config_as(key)?.unwrap_or(default))
    }

    /// A value of the configuration that names one of `choices`; the first if it is not set.
    ///
    /// # Panics
    /// If there is nothing to choose from.
    pub fn choice<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Result<T> {
        let text = self.config(key).unwrap_or(choices[0].0);
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(choice.clone());
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        Err(Error::fatal(format!(
            "config value `{key}` = `{text}` is none of {}",
            names.join(", ")
        )))
    }

    /// The input of this name.
    pub fn input(&self, name: &str) -> Result<Input> {
        let names = self.description.inputs.iter().map(|input| &input.name);
        Ok(Input(position("input", name, names)?))
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Result<Output> {
        let names = self.description.outputs.iter().map(|output| &output.name);
        Ok(Output(position("output", name, names)?))
    }

    /// The value state of this name.
    pub fn value_state<T: Codec>(&self, name: &str) -> Result<ValueState<T>> {
        Ok(ValueState::new(self.state(name, raw::StateKind::Value, T::WIDTH)?))
    }

    /// The value state of this name, as one that reduces what is added to it.
    pub fn reducing_state<T: Codec>(
        &self,
        name: &str,
        reduce: fn(T, T) -> T,
    ) -> Result<ReducingState<T>> {
        Ok(ReducingState::new(self.value_state(name)?, reduce))
    }

    /// The value state of this name, as one that aggregates what is added to it.
    pub fn aggregating_state<A: Aggregate>(&self, name: &str) -> Result<AggregatingState<A>> {
        Ok(AggregatingState::new(self.value_state(name)?))
    }

    /// The list state of this name.
    pub fn list_state<T: Codec>(&self, name: &str) -> Result<ListState<T>> {
        Ok(ListState::new(self.state(name, raw::StateKind::List, T::WIDTH)?))
    }

    /// The map state of this name.
    pub fn map_state<K: Codec, V: Codec>(&self, name: &str) -> Result<MapState<K, V>> {
        Ok(MapState::new(self.state(name, raw::StateKind::Map, V::WIDTH)?))
    }

    /// The counter of this name.
    pub fn counter(&self, name: &str) -> Result<Counter> {
        Ok(Counter(self.metric(name, raw::MetricKind::Counter)?))
    }

    /// The gauge of this name.
    pub fn gauge(&self, name: &str) -> Result<Gauge> {
        Ok(Gauge(self.metric(name, raw::MetricKind::Gauge)?))
    }

    /// The histogram of this name.
    pub fn histogram(&self, name: &str) -> Result<Histogram> {
        Ok(Histogram(self.metric(name, raw::MetricKind::Histogram)?))
    }

    /// Index of a state among those of its kind.
    fn state(&self, name: &str, kind: raw::StateKind, width: Option<u32>) -> Result<usize> {
        let states = &self.description.states;
        let id = position("state", name, states.iter().map(|state| &state.name))? as usize;
        let state = &states[id];
        if state.kind != kind {
            return Err(Error::fatal(format!(
                "state `{name}` is described as a {} state, not as a {} state",
                state_kind_name(state.kind),
                state_kind_name(kind),
            )));
        }
        if state.width != width {
            let describe = |width: Option<u32>| match width {
                Some(width) => format!("{width} bytes"),
                None => "any length".to_owned(),
            };
            return Err(Error::fatal(format!(
                "state `{name}` is described with items of {}, and used with items of {}",
                describe(state.width),
                describe(width),
            )));
        }
        Ok(states[..id].iter().filter(|state| state.kind == kind).count())
    }

    fn metric(&self, name: &str, kind: raw::MetricKind) -> Result<u32> {
        let metrics = &self.description.metrics;
        let id = position("metric", name, metrics.iter().map(|metric| &metric.name))?;
        let found = metrics[id as usize].kind;
        if found != kind {
            return Err(Error::fatal(format!(
                "metric `{name}` is described as a {}, not as a {}",
                kind_name(found),
                kind_name(kind),
            )));
        }
        Ok(id)
    }
}

fn state_kind_name(kind: raw::StateKind) -> &'static str {
    match kind {
        raw::StateKind::Value => "value",
        raw::StateKind::List => "list",
        raw::StateKind::Map => "map",
    }
}

fn position<'d>(
    what: &str,
    name: &str,
    mut names: impl Iterator<Item = &'d String> + Clone,
) -> Result<u32> {
    let all = names.clone();
    if let Some(index) = names.position(|other| other == name) {
        return Ok(index as u32);
    }
    let described: Vec<_> = all.map(|name| format!("`{name}`")).collect();
    let described = if described.is_empty() { "none".to_owned() } else { described.join(", ") };
    Err(Error::fatal(format!("no {what} `{name}` in the description, which has {described}")))
}
