//! From the answers of all tasks to a manifest, and the chains of snapshot files behind it.
//!
//! Owns what a manifest says beside the answers: who the job is, which node has which name, and which
//! files a task's state is made of. Knows nothing of disks. Invariants: a chain is a base and the deltas
//! of *completed* checkpoints after it, in order; a chain has at most [`DELTAS_MAX`] deltas, or as many
//! bytes of deltas as of base, before it becomes one file again: by a merge, or, where a delta holds about as
//! much as a base or merges do not keep up, by making the task's next snapshot a base.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::AckContent;
use super::coordinator::{Gathered, Purpose};
use super::manifest::{
    Manifest, OperatorSnapshot, SinkSnapshot, SinkTaskSnapshot, SnapshotFile, SourceSnapshot,
    TaskSnapshot,
};
use crate::connector::Position;
use crate::describe::StateDescription;
use crate::ids::{LaneId, NodeId};
use crate::planted::{self, Bug};

/// Deltas of a chain at most, before it is merged into a new base.
pub const DELTAS_MAX: usize = 8;

/// What a node is to a manifest, by node.
#[derive(Clone, Debug)]
pub enum NodeRole {
    /// A source.
    Source {
        /// Its name.
        name: String,
    },
    /// An operator.
    Operator {
        /// Its name.
        name: String,
        /// Digest of its component, in hexadecimal.
        component: String,
        /// Its states.
        states: Vec<StateDescription>,
    },
    /// A sink.
    Sink {
        /// Its name.
        name: String,
        /// The directory of its files; empty when it writes none.
        directory: String,
    },
}

/// A chain that should become one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergeTask {
    /// The operator.
    pub node: NodeId,
    /// The lane.
    pub lane: LaneId,
    /// The files, base first.
    pub chain: Vec<SnapshotFile>,
}

/// The manifest of now, and what the next one is made from.
#[derive(Clone, Debug)]
pub struct Ledger {
    newest: Arc<Manifest>,
    roles: Vec<NodeRole>,
    /// Chains that were merged and are not in a manifest yet: what they replace, and the new base.
    merged: BTreeMap<(NodeId, LaneId), (Vec<SnapshotFile>, SnapshotFile)>,
}

impl Ledger {
    /// The ledger of an incarnation that starts from `newest`, whose chains fit the lanes of now.
    pub fn new(newest: Manifest, roles: Vec<NodeRole>) -> Self {
        Self { newest: Arc::new(newest), roles, merged: BTreeMap::new() }
    }

    /// The newest complete checkpoint.
    pub fn newest(&self) -> &Arc<Manifest> {
        &self.newest
    }

    /// The manifest of a checkpoint whose tasks have all answered. `created_ms` is the time of day.
    pub fn compose(
        &self,
        gathered: &Gathered,
        created_ms: i64,
        wal_start: Option<u64>,
    ) -> Manifest {
        let mut manifest = Manifest {
            checkpoint: gathered.checkpoint,
            created_ms,
            finished: gathered.purpose == Purpose::End,
            wal_start,
            // After a start from a savepoint the first snapshots are whole.
            files_identity: None,
            ..self.newest.without_content()
        };
        for (index, role) in self.roles.iter().enumerate() {
            let node = NodeId(index);
            let answers = gathered.tasks.range((node, LaneId(0))..(NodeId(index + 1), LaneId(0)));
            let answers = answers.map(|((_, lane), content)| (*lane, content));
            match role {
                NodeRole::Source { name } => manifest.sources.push(self.source(name, answers)),
                NodeRole::Operator { name, component, states } => {
                    let task = |(lane, content)| self.task(node, lane, name, content);
                    manifest.operators.push(OperatorSnapshot {
                        name: name.clone(),
                        component: component.clone(),
                        states: states.clone(),
                        tasks: answers.filter_map(task).collect(),
                    });
                }
                NodeRole::Sink { name, directory } => manifest.sinks.push(SinkSnapshot {
                    name: name.clone(),
                    directory: directory.clone(),
                    tasks: answers.filter_map(sink_task).collect(),
                }),
            }
        }
        manifest
    }

