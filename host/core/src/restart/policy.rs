//! The strategies at work: a failure and a time in, a decision out.
//!
//! Knows the parameters and what happened before; time and chance are arguments. Invariant: no argument
//! makes it panic or wait for longer than the strategy allows.

use std::collections::VecDeque;

use super::{ExponentialDelay, FailureRate, FixedDelay, RestartStrategy};

/// Starts without a completed checkpoint that are not held back: the first, and one after a crash that may
/// have been chance.
const PROMPT_STARTS: u64 = 2;

/// What becomes of a job that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartDecision {
    /// It is started again.
    RestartAfter {
        /// Milliseconds to wait before.
        delay_ms: u64,
    },
    /// It is not.
    GiveUp {
        /// Why.
        reason: GiveUpReason,
    },
}

/// Why a job is not started again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GiveUpReason {
    /// `none`.
    #[error("the restart strategy is \"none\"; set `restart-strategy` to have the job restarted")]
    NoStrategy,
    /// `fixed-delay` has no attempt left.
    #[error(
        "the restart strategy \"fixed-delay\" allows {attempts} restart(s), and all were used; mend what \
         makes the job fail, or raise `attempts`"
    )]
    AttemptsUsed {
        /// Restarts allowed.
        attempts: u32,
    },
    /// `failure-rate` has seen too many failures.
    #[error(
        "the job failed {failures} times within {interval_ms} ms, which is more than the restart strategy \
         \"failure-rate\" allows; mend what makes the job fail, or raise `max-failures-per-interval`"
    )]
    TooManyFailures {
        /// Failures within the interval, the last one included.
        failures: u64,
        /// Milliseconds of the interval.
        interval_ms: u64,
    },
    /// `exponential-delay` has no attempt left.
    #[error(
        "the restart strategy \"exponential-delay\" allows {attempts} restart(s) unless the job runs well \
         for {threshold_ms} ms in between, and all were used; mend what makes the job fail, or raise \
         `attempts-before-reset-backoff`"
    )]
    NeverStable {
        /// Restarts allowed without a reset.
        attempts: u32,
        /// Milliseconds without failure that would have been a reset.
        threshold_ms: u64,
    },
}

/// A strategy and what it remembers of a job. Lives as long as the process runs the job.
#[derive(Clone, Debug)]
pub struct RestartPolicy {
    strategy: RestartStrategy,
    /// Restarts decided since the start or the last reset.
    attempts: u32,
    /// When the restart that was decided last is due.
    restart_due_ms: Option<u64>,
    /// Times of the failures that may still count, oldest first; at most one more than are allowed.
    failures_ms: VecDeque<u64>,
}

impl RestartPolicy {
    /// For a job that has not failed yet.
    pub fn new(strategy: RestartStrategy) -> Self {
        Self { strategy, attempts: 0, restart_due_ms: None, failures_ms: VecDeque::new() }
    }

    /// Decides about a failure at `now_ms` of a clock that never goes back. `jitter` is the part of chance:
    /// evenly spread over 0 to 1, and 0.5 for none.
    pub fn on_failure(&mut self, now_ms: u64, jitter: f64) -> RestartDecision {
        match &self.strategy {
            RestartStrategy::ExponentialDelay(parameters) => {
                let parameters = parameters.clone();
                self.exponential_delay(&parameters, now_ms, jitter)
            }
            RestartStrategy::FixedDelay(parameters) => {
                let FixedDelay { attempts, delay_ms } = *parameters;
                self.fixed_delay(attempts, delay_ms)
            }
            RestartStrategy::FailureRate(parameters) => {
                let parameters = parameters.clone();
                self.failure_rate(&parameters, now_ms)
            }
            RestartStrategy::None => RestartDecision::GiveUp { reason: GiveUpReason::NoStrategy },
        }
    }

