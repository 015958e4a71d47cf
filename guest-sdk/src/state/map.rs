//! Handles to map states.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use super::map_buffer::{Entry, successor};
use crate::codec::{Codec, CodecError, Encode};
use crate::context::Context;
use crate::error::Result;

/// A state that holds a map from `K` to `V` per key.
///
/// Entries are in the order of their key *bytes*; for integers that is the order of the numbers
/// only inside [`Ordered`](crate::Ordered). Written entries are gathered and handed to the host
/// once per batch; each read of an entry that was not written before is one host call.
pub struct MapState<K, V> {
    index: usize,
    entry: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for MapState<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for MapState<K, V> {}

impl<K, V> fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MapState({})", self.index)
    }
}

impl<K: Codec, V: Codec> MapState<K, V> {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, entry: PhantomData }
    }

    /// The entry of `key` in the map of the record's key.
    pub fn get(&self, ctx: &mut Context, key: &K) -> Result<Option<V>> {
        let map = &ctx.states.maps[self.index];
        let bytes = map.get(ctx.current.slot, &encoded(key)?)?;
        let value = bytes.map(|bytes| V::decode(&bytes)).transpose();
        value.map_err(|source| map.about().unreadable(&source))
    }

    /// Puts an entry into the map of the record's key.
    pub fn put(&self, ctx: &mut Context, key: &K, value: &V) -> Result<()> {
        self.write(ctx, encoded(key)?, Some(encoded(value)?))
    }

    /// Removes an entry from the map of the record's key.
    pub fn remove(&self, ctx: &mut Context, key: &K) -> Result<()> {
        self.write(ctx, encoded(key)?, None)
    }

    /// Removes the map of the record's key.
    pub fn clear(&self, ctx: &mut Context) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        ctx.states.maps[self.index].clear(serial, slot)
    }

    /// The entries of a range of keys, in the order of key bytes.
    pub fn entries(&self, ctx: &mut Context, range: impl RangeBounds<K>) -> Result<Vec<(K, V)>> {
        let mut entries = Vec::new();
        let mut cursor = self.scan(range)?;
        while let Some(entry) = cursor.next(ctx)? {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Goes through a range of keys a page at a time, for maps that are large.
    pub fn scan(&self, range: impl RangeBounds<K>) -> Result<MapCursor<K, V>> {
        let start = match range.start_bound() {
            Bound::Included(key) => encoded(key)?,
            Bound::Excluded(key) => successor(&encoded(key)?),
            Bound::Unbounded => Vec::new(),
        };
        let end = match range.end_bound() {
            Bound::Included(key) => Some(successor(&encoded(key)?)),
            Bound::Excluded(key) => Some(encoded(key)?),
            Bound::Unbounded => None,
        };
        Ok(MapCursor { map: *self, serial: 0, next: Some(start), end, page: VecDeque::new() })
    }

    fn write(&self, ctx: &mut Context, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        let map = &mut ctx.states.maps[self.index];
        map.put(serial, slot, key, value)?;
        ctx.flush_wanted |= map.is_full();
        Ok(())
    }
}

/// A position in the map of one key.
///
/// It holds no borrow, so that the operator can emit and change state between two entries. An
/// entry that is changed meanwhile may be seen as it was before.
#[derive(Debug)]
pub struct MapCursor<K, V> {
    map: MapState<K, V>,
    /// The record at the first step: the cursor is of no use beyond it.
    serial: u64,
    /// Where the next page begins; `None` after the last one.
    next: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    page: VecDeque<Entry>,
}

impl<K: Codec, V: Codec> MapCursor<K, V> {
    /// The next entry, or `None` at the end of the range.
    pub fn next(&mut self, ctx: &mut Context) -> Result<Option<(K, V)>> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        let map = &ctx.states.maps[self.map.index];
        if self.serial == 0 {
            self.serial = serial;
        } else if self.serial != serial {
            return Err(map.about().outlived());
        }
        loop {
            if let Some((key, value)) = self.page.pop_front() {
                let entry = decoded(&key, &value);
                return entry.map(Some).map_err(|source| map.about().unreadable(&source));
            }
            let Some(start) = self.next.take() else {
                return Ok(None);
            };
            let page = map.scan(slot, &start, self.end.as_deref())?;
            self.page = page.entries.into();
            self.next = page.next;
        }
    }
}

fn encoded<T: Encode>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes)?;
    Ok(bytes)
}

fn decoded<K: Codec, V: Codec>(key: &[u8], value: &[u8]) -> Result<(K, V), CodecError> {
    Ok((K::decode(key)?, V::decode(value)?))
}
