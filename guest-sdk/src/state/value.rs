//! Handles to value states.

use std::fmt;
use std::marker::PhantomData;

use super::value_cache::ValueCache;
use crate::codec::{Codec, Encode};
use crate::context::Context;
use crate::error::Result;

/// A state that holds one `T` per key.
///
/// The first use in a call reads the items of all keys of the batch at once; they are changed in
/// guest memory and written back once, when the batch is done.
pub struct ValueState<T> {
    pub(crate) index: usize,
    pub(crate) item: PhantomData<fn() -> T>,
}

impl<T> Clone for ValueState<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ValueState<T> {}

impl<T> fmt::Debug for ValueState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueState({})", self.index)
    }
}

impl<T: Codec> ValueState<T> {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, item: PhantomData }
    }

    /// The item of the record's key, if there is one.
    #[inline]
    pub fn get(&self, ctx: &mut Context) -> Result<Option<T>> {
        let slot = ctx.current.slot;
        ctx.states.values[self.index].get(slot)
    }

    /// The bytes of the item of the record's key, without decoding.
    #[inline]
    pub fn get_bytes<'c>(&self, ctx: &'c mut Context) -> Result<Option<&'c [u8]>> {
        let slot = ctx.current.slot;
        ctx.states.values[self.index].item(slot)
    }

    /// Replaces the item of the record's key.
    #[inline]
    pub fn set(&self, ctx: &mut Context, value: &T) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        ctx.states.values[self.index].set(serial, slot, value)
    }

    /// Replaces the item of the record's key by what `change` makes of it, and answers that.
    #[inline]
    pub fn update(&self, ctx: &mut Context, change: impl FnOnce(Option<T>) -> T) -> Result<T> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        ctx.states.values[self.index].update(serial, slot, change)
    }

    /// Removes the item of the record's key.
    #[inline]
    pub fn clear(&self, ctx: &mut Context) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        ctx.states.values[self.index].clear::<T>(serial, slot)
    }
}

/// One value state for all keys of a batch, by slot.
///
/// What is written here is not tied to a record, and is not taken back when one is bad.
#[derive(Debug)]
pub struct ValueColumn<'c, T> {
    pub(crate) cache: &'c mut ValueCache,
    pub(crate) serial: u64,
    pub(crate) item: PhantomData<fn() -> T>,
}

impl<T: Codec> ValueColumn<'_, T> {
    /// Number of slots of the batch.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> u32 {
        self.cache.slots()
    }

    /// The item of a slot, if there is one.
    #[inline]
    pub fn get(&mut self, slot: u32) -> Result<Option<T>> {
        self.cache.get(slot)
    }

    /// Replaces the item of a slot.
    #[inline]
    pub fn set(&mut self, slot: u32, value: &T) -> Result<()>
    where
        T: Encode,
    {
        self.cache.set(self.serial, slot, value)
    }

    /// Removes the item of a slot.
    pub fn clear(&mut self, slot: u32) -> Result<()> {
        self.cache.clear::<T>(self.serial, slot)
    }
}
