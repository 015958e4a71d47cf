//! The keeper's queue, and where everything lies. The order of effects is the product's.

use std::collections::VecDeque;
use std::sync::Arc;

use tidemill_core::checkpoint::keeper::{self, Effects};
use tidemill_core::checkpoint::manifest::{Manifest, SinkSnapshot};
use tidemill_core::checkpoint::store::{CheckpointStore, KnownFiles};
use tidemill_core::connector::PreparedFile;
use tidemill_core::transaction::commit;

use crate::disk::SimDisk;
use crate::mail::{Event, Mailbox, Sender};

/// The directories of one job on one machine.
#[derive(Clone)]
pub struct Places {
    /// The machine's disk.
    pub disk: SimDisk,
    /// The job's own directory.
    pub job: SimDisk,
    /// Its checkpoints.
    pub checkpoints: CheckpointStore,
}

impl Places {
    /// The places of a job on `disk`.
    pub fn new(disk: SimDisk) -> Self {
        let store = CheckpointStore::new(Arc::new(disk.rooted("checkpoints")));
        Self { job: disk.rooted("job"), checkpoints: store, disk }
    }

    /// The same places, for oracles.
    #[must_use]
    pub fn observer(&self) -> Self {
        Self::new(self.disk.observer())
    }

    /// The directory of a sink.
    pub fn sink(&self, name: &str) -> SimDisk {
        self.disk.rooted(name)
    }
}

/// What the keeper is asked for.
pub enum Task {
    /// Makes the manifest durable.
    WriteManifest(Arc<Manifest>),
    /// Has the sinks commit all that the manifest holds, and makes the mark durable.
    Commit(Arc<Manifest>),
    /// Drops all but so many checkpoints.
    DropOld(usize),
}

/// The keeper's tasks, one after the other.
#[derive(Default)]
pub struct Keeper {
    tasks: VecDeque<Task>,
    known: KnownFiles,
}

impl Keeper {
    /// Asks for something.
    pub fn ask(&mut self, task: Task) {
        self.tasks.push_back(task);
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Does the next task; answers whether there was one.
    ///
    /// # Errors
    /// What could not be done: the machine is off, or the task makes no sense.
    pub fn work(&mut self, places: &Places, mailbox: &Mailbox) -> Result<bool, String> {
        let Some(task) = self.tasks.pop_front() else { return Ok(false) };
        match task {
            Task::WriteManifest(manifest) => {
                let sinks = &mut Sinks(places);
                keeper::write_manifest(&places.job, &places.checkpoints, &manifest, sinks)
                    .map_err(|error| error.to_string())?;
                mailbox.send(Sender::Keeper, Event::ManifestWritten(manifest));
            }
            Task::Commit(manifest) => {
                commit_all(places, &manifest)?;
                mailbox.send(Sender::Keeper, Event::Committed(manifest.checkpoint));
            }
            Task::DropOld(retained) => {
                places
                    .checkpoints
                    .drop_old(retained, &mut self.known)
                    .map_err(|error| error.to_string())?;
            }
        }
        Ok(true)
    }
}

/// Publishes everything that a manifest holds, then makes the mark durable.
///
/// # Errors
/// What could not be published.
pub fn commit_all(places: &Places, manifest: &Manifest) -> Result<(), String> {
    keeper::commit(&places.checkpoints, manifest, &mut Sinks(places))
        .map_err(|error| error.to_string())
}

/// The directories of the sinks.
struct Sinks<'a>(&'a Places);

impl Effects for Sinks<'_> {
    type Error = String;

    fn commit(&mut self, sink: &SinkSnapshot, files: &[PreparedFile]) -> Result<(), String> {
        let outcome = commit(&self.0.sink(&sink.directory), files);
        match outcome.map_err(|error| error.to_string())?.taken.first() {
            Some(name) => Err(format!("{name} is gone, and nobody took it")),
            None => Ok(()),
        }
    }
}
