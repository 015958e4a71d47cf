//! What actors send each other, delivered late: first in first out for each sender, in any order between
//! senders.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::checkpoint::Barrier;
use tidemill_core::checkpoint::coordinator::Fact;
use tidemill_core::checkpoint::ledger::MergeTask;
use tidemill_core::checkpoint::manifest::{Manifest, SnapshotFile};
use tidemill_core::connector::Wake;
use tidemill_core::ids::{CheckpointId, NodeId};

use crate::rng::Rng;

/// Everything that reaches the supervisor.
pub enum Event {
    /// Something for the coordinator.
    Fact(Fact),
    /// A manifest is durable.
    ManifestWritten(Arc<Manifest>),
    /// What it holds is committed.
    Committed(CheckpointId),
    /// A chain of snapshot files has become one.
    Merged(MergeTask, SnapshotFile),
    /// The input log needs room.
    WalPressure,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// A lane.
    Lane(usize),
    /// The keeper.
    Keeper,
    /// The uploader.
    Uploads,
    /// The merger.
    Merger,
    /// The input log.
    Log,
}

/// The supervisor's letters.
#[derive(Clone, Default)]
pub struct Mailbox(Arc<Mutex<BTreeMap<Sender, VecDeque<Event>>>>);

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Sender, VecDeque<Event>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event.
    pub fn send(&self, sender: Sender, event: Event) {
        self.lock().entry(sender).or_default().push_back(event);
    }

    /// Takes the oldest event of a random sender.
    pub fn take(&self, rng: &mut Rng) -> Option<Event> {
        let mut senders = self.lock();
        let waiting = senders.values().filter(|events| !events.is_empty()).count();
        if waiting == 0 {
            return None;
        }
        let at = rng.below(waiting);
        senders.values_mut().filter(|events| !events.is_empty()).nth(at)?.pop_front()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().values().all(VecDeque::is_empty)
    }
}

/// What the coordinator says to a lane.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// Sources are to hand out no more.
    StopSources,
    /// A checkpoint.
    Trigger(Barrier),
    /// The next snapshot of an operator is to be a base.
    Rebase(NodeId),
    /// It is complete.
    Completed(CheckpointId),
    /// It was given up.
    Aborted(CheckpointId),
}

/// Whether a lane is to be stepped.
#[derive(Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(SeqCst)
    }

    /// Takes it down.
    pub fn clear(&self) {
        self.0.store(false, SeqCst);
    }
}

impl Wake for Flag {
    fn wake(&self) {
        self.0.store(true, SeqCst);
    }
}
