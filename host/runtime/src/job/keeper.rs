//! The thread that does what a checkpoint needs of a disk: manifests, commits, marks, dropping what is old.
//!
//! Owns no order of its own: the coordinator says what is next and is told when it is done, and the order of
//! effects in each step is that of [`tidemill_core::checkpoint::keeper`]. Operations of
//! one job run one after the other here, so that the supervisor never waits for a disk. Invariants: a
//! manifest that could not be written ends the incarnation, because nobody knows whether it exists; a
//! commit that fails is tried again, with a warning, until it succeeds or the incarnation ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidemill_core::checkpoint::keeper::{self, Effects};
use tidemill_core::checkpoint::manifest::{Manifest, SinkSnapshot};
use tidemill_core::checkpoint::store::{CheckpointStore, KnownFiles};
use tidemill_core::connector::{ConnectorError, PreparedFile};
use tidemill_core::disk::Disk;
use tidemill_core::quota::Account as _;
use tidemill_core::transaction::CommitOutcome;

use super::failpoint::failpoint;
use super::savepoint;
use super::supervisor::{Event, SavepointRequest};
use crate::connectors::Sink;
use crate::tenants::Tenant;
use crate::{priority, spawner};

/// Published files that are named one by one at most: a long job has thousands.
const FILES_NAMED_MAX: usize = 1000;
/// How long each step of a checkpoint waits at most for a tenant that has used up its CPU time, and how often it looks.
const HELD_MAX: Duration = Duration::from_secs(1);
const HELD_LOOK: Duration = Duration::from_millis(10);
/// Between two tries of a commit.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);

/// What the keeper is asked for.
pub(super) enum Task {
    /// Makes the manifest durable.
    WriteManifest(Arc<Manifest>),
    /// Has the sinks commit all that the manifest holds, and makes the mark durable.
    Commit(Arc<Manifest>),
    /// Copies a committed checkpoint for somebody.
    Savepoint(Arc<Manifest>, SavepointRequest),
    /// Drops old checkpoints.
    DropOld { retained: usize },
}

/// The thread, and how to ask it.
pub(super) struct Keeper {
    /// `None` only while it is dropped.
    tasks: Option<Sender<Task>>,
    /// Dropped to end a commit that is tried again and again.
    patience: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Where the job's durable things lie.
#[derive(Clone)]
pub(super) struct Places {
    /// The job's own directory.
    pub(super) job: Arc<dyn Disk>,
    /// Its checkpoints.
    pub(super) checkpoints: CheckpointStore,
    /// What this process has published.
    pub(super) published: Arc<PublishedFiles>,
}

/// Files that this process has published, by sink: the first of them, and how many.
#[derive(Default)]
pub(super) struct PublishedFiles(Mutex<BTreeMap<String, (Vec<PathBuf>, u64)>>);

impl PublishedFiles {
    fn add(&self, sink: &SinkSnapshot, outcome: &CommitOutcome) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, count) = all.entry(sink.name.clone()).or_default();
        for name in outcome.published.iter().chain(&outcome.found) {
            *count += 1;
            if files.len() < FILES_NAMED_MAX {
                files.push(Path::new(&sink.directory).join(name));
            }
        }
    }

    /// The first files of a sink, and how many there are.
    pub(super) fn of(&self, sink: &str) -> (Vec<PathBuf>, u64) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(sink).cloned().unwrap_or_default()
    }
}

impl Keeper {
    /// Starts the thread, which works for `tenant`; it answers by `events`.
    pub(super) fn start(
        places: Places,
        tenant: Arc<Tenant>,
        events: Sender<Event>,
    ) -> std::io::Result<Self> {
        let (tasks, asked) = mpsc::channel();
        let (patience, end) = mpsc::channel();
        let work = move || {
            // Nobody's record waits for it, and what it does grows with the number of partitions and files.
            priority::work_in_background();
            let _employed = tenant.employ();
            let mut known = KnownFiles::default();
            for task in asked {
                wait_while_held(&tenant, &end);
                if let Some(event) = serve(&places, &end, &mut known, task) {
                    // The supervisor outlives the keeper.
                    events.send(event).ok();
                }
            }
        };
        let thread = spawner::builder("tidemill-keeper")?.spawn(work)?;
        Ok(Self { tasks: Some(tasks), patience: Some(patience), thread: Some(thread) })
    }