    /// The partitions in the order in which they were listed, each where its lane says it is.
    fn source<'a>(
        &self,
        name: &str,
        answers: impl Iterator<Item = (LaneId, &'a AckContent)>,
    ) -> SourceSnapshot {
        let mut positions: BTreeMap<&str, &Position> = BTreeMap::new();
        for (_, content) in answers {
            if let AckContent::Source { positions: said } = content {
                positions.extend(said.iter().map(|p| (p.partition.as_str(), &p.position)));
            }
        }
        let known = self.newest.sources.iter().find(|source| source.name == name);
        let mut partitions = known.map(|source| source.partitions.clone()).unwrap_or_default();
        for partition in &mut partitions {
            if let Some(position) = positions.get(partition.partition.as_str()) {
                partition.position = (*position).clone();
                partition.position.offset += u64::from(planted::is(Bug::PositionLate));
                let early = u64::from(planted::is(Bug::PositionEarly));
                partition.position.offset = partition.position.offset.saturating_sub(early);
            }
        }
        SourceSnapshot { name: name.to_owned(), partitions }
    }

    fn task(
        &self,
        node: NodeId,
        lane: LaneId,
        name: &str,
        content: &AckContent,
    ) -> Option<TaskSnapshot> {
        let AckContent::Operator(ack) = content else {
            return None;
        };
        let mut files = if ack.is_base { Vec::new() } else { self.chain(node, lane, name) };
        files.extend(ack.file.clone());
        Some(TaskSnapshot {
            lane: lane.0 as u32,
            closed: ack.closed,
            clock_ms: ack.clock_ms,
            calls: ack.calls,
            files,
            saved: ack.saved.clone(),
        })
    }

    /// The files of a task's state as of the newest checkpoint, merged where a merge has been made.
    fn chain(&self, node: NodeId, lane: LaneId, name: &str) -> Vec<SnapshotFile> {
        let operator = self.newest.operators.iter().find(|operator| operator.name == name);
        let mut tasks = operator.into_iter().flat_map(|operator| &operator.tasks);
        let task = tasks.find(|task| task.lane as usize == lane.0);
        let files = task.map(|task| task.files.clone()).unwrap_or_default();
        match self.merged.get(&(node, lane)) {
            Some((replaced, base)) if files.starts_with(replaced) => {
                let rest = files[replaced.len()..].iter().cloned();
                [base.clone()].into_iter().chain(rest).collect()
            }
            _ => files,
        }
    }

    /// A manifest has become durable.
    pub fn completed(&mut self, manifest: impl Into<Arc<Manifest>>) {
        self.newest = manifest.into();
        let newest = &self.newest;
        self.merged.retain(|_, (replaced, _)| {
            newest.files().any(|file| replaced.first().is_some_and(|first| first == file))
        });
    }

    /// Whether files that no manifest names may be removed: not while a merged file waits for the next manifest.
    /// Whoever makes a merge knows whether one is under way.
    pub fn may_collect(&self) -> bool {
        self.merged.is_empty() || planted::is(Bug::MergedFileCollected)
    }

    /// A chain that should be merged now, the longest first.
    pub fn due_merge(&self) -> Option<MergeTask> {
        let due = self.chains().filter(|task| due(&task.chain) == Some(Due::Merge));
        due.max_by_key(|task| task.chain.len())
    }

    /// Tasks whose next snapshot should be a base.
    pub fn due_bases(&self) -> impl Iterator<Item = (NodeId, LaneId)> {
        let is_due = |chain: &[SnapshotFile]| due(chain) == Some(Due::Base) || is_late(chain);
        let due = self.chains().filter(move |task| is_due(&task.chain));
        due.map(|task| (task.node, task.lane))
    }

    /// The chains of all tasks of operators.
    fn chains(&self) -> impl Iterator<Item = MergeTask> {
        let tasks = self.roles.iter().enumerate().filter_map(|(index, role)| match role {
            NodeRole::Operator { name, .. } => Some((NodeId(index), name)),
            NodeRole::Source { .. } | NodeRole::Sink { .. } => None,
        });
        tasks.flat_map(move |(node, name)| {
            let lanes = (0..self.newest.parallelism as usize).map(LaneId);
            lanes.map(move |lane| MergeTask { node, lane, chain: self.chain(node, lane, name) })
        })
    }

