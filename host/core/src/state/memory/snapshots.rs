//! The life of a snapshot: freeze, encode in slices, settle.
//!
//! Owns where the encoder stands and whether the next snapshot must be a base. Segments come out group by
//! group in ascending order and state by state within a group; those of one (group, state) come one after
//! the other, in parts of some 64 KiB that whoever writes them sorts together. Knows nothing of files.

use super::MemoryBackend;
use super::budget::Budget;
use super::capture::Context;
use super::parts::Parts;
use crate::state::{EncodeBudget, EncodeStep};

/// The snapshot in flight, if any, and what the next must be.
#[derive(Default)]
pub(super) struct Snapshots {
    encoder: Option<Position>,
    /// No completed snapshot can be continued: the next one must hold everything.
    pub(super) needs_base: bool,
}

/// Where the encoder stands.
#[derive(Default)]
struct Position {
    table: usize,
    state: usize,
    slot: usize,
}

impl Snapshots {
    pub(super) fn is_encoding(&self) -> bool {
        self.encoder.is_some()
    }
}

impl MemoryBackend {
    pub(super) fn start_tracking(&mut self, continues: bool) {
        self.end_restore();
        self.tracker.turn_on();
        self.snapshots.needs_base = !continues;
    }

    /// Freezes what is held now; answers whether the snapshot is a base.
    pub(super) fn begin_snapshot(&mut self, full: bool) -> bool {
        self.end_restore();
        if !self.tracker.on {
            self.start_tracking(false);
        }
        // One that nobody settled gives its marks back.
        self.end_snapshot(false);
        let full = full || self.snapshots.needs_base;
        self.tracker.freeze(full);
        self.snapshots.encoder = Some(Position::default());
        full
    }

    pub(super) fn encode_slice(&mut self, budget: EncodeBudget) -> EncodeStep {
        let mut budget = Budget::new(budget);
        let mut segments = Vec::new();
        while let Some(at) = &mut self.snapshots.encoder {
            let Some(table) = self.tables.get_mut(at.table) else {
                self.snapshots.encoder = None;
                break;
            };
            let Some(column) = table.states.get_mut(at.state) else {
                (at.table, at.state) = (at.table + 1, 0);
                continue;
            };
            if budget.is_spent() {
                break;
            }
            let (group, state) = (table.group.0, at.state as u16);
            let context = Context { tracker: &self.tracker, keys: &table.keys };
            let mut out = Parts::new(&self.buffers);
            column.capture.catch_up(&self.tracker);
            out.expect(match self.tracker.full {
                true => column.slots(),
                false => column.capture.frozen(),
            });
            let is_done = column.encode(&mut at.slot, &context, &mut budget, &mut out);
            out.drain_into(group, state, &mut segments);
            if is_done {
                column.capture.side.drain_into(group, state, &mut segments);
                (at.state, at.slot) = (at.state + 1, 0);
                budget.look();
            }
        }
        EncodeStep { segments, done: self.snapshots.encoder.is_none() }
    }

    pub(super) fn end_snapshot(&mut self, completed: bool) {
        if !self.tracker.in_flight {
            return;
        }
        let is_whole = completed && !self.snapshots.is_encoding();
        if is_whole && self.tracker.full {
            self.snapshots.needs_base = false;
        }
        self.tracker.settle(is_whole);
        self.snapshots.encoder = None;
        if is_whole {
            // All of it was handed out; nothing is left to drop.
            return;
        }
        let columns = self.tables.iter_mut().flat_map(|table| &mut table.states);
        columns.for_each(|column| column.capture.end_snapshot());
    }
}
