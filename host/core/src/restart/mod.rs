//! Whether and when a job that failed is started again.
//!
//! Owns the restart strategies, their parameters and their state. Knows no clock, no source of chance and
//! not what failed: whoever decides that a failure is terminal does not ask here. Invariants: names, defaults
//! and meaning are those of Flink (1.19 and later); a delay is never above the largest that the strategy
//! names; a strategy that gives up says why and what to change.
//!
//! Nothing has to be reported when a job runs well. As in Flink, what heals is seen at the next failure: the
//! window of `failure-rate` has moved on, and the backoff of `exponential-delay` begins anew when the job ran
//! for `reset-backoff-threshold`. The attempts of `fixed-delay` never come back.

mod policy;
#[cfg(test)]
mod tests;

pub use policy::{GiveUpReason, RestartDecision, RestartPolicy, start_delay};

/// When a job that failed is started again.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategy {
    /// Ever longer delays, without end unless a number of attempts is given.
    ExponentialDelay(ExponentialDelay),
    /// A number of restarts in the life of the process, each after the same delay.
    FixedDelay(FixedDelay),
    /// Restarts after the same delay, as long as failures do not come too often.
    FailureRate(FailureRate),
    /// The first failure is the last.
    None,
}

impl Default for RestartStrategy {
    fn default() -> Self {
        Self::ExponentialDelay(ExponentialDelay::default())
    }
}

impl RestartStrategy {
    /// The word used in job files and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ExponentialDelay(_) => "exponential-delay",
            Self::FixedDelay(_) => "fixed-delay",
            Self::FailureRate(_) => "failure-rate",
            Self::None => "none",
        }
    }
}

/// Parameters of `exponential-delay`.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialDelay {
    /// Milliseconds before the first restart, and at least before every other.
    pub initial_backoff_ms: u64,
    /// Milliseconds before a restart at most; at least `initial_backoff_ms`.
    pub max_backoff_ms: u64,
    /// What each delay is multiplied by for the next; at least 1.
    pub backoff_multiplier: f64,
    /// Milliseconds that a job must run without failure for the delays and the count of attempts to begin
    /// anew.
    pub reset_backoff_threshold_ms: u64,
    /// The share of a delay, 0 to 1, that chance adds or takes away.
    pub jitter_factor: f64,
    /// Restarts without such a reset at most; `None` for any number.
    pub attempts_before_reset_backoff: Option<u32>,
}

impl Default for ExponentialDelay {
    fn default() -> Self {
        Self {
            initial_backoff_ms: 1_000,
            max_backoff_ms: 60_000,
            backoff_multiplier: 1.5,
            reset_backoff_threshold_ms: 3_600_000,
            jitter_factor: 0.1,
            attempts_before_reset_backoff: None,
        }
    }
}

/// Parameters of `fixed-delay`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedDelay {
    /// Restarts at most.
    pub attempts: u32,
    /// Milliseconds before each.
    pub delay_ms: u64,
}

impl Default for FixedDelay {
    fn default() -> Self {
        Self { attempts: 1, delay_ms: 1_000 }
    }
}

/// Parameters of `failure-rate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRate {
    /// Failures within an interval that are still followed by a restart.
    pub max_failures_per_interval: u32,
    /// Milliseconds of the interval.
    pub failure_rate_interval_ms: u64,
    /// Milliseconds before each restart.
    pub delay_ms: u64,
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { max_failures_per_interval: 1, failure_rate_interval_ms: 60_000, delay_ms: 1_000 }
    }
}