    pub(super) fn ask(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // After a panic of the thread no checkpoint completes, and the job comes to its timeouts.
            tasks.send(task).ok();
        }
    }
}

impl Drop for Keeper {
    /// Lets what was asked for come to its end, and waits for it. A commit that fails is not tried again: the
    /// next incarnation finishes it.
    fn drop(&mut self) {
        (self.tasks, self.patience) = (None, None);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Waits while its tenant has used up its CPU time, but not for long: a checkpoint is what lets a job end well.
fn wait_while_held(tenant: &Tenant, end: &Receiver<()>) {
    let until = Instant::now() + HELD_MAX;
    while Instant::now() < until && tenant.is_held() {
        if let Err(RecvTimeoutError::Disconnected) = end.recv_timeout(HELD_LOOK) {
            return;
        }
    }
}

fn serve(places: &Places, end: &Receiver<()>, known: &mut KnownFiles, task: Task) -> Option<Event> {
    match task {
        Task::WriteManifest(manifest) => Some(match write_manifest(places, &manifest) {
            Ok(()) => Event::ManifestWritten(manifest),
            Err(reason) => Event::KeeperFailed(reason),
        }),
        Task::Commit(manifest) => commit_until_done(places, end, &manifest),
        Task::Savepoint(manifest, request) => {
            failpoint("savepoint.before");
            let written = savepoint::write(&places.checkpoints, &manifest, &request.directory);
            failpoint("savepoint.written");
            let checkpoint = manifest.checkpoint;
            if !request.stops {
                // Who no longer waits has the directory all the same.
                request.reply.send(written.clone().map(|()| checkpoint)).ok();
            }
            Some(Event::SavepointDone { checkpoint, request, outcome: written })
        }
        Task::DropOld { retained } => {
            failpoint("checkpoint.drop");
            // What is not dropped now is dropped after the next checkpoint.
            if let Err(error) = places.checkpoints.drop_old(retained, known) {
                tracing::warn!("Old checkpoints were not removed: {error}.");
            }
            failpoint("checkpoint.dropped");
            None
        }
    }
}

fn write_manifest(places: &Places, manifest: &Manifest) -> Result<(), String> {
    let written =
        keeper::write_manifest(&*places.job, &places.checkpoints, manifest, &mut Sinks(places));
    written.map_err(|error| error.to_string())
}

fn commit_until_done(places: &Places, end: &Receiver<()>, manifest: &Manifest) -> Option<Event> {
    loop {
        match commit(places, manifest) {
            Ok(()) => return Some(Event::Committed(manifest.checkpoint)),
            Err(reason) => tracing::warn!(
                "Checkpoint {} is complete, but not all of its output could be published: {reason}. \
                 Trying again.",
                manifest.checkpoint
            ),
        }
        match end.recv_timeout(COMMIT_AGAIN) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// Publishes everything that a manifest holds, then makes the mark durable. Doing it again changes nothing.
pub(super) fn commit(places: &Places, manifest: &Manifest) -> Result<(), String> {
    let committed = keeper::commit(&places.checkpoints, manifest, &mut Sinks(places));
    committed.map_err(|error| error.to_string())
}

/// The sinks that a manifest names, wherever they lie.
struct Sinks<'a>(&'a Places);

impl Effects for Sinks<'_> {
    type Error = ConnectorError;

    fn commit(
        &mut self,
        sink: &SinkSnapshot,
        files: &[PreparedFile],
    ) -> Result<(), ConnectorError> {
        let began = Instant::now();
        let outcome = Sink::commit_in(Path::new(&sink.directory), files)?;
        self.0.published.add(sink, &outcome);
        let (files, took) = (files.len(), began.elapsed());
        tracing::debug!(sink = sink.name, files, ?took, "Committed.");
        Ok(())
    }

    fn passed(&mut self, place: &'static str) {
        failpoint(place);
    }
}
