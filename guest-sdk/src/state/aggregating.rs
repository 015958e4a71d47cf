//! Value states that fold what is added to them.

use std::fmt;

use super::ValueState;
use crate::codec::Codec;
use crate::context::Context;
use crate::error::Result;

/// A state that holds, per key, all added values reduced to one.
///
/// ```
/// use tidemill_sdk::{Context, OpenContext, Record, ReducingState, Result};
///
/// struct Highest { price: ReducingState<u64> }
///
/// fn open(ctx: &mut OpenContext) -> Result<Highest> {
///     Ok(Highest { price: ctx.reducing_state("price", u64::max)? })
/// }
/// fn process(highest: &Highest, record: Record<'_>, ctx: &mut Context) -> Result<()> {
///     let price = highest.price.add(ctx, record.value_as()?)?;
///     ctx.emit(&price)
/// }
/// ```
pub struct ReducingState<T> {
    value: ValueState<T>,
    reduce: fn(T, T) -> T,
}

impl<T> fmt::Debug for ReducingState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReducingState").field(&self.value).finish()
    }
}

impl<T: Codec> ReducingState<T> {
    pub(crate) fn new(value: ValueState<T>, reduce: fn(T, T) -> T) -> Self {
        Self { value, reduce }
    }

    /// Adds a value for the record's key and answers what all are reduced to.
    pub fn add(&self, ctx: &mut Context, value: T) -> Result<T> {
        self.value.update(ctx, |all| match all {
            Some(all) => (self.reduce)(all, value),
            None => value,
        })
    }

    /// What the values of the record's key are reduced to; `None` before the first.
    pub fn get(&self, ctx: &mut Context) -> Result<Option<T>> {
        self.value.get(ctx)
    }

    /// Forgets the values of the record's key.
    pub fn clear(&self, ctx: &mut Context) -> Result<()> {
        self.value.clear(ctx)
    }
}

/// How values are folded into an accumulator, and what can be read from it.
///
/// ```
/// use tidemill_sdk::Aggregate;
///
/// struct Mean;
///
/// impl Aggregate for Mean {
///     type Input = u64;
///     type Accumulator = (u64, u64);
///     type Output = u64;
///
///     fn create() -> (u64, u64) {
///         (0, 0)
///     }
///     fn add((sum, count): (u64, u64), value: u64) -> (u64, u64) {
///         (sum + value, count + 1)
///     }
///     fn result((sum, count): &(u64, u64)) -> u64 {
///         sum / (*count).max(1)
///     }
/// }
/// ```
pub trait Aggregate {
    /// What is added.
    type Input;
    /// What is kept.
    type Accumulator: Codec;
    /// What is answered.
    type Output;

    /// The accumulator before the first value.
    fn create() -> Self::Accumulator;
    /// Folds a value into the accumulator.
    fn add(accumulator: Self::Accumulator, value: Self::Input) -> Self::Accumulator;
    /// What the accumulator says.
    fn result(accumulator: &Self::Accumulator) -> Self::Output;
}

/// A state that holds, per key, an accumulator of all added values.
pub struct AggregatingState<A: Aggregate> {
    value: ValueState<A::Accumulator>,
}

impl<A: Aggregate> fmt::Debug for AggregatingState<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AggregatingState").field(&self.value).finish()
    }
}

impl<A: Aggregate> AggregatingState<A> {
    pub(crate) fn new(value: ValueState<A::Accumulator>) -> Self {
        Self { value }
    }

    /// Adds a value for the record's key and answers what the accumulator then says.
    pub fn add(&self, ctx: &mut Context, value: A::Input) -> Result<A::Output> {
        let accumulator = self
            .value
            .update(ctx, |accumulator| A::add(accumulator.unwrap_or_else(A::create), value))?;
        Ok(A::result(&accumulator))
    }

    /// What the accumulator of the record's key says; `None` before the first value.
    pub fn get(&self, ctx: &mut Context) -> Result<Option<A::Output>> {
        Ok(self.value.get(ctx)?.map(|accumulator| A::result(&accumulator)))
    }

    /// Forgets the values of the record's key.
    pub fn clear(&self, ctx: &mut Context) -> Result<()> {
        self.value.clear(ctx)
    }
}
