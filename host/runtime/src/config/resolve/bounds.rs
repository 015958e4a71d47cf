//! Numbers within bounds, told in the unit that they were asked for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::problem::{Problem, Rejection};
use crate::config::scalar::{At, Size, Time, Whole};

/// A setting's value as a count of its smallest unit.
pub(in crate::config) trait Quantity: Copy + Display {
    /// Bytes, microseconds or things; a length of time is rounded up.
    fn amount(self) -> u64;
    /// The value of an amount.
    fn of(amount: u64) -> Self;
}

impl Quantity for Size {
    fn amount(self) -> u64 {
        self.0
    }

    fn of(amount: u64) -> Self {
        Self(amount)
    }
}

impl Quantity for Whole {
    fn amount(self) -> u64 {
        self.0
    }

    fn of(amount: u64) -> Self {
        Self(amount)
    }
}

impl Quantity for Time {
    fn amount(self) -> u64 {
        u64::try_from(self.0.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
    }

    fn of(amount: u64) -> Self {
        Self(Duration::from_micros(amount))
    }
}

/// The amount of `at` if it lies within `bounds`.
pub(super) fn within<Q: Quantity>(
    key: &str,
    at: &At<Q>,
    bounds: RangeInclusive<u64>,
) -> Result<u64, Rejection> {
    let amount = at.value.amount();
    if bounds.contains(&amount) {
        return Ok(amount);
    }
    let (found, min) = (at.value.to_string(), Q::of(*bounds.start()).to_string());
    let problem = match *bounds.end() {
        u64::MAX => Problem::TooLittle { found, min },
        max => Problem::OutOfRange { found, min, max: Q::of(max).to_string() },
    };
    Err(Rejection::at(problem, &at.span, &[key]))
}

/// The same for a setting that may be absent.
pub(super) fn within_or<Q: Quantity>(
    key: &str,
    at: Option<&At<Q>>,
    default: u64,
    bounds: RangeInclusive<u64>,
) -> Result<u64, Rejection> {
    at.map_or(Ok(default), |at| within(key, at, bounds))
}

/// A limit that is at least `min` and not above the host's.
pub(super) fn lowered<Q: Quantity>(
    key: &str,
    at: Option<&At<Q>>,
    min: u64,
    ceiling: u64,
) -> Result<u64, Rejection> {
    let Some(at) = at else { return Ok(ceiling) };
    if at.value.amount() > ceiling {
        let found = at.value.to_string();
        let ceiling = Q::of(ceiling).to_string();
        return Err(Rejection::at(Problem::RaisedLimit { found, ceiling }, &at.span, &[key]));
    }
    within(key, at, min..=ceiling)
}
