//! Metrics of an operator, gathered during a call.
//!
//! Unlike state and output, what a bad record has counted stays: counting bad records is a use.

use crate::bindings::exports::tidemill::operator::operator::{MetricDescription, MetricKind};
use crate::context::Context;
use crate::host;
use crate::limits::OBSERVATIONS_BUFFERED;

/// A metric that only grows.
#[derive(Clone, Copy, Debug)]
pub struct Counter(pub(crate) u32);

impl Counter {
    /// Adds to the counter.
    #[inline]
    pub fn add(&self, ctx: &mut Context, amount: f64) {
        ctx.metrics.add(self.0, amount);
    }

    /// Adds 1 to the counter.
    #[inline]
    pub fn increment(&self, ctx: &mut Context) {
        self.add(ctx, 1.0);
    }
}

/// A metric that has a value at any time.
#[derive(Clone, Copy, Debug)]
pub struct Gauge(pub(crate) u32);

impl Gauge {
    /// Sets the value; the last one of a call is published.
    #[inline]
    pub fn set(&self, ctx: &mut Context, value: f64) {
        ctx.metrics.set(self.0, value);
    }
}

/// A metric of which the distribution counts.
#[derive(Clone, Copy, Debug)]
pub struct Histogram(pub(crate) u32);

impl Histogram {
    /// Records an observation.
    #[inline]
    pub fn record(&self, ctx: &mut Context, value: f64) {
        ctx.metrics.record(self.0, value);
    }
}

/// What was counted since the last flush.
#[derive(Debug)]
pub(crate) struct MetricBuffer {
    /// By metric: the sum of a counter or the value of a gauge, once there is one.
    latest: Vec<Option<f64>>,
    observations: Vec<(u32, f64)>,
}

impl MetricBuffer {
    pub(crate) fn new(metrics: &[MetricDescription]) -> Self {
        Self { latest: vec![None; metrics.len()], observations: Vec::new() }
    }

    #[inline]
    fn add(&mut self, metric: u32, amount: f64) {
        *self.latest[metric as usize].get_or_insert(0.0) += amount;
    }

    #[inline]
    fn set(&mut self, metric: u32, value: f64) {
        self.latest[metric as usize] = Some(value);
    }

    #[inline]
    fn record(&mut self, metric: u32, value: f64) {
        self.observations.push((metric, value));
        if self.observations.len() >= OBSERVATIONS_BUFFERED {
            self.flush_observations();
        }
    }

    pub(crate) fn flush(&mut self) {
        for (metric, latest) in (0..).zip(&mut self.latest) {
            if let Some(value) = latest.take() {
                host::put(metric, value);
            }
        }
        self.flush_observations();
    }

    pub(crate) fn discard(&mut self) {
        self.latest.fill(None);
        self.observations.clear();
    }

    fn flush_observations(&mut self) {
        for (metric, value) in self.observations.drain(..) {
            host::put(metric, value);
        }
    }
}

/// The name of a kind, for messages.
pub(crate) fn kind_name(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    }
}
