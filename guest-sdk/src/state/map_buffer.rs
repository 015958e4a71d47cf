//! Writes to one map state that the host has not seen yet.
//!
//! For each slot a sorted map of what was put or removed, which lies over the entries at the host
//! and wins over them. Invariants: a slot that was cleared has no entries but those that lie here;
//! the journal leads back to how things were before the record at hand.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::About;
use crate::bindings::tidemill::operator::state::MapPage;
use crate::bindings::tidemill::operator::types::{BytesColumn, OptionalColumn};
use crate::column::{self, Column, is_present, push_present};
use crate::error::{Error, Result};
use crate::host;
use crate::limits::{KEY_BYTES_MAX, SCAN_PAGE_ENTRIES, STATE_WRITE_BYTES_TARGET};

#[derive(Debug)]
pub(crate) struct MapBuffer {
    about: About,
    slots: u32,
    waiting: BTreeMap<u32, Entries>,
    /// Bytes that were put since the last flush; those that are overwritten count too.
    bytes: usize,
    serial: u64,
    journal: Vec<Undo>,
}

/// What was written to the map of one slot; `None` is a removed entry.
#[derive(Debug, Default)]
struct Entries {
    cleared: bool,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

#[derive(Debug)]
enum Undo {
    Entry { slot: u32, key: Vec<u8>, before: Option<Option<Vec<u8>>> },
    Clear { slot: u32, before: Option<Entries> },
}

/// Key and value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Entries of one slot, in ascending order of key bytes.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Where the next page begins; `None` at the end of the range.
    pub(crate) next: Option<Vec<u8>>,
}

impl MapBuffer {
    pub(crate) fn new(about: About) -> Self {
        Self { about, slots: 0, waiting: BTreeMap::new(), bytes: 0, serial: 0, journal: Vec::new() }
    }

    pub(crate) fn begin(&mut self, slots: u32) {
        self.slots = slots;
        self.waiting.clear();
        self.bytes = 0;
        self.serial = 0;
    }

    pub(crate) fn about(&self) -> &About {
        &self.about
    }

    pub(crate) fn get(&self, slot: u32, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_slot(slot)?;
        check_key(key)?;
        if let Some(entries) = self.waiting.get(&slot) {
            if let Some(value) = entries.changed.get(key) {
                return Ok(value.clone());
            }
            if entries.cleared {
                return Ok(None);
            }
        }
        let keys = BytesColumn { data: key.to_vec(), ends: vec![key.len() as u32] };
        let answer = host::map_read(self.about.id, &[slot], &keys);
        Ok(is_present(&answer.present, 0).then_some(answer.values.data))
    }

    /// Puts an entry, or removes it where there is no value.
    pub(crate) fn put(
        &mut self,
        serial: u64,
        slot: u32,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<()> {
        self.check_slot(slot)?;
        check_key(&key)?;
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        if let Some(value) = &value {
            self.about.check_buffered(value.len(), self.bytes + bytes)?;
        }
        self.touch(serial);
        self.bytes += bytes;
        let entries = self.waiting.entry(slot).or_default();
        let before = entries.changed.insert(key.clone(), value);
        self.journal.push(Undo::Entry { slot, key, before });
        Ok(())
    }

    pub(crate) fn clear(&mut self, serial: u64, slot: u32) -> Result<()> {
        self.check_slot(slot)?;
        self.touch(serial);
        let cleared = Entries { cleared: true, changed: BTreeMap::new() };
        let before = self.waiting.insert(slot, cleared);
        self.journal.push(Undo::Clear { slot, before });
        Ok(())
    }

    /// Entries with `start <= key < end`, the first page of them.
    pub(crate) fn scan(&self, slot: u32, start: &[u8], end: Option<&[u8]>) -> Result<Page> {
        self.check_slot(slot)?;
        let waiting = self.waiting.get(&slot);
        let (at_host, more) = if waiting.is_some_and(|entries| entries.cleared) {
            (Vec::new(), false)
        } else {
            self.scan_host(slot, start, end)
        };
        // A page of the host that is not the last covers the keys up to its own last one.
        let next = match at_host.last() {
            Some((last, _)) if more => Some(successor(last)),
            _ => None,
        };
        let Some(waiting) = waiting else {
            return Ok(Page { entries: at_host, next });
        };
        let end = next.as_deref().or(end);
        if end.is_some_and(|end| end <= start) {
            return Ok(Page { entries: at_host, next });
        }
        let range = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
        let mut entries: BTreeMap<_, _> = at_host.into_iter().collect();
        for (key, value) in waiting.changed.range::<[u8], _>(range) {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
        Ok(Page { entries: entries.into_iter().collect(), next })
    }

    /// Whether so much waits that it should leave before the end of the call.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= STATE_WRITE_BYTES_TARGET
    }

    pub(crate) fn undo(&mut self, serial: u64) {
        if self.serial != serial {
            return;
        }
        self.serial = 0;
        while let Some(undo) = self.journal.pop() {
            match undo {
                Undo::Clear { slot, before: Some(entries) } => {
                    self.waiting.insert(slot, entries);
                }
                Undo::Clear { slot, before: None } => {
                    self.waiting.remove(&slot);
                }
                Undo::Entry { slot, key, before } => {
                    let entries = self.waiting.entry(slot).or_default();
                    match before {
                        Some(value) => entries.changed.insert(key, value),
                        None => entries.changed.remove(&key),
                    };
                }
            }
        }
    }

    /// Hands everything over; what a record did before can no more be undone.
    pub(crate) fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut slots = Vec::new();
        let mut keys = Column::new(None);
        let mut values = Column::new(self.about.width);
        let mut present = Vec::new();
        for (slot, entries) in std::mem::take(&mut self.waiting) {
            if entries.cleared {
                host::map_clear(self.about.id, slot);
            }
            for (key, value) in entries.changed {
                push_present(&mut present, slots.len(), value.is_some());
                slots.push(slot);
                keys.push_bytes(&key);
                match value {
                    Some(value) => values.push_bytes(&value),
                    None => values.push_absent(),
                }
            }
        }
        self.bytes = 0;
        self.journal.clear();
        if !slots.is_empty() {
            let values = OptionalColumn { present, values: values.raw };
            host::map_write(self.about.id, &slots, &keys.raw, &values);
        }
    }

    fn scan_host(&self, slot: u32, start: &[u8], end: Option<&[u8]>) -> (Vec<Entry>, bool) {
        let start = (!start.is_empty()).then_some(start);
        let MapPage { keys, values, more } =
            host::map_scan(self.about.id, slot, start, end, SCAN_PAGE_ENTRIES);
        let item = |index| {
            let key = column::item(&keys, None, index);
            (key.to_vec(), column::item(&values, self.about.width, index).to_vec())
        };
        ((0..keys.ends.len()).map(item).collect(), more)
    }

    fn check_slot(&self, slot: u32) -> Result<()> {
        if slot >= self.slots { Err(self.about.needs_key()) } else { Ok(()) }
    }

    fn touch(&mut self, serial: u64) {
        if self.serial != serial {
            self.serial = serial;
            self.journal.clear();
        }
    }
}

fn check_key(key: &[u8]) -> Result<()> {
    if key.len() <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::bad_record(format!(
        "a map key of {} bytes; at most {KEY_BYTES_MAX} are allowed",
        key.len()
    )))
}

/// The least key that is greater than `key`.
pub(crate) fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}
