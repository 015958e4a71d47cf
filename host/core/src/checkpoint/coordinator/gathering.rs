//! The answers of all tasks to one barrier.
//!
//! Owns which are there and which are missing. Invariant: a task's answer counts once.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Completion, Purpose};
use crate::checkpoint::{AckContent, TaskAck};
use crate::ids::{CheckpointId, LaneId, NodeId};
use crate::planted::{self, Bug};

/// Missing tasks that a message names.
const NAMED_MAX: usize = 4;

/// A checkpoint whose tasks have all answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// What it is for.
    pub purpose: Purpose,
    /// What each task answered.
    pub tasks: BTreeMap<(NodeId, LaneId), AckContent>,
}

/// A checkpoint whose tasks are answering.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) checkpoint: CheckpointId,
    pub(super) purpose: Purpose,
    pub(super) began_ms: u64,
    tasks: BTreeMap<(NodeId, LaneId), AckContent>,
    saved_bytes: usize,
    alignment_us: u64,
}

impl Gathering {
    pub(super) fn new(checkpoint: CheckpointId, purpose: Purpose, began_ms: u64) -> Self {
        Self {
            checkpoint,
            purpose,
            began_ms,
            tasks: BTreeMap::new(),
            saved_bytes: 0,
            alignment_us: 0,
        }
    }

    pub(super) fn add(&mut self, ack: TaskAck) {
        self.alignment_us = self.alignment_us.max(ack.alignment_us);
        if planted::is(Bug::DuplicateBarrierTaken) {
            self.tasks.remove(&(ack.node, ack.lane));
        }
        if let Entry::Vacant(vacant) = self.tasks.entry((ack.node, ack.lane)) {
            if let AckContent::Operator(ack) = &ack.content {
                self.saved_bytes += ack.saved.as_ref().map_or(0, Vec::len);
            }
            vacant.insert(ack.content);
        }
    }

    /// What operators that keep state in their own memory have handed over.
    pub(super) fn saved_bytes(&self) -> usize {
        self.saved_bytes
    }

    pub(super) fn is_complete(&self, all: &BTreeSet<(NodeId, LaneId)>) -> bool {
        self.tasks.len() == all.len()
    }

    /// The tasks that have not answered, in words.
    pub(super) fn missing(&self, all: &BTreeSet<(NodeId, LaneId)>) -> String {
        let missing: Vec<_> = all.iter().filter(|task| !self.tasks.contains_key(task)).collect();
        let named = missing.iter().take(NAMED_MAX);
        let named: Vec<_> =
            named.map(|(node, lane)| format!("node {} on lane {lane}", node.0)).collect();
        let more = missing.len().saturating_sub(NAMED_MAX);
        match more {
            0 => named.join(", "),
            more => format!("{} and {more} more tasks", named.join(", ")),
        }
    }

    pub(super) fn take(&mut self, now_ms: u64) -> (Gathered, Completion) {
        let tasks = std::mem::take(&mut self.tasks);
        let added = tasks.values().map(|content| match content {
            AckContent::Operator(ack) => ack.file.as_ref().map_or(0, |file| file.bytes),
            AckContent::Source { .. } | AckContent::Sink { .. } => 0,
        });
        let completion = Completion {
            checkpoint: self.checkpoint,
            purpose: self.purpose,
            duration_ms: now_ms.saturating_sub(self.began_ms),
            alignment_us: self.alignment_us,
            added_bytes: added.sum(),
        };
        (Gathered { checkpoint: self.checkpoint, purpose: self.purpose, tasks }, completion)
    }
}
