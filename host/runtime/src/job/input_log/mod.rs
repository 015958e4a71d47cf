//! The input log of a job: which sources are logged, and the log of the incarnation that runs.
//!
//! Owns when a log begins and ends, from where it is replayed, and how far it may be trimmed. Intakes live as long
//! as the process, so a restart loses nothing that was received. Knows nothing of the log's format, nor of
//! where input comes from. A job without logged sources has no log and no thread for one.
//!
//! Order: log recovered -> this incarnation's segment begun -> who receives input started -> replay -> lanes.
//! After a checkpoint: manifest durable -> committed -> trimmed, below what the oldest retained one needs. At the
//! end: lanes gone -> what was received is logged -> sealed.

mod begin;
mod statistics;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::connector::{PartitionPosition, Position, SourceReader, Wake};
use tidemill_core::disk::Disk;
use tidemill_core::input_log::{
    LoggedPart, LoggedReader, Retained, checkpoints_kept, inner_detail, wal_start,
};
use tidemill_core::quota::Account;
use tidemill_core::wal::{FullOf, Usage, WalError};
use tidemill_storage::wal::WalEvents;

pub use statistics::InputLogFigures;
pub(super) use statistics::InputLogStatistics;

use super::supervisor::Event;
use super::{JobError, lock};
use crate::config::{JobPlan, SourcePlan, WalMode};
use crate::connectors::Source;
use crate::connectors::logged::{Forming, Intake, IntakeHandle};

/// The log's directory in the job's.
pub(crate) const DIRECTORY: &str = "wal";
/// Bytes that wait for the log before who appends waits.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// How long the end of an incarnation waits for those who receive input, after a stop.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// The logged sources of a job, and its log.
pub(super) struct InputLog {
    /// By the places of the job's sources; `None` for one that is not logged.
    sources: Vec<Option<LoggedSource>>,
    quota_bytes: u64,
    lanes: usize,
    forming: Forming,
    /// Where each retained checkpoint replays from.
    retained: Mutex<Retained>,
    replay: Option<JoinHandle<()>>,
    settled_lsn: Arc<AtomicU64>,
    statistics: Arc<InputLogStatistics>,
}

/// A logged source.
struct LoggedSource {
    plan: SourcePlan,
    /// Its input can only be received once.
    is_stream: bool,
    /// Its clients number their lines.
    is_numbered: bool,
    intake: Arc<Intake>,
    /// Where its partitions begin in this incarnation.
    positions: Vec<PartitionPosition>,
}

/// What the log's thread tells the supervisor, and whom it works for.
struct Events {
    events: Mutex<Sender<Event>>,
    account: Arc<dyn Account>,
}

impl WalEvents for Events {
    fn pressure(&self, usage: Usage) {
        // An incarnation that is over needs no room.
        lock(&self.events).send(Event::WalPressure(usage)).ok();
    }

    fn failed(&self, error: &WalError) {
        lock(&self.events).send(Event::WalFailed(error.to_string())).ok();
    }

    fn work(&self, body: &mut dyn FnMut()) {
        let _employed = self.account.clone().employ_thread();
        body();
    }
}

impl InputLog {
    /// The log of a job with these sources.
    pub(super) fn new(
        plan: &JobPlan,
        sources: &[Source],
        statistics: Arc<InputLogStatistics>,
        account: Arc<dyn Account>,
    ) -> Self {
        let settled_lsn = Arc::<AtomicU64>::default();
        let logged = |(plan_of, source): (&SourcePlan, &Source)| {
            let is_logged = source.is_stream() || plan.wal.mode == WalMode::Inputs;
            is_logged.then(|| LoggedSource {
                plan: plan_of.clone(),
                is_stream: source.is_stream(),
                is_numbered: source.is_numbered(),
                intake: Arc::new(Intake::new(settled_lsn.clone())),
                positions: Vec::new(),
            })
        };
        Self {
            sources: plan.sources.iter().zip(sources).map(logged).collect(),
            quota_bytes: plan.wal.quota_bytes,
            lanes: plan.parallelism,
            forming: Forming {
                target: plan.batch,
                linger: Duration::from_micros(plan.linger_us),
                account,
            },
            retained: Mutex::default(),
            replay: None,
            settled_lsn,
            statistics,
        }
    }

    /// Removes the log of earlier runs.
    pub(super) fn drop_all(job: &dyn Disk) -> Result<(), JobError> {
        let failed =
            |error: tidemill_core::disk::DiskError| JobError::Checkpoint(error.to_string());
        let names = job.list(DIRECTORY).map_err(failed)?;
        let ours: Vec<_> = names.iter().filter(|name| name.starts_with("wal-")).collect();
        for name in &ours {
            job.remove(&format!("{DIRECTORY}/{name}")).map_err(failed)?;
        }
        if ours.is_empty() { Ok(()) } else { job.sync_dir(DIRECTORY).map_err(failed) }
    }

    fn logged(&self) -> impl Iterator<Item = &LoggedSource> {
        self.sources.iter().flatten()
    }

    /// Whether the input of a source goes through the log.
    pub(super) fn is_logged(&self, source: usize) -> bool {
        self.sources.get(source).is_some_and(Option::is_some)
    }

