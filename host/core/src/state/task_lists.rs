//! List states as calls see them: the committed list, then what the call appended.

use super::memory::HOLDER_BYTES;
use super::task_state::{Checked, ENTRY_OVERHEAD_BYTES, PAGE_ENTRIES_MAX, fault};
use super::{ExpiresAt, TaskState};
use crate::column::{BytesColumn, Layout};
use crate::describe::StateKind;
use crate::failure::FaultCode;
use crate::limits::PAGE_BYTES_MAX;

impl TaskState {
    /// List state: appends `items[i]` to the list of `slots[i]`.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn list_append(&mut self, state: u32, slots: &[u32], items: &BytesColumn) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::List)?;
        let count = items.validate(layout, "list-append")?;
        if count != slots.len() {
            let message = format!("list-append: {count} items for {} slots", slots.len());
            return fault(FaultCode::BadColumn, message);
        }
        self.check_slots("list-append", slots)?;
        self.check_item(items.longest())?;
        let of_items = items.data.len() + count * self.list_item_overhead_bytes(index);
        self.charge(of_items + slots.len() * ENTRY_OVERHEAD_BYTES)?;
        let lists = &mut self.overlays[index].lists;
        let before = lists.len();
        for (at, slot) in slots.iter().enumerate() {
            lists.entry(*slot).or_default().items.push(items.item(layout, at));
        }
        let new = lists.len() - before;
        self.charge(new * HOLDER_BYTES as usize)
    }

    /// List state: items of one slot from index `start` on, one page.
    ///
    /// # Errors
    /// A [`GuestFault`](crate::failure::GuestFault) for an unknown state or slot.
    pub fn list_read(&mut self, state: u32, slot: u32, start: u64) -> Checked<BytesColumn> {
        let (index, layout) = self.check(state, StateKind::List)?;
        self.check_slots("list-read", &[slot])?;
        if self.renews_on_read(index) {
            self.overlays[index].read_lists.insert(slot);
        }
        let mut page = BytesColumn::default();
        let mut take = |item: &[u8]| {
            let fits = page.is_empty() || page.data.len() + item.len() <= PAGE_BYTES_MAX;
            if fits {
                page.push(item);
            }
            fits && page.len() < PAGE_ENTRIES_MAX
        };
        let at = self.slots[slot as usize];
        let writes = self.overlays[index].lists.get(&slot);
        let (mut skip, mut more) = (start, true);
        if !writes.is_some_and(|writes| writes.replaced) {
            self.backend.read_list(index, at, self.now_ms, start, &mut |item| {
                more = take(item);
                more
            });
            skip = start.saturating_sub(self.backend.list_len(index, at, self.now_ms));
        }
        if let (Some(writes), true) = (writes, more) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            writes.items.iter().skip(skip).all(take);
        }
        if let Layout::Fixed(_) = layout {
            page.ends.clear();
        }
        Ok(page)
    }

    /// List state: replaces the list of one slot; no items clear it.
    ///
    /// # Errors
    /// As [`TaskState::value_write`].
    pub fn list_replace(&mut self, state: u32, slot: u32, mut items: BytesColumn) -> Checked<()> {
        let (index, layout) = self.check(state, StateKind::List)?;
        let count = items.validate(layout, "list-replace")?;
        self.check_slots("list-replace", &[slot])?;
        self.check_item(items.longest())?;
        let of_items = items.data.len() + count * self.list_item_overhead_bytes(index);
        self.charge(of_items + ENTRY_OVERHEAD_BYTES)?;
        self.charge_holders(HOLDER_BYTES as usize)?;
        if let Layout::Fixed(width) = layout {
            items.spread(width);
        }
        let writes = self.overlays[index].lists.entry(slot).or_default();
        writes.replaced = true;
        writes.items = items;
        Ok(())
    }

    /// What an item of a list costs beside its bytes, whatever its layout: its end, and its expiry.
    fn list_item_overhead_bytes(&self, state: usize) -> usize {
        size_of::<u32>() + if self.expires(state) { size_of::<ExpiresAt>() } else { 0 }
    }
}