    /// A merge has been made, and its file is durable: the next manifest names it.
    pub fn merged(&mut self, task: MergeTask, base: SnapshotFile) {
        self.merged.insert((task.node, task.lane), (task.chain, base));
    }
}

/// How a chain is to become one file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// By a merge in the background.
    Merge,
    /// By a base instead of the next delta. When the newest delta holds more than a third of the rest of the chain, most
    /// of the state is written at each checkpoint (a chain of base B and deltas of f * B is due with as many as make B,
    /// so this is f above a half): a base costs the lane little beyond the delta, and a merge would read all and
    /// write all once more. A state that only grows passes for one only while it doubles within two checkpoints.
    Base,
}

fn due(chain: &[SnapshotFile]) -> Option<Due> {
    let (base, deltas) = chain.split_first()?;
    let newest = deltas.last()?;
    if deltas.len() > DELTAS_MAX {
        return Some(Due::Merge);
    }
    let bytes: u64 = deltas.iter().map(|delta| delta.bytes).sum();
    if bytes < base.bytes.max(MERGE_BYTES_MIN) {
        return None;
    }
    let rest = base.bytes + bytes - newest.bytes;
    Some(if newest.bytes > rest / 3 { Due::Base } else { Due::Merge })
}

/// Whether a chain is twice what it should have been merged at: merges do not keep up. They have a low priority, and begin
/// anew with each start of the job. A base does without them; a merge under way is then in vain.
fn is_late(chain: &[SnapshotFile]) -> bool {
    let Some((base, deltas)) = chain.split_first() else {
        return false;
    };
    let bytes: u64 = deltas.iter().map(|delta| delta.bytes).sum();
    deltas.len() >= 2 * DELTAS_MAX || bytes / 2 >= base.bytes.max(MERGE_BYTES_MIN)
}

/// Chains of fewer bytes are merged only because of their length.
const MERGE_BYTES_MIN: u64 = 1024 * 1024;

