//! Keyed state, as operator code sees it, and the buffers that stand between it and the host.
//!
//! A handle ([`ValueState`], [`ListState`], [`MapState`]) is an index and a type; what was read
//! and written during a call lies in the buffers of the [`Context`](crate::Context). Invariants:
//! reads see the writes of the same call; what a record wrote can be taken back until the next
//! record begins; everything is handed to the host at the end of the call, at the latest.

mod aggregating;
mod list;
mod list_buffer;
mod map;
mod map_buffer;
mod value;
mod value_cache;

pub use aggregating::{Aggregate, AggregatingState, ReducingState};
pub use list::{ListCursor, ListState};
pub use map::{MapCursor, MapState};
pub use value::{ValueColumn, ValueState};

use crate::bindings::exports::tidemill::operator::operator::{StateDescription, StateKind};
use crate::codec::CodecError;
use crate::error::{Error, Result};
use crate::limits::{HOST_CALL_BYTES_MAX, VALUE_BYTES_MAX};
use list_buffer::ListBuffer;
use map_buffer::MapBuffer;
use value_cache::ValueCache;

/// The buffers of all states of an operator, each kind in the order of the description.
#[derive(Debug, Default)]
pub(crate) struct StateBuffers {
    pub(crate) values: Vec<ValueCache>,
    pub(crate) lists: Vec<ListBuffer>,
    pub(crate) maps: Vec<MapBuffer>,
}

impl StateBuffers {
    pub(crate) fn new(states: &[StateDescription]) -> Self {
        let mut buffers = Self::default();
        for (id, state) in (0..).zip(states) {
            let about = About { id, name: state.name.clone(), width: state.width };
            match state.kind {
                StateKind::Value => buffers.values.push(ValueCache::new(about)),
                StateKind::List => buffers.lists.push(ListBuffer::new(about)),
                StateKind::Map => buffers.maps.push(MapBuffer::new(about)),
            }
        }
        buffers
    }

    /// Forgets all that belongs to the call before; `slots` is 0 where no state can be used.
    pub(crate) fn begin(&mut self, slots: u32) {
        for value in &mut self.values {
            value.begin(slots);
        }
        for list in &mut self.lists {
            list.begin(slots);
        }
        for map in &mut self.maps {
            map.begin(slots);
        }
    }

    /// Takes back what the record with this number has written.
    pub(crate) fn undo(&mut self, serial: u64) {
        for value in &mut self.values {
            value.undo(serial);
        }
        for list in &mut self.lists {
            list.undo(serial);
        }
        for map in &mut self.maps {
            map.undo(serial);
        }
    }

    /// Hands over what has grown large, to bound the memory it takes.
    pub(crate) fn flush_full(&mut self) {
        self.lists.iter_mut().filter(|list| list.is_full()).for_each(ListBuffer::flush);
        self.maps.iter_mut().filter(|map| map.is_full()).for_each(MapBuffer::flush);
    }

    /// Hands over all writes.
    pub(crate) fn flush(&mut self) {
        for value in &mut self.values {
            value.flush();
        }
        self.lists.iter_mut().for_each(ListBuffer::flush);
        self.maps.iter_mut().for_each(MapBuffer::flush);
    }
}

/// What a buffer knows of its state.
#[derive(Debug)]
pub(crate) struct About {
    id: u32,
    name: String,
    width: Option<u32>,
}

impl About {
    #[cold]
    fn needs_key(&self) -> Error {
        Error::fatal(format!(
            "state `{}` can be used only while a record of a keyed input is processed",
            self.name
        ))
    }

    #[cold]
    fn unreadable(&self, source: &CodecError) -> Error {
        Error::fatal(format!("state `{}` holds an item of another type: {source}", self.name))
    }

    #[cold]
    fn unwritable(&self, source: &CodecError) -> Error {
        Error::bad_record(format!("state `{}` cannot hold the item: {source}", self.name))
    }

    #[cold]
    fn outlived(&self) -> Error {
        Error::fatal(format!("a cursor of state `{}` was used beyond its record", self.name))
    }

    /// Whether an encoded item may be stored.
    #[inline]
    fn check_item(&self, bytes: usize) -> Result<()> {
        match self.width {
            Some(width) if width as usize == bytes => Ok(()),
            None if bytes <= VALUE_BYTES_MAX => Ok(()),
            _ => Err(self.refuse(bytes)),
        }
    }

    /// Whether an encoded item may wait in a buffer that then holds `buffered` bytes.
    ///
    /// Buffers leave between records: it is a single record that writes so much.
    #[inline]
    fn check_buffered(&self, bytes: usize, buffered: usize) -> Result<()> {
        if buffered > HOST_CALL_BYTES_MAX - VALUE_BYTES_MAX {
            return Err(self.refuse_record());
        }
        self.check_item(bytes)
    }

    #[cold]
    fn refuse_record(&self) -> Error {
        Error::bad_record(format!(
            "the record writes too much to state `{}`; less than {HOST_CALL_BYTES_MAX} bytes are allowed",
            self.name
        ))
    }

    #[cold]
    fn refuse(&self, bytes: usize) -> Error {
        match self.width {
            Some(width) => Error::fatal(format!(
                "state `{}` is described with {width} bytes, the item has {bytes}",
                self.name
            )),
            None => Error::bad_record(format!(
                "an item of {bytes} bytes for state `{}`; at most {VALUE_BYTES_MAX} are allowed",
                self.name
            )),
        }
    }
}
