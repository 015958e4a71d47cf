//! Finding and reading many slots at once.
//!
//! Owns the order of steps that lets the memory fetch what belongs to many keys side by side: in a large state each
//! step of a lookup is a fetch from far away, and one after the other they would be nearly all of the time of
//! a call. So a block of keys makes one step, which asks for what the next step needs, and then others make theirs.

use super::column::copy_dense;
use super::keys::Candidate;
use super::{MemoryBackend, UNOWNED};
use crate::batch::Dictionary;
use crate::column::OptionalColumn;
use crate::failure::Failure;
use crate::key_group::key_group;
use crate::state::SlotRef;

/// Keys that make one step before others make the next: enough that what is fetched is there when it is needed, and
/// few enough that it is still there.
const BLOCK_KEYS: usize = 32;

/// How far a block of keys has come: their tables, then also their candidates.
type Searches = [(u32, Candidate); BLOCK_KEYS];

impl MemoryBackend {
    /// Appends the slot of each of the distinct keys, made if need be.
    pub(super) fn find_slots(
        &mut self,
        distinct: &Dictionary,
        slots: &mut Vec<SlotRef>,
    ) -> Result<(), Failure> {
        let hashes = &distinct.hashes;
        slots.reserve(hashes.len());
        // While a block makes its last step, the one behind it has made its second, and the one behind that its first.
        let blocks = hashes.len().div_ceil(BLOCK_KEYS);
        let block = |number: usize| {
            let end = hashes.len().min((number + 1) * BLOCK_KEYS);
            &hashes[number * BLOCK_KEYS..end]
        };
        let mut searches = [Searches::default(); 3];
        for number in 0..blocks + 2 {
            if number < blocks {
                self.begin_searches(block(number), &mut searches[number % 3])?;
            }
            if (1..=blocks).contains(&number) {
                let number = number - 1;
                for ((table, candidate), &hash) in
                    searches[number % 3].iter_mut().zip(block(number))
                {
                    *candidate = self.tables[*table as usize].keys.candidate(hash);
                }
            }
            if let Some(number) = number.checked_sub(2) {
                self.end_searches(distinct, number * BLOCK_KEYS, &searches[number % 3], slots);
            }
        }
        Ok(())
    }

    #[inline]
    fn begin_searches(&self, hashes: &[u64], searches: &mut Searches) -> Result<(), Failure> {
        for ((table, _), &hash) in searches.iter_mut().zip(hashes) {
            *table = self.owned_table(hash)?;
            self.tables[*table as usize].keys.prefetch(hash);
        }
        Ok(())
    }

    /// Appends the slots of the keys from `first` on, as many as one block has.
    #[inline]
    fn end_searches(
        &mut self,
        distinct: &Dictionary,
        first: usize,
        searches: &Searches,
        slots: &mut Vec<SlotRef>,
    ) {
        let hashes = &distinct.hashes[first..];
        for (index, (&(group, candidate), &hash)) in searches.iter().zip(hashes).enumerate() {
            let key = distinct.keys.get(first + index);
            let table = &mut self.tables[group as usize];
            let spare_bytes = table.keys.spare_bytes();
            let (slot, is_new) = table.keys.resolve(hash, key, candidate);
            let found = SlotRef { group, slot };
            if is_new {
                self.usage.bytes += table.keys.bytes_of(key) + table.keys.spare_bytes();
                self.usage.bytes -= spare_bytes;
                self.may_be_bare.push(found);
            }
            // The call will most likely read what is there.
            table.states.iter().for_each(|column| column.prefetch(slot as usize));
            slots.push(found);
        }
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
        let places = out.values.data.chunks_exact_mut(width);
        for (index, (slot, place)) in slots.iter().zip(places).enumerate() {
            let (column, at) = self.column(state, *slot);
            if let Some(item) = column.value(at, now_ms) {
                copy_dense(place, item);
                out.present[index / 8] |= 1 << (index % 8);
            }
        }
    }
}
