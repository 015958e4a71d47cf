//! The restart strategy and its parameters.

use std::ops::RangeInclusive;

use tidemill_core::restart::{ExponentialDelay, FailureRate, FixedDelay, RestartStrategy};

use super::bounds::within_or;
use super::durability::{milliseconds, too_small};
use crate::config::defaults;
use crate::config::problem::{Problem, Rejection};
use crate::config::raw::{RESTART_PARAMETERS, RawRestartStrategy, RawRestartTable, RestartWord};
use crate::config::scalar::{At, Ratio, Time, Whole};

/// Checks the strategy, or takes the default one.
pub(super) fn restart(raw: Option<&At<RawRestartStrategy>>) -> Result<RestartStrategy, Rejection> {
    let strategy = match raw.map(|at| &at.value) {
        None => return Ok(RestartStrategy::default()),
        Some(RawRestartStrategy::Word(word)) => return Ok(with_defaults(*word)),
        Some(RawRestartStrategy::Table(table)) => {
            refuse_foreign(table).and_then(|()| match table.word.value {
                RestartWord::ExponentialDelay => exponential_delay(table),
                RestartWord::FixedDelay => fixed_delay(table),
                RestartWord::FailureRate => failure_rate(table),
                RestartWord::None => Ok(RestartStrategy::None),
            })
        }
    };
    strategy.map_err(|rejection| rejection.under("restart-strategy"))
}

fn with_defaults(word: RestartWord) -> RestartStrategy {
    match word {
        RestartWord::ExponentialDelay => {
            RestartStrategy::ExponentialDelay(ExponentialDelay::default())
        }
        RestartWord::FixedDelay => RestartStrategy::FixedDelay(FixedDelay::default()),
        RestartWord::FailureRate => RestartStrategy::FailureRate(FailureRate::default()),
        RestartWord::None => RestartStrategy::None,
    }
}

/// Refuses a parameter that only other strategies have.
fn refuse_foreign(table: &RawRestartTable) -> Result<(), Rejection> {
    let own = RESTART_PARAMETERS.iter().find(|(word, ..)| *word == table.word.value);
    let Some((_, strategy, known)) = own else { return Ok(()) };
    for (name, span) in table.given() {
        if !known.contains(&name) {
            let owners = RESTART_PARAMETERS.iter().filter(|(.., names)| names.contains(&name));
            let owners = owners.map(|(_, owner, _)| *owner).collect();
            let problem = Problem::ForeignParameter { name, owners, strategy, known };
            return Err(Rejection::at(problem, span, &[name]));
        }
    }
    Ok(())
}

fn exponential_delay(table: &RawRestartTable) -> Result<RestartStrategy, Rejection> {
    let default = ExponentialDelay::default();
    let (initial, max) = (table.initial_backoff.as_ref(), table.max_backoff.as_ref());
    let bounds = defaults::BACKOFF_BOUNDS_US;
    let initial_ms = time("initial-backoff", initial, default.initial_backoff_ms, bounds.clone())?;
    let max_ms = time("max-backoff", max, default.max_backoff_ms, bounds)?;
    if max_ms < initial_ms {
        let (max, initial) =
            (("max-backoff", max, max_ms), ("initial-backoff", initial, initial_ms));
        return Err(too_small(max, "at least", initial));
    }
    let attempts = table.attempts_before_reset_backoff.as_ref();
    let attempts =
        attempts.map(|at| count("attempts-before-reset-backoff", Some(at), 0)).transpose()?;
    Ok(RestartStrategy::ExponentialDelay(ExponentialDelay {
        initial_backoff_ms: initial_ms,
        max_backoff_ms: max_ms,
        backoff_multiplier: ratio(
            "backoff-multiplier",
            table.backoff_multiplier.as_ref(),
            default.backoff_multiplier,
            &defaults::BACKOFF_MULTIPLIER_BOUNDS,
        )?,
        reset_backoff_threshold_ms: time(
            "reset-backoff-threshold",
            table.reset_backoff_threshold.as_ref(),
            default.reset_backoff_threshold_ms,
            defaults::RESTART_WINDOW_BOUNDS_US,
        )?,
        jitter_factor: ratio(
            "jitter-factor",
            table.jitter_factor.as_ref(),
            default.jitter_factor,
            &defaults::JITTER_FACTOR_BOUNDS,
        )?,
        attempts_before_reset_backoff: attempts,
    }))
}

fn fixed_delay(table: &RawRestartTable) -> Result<RestartStrategy, Rejection> {
    let default = FixedDelay::default();
    Ok(RestartStrategy::FixedDelay(FixedDelay {
        attempts: count("attempts", table.attempts.as_ref(), default.attempts)?,
        delay_ms: delay(table, default.delay_ms)?,
    }))
}

fn failure_rate(table: &RawRestartTable) -> Result<RestartStrategy, Rejection> {
    let default = FailureRate::default();
    let max = table.max_failures_per_interval.as_ref();
    Ok(RestartStrategy::FailureRate(FailureRate {
        max_failures_per_interval: count(
            "max-failures-per-interval",
            max,
            default.max_failures_per_interval,
        )?,
        failure_rate_interval_ms: time(
            "failure-rate-interval",
            table.failure_rate_interval.as_ref(),
            default.failure_rate_interval_ms,
            defaults::RESTART_WINDOW_BOUNDS_US,
        )?,
        delay_ms: delay(table, default.delay_ms)?,
    }))
}

fn delay(table: &RawRestartTable, default_ms: u64) -> Result<u64, Rejection> {
    time("delay", table.delay.as_ref(), default_ms, defaults::RESTART_DELAY_BOUNDS_US)
}

fn time(
    key: &str,
    at: Option<&At<Time>>,
    default_ms: u64,
    bounds_us: RangeInclusive<u64>,
) -> Result<u64, Rejection> {
    milliseconds(key, at, default_ms * 1_000, bounds_us)
}

fn count(key: &str, at: Option<&At<Whole>>, default: u32) -> Result<u32, Rejection> {
    let bounds = defaults::RESTART_ATTEMPTS_BOUNDS;
    within_or(key, at, default.into(), bounds).map(|count| count as u32)
}

fn ratio(
    key: &str,
    at: Option<&At<Ratio>>,
    default: f64,
    bounds: &RangeInclusive<f64>,
) -> Result<f64, Rejection> {
    let Some(At { value: Ratio(value), span }) = at else { return Ok(default) };
    if bounds.contains(value) {
        return Ok(*value);
    }
    let problem = Problem::OutOfRange {
        found: value.to_string(),
        min: bounds.start().to_string(),
        max: bounds.end().to_string(),
    };
    Err(Rejection::at(problem, span, &[key]))
}
