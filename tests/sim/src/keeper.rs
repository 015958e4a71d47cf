//! What a checkpoint needs of a disk, in the order of the product's keeper, and where everything lies.

use std::collections::VecDeque;
use std::sync::Arc;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::recovery;
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::connector::PreparedFile;
use tidemill_core::planted::{self, Bug};
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
    /// Drops old checkpoints.
    DropOld,
}

/// The keeper's tasks, one after the other.
#[derive(Default)]
pub struct Keeper {
    tasks: VecDeque<Task>,
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
    pub fn work(
        &mut self,
        places: &Places,
        mailbox: &Mailbox,
        retained: usize,
    ) -> Result<bool, String> {
        let Some(task) = self.tasks.pop_front() else { return Ok(false) };
        match task {
            Task::WriteManifest(manifest) => {
                write_manifest(places, &manifest)?;
                mailbox.send(Sender::Keeper, Event::ManifestWritten(manifest));
            }
            Task::Commit(manifest) => {
                commit_all(places, &manifest)?;
                mailbox.send(Sender::Keeper, Event::Committed(manifest.checkpoint));
            }
            Task::DropOld => {
                places.checkpoints.drop_old(retained).map_err(|error| error.to_string())?;
            }
        }
        Ok(true)
    }
}

fn write_manifest(places: &Places, manifest: &Manifest) -> Result<(), String> {
    match recovery::is_newest(&places.job, manifest.incarnation) {
        Ok(true) => {}
        Ok(false) => return Err("another host has begun to run this job".to_owned()),
        Err(error) => return Err(error.to_string()),
    }
    places.checkpoints.write_manifest(manifest).map_err(|error| error.to_string())
}

/// Publishes everything that a manifest holds, then makes the mark durable.
///
/// # Errors
/// What could not be published.
pub fn commit_all(places: &Places, manifest: &Manifest) -> Result<(), String> {
    let mark = || {
        let marked = places.checkpoints.mark_committed(manifest.checkpoint, manifest.incarnation);
        marked.map_err(|error| error.to_string())
    };
    if planted::is(Bug::MarkBeforeCommit) {
        mark()?;
    }
    for sink in &manifest.sinks {
        let prepared = sink.tasks.iter().flat_map(|task| &task.prepared);
        let files: Vec<PreparedFile> = prepared.flat_map(|p| p.files.iter().cloned()).collect();
        let outcome = commit(&places.sink(&sink.directory), &files)
            .map_err(|error| format!("{}: {error}", sink.name))?;
        if let Some(name) = outcome.taken.first() {
            return Err(format!("{name} is gone, and nobody took it"));
        }
    }
    mark()
}
