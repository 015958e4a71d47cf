//! Handles to list states.

use std::fmt;
use std::marker::PhantomData;

use super::list_buffer::ListBuffer;
use crate::bindings::tidemill::operator::types::BytesColumn;
use crate::codec::Codec;
use crate::column;
use crate::context::Context;
use crate::error::Result;

/// A state that holds a list of `T` per key.
///
/// Appended items are gathered and handed to the host once per batch.
pub struct ListState<T> {
    index: usize,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for ListState<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ListState<T> {}

impl<T> fmt::Debug for ListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ListState({})", self.index)
    }
}

impl<T: Codec> ListState<T> {
    pub(crate) fn new(index: usize) -> Self {
        Self { index, item: PhantomData }
    }

    /// Appends an item to the list of the record's key.
    #[inline]
    pub fn append(&self, ctx: &mut Context, item: &T) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        let buffer = &mut ctx.states.lists[self.index];
        buffer.append(serial, slot, item)?;
        ctx.flush_wanted |= buffer.is_full();
        Ok(())
    }

    /// Replaces the list of the record's key.
    pub fn replace<'t>(
        &self,
        ctx: &mut Context,
        items: impl IntoIterator<Item = &'t T>,
    ) -> Result<()>
    where
        T: 't,
    {
        self.clear(ctx)?;
        items.into_iter().try_for_each(|item| self.append(ctx, item))
    }

    /// Removes the list of the record's key.
    pub fn clear(&self, ctx: &mut Context) -> Result<()> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        ctx.states.lists[self.index].clear(serial, slot)
    }

    /// The list of the record's key, as a whole.
    pub fn to_vec(&self, ctx: &mut Context) -> Result<Vec<T>> {
        let mut items = Vec::new();
        let mut cursor = self.cursor();
        while let Some(item) = cursor.next(ctx)? {
            items.push(item);
        }
        Ok(items)
    }

    /// Removes the list of the record's key and answers it.
    pub fn take(&self, ctx: &mut Context) -> Result<Vec<T>> {
        let items = self.to_vec(ctx)?;
        if !items.is_empty() {
            self.clear(ctx)?;
        }
        Ok(items)
    }

    /// Goes through the list of the record's key a page at a time, for lists that are long.
    pub fn cursor(&self) -> ListCursor<T> {
        ListCursor {
            list: *self,
            serial: 0,
            at_host: true,
            read: 0,
            page: BytesColumn::default(),
            next: 0,
        }
    }
}

/// A position in the list of one key.
///
/// It holds no borrow, so that the operator can emit and change state between two items. Items
/// that are appended meanwhile may or may not be seen.
#[derive(Debug)]
pub struct ListCursor<T> {
    list: ListState<T>,
    /// The record at the first step: the cursor is of no use beyond it.
    serial: u64,
    at_host: bool,
    /// Items read from the host.
    read: u64,
    page: BytesColumn,
    next: usize,
}

impl<T: Codec> ListCursor<T> {
    /// The next item, or `None` at the end of the list.
    pub fn next(&mut self, ctx: &mut Context) -> Result<Option<T>> {
        let (serial, slot) = (ctx.current.serial, ctx.current.slot);
        let buffer = &mut ctx.states.lists[self.list.index];
        if self.serial == 0 {
            self.serial = serial;
        } else if self.serial != serial {
            return Err(buffer.about().outlived());
        }
        let width = buffer.width();
        while self.next == column::items(&self.page, width) {
            if !self.turn_page(buffer, slot)? {
                return Ok(None);
            }
        }
        let bytes = column::item(&self.page, width, self.next);
        self.next += 1;
        match T::decode(bytes) {
            Ok(item) => Ok(Some(item)),
            Err(source) => Err(buffer.about().unreadable(&source)),
        }
    }

    /// Reads further items, first from the host, then from the buffer; `false` at the end.
    fn turn_page(&mut self, buffer: &mut ListBuffer, slot: u32) -> Result<bool> {
        if !self.at_host {
            return Ok(false);
        }
        self.next = 0;
        if buffer.counts_at_host(slot)? {
            self.page = buffer.read_host(slot, self.read);
            let items = column::items(&self.page, buffer.width());
            if items > 0 {
                self.read += items as u64;
                return Ok(true);
            }
        }
        self.at_host = false;
        self.page = buffer.waiting(slot)?;
        Ok(true)
    }
}