    fn exponential_delay(
        &mut self,
        parameters: &ExponentialDelay,
        now_ms: u64,
        jitter: f64,
    ) -> RestartDecision {
        if let Some(due_ms) = self.restart_due_ms {
            // Several tasks may report one crash: it is one attempt until the restart is due.
            if now_ms < due_ms {
                return RestartDecision::RestartAfter { delay_ms: due_ms - now_ms };
            }
            if now_ms - due_ms >= parameters.reset_backoff_threshold_ms {
                self.attempts = 0;
            }
        }
        if let Some(attempts) = parameters.attempts_before_reset_backoff
            && self.attempts >= attempts
        {
            let threshold_ms = parameters.reset_backoff_threshold_ms;
            let reason = GiveUpReason::NeverStable { attempts, threshold_ms };
            return RestartDecision::GiveUp { reason };
        }
        let delay_ms = backoff_ms(parameters, self.attempts.into(), jitter);
        self.attempts = self.attempts.saturating_add(1);
        self.restart_due_ms = Some(now_ms.saturating_add(delay_ms));
        RestartDecision::RestartAfter { delay_ms }
    }

    fn fixed_delay(&mut self, attempts: u32, delay_ms: u64) -> RestartDecision {
        if self.attempts >= attempts {
            return RestartDecision::GiveUp { reason: GiveUpReason::AttemptsUsed { attempts } };
        }
        self.attempts += 1;
        RestartDecision::RestartAfter { delay_ms }
    }

    fn failure_rate(&mut self, parameters: &FailureRate, now_ms: u64) -> RestartDecision {
        let interval_ms = parameters.failure_rate_interval_ms;
        // A failure that is exactly an interval old still counts.
        let is_over = |failure_ms: &u64| now_ms.saturating_sub(*failure_ms) > interval_ms;
        while self.failures_ms.front().is_some_and(is_over) {
            self.failures_ms.pop_front();
        }
        let failures = self.failures_ms.len() as u64 + 1;
        if failures > u64::from(parameters.max_failures_per_interval) {
            let reason = GiveUpReason::TooManyFailures { failures, interval_ms };
            return RestartDecision::GiveUp { reason };
        }
        self.failures_ms.push_back(now_ms);
        RestartDecision::RestartAfter { delay_ms: parameters.delay_ms }
    }
}

/// How long the start of a process waits before it runs a job that keeps dying: milliseconds and, for the
/// caller, a reason to warn; `None` to start at once and in silence.
///
/// `starts` counts the incarnations since the last completed checkpoint, this one included. A process that
/// is killed forgets its [`RestartPolicy`], and whoever restarts it may do so without end, so from the third
/// start on the wait is that of the strategy. It never refuses: somebody asked for this start. `Some(0)`
/// warns only, as "none" names no delay.
pub fn start_delay(strategy: &RestartStrategy, starts: u64, jitter: f64) -> Option<u64> {
    let attempt = starts.checked_sub(PROMPT_STARTS + 1)?;
    Some(match strategy {
        RestartStrategy::ExponentialDelay(parameters) => backoff_ms(parameters, attempt, jitter),
        RestartStrategy::FixedDelay(parameters) => parameters.delay_ms,
        RestartStrategy::FailureRate(parameters) => parameters.delay_ms,
        RestartStrategy::None => 0,
    })
}

/// The delay before restart number `attempt` (from 0), between the least and the most that the strategy names.
fn backoff_ms(parameters: &ExponentialDelay, attempt: u64, jitter: f64) -> u64 {
    let initial_ms = parameters.initial_backoff_ms;
    let max_ms = parameters.max_backoff_ms.max(initial_ms);
    let grown = initial_ms as f64 * parameters.backoff_multiplier.powf(attempt as f64);
    // Bounded before chance comes in, so that jobs that wait for the longest delay are spread, too, and
    // infinity is gone.
    let backoff = grown.clamp(initial_ms as f64, max_ms as f64);
    let share = parameters.jitter_factor * (2.0 * jitter.clamp(0.0, 1.0) - 1.0);
    // A conversion saturates, and takes what is no number for 0.
    let delay_ms = (backoff + backoff * share).round() as u64;
    delay_ms.clamp(initial_ms, max_ms)
}
