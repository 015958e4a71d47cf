//! How the log of an incarnation begins.
//!
//! Owns what of an older log is needed, what is told of it, and where those who receive input go on. Reads the
//! log once to its end before anything is received, because only there it says which lines of which clients are
//! known.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Sender;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::checkpoint::store::CheckpointStore;
use tidemill_core::connector::{ConnectorError, PartitionPosition};
use tidemill_core::disk::Disk;
use tidemill_core::input_log::{
    self as core, BegunLog, Known, LoggedPart, Retained, begin, recover_log,
};
use tidemill_core::wal::{KnownDurable, Recovered, Seqs, Sizes, WalError, recover};
use tidemill_storage::wal::Wal;

use super::{DIRECTORY, Events, InputLog, LoggedSource, QUEUE_BYTES};
use crate::connectors::Source;
use crate::connectors::logged::{Replayed, other_source, start_replay};
use crate::job::keeper::Places;
use crate::job::supervisor::Event;
use crate::job::{JobError, chance, lock};

impl InputLog {
    /// Begins the log of the incarnation that `manifest` is the basis of, and replays what the manifest does
    /// not cover. `sources` are the job's. The supervisor hears by `events`.
    ///
    /// # Errors
    /// The log is damaged, or something that it needs cannot be had.
    pub(in crate::job) fn open(
        &mut self,
        manifest: &Manifest,
        sources: &[Source],
        places: &Places,
        events: &Sender<Event>,
    ) -> Result<(), JobError> {
        if self.logged().next().is_none() {
            return Ok(());
        }
        let (recovered, sizes) = self.read(manifest, sources, &*places.job, &places.checkpoints)?;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&chance::bits().to_le_bytes());
        salt[8..].copy_from_slice(&chance::bits().to_le_bytes());
        let described = self.described();
        let (disk, settled_lsn) = (places.job.clone(), &self.settled_lsn);
        let begun = begin(disk, recovered, manifest, &described, salt, sizes, settled_lsn);
        let begun = begun.map_err(failed)?;
        let (ends, replay) = (self.find_ends(&begun)?, begun.replay());
        let BegunLog { writer, partitions, from_lsn, .. } = begun;
        let account = self.forming.account.clone();
        let events = Arc::new(Events { events: Mutex::new(events.clone()), account });
        let wal = Wal::start(writer, QUEUE_BYTES, events)
            .map_err(|error| JobError::no_thread("for the input log", &error))?;
        let mut replayed = Vec::new();
        for (source, partitions) in self.logged().zip(partitions) {
            let senders = partitions.into_iter().map(|partition| wal.sender(partition)).collect();
            let run = source.intake.connect(senders, self.lanes, from_lsn);
            let ids = source.positions.iter().map(|at| at.partition.clone());
            let (parts, intake) = (ids.zip(0..).collect(), source.intake.clone());
            replayed.push(Replayed { name: source.plan.name.clone(), intake, run, parts });
        }
        self.statistics.set_wal(wal);
        self.receive(sources, ends)?;
        let replay =
            start_replay(replay, replayed, self.statistics.replayed.clone(), &self.forming.account);
        let replay = replay.map_err(|error| JobError::no_thread("for the replay", &error))?;
        self.replay = Some(replay);
        Ok(())
    }

    /// Reads the log that an incarnation would begin with; no incarnation does in this process.
    ///
    /// # Errors
    /// As for [`InputLog::open`], as far as nothing has to be written for it.
    pub(in crate::job) fn look(
        &mut self,
        manifest: &Manifest,
        sources: &[Source],
        job: &dyn Disk,
        checkpoints: &CheckpointStore,
    ) -> Result<(), JobError> {
        if self.logged().next().is_none() {
            return Ok(());
        }
        self.read(manifest, sources, job, checkpoints).map(drop)
    }

    /// Takes over where the partitions begin, and finds out what is left of the log.
    fn read(
        &mut self,
        manifest: &Manifest,
        sources: &[Source],
        job: &dyn Disk,
        checkpoints: &CheckpointStore,
    ) -> Result<(Recovered, Sizes), JobError> {
        self.take_positions(manifest, sources)?;
        self.take_starts(manifest, checkpoints);
        let recovered = self.recover(manifest, job)?;
        let sizes = Sizes::for_quota(self.quota_bytes).map_err(|error| match error {
            WalError::QuotaTooSmall { .. } => JobError::Incompatible {
                problem: error.to_string(),
                help: "raise wal-quota".to_owned(),
            },
            other => failed(other),
        })?;
        Ok((recovered, sizes))
    }

    /// The logged sources as this incarnation's checkpoint has them.
    fn described(&self) -> Vec<core::LoggedSource<'_>> {
        let described = self.logged().map(|source| core::LoggedSource {
            name: &source.plan.name,
            is_numbered: source.is_numbered,
            positions: &source.positions,
        });
        described.collect()
    }

    /// Takes over where the partitions begin.
    fn take_positions(&mut self, manifest: &Manifest, all: &[Source]) -> Result<(), JobError> {
        for (source, found) in self.sources.iter_mut().zip(all) {
            let Some(source) = source else { continue };
            let name = &source.plan.name;
            let recorded = manifest.sources.iter().find(|recorded| recorded.name == *name);
            source.positions = recorded.map(|it| it.partitions.clone()).unwrap_or_default();
            source.check(found).map_err(|error| connector(&source.plan.name, error))?;
        }
        Ok(())
    }

    /// Where the checkpoints that are kept replay from. One that cannot be read is not replayed from, either.
    fn take_starts(&mut self, manifest: &Manifest, checkpoints: &CheckpointStore) {
        let stored = checkpoints.manifests().unwrap_or_default();
        let loaded = stored.iter().filter_map(|stored| checkpoints.load(stored).ok());
        let older = loaded.filter(|older| older.checkpoint < manifest.checkpoint);
        let starts = older.map(|older| (older.checkpoint, older.wal_start));
        let newest = (manifest.checkpoint, manifest.wal_start);
        *lock(&self.retained) = Retained::new(starts.chain([newest]));
    }

    /// Whether the log holds all that `manifest` does not cover. Changes nothing.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::job) fn reaches(
        &self,
        manifest: &Manifest,
        job: &dyn Disk,
    ) -> Result<(), String> {
        if self.logged().next().is_none() {
            return Ok(());
        }
        let mut positions = Seqs::default();
        for source in &manifest.sources {
            for at in &source.partitions {
                positions.set(&source.name, &at.partition, at.position.offset);
            }
        }
        let known = KnownDurable { wal_start: manifest.wal_start, positions };
        let recovered = recover(job, DIRECTORY, &known);
        recovered.map(drop).map_err(|error| format!("the input log: {error}"))
    }

    /// Finds out what is left of the log.
    fn recover(&self, manifest: &Manifest, job: &dyn Disk) -> Result<Recovered, JobError> {
        let retained = lock(&self.retained).clone();
        let recovered = recover_log(job, DIRECTORY, manifest, &retained, &self.described());
        let recovered = recovered.map_err(failed)?;
        if let Some(cut) = &recovered.cut {
            self.statistics.cut_bytes.fetch_add(cut.bytes, Relaxed);
            tracing::warn!(
                "The input log ends at byte {} of {}: {} bytes behind were never acknowledged and are cut off.",
                cut.offset,
                cut.file,
                cut.bytes
            );
        }
        for name in &recovered.foreign {
            tracing::warn!("{DIRECTORY}/{name} is not a part of the input log, and is left alone.");
        }
        Ok(recovered)
    }

    /// What is known of the input of each source at the end of the log, for those that nobody receives yet.
    fn find_ends(&self, begun: &BegunLog) -> Result<Vec<Vec<LoggedPart>>, JobError> {
        let is_known = |source: &LoggedSource| {
            source.intake.has_begun() || (source.is_stream && !source.is_numbered)
        };
        let described = self.described();
        if self.logged().all(is_known) {
            return Ok(described.iter().map(|source| source.parts().collect()).collect());
        }
        let ends = begun.find_ends(&described);
        ends.map_err(|error| JobError::Checkpoint(error.to_string()))
    }

    /// Starts those who receive input, once in the life of the process.
    fn receive(&self, sources: &[Source], ends: Vec<Vec<LoggedPart>>) -> Result<(), JobError> {
        let sources = self.sources.iter().zip(sources);
        let logged = sources.filter_map(|(logged, source)| Some((logged.as_ref()?, source)));
        for ((logged, source), ends) in logged.zip(ends) {
            let has_ended = logged.positions.iter().all(|at| at.position.ended);
            if logged.intake.has_begun() || has_ended {
                continue;
            }
            let started = match logged.is_stream {
                true => {
                    let table = ends.into_iter().find_map(|end| match end.known {
                        Known::Clients(table) => Some(table),
                        Known::Nothing | Known::Inner(_) => None,
                    });
                    let (table, duplicates) =
                        (table.unwrap_or_default(), &self.statistics.duplicates);
                    source.receive(&logged.intake, self.forming.clone(), &table, duplicates)
                }
                false => logged
                    .relay(ends)
                    .and_then(|source| source.relay(&logged.intake, self.forming.clone())),
            };
            started.map_err(|error| connector(&logged.plan.name, error))?;
        }
        Ok(())
    }
}