fn sink_task((lane, content): (LaneId, &AckContent)) -> Option<SinkTaskSnapshot> {
    let AckContent::Sink { prepared } = content else {
        return None;
    };
    let state = prepared.last().map(|prepared| prepared.state.clone()).unwrap_or_default();
    Some(SinkTaskSnapshot { lane: lane.0 as u32, prepared: prepared.clone(), state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::OperatorAck;
    use crate::connector::PartitionPosition;
    use crate::ids::{CheckpointId, Incarnation};

    fn file(name: &str, bytes: u64, is_base: bool) -> SnapshotFile {
        SnapshotFile { name: name.to_owned(), bytes, digest: [0; 32], is_base, entries: 1 }
    }

    fn partition(id: &str, offset: u64) -> PartitionPosition {
        let position = Position { offset, ..Position::default() };
        PartitionPosition { partition: id.to_owned(), position }
    }

    fn ledger() -> Ledger {
        let manifest = Manifest {
            job: "tide".to_owned(),
            identity: "id".to_owned(),
            files_identity: None,
            checkpoint: CheckpointId(0),
            incarnation: Incarnation(1),
            created_ms: 0,
            written_by: String::new(),
            finished: false,
            hash_seed: 1,
            owners: vec![0; 4],
            parallelism: 1,
            plan: String::new(),
            wal_start: None,
            sources: vec![SourceSnapshot {
                name: "in".to_owned(),
                partitions: vec![partition("b", 0), partition("a", 0)],
            }],
            operators: Vec::new(),
            sinks: Vec::new(),
        };
        let roles = vec![
            NodeRole::Source { name: "in".to_owned() },
            NodeRole::Operator {
                name: "op".to_owned(),
                component: "c".to_owned(),
                states: Vec::new(),
            },
        ];
        Ledger::new(manifest, roles)
    }

    fn gathered(checkpoint: u64, is_base: bool, file: Option<SnapshotFile>) -> Gathered {
        let lane = LaneId(0);
        let positions = vec![partition("a", checkpoint)];
        let ack = OperatorAck { is_base, file, ..OperatorAck::default() };
        let tasks = [
            ((NodeId(0), lane), AckContent::Source { positions }),
            ((NodeId(1), lane), AckContent::Operator(ack)),
        ];
        Gathered {
            checkpoint: CheckpointId(checkpoint),
            purpose: Purpose::Periodic,
            tasks: tasks.into(),
        }
    }

    fn names(manifest: &Manifest) -> Vec<&str> {
        manifest.files().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn a_chain_grows_by_completed_checkpoints_only() {
        let mut ledger = ledger();
        let first = ledger.compose(&gathered(1, true, Some(file("base", 9, true))), 0, None);
        ledger.completed(first);
        let given_up = ledger.compose(&gathered(2, false, Some(file("lost", 1, false))), 0, None);
        assert_eq!(names(&given_up), ["base", "lost"]);
        let third = ledger.compose(&gathered(3, false, Some(file("delta", 1, false))), 0, None);
        assert_eq!(names(&third), ["base", "delta"]);
        let nothing = ledger.compose(&gathered(3, false, None), 0, None);
        assert_eq!(names(&nothing), ["base"]);
        assert_eq!(third.sources[0].partitions, [partition("b", 0), partition("a", 3)]);
    }

    #[test]
    fn a_merge_replaces_the_beginning_of_the_chain_that_it_was_made_from() {
        let mut ledger = ledger();
        let mut checkpoint = 1;
        let mut add = |ledger: &mut Ledger, name: &str, is_base| {
            let file = Some(file(name, 1, is_base));
            let manifest = ledger.compose(&gathered(checkpoint, is_base, file), 0, None);
            checkpoint += 1;
            ledger.completed(manifest);
        };
        add(&mut ledger, "base", true);
        for delta in 0..DELTAS_MAX {
            add(&mut ledger, &delta.to_string(), false);
            assert_eq!(ledger.due_merge(), None);
        }
        add(&mut ledger, "late", false);
        let task = ledger.due_merge().unwrap();
        assert_eq!(task.chain.len(), DELTAS_MAX + 2);
        add(&mut ledger, "later", false);
        ledger.merged(task, file("merged", 1, true));
        assert_eq!(ledger.due_merge(), None);
        add(&mut ledger, "last", false);
        assert_eq!(names(ledger.newest()), ["merged", "later", "last"]);
    }

    #[test]
    fn nothing_may_be_collected_while_a_merged_file_has_no_manifest() {
        let mut ledger = ledger();
        let compose = |ledger: &Ledger, checkpoint: u64| {
            let file = Some(file(&checkpoint.to_string(), 1, checkpoint == 1));
            ledger.compose(&gathered(checkpoint, checkpoint == 1, file), 0, None)
        };
        for checkpoint in [1, 2] {
            ledger.completed(compose(&ledger, checkpoint));
        }
        let chain: Vec<_> = ledger.newest().files().cloned().collect();
        assert!(ledger.may_collect());
        // The next manifest is composed while the merge is still being made.
        let third = compose(&ledger, 3);
        let task = MergeTask { node: NodeId(1), lane: LaneId(0), chain };
        ledger.merged(task, file("merged", 1, true));
        ledger.completed(third);
        assert!(!ledger.may_collect());
        let fourth = compose(&ledger, 4);
        assert_eq!(names(&fourth), ["merged", "3", "4"]);
        ledger.completed(fourth);
        assert!(ledger.may_collect());
    }

    #[test]
    fn as_many_bytes_of_deltas_as_of_base_are_merged_too() {
        let mut ledger = ledger();
        let base = Some(file("base", 3 << 20, true));
        ledger.completed(ledger.compose(&gathered(1, true, base), 0, None));
        for (checkpoint, is_due) in [(2, false), (3, false), (4, true)] {
            let delta = Some(file("small", 1 << 20, false));
            ledger.completed(ledger.compose(&gathered(checkpoint, false, delta), 0, None));
            assert_eq!(ledger.due_merge().is_some(), is_due);
            assert_eq!(ledger.due_bases().next(), None);
        }
    }

    #[test]
    fn a_task_that_changes_more_than_half_of_its_state_takes_bases_and_is_never_merged() {
        for (percent, deltas) in [(100, 1), (98, 2), (60, 2), (51, 2)] {
            let mut ledger = ledger();
            let base = Some(file("base", 100 << 20, true));
            ledger.completed(ledger.compose(&gathered(1, true, base), 0, None));
            for delta in 1..=deltas {
                assert_eq!(ledger.due_bases().next(), None, "{percent} %, delta {delta}");
                let file = Some(file("delta", percent << 20, false));
                ledger.completed(ledger.compose(&gathered(1 + delta, false, file), 0, None));
                assert_eq!(ledger.due_merge(), None, "{percent} %, delta {delta}");
            }
            assert!(ledger.due_bases().next().is_some(), "{percent} %");
        }
    }

    #[test]
    fn a_base_ends_a_chain_that_asked_for_one() {
        let mut ledger = ledger();
        let base = Some(file("base", 3 << 20, true));
        ledger.completed(ledger.compose(&gathered(1, true, base.clone()), 0, None));
        for (checkpoint, mib, is_due) in [(2, 1, false), (3, 2, true)] {
            let delta = Some(file("large", mib << 20, false));
            ledger.completed(ledger.compose(&gathered(checkpoint, false, delta), 0, None));
            let bases: Vec<_> = ledger.due_bases().collect();
            assert_eq!(bases, if is_due { vec![(NodeId(1), LaneId(0))] } else { vec![] });
            assert_eq!(ledger.due_merge(), None);
        }
        ledger.completed(ledger.compose(&gathered(4, true, base), 0, None));
        assert_eq!((ledger.due_bases().next(), ledger.due_merge()), (None, None));
        assert_eq!(names(ledger.newest()), ["base"]);
    }

    #[test]
    fn a_state_that_only_grows_is_merged() {
        let mut ledger = ledger();
        let base = Some(file("base", 4 << 20, true));
        ledger.completed(ledger.compose(&gathered(1, true, base), 0, None));
        for checkpoint in [2, 3] {
            let delta = Some(file("new", 2 << 20, false));
            ledger.completed(ledger.compose(&gathered(checkpoint, false, delta), 0, None));
            assert_eq!(ledger.due_bases().next(), None);
        }
        assert!(ledger.due_merge().is_some());
    }

    #[test]
    fn a_chain_whose_merge_does_not_come_asks_for_a_base() {
        let mut ledger = ledger();
        let base = Some(file("base", 3 << 20, true));
        ledger.completed(ledger.compose(&gathered(1, true, base), 0, None));
        for delta in 1..=6 {
            let file = Some(file("small", 1 << 20, false));
            ledger.completed(ledger.compose(&gathered(1 + delta, false, file), 0, None));
            assert_eq!(ledger.due_merge().is_some(), delta >= 3, "delta {delta}");
            assert_eq!(ledger.due_bases().count(), usize::from(delta == 6), "delta {delta}");
        }
    }

    #[test]
    fn a_long_chain_of_small_files_whose_merge_does_not_come_asks_for_a_base() {
        let mut ledger = ledger();
        let base = Some(file("base", 1000, true));
        ledger.completed(ledger.compose(&gathered(1, true, base), 0, None));
        for delta in 1..=2 * DELTAS_MAX as u64 + 1 {
            let file = Some(file("small", 1, false));
            ledger.completed(ledger.compose(&gathered(1 + delta, false, file), 0, None));
            let is_late = delta >= 2 * DELTAS_MAX as u64;
            assert_eq!(ledger.due_bases().count(), usize::from(is_late), "delta {delta}");
        }
    }

    #[test]
    fn a_chain_that_asked_for_a_base_in_vain_is_merged_in_the_end() {
        let mut ledger = ledger();
        let mut asked = 0;
        for checkpoint in 1..=DELTAS_MAX as u64 + 2 {
            let is_base = checkpoint == 1;
            let file = Some(file(&checkpoint.to_string(), 1 << (19 + checkpoint), is_base));
            ledger.completed(ledger.compose(&gathered(checkpoint, is_base, file), 0, None));
            asked += ledger.due_bases().count();
        }
        assert_eq!(asked, DELTAS_MAX + 1);
        assert!(ledger.due_merge().is_some());
    }
}