    /// Whether the input of a source is, or will be, received by somebody who lives as long as the process: one
    /// that can be read again is not before it was listed.
    pub(super) fn is_received(&self, source: usize) -> bool {
        let logged = self.sources.get(source).and_then(Option::as_ref);
        logged.is_some_and(|logged| logged.is_stream || logged.intake.has_begun())
    }

    /// Where the partitions of a source begin when the job is created.
    pub(super) fn first_positions(&self, index: usize, source: &Source) -> Vec<PartitionPosition> {
        let positions = source.positions();
        match self.sources.get(index) {
            Some(Some(logged)) if !logged.is_stream => {
                let wrap = |at: PartitionPosition| {
                    let (offset, detail) = (0, inner_detail(&at.position));
                    let position = Position { offset, detail, ended: at.position.ended };
                    PartitionPosition { partition: at.partition, position }
                };
                positions.into_iter().map(wrap).collect()
            }
            _ => positions,
        }
    }

    /// The reader of a lane, for a source that is logged.
    pub(super) fn reader(
        &self,
        source: usize,
        lane: usize,
        waker: Arc<dyn Wake>,
    ) -> Option<Box<dyn SourceReader>> {
        let source = self.sources.get(source)?.as_ref()?;
        let own = || source.positions.iter().skip(lane).step_by(self.lanes);
        if own().all(|at| at.position.ended) {
            return Some(Source::ended_reader(own().cloned().collect()));
        }
        // They were checked when the log began.
        let parts = own().filter_map(|at| LoggedPart::at(at, source.is_numbered)).collect();
        let intake = IntakeHandle(source.intake.clone());
        Some(Box::new(LoggedReader::new(intake, lane, self.lanes, parts, waker)))
    }

    /// Nothing more is received, for as long as the process lives; what was received goes on to the lanes.
    pub(super) fn stop_intake(&self) {
        self.logged().for_each(|source| source.intake.stop());
    }

    /// After that: whether all of the log has been handed to lanes.
    pub(super) fn is_drained(&self) -> bool {
        self.logged().all(|source| source.intake.is_drained())
    }

    /// The smallest place in the log that a checkpoint with these positions needs; `None` when no source is
    /// logged.
    pub(super) fn wal_start(&self, manifest: &Manifest) -> Option<u64> {
        let logged: Vec<&LoggedSource> = self.logged().collect();
        let names: Vec<&str> = logged.iter().map(|source| source.plan.name.as_str()).collect();
        wal_start(manifest, &names, &self.settled_lsn, |source, part, seq| {
            logged[source].intake.place_of(part, seq)
        })
    }

    /// How many checkpoints are to be kept: of `retained` only the newest when the log needs room.
    pub(super) fn retained(&self, retained: usize) -> usize {
        checkpoints_kept(retained, self.statistics.read().wal.usage)
    }

    /// A checkpoint is complete and committed, and with it `retained` are kept: what none of them needs is
    /// trimmed.
    pub(super) fn completed(&self, manifest: &Manifest, retained: usize) {
        for source in self.logged() {
            let found = manifest.sources.iter().find(|found| found.name == source.plan.name);
            let parts = found.into_iter().flat_map(|found| &found.partitions).enumerate();
            parts.for_each(|(part, at)| source.intake.covered(part, at.position.offset));
        }
        let (checkpoint, wal_start) = (manifest.checkpoint, manifest.wal_start);
        let below = lock(&self.retained).completed(checkpoint, wal_start, retained);
        if let Some(below) = below {
            self.statistics.with_wal(|wal| wal.trim(below));
        }
    }

    /// What keeps the log from being trimmed, when it takes nothing any more.
    pub(super) fn blocked_by(&self) -> Option<String> {
        let full = self.statistics.read().wal.full?;
        let blocked_by = match (full, lock(&self.retained).oldest()) {
            (FullOf::Device, _) => "no space is left on the device".to_owned(),
            (FullOf::Quota, None | Some((_, None))) => {
                "the beginning of the job is kept until more checkpoints are complete".to_owned()
            }
            (FullOf::Quota, Some((checkpoint, Some(start)))) => {
                format!(
                    "checkpoint {checkpoint}, the oldest that is kept, replays from LSN {start}"
                )
            }
        };
        Some(blocked_by)
    }

    /// The lanes are gone: ends the log of this incarnation in order. Whoever receives input goes on, and waits for
    /// the next.
    ///
    /// # Errors
    /// The log has failed, now or before: nobody knows what is durable, so the job must not go on in this process.
    pub(super) fn close(&mut self) -> Result<(), JobError> {
        self.logged().for_each(|source| source.intake.drain(DRAIN_PATIENCE));
        let Some(wal) = self.statistics.take_wal() else { return Ok(()) };
        // It calls back everything that it was given before this returns.
        let sealed = wal.seal_and_close();
        self.logged().for_each(|source| source.intake.disconnect());
        if let Some(replay) = self.replay.take() {
            // A panic is none of the next incarnation's.
            replay.join().ok();
        }
        sealed.map(drop).map_err(|error| JobError::Checkpoint(format!("the input log: {error}")))
    }
}

impl Drop for InputLog {
    fn drop(&mut self) {
        // As a killed process would leave it; whoever ended well has sealed it.
        drop(self.statistics.take_wal());
        self.logged().for_each(|source| source.intake.close());
    }
}
