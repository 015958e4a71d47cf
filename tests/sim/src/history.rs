//! What has become durable or visible so far, over all incarnations: it can never be undone.
//!
//! Owns the closes of tasks that are gone: after a change of lanes an operator closes again unless all its
//! tasks had closed, and what those had emitted that did close stays.

use std::collections::BTreeMap;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::connector::PreparedFile;
use tidemill_core::ids::{CheckpointId, Incarnation};

use crate::plan::Plan;
use crate::trouble::{Violation, violation};

/// How often an operator has closed, as far as manifests do not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Closes {
    /// Tasks of other numbers of lanes.
    before: u64,
    /// All had closed at a change of lanes, so the tasks of now say nothing.
    is_over: bool,
}

/// The past of a job.
#[derive(Debug, Default)]
pub struct History {
    /// The newest checkpoint that was known to be complete.
    newest: Option<CheckpointId>,
    /// Published files that were known to be committed, with their digests, by sink and name.
    published: BTreeMap<(String, String), [u8; 32]>,
    /// By manifest, for each node.
    closes: BTreeMap<(CheckpointId, Incarnation), Vec<Closes>>,
    /// Of the incarnation at hand.
    now: Vec<Closes>,
    /// The log may have been trimmed below what this checkpoint replays.
    log_floor: CheckpointId,
}

impl History {
    /// An incarnation begins from a manifest (from none: a new job).
    pub fn begins(&mut self, plan: &Plan, from: Option<&Manifest>, lanes: usize) {
        let nodes = plan.kinds.len();
        let Some(manifest) = from else {
            self.now = vec![Closes::default(); nodes];
            return;
        };
        self.now = self.closes_of(manifest, nodes);
        if manifest.parallelism as usize == lanes {
            return;
        }
        for snapshot in &manifest.operators {
            let Some(node) = (0..nodes).find(|node| plan.name(*node) == snapshot.name) else {
                continue;
            };
            let closed = snapshot.tasks.iter().filter(|task| task.closed).count();
            let closes = &mut self.now[node];
            if !closes.is_over {
                closes.before += closed as u64;
                closes.is_over = closed == snapshot.tasks.len();
            }
        }
    }

    fn closes_of(&self, manifest: &Manifest, nodes: usize) -> Vec<Closes> {
        let known = self.closes.get(&(manifest.checkpoint, manifest.incarnation));
        known.cloned().unwrap_or_else(|| vec![Closes::default(); nodes])
    }

    /// For each node how many tasks have closed in all, as of a manifest.
    pub fn closed(&self, plan: &Plan, manifest: &Manifest) -> Vec<u64> {
        let closes = self.closes_of(manifest, plan.kinds.len());
        let closed = |(node, closes): (usize, Closes)| {
            let snapshot = manifest.operators.iter().find(|o| o.name == plan.name(node));
            let tasks = snapshot.into_iter().flat_map(|snapshot| &snapshot.tasks);
            let now = tasks.filter(|task| task.closed).count() as u64;
            closes.before + if closes.is_over { 0 } else { now }
        };
        closes.into_iter().enumerate().map(closed).collect()
    }

    /// Of all checkpoints only this one is kept, because the log needs room.
    pub fn only_kept(&mut self, checkpoint: CheckpointId) {
        self.log_floor = checkpoint;
    }

    /// The oldest checkpoint that the log must go back to, if it is kept.
    pub fn log_floor(&self) -> CheckpointId {
        self.log_floor
    }

    /// A manifest is about to be written.
    pub fn composed(&mut self, manifest: &Manifest) {
        self.closes.insert((manifest.checkpoint, manifest.incarnation), self.now.clone());
    }

    /// A manifest is durable.
    ///
    /// # Errors
    /// Its number is not above all that were complete before.
    pub fn completes(&mut self, manifest: &Manifest) -> Result<(), Violation> {
        match self.newest.replace(manifest.checkpoint) {
            Some(before) if before >= manifest.checkpoint => {
                let message = format!("{} was written after {before}", manifest.checkpoint);
                Err(violation("numbers of manifests rise", message))
            }
            _ => Ok(()),
        }
    }

    /// A start has found this manifest to be the newest. It may be one of which nobody had heard yet, but it
    /// cannot be older than one that was complete.
    ///
    /// # Errors
    /// A complete checkpoint is gone.
    pub fn finds(&mut self, manifest: Option<&Manifest>) -> Result<(), Violation> {
        let found = manifest.map(|manifest| manifest.checkpoint);
        if found < self.newest {
            let message = format!("{:?} was complete, and {found:?} is the newest", self.newest);
            return Err(violation("a complete checkpoint is never lost", message));
        }
        self.newest = found;
        Ok(())
    }

    /// All that a manifest holds is committed.
    pub fn commits(&mut self, manifest: &Manifest) {
        for sink in &manifest.sinks {
            let prepared = sink.tasks.iter().flat_map(|task| &task.prepared);
            for PreparedFile { published, digest, .. } in prepared.flat_map(|p| &p.files) {
                self.published.insert((sink.name.clone(), published.clone()), *digest);
            }
        }
    }

    /// Published files of a sink that were known to be committed, with their digests.
    pub fn published(&self, sink: &str) -> BTreeMap<&str, [u8; 32]> {
        let files = self.published.iter().filter(|((name, _), _)| name == sink);
        files.map(|((_, file), digest)| (file.as_str(), *digest)).collect()
    }
}
