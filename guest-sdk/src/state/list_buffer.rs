//! Writes to one list state that the host has not seen yet.
//!
//! Appended items lie in one column, in order; the items of a slot are chained backwards through
//! it, so that a read of one list does not search the others. A cleared slot is marked, and its
//! list at the host counts no more. Invariants: only items on a chain are alive; what the record at
//! hand has done is undone by cutting the column and going back through the journal of clears.

use super::About;
use crate::bindings::tidemill::operator::types::BytesColumn;
use crate::codec::Encode;
use crate::column::{self, Column};
use crate::error::Result;
use crate::host;
use crate::limits::STATE_WRITE_BYTES_TARGET;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct ListBuffer {
    about: About,
    slots: u32,
    /// One per slot once the state was used in this call, none before.
    chains: Vec<Chain>,
    items: Column,
    slot_of: Vec<u32>,
    /// For each item the one before it in the same list.
    previous: Vec<u32>,
    cleared: Vec<u32>,
    mark: Mark,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    last: u32,
    cleared: bool,
}

/// The state of affairs before the record at hand.
#[derive(Debug, Default)]
struct Mark {
    serial: u64,
    items: usize,
    /// For each clear: the slot, its chain before, the number of items and of cleared slots then.
    clears: Vec<(u32, Chain, usize, usize)>,
}

impl ListBuffer {
    pub(crate) fn new(about: About) -> Self {
        let items = Column::new(about.width);
        Self {
            about,
            slots: 0,
            chains: Vec::new(),
            items,
            slot_of: Vec::new(),
            previous: Vec::new(),
            cleared: Vec::new(),
            mark: Mark::default(),
        }
    }

    pub(crate) fn begin(&mut self, slots: u32) {
        self.slots = slots;
        self.reset();
        self.mark.serial = 0;
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    #[inline]
    pub(crate) fn append<T: Encode + ?Sized>(
        &mut self,
        serial: u64,
        slot: u32,
        item: &T,
    ) -> Result<()> {
        self.touch(serial, slot)?;
        let start = self.items.bytes();
        self.items.push(item)?;
        let end = self.items.bytes();
        if let Err(refused) = self.about.check_buffered(end - start, end) {
            self.items.truncate(self.slot_of.len());
            return Err(refused);
        }
        let chain = &mut self.chains[slot as usize];
        self.previous.push(chain.last);
        chain.last = column::offset(self.slot_of.len());
        self.slot_of.push(slot);
        Ok(())
    }

    pub(crate) fn clear(&mut self, serial: u64, slot: u32) -> Result<()> {
        self.touch(serial, slot)?;
        let chain = self.chains[slot as usize];
        self.mark.clears.push((slot, chain, self.slot_of.len(), self.cleared.len()));
        if !chain.cleared {
            self.cleared.push(slot);
        }
        self.chains[slot as usize] = Chain { last: NONE, cleared: true };
        Ok(())
    }

    /// Whether the list at the host still counts.
    pub(crate) fn counts_at_host(&mut self, slot: u32) -> Result<bool> {
        self.prepare(slot)?;
        Ok(!self.chains[slot as usize].cleared)
    }

    /// A page of the list at the host.
    pub(crate) fn read_host(&self, slot: u32, start: u64) -> BytesColumn {
        host::list_read(self.about.id, slot, start)
    }

    pub(crate) fn width(&self) -> Option<u32> {
        self.about.width
    }

    /// The items of a slot that wait here.
    pub(crate) fn waiting(&mut self, slot: u32) -> Result<BytesColumn> {
        self.prepare(slot)?;
        let mut items = Column::new(self.about.width);
        for index in self.chain(slot) {
            items.push_bytes(self.items.item(index as usize));
        }
        Ok(items.raw)
    }

    /// Whether so much waits that it should leave before the end of the call.
    pub(crate) fn is_full(&self) -> bool {
        self.items.bytes() >= STATE_WRITE_BYTES_TARGET
    }

    pub(crate) fn undo(&mut self, serial: u64) {
        if self.mark.serial != serial {
            return;
        }
        self.mark.serial = 0;
        while let Some((slot, chain, items, cleared)) = self.mark.clears.pop() {
            self.cut(items);
            self.chains[slot as usize] = chain;
            self.cleared.truncate(cleared);
        }
        self.cut(self.mark.items);
    }

    /// Hands everything over; what a record did before can no more be undone.
    pub(crate) fn flush(&mut self) {
        if self.slot_of.is_empty() && self.cleared.is_empty() {
            return;
        }
        if self.cleared.is_empty() {
            host::list_append(self.about.id, &self.slot_of, &self.items.raw);
        } else {
            self.flush_with_clears();
        }
        self.reset();
    }

    fn flush_with_clears(&mut self) {
        for &slot in &self.cleared {
            let mut items = Column::new(self.about.width);
            for index in self.chain(slot) {
                items.push_bytes(self.items.item(index as usize));
            }
            host::list_replace(self.about.id, slot, &items.raw);
        }
        let mut slots = Vec::new();
        let mut items = Column::new(self.about.width);
        for (index, &slot) in self.slot_of.iter().enumerate() {
            if !self.chains[slot as usize].cleared {
                slots.push(slot);
                items.push_bytes(self.items.item(index));
            }
        }
        if !slots.is_empty() {
            host::list_append(self.about.id, &slots, &items.raw);
        }
    }

    /// Indices of the waiting items of a slot, first to last.
    fn chain(&self, slot: u32) -> impl Iterator<Item = u32> + use<> {
        let mut indices = Vec::new();
        let mut index = self.chains[slot as usize].last;
        while index != NONE {
            indices.push(index);
            index = self.previous[index as usize];
        }
        indices.into_iter().rev()
    }

    fn reset(&mut self) {
        self.chains.clear();
        self.items.clear();
        self.slot_of.clear();
        self.previous.clear();
        self.cleared.clear();
    }

    #[inline]
    fn prepare(&mut self, slot: u32) -> Result<()> {
        if self.chains.get(slot as usize).is_none() {
            if slot >= self.slots {
                return Err(self.about.needs_key());
            }
            self.chains.resize(self.slots as usize, Chain { last: NONE, cleared: false });
        }
        Ok(())
    }

    #[inline]
    fn touch(&mut self, serial: u64, slot: u32) -> Result<()> {
        self.prepare(slot)?;
        if self.mark.serial != serial {
            self.mark.serial = serial;
            self.mark.items = self.slot_of.len();
            self.mark.clears.clear();
        }
        Ok(())
    }

    /// Removes the last items, down to `items` of them.
    fn cut(&mut self, items: usize) {
        while self.slot_of.len() > items {
            if let (Some(slot), Some(previous)) = (self.slot_of.pop(), self.previous.pop()) {
                self.chains[slot as usize].last = previous;
            }
        }
        self.items.truncate(self.slot_of.len());
    }
}
