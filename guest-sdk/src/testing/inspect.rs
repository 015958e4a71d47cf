//! What a test can ask after records were sent.

use super::{Emitted, Harness, LogLine, Rejected};
use crate::bindings::exports::tidemill::operator::operator::StateKind;
use crate::codec::Codec;
use crate::error::Result;
use crate::operator::Operator;

impl<O: Operator> Harness<O> {
    /// Keys and values of all records emitted to an output, in order. A record without a key has
    /// an empty one here; [`emitted`](Self::emitted) tells them apart.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn outputs(&self, output: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
        let records = self.emitted(output).iter();
        records
            .map(|record| (record.key.clone().unwrap_or_default(), record.value.clone()))
            .collect()
    }

    /// Like [`outputs`](Self::outputs), decoded.
    ///
    /// # Errors
    /// If a key or value is not of the type.
    pub fn outputs_as<K: Codec, V: Codec>(&self, output: &str) -> Result<Vec<(K, V)>> {
        let records = self.outputs(output).into_iter();
        records.map(|(key, value)| Ok((K::decode(&key)?, V::decode(&value)?))).collect()
    }

    /// All records emitted to an output, in order.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn emitted(&self, output: &str) -> &[Emitted] {
        let outputs = &self.model().description.outputs;
        let index = outputs.iter().position(|described| described.name == output);
        let index = index.unwrap_or_else(|| panic!("no output `{output}` in the description"));
        &self.model().outputs[index]
    }

    /// Forgets what was emitted so far.
    pub fn clear_outputs(&mut self) {
        self.model_mut().outputs.iter_mut().for_each(Vec::clear);
    }

    /// The records that could not be processed.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// What a value state holds for a key.
    ///
    /// # Errors
    /// If the item is not a `T`.
    ///
    /// # Panics
    /// If there is no such value state.
    pub fn value<T: Codec>(&self, state: &str, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let state = self.state_index(state, StateKind::Value);
        let items = self.model().committed_items(state, key.as_ref());
        Ok(items.first().map(|item| T::decode(item)).transpose()?)
    }

    /// What a list state holds for a key.
    ///
    /// # Errors
    /// If an item is not a `T`.
    ///
    /// # Panics
    /// If there is no such list state.
    pub fn list<T: Codec>(&self, state: &str, key: impl AsRef<[u8]>) -> Result<Vec<T>> {
        let state = self.state_index(state, StateKind::List);
        let items = self.model().committed_items(state, key.as_ref());
        items.iter().map(|item| Ok(T::decode(item)?)).collect()
    }

    /// What a map state holds for a key, in the order of the entries' key bytes.
    ///
    /// # Errors
    /// If an entry is not of the types.
    ///
    /// # Panics
    /// If there is no such map state.
    pub fn map<K: Codec, V: Codec>(
        &self,
        state: &str,
        key: impl AsRef<[u8]>,
    ) -> Result<Vec<(K, V)>> {
        let state = self.state_index(state, StateKind::Map);
        let entries = self.model().committed_entries(state, key.as_ref());
        entries.iter().map(|(key, value)| Ok((K::decode(key)?, V::decode(value)?))).collect()
    }

    /// The sum of a counter, or the last value of a gauge.
    ///
    /// # Panics
    /// If there is no such metric.
    pub fn metric(&self, name: &str) -> f64 {
        self.model().metrics[self.metric_index(name)].total
    }

    /// The observations of a histogram, in order.
    ///
    /// # Panics
    /// If there is no such metric.
    pub fn observations(&self, name: &str) -> &[f64] {
        &self.model().metrics[self.metric_index(name)].observations
    }

    /// The lines that were logged.
    pub fn logs(&self) -> &[LogLine] {
        &self.model().logs
    }

    /// How often the host was called: the cost of a batch that does not show in results.
    pub fn host_calls(&self) -> u64 {
        self.model().host_calls
    }

    pub(super) fn state_index(&self, name: &str, kind: StateKind) -> u32 {
        let states = &self.model().description.states;
        let index = states.iter().position(|state| state.name == name && state.kind == kind);
        index.unwrap_or_else(|| panic!("no such state `{name}` in the description")) as u32
    }

    fn metric_index(&self, name: &str) -> usize {
        let metrics = &self.model().description.metrics;
        let index = metrics.iter().position(|metric| metric.name == name);
        index.unwrap_or_else(|| panic!("no metric `{name}` in the description"))
    }
}