impl LoggedSource {
    /// Whether the positions are those of this source.
    fn check(&self, source: &Source) -> Result<(), ConnectorError> {
        let name = &self.plan.name;
        let are_ours = |at: &PartitionPosition| {
            let part = LoggedPart::at(at, self.is_numbered);
            part.is_some_and(|part| matches!(part.known, Known::Inner(_)) != self.is_stream)
        };
        let has_ids = || source.partitions().eq(self.positions.iter().map(|at| &*at.partition));
        if !self.positions.iter().all(are_ours) || (self.is_stream && !has_ids()) {
            let what = "its input was not logged then, or it was of another kind; set it and `wal` back, or \
                        start the job anew with --fresh";
            return Err(other_source(name, what));
        }
        Ok(())
    }

    /// The source that is logged, where the log ends.
    fn relay(&self, ends: Vec<LoggedPart>) -> Result<Source, ConnectorError> {
        let inner = |end: LoggedPart| match end.known {
            Known::Inner(mut position) => {
                position.ended |= end.is_ended;
                Some(PartitionPosition { partition: end.partition, position })
            }
            Known::Nothing | Known::Clients(_) => None,
        };
        let positions: Vec<_> = ends.into_iter().filter_map(inner).collect();
        Source::resume(&self.plan.name, &self.plan.settings, &positions)
    }
}

fn connector(node: &str, error: ConnectorError) -> JobError {
    JobError::Connector { node: node.to_owned(), error }
}

/// What is wrong with a log cannot be mended by starting again: its message says what to do.
fn failed(error: WalError) -> JobError {
    JobError::Checkpoint(format!("the input log: {error}"))
}
