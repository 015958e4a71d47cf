//! Finding and reading many slots at once.
//!
//! Owns the order of steps that lets the memory fetch what belongs to many keys side by side: in a large state each
//! step of a lookup is a fetch from far away, and one after the other they would be nearly all of the time of
//! a call. Every loop here does one step for a block of keys; the steps depend on each other, the keys do not.

use std::hint::black_box;

use super::keys::{BLOCK_KEYS, Search};
use super::{MemoryBackend, UNOWNED};
use crate::batch::Dictionary;
use crate::column::OptionalColumn;
use crate::failure::Failure;
use crate::key_group::key_group;
use crate::state::SlotRef;

/// Values that are fetched side by side.
const BLOCK_VALUES: usize = 64;

impl MemoryBackend {
    /// Appends the slot of each of the distinct keys, made if need be.
    pub(super) fn find_slots(
        &mut self,
        distinct: &Dictionary,
        slots: &mut Vec<SlotRef>,
    ) -> Result<(), Failure> {
        slots.reserve(distinct.hashes.len());
        for (block, hashes) in distinct.hashes.chunks(BLOCK_KEYS).enumerate() {
            let mut searches = [(0, Search::default()); BLOCK_KEYS];
            for ((group, search), &hash) in searches.iter_mut().zip(hashes) {
                *group = self.owned_table(hash)?;
                *search = self.tables[*group as usize].keys.begin_search(hash);
            }
            let mut touched = 0;
            for ((group, search), &hash) in searches.iter_mut().zip(hashes) {
                touched ^= self.tables[*group as usize].keys.continue_search(hash, search);
            }
            black_box(touched);
            for (index, ((group, search), &hash)) in searches.into_iter().zip(hashes).enumerate() {
                let key = distinct.keys.get(block * BLOCK_KEYS + index);
                let keys = &mut self.tables[group as usize].keys;
                let (slot, is_new) = keys.end_search(hash, key, search);
                let found = SlotRef { group, slot };
                if is_new {
                    self.usage.bytes += keys.bytes_of(key);
                    self.may_be_bare.push(found);
                }
                slots.push(found);
            }
        }
        Ok(())
    }

    #[inline]
    fn owned_table(&self, hash: u64) -> Result<u32, Failure> {
        let key_group = key_group(hash, self.groups).0;
        match self.table_of[key_group as usize] {
            UNOWNED => Err(Failure::Host(format!(
                "a key of key group {key_group} reached a lane that does not own it"
            ))),
            table => Ok(table),
        }
    }

    /// Makes `out` the items of a state whose columns are dense.
    pub(super) fn read_dense_values(
        &self,
        state: usize,
        slots: &[SlotRef],
        now_ms: i64,
        width: usize,
        out: &mut OptionalColumn,
    ) {
        out.present.resize(slots.len().div_ceil(8), 0);
        out.values.data.resize(slots.len() * width, 0);
        let (mut index, mut places) = (0, out.values.data.chunks_exact_mut(width));
        for block in slots.chunks(BLOCK_VALUES) {
            let mut touched = 0;
            for slot in block {
                let (column, at) = self.column(state, *slot);
                touched ^= column.touch(at);
            }
            black_box(touched);
            for (slot, place) in block.iter().zip(places.by_ref()) {
                let (column, at) = self.column(state, *slot);
                if let Some(item) = column.value(at, now_ms) {
                    // Widths that are known to the compiler are copied without a call.
                    match width {
                        8 => place[..8].copy_from_slice(&item[..8]),
                        16 => place[..16].copy_from_slice(&item[..16]),
                        _ => place.copy_from_slice(item),
                    }
                    out.present[index / 8] |= 1 << (index % 8);
                }
                index += 1;
            }
        }
    }
}
