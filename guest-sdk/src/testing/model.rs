//! A host in memory, with the semantics of the real one and none of its speed.
//!
//! Knows no operator: calls are begun, run against it, and then committed or aborted. Invariant:
//! what a call does lies in its overlay and takes effect at the commit, all of it or nothing.

use std::collections::HashMap;

use super::columns::{checked_items, limit_hit};
use super::state::{Cell, Place};
use super::{Emitted, LogLine};
use crate::bindings::exports::tidemill::operator::operator as raw;
use crate::bindings::tidemill::operator::log::Level as RawLevel;
use crate::bindings::tidemill::operator::types::{KeySource, OutputBatch};
use crate::limits::{
    CALL_EMITTED_BYTES_MAX, CALL_EMITTED_RECORDS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX,
};
use crate::log::Level;

/// What a metric has come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) total: f64,
    pub(super) observations: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) description: raw::Description,
    pub(super) now_ms: i64,
    pub(super) seed: u64,
    pub(super) state: HashMap<Place, Cell>,
    pub(super) call: Call,
    calls: u64,
    pub(super) outputs: Vec<Vec<Emitted>>,
    pub(super) metrics: Vec<Series>,
    pub(super) logs: Vec<LogLine>,
    pub(super) host_calls: u64,
}

/// What belongs to one call.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// The keys of the batch.
    keys: Vec<Vec<u8>>,
    /// Whether state can be used.
    pub(super) keyed: bool,
    may_emit: bool,
    pub(super) overlay: HashMap<Place, Cell>,
    pub(super) overlay_bytes: usize,
    emitted: Vec<(usize, Emitted)>,
    emitted_bytes: usize,
    metrics: Vec<(u32, f64)>,
    chance: u64,
}

impl Model {
    pub(super) fn new(description: raw::Description) -> Self {
        let outputs = vec![Vec::new(); description.outputs.len()];
        let metrics = vec![Series::default(); description.metrics.len()];
        Self {
            description,
            now_ms: 0,
            seed: 0,
            state: HashMap::new(),
            call: Call::default(),
            calls: 0,
            outputs,
            metrics,
            logs: Vec::new(),
            host_calls: 0,
        }
    }

    pub(super) fn begin_process(&mut self, keys: Vec<Vec<u8>>, keyed: bool) {
        self.call = Call { keys, keyed, may_emit: true, ..Call::default() };
        self.seed_call();
    }

    pub(super) fn begin_close(&mut self) {
        self.call = Call { may_emit: true, ..Call::default() };
        self.seed_call();
    }

    pub(super) fn begin_open(&mut self) {
        self.call = Call::default();
        self.seed_call();
    }

    pub(super) fn commit(&mut self) {
        let call = std::mem::take(&mut self.call);
        self.calls += 1;
        self.state.extend(call.overlay);
        for (output, record) in call.emitted {
            self.outputs[output].push(record);
        }
        for (metric, value) in call.metrics {
            let series = &mut self.metrics[metric as usize];
            match self.description.metrics[metric as usize].kind {
                raw::MetricKind::Counter => series.total += value,
                raw::MetricKind::Gauge => series.total = value,
                raw::MetricKind::Histogram => series.observations.push(value),
            }
        }
    }

    pub(super) fn abort(&mut self) {
        self.call = Call::default();
    }

    /// The key that a slot of the call stands for.
    pub(super) fn key(&self, slot: u32) -> &Vec<u8> {
        self.call.keys.get(slot as usize).expect("trap: no such slot")
    }

    pub(super) fn slots(&self) -> u32 {
        self.call.keys.len() as u32
    }

    pub(super) fn emit(&mut self, output: u32, batch: &OutputBatch) {
        assert!(self.call.may_emit, "trap: emit outside of `process` and `close`");
        let index = output as usize;
        let about = self.description.outputs.get(index).expect("trap: no such output");
        let values = checked_items(&batch.values, about.value_width, None);
        let keys = self.emitted_keys(batch, values.len());
        assert!(
            batch.timestamps.is_empty() || batch.timestamps.len() == values.len(),
            "trap: timestamps of another length"
        );
        for (at, (key, value)) in keys.into_iter().zip(values).enumerate() {
            assert!(value.len() <= VALUE_BYTES_MAX, "trap: a value of more than 1 MiB");
            let key_bytes = key.as_ref().map_or(0, Vec::len);
            assert!(key_bytes <= KEY_BYTES_MAX, "trap: a key of more than 4 KiB");
            self.call.emitted_bytes += key_bytes + value.len();
            let timestamp_ms = batch.timestamps.get(at).copied().unwrap_or(0);
            self.call.emitted.push((index, Emitted { key, value, timestamp_ms }));
        }
        if self.call.emitted.len() > CALL_EMITTED_RECORDS_MAX
            || self.call.emitted_bytes > CALL_EMITTED_BYTES_MAX
        {
            limit_hit("the call emits more than 1,000,000 records or 16 MiB");
        }
    }

    fn emitted_keys(&self, batch: &OutputBatch, records: usize) -> Vec<Option<Vec<u8>>> {
        let keys = match &batch.keys {
            KeySource::None => {
                assert!(batch.key_of.is_empty(), "trap: indices of keys without keys");
                return vec![None; records];
            }
            KeySource::InputKeys => &self.call.keys,
            KeySource::NewKeys(keys) => &checked_items(keys, None, None),
        };
        let all: Vec<u32> = (0..keys.len() as u32).collect();
        let new_keys = matches!(batch.keys, KeySource::NewKeys(_));
        let key_of = if new_keys && batch.key_of.is_empty() { &all } else { &batch.key_of };
        assert_eq!(key_of.len(), records, "trap: keys of another length");
        key_of
            .iter()
            .map(|&key| Some(keys.get(key as usize).expect("trap: no such key").clone()))
            .collect()
    }

    pub(super) fn log(&mut self, level: RawLevel, message: &str, fields: &[(String, String)]) {
        let level = match level {
            RawLevel::Trace => Level::Trace,
            RawLevel::Debug => Level::Debug,
            RawLevel::Info => Level::Info,
            RawLevel::Warn => Level::Warn,
            RawLevel::Error => Level::Error,
        };
        self.logs.push(LogLine { level, message: message.to_owned(), fields: fields.to_vec() });
    }

    pub(super) fn put(&mut self, metric: u32, value: f64) {
        assert!((metric as usize) < self.metrics.len(), "trap: no such metric");
        self.call.metrics.push((metric, value));
    }

    pub(super) fn now(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn random(&mut self, len: u32) -> Vec<u8> {
        (0..len).map(|_| (next_random(&mut self.call.chance) >> 56) as u8).collect()
    }

    fn seed_call(&mut self) {
        let mut chance = self.seed ^ self.calls.rotate_left(32);
        self.call.chance = next_random(&mut chance);
    }
}

/// The next number of a splitmix64 sequence.
pub(super) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
