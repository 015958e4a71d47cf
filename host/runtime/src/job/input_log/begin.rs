//! How the log of an incarnation begins.
//!
//! Owns what of an older log is needed, what is told of it, and where those who receive input go on. Reads the
//! log once to its end before anything is received, because only there it says which lines of which clients are
//! known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::mpsc::Sender;

use tidemill_core::checkpoint::manifest::Manifest;
use tidemill_core::connector::{ConnectorError, PartitionPosition};
use tidemill_core::disk::Disk;
use tidemill_core::wal::{
    KnownDurable, LogView, LoggedPartition, Recovered, Seqs, Sizes, WalError, WalReader, WalWriter,
    recover,
};
use tidemill_storage::wal::Wal;

use super::{DIRECTORY, Events, InputLog, LoggedSource, QUEUE_BYTES};
use crate::connectors::Source;
use crate::connectors::logged::{Known, LoggedPart, Replayed, other_source, scan, start_replay};
use crate::job::keeper::Places;
use crate::job::supervisor::Event;
use crate::job::{JobError, chance};

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
        let positions = self.take_positions(manifest, sources)?;
        self.take_starts(manifest, places);
        let recovered = self.recover(manifest, positions.clone(), &*places.job)?;
        let sizes = Sizes::for_quota(self.quota_bytes).map_err(|error| match error {
            WalError::QuotaTooSmall { .. } => JobError::Incompatible {
                problem: error.to_string(),
                help: "raise wal-quota".to_owned(),
            },
            other => failed(other),
        })?;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&chance::bits().to_le_bytes());
        salt[8..].copy_from_slice(&chance::bits().to_le_bytes());
        let (disk, incarnation) = (places.job.clone(), manifest.incarnation);
        let mut writer =
            WalWriter::begin(disk, recovered, incarnation, salt, sizes).map_err(failed)?;
        let partitions = self.name_partitions(&mut writer)?;
        self.settled_lsn.store(writer.durable_lsn(), SeqCst);
        let from_lsn = manifest.wal_start.unwrap_or(0);
        let reader = |view: &LogView| {
            WalReader::new(places.job.clone(), view.clone(), from_lsn, positions.clone())
        };
        let view = writer.view();
        let ends = self.find_ends(&mut reader(&view))?;
        let events = Arc::new(Events(Mutex::new(events.clone())));
        let wal = Wal::start(writer, QUEUE_BYTES, events)
            .map_err(|error| JobError::Host(format!("no thread for the input log: {error}")))?;
        let mut replayed = BTreeMap::new();
        for (source, partitions) in self.logged().zip(partitions) {
            let senders = partitions.into_iter().map(|partition| wal.sender(partition)).collect();
            let run = source.intake.connect(senders, self.lanes, from_lsn);
            let ids = source.positions.iter().map(|at| at.partition.clone());
            let (parts, intake) = (ids.zip(0..).collect(), source.intake.clone());
            replayed.insert(source.plan.name.clone(), Replayed { intake, run, parts });
        }
        self.statistics.set_wal(wal);
        self.receive(sources, ends)?;
        let replay = start_replay(reader(&view), replayed, self.statistics.replayed.clone());
        let replay =
            replay.map_err(|error| JobError::Host(format!("no thread for the replay: {error}")))?;
        self.replay = Some(replay);
        Ok(())
    }

    /// Takes over where the partitions begin; answers the numbers of their next batches.
    fn take_positions(&mut self, manifest: &Manifest, all: &[Source]) -> Result<Seqs, JobError> {
        let mut seqs = Seqs::default();
        for (source, found) in self.sources.iter_mut().zip(all) {
            let Some(source) = source else { continue };
            let name = source.plan.name.clone();
            let recorded = manifest.sources.iter().find(|recorded| recorded.name == name);
            source.positions = recorded.map(|it| it.partitions.clone()).unwrap_or_default();
            source.check(found).map_err(|error| connector(&source.plan.name, error))?;
            for at in &source.positions {
                seqs.set(&name, &at.partition, at.position.offset);
            }
        }
        Ok(seqs)
    }

    /// Where the checkpoints that are kept replay from. One that cannot be read is not replayed from, either.
    fn take_starts(&mut self, manifest: &Manifest, places: &Places) {
        let stored = places.checkpoints.manifests().unwrap_or_default();
        let loaded = stored.iter().filter_map(|stored| places.checkpoints.load(stored).ok());
        let older = loaded.filter(|older| older.checkpoint < manifest.checkpoint);
        let starts = older.map(|older| (older.checkpoint, older.wal_start));
        let newest = (manifest.checkpoint, manifest.wal_start);
        *crate::job::lock(&self.starts) = starts.chain([newest]).collect();
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

    /// Finds out what is left of the log. What only older checkpoints need may have been trimmed already: they
    /// are dropped after that.
    fn recover(
        &self,
        manifest: &Manifest,
        positions: Seqs,
        job: &dyn Disk,
    ) -> Result<Recovered, JobError> {
        let starts: Vec<_> = crate::job::lock(&self.starts).iter().map(|(_, it)| *it).collect();
        let of_all: Option<Vec<u64>> = starts.into_iter().collect();
        let oldest = of_all.and_then(|starts| starts.into_iter().min());
        let known = |wal_start| KnownDurable { wal_start, positions: positions.clone() };
        let recovered = match recover(job, DIRECTORY, &known(oldest)) {
            Err(WalError::Missing { .. }) if oldest != manifest.wal_start => {
                recover(job, DIRECTORY, &known(manifest.wal_start))
            }
            other => other,
        };
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

    fn name_partitions(
        &self,
        writer: &mut WalWriter,
    ) -> Result<Vec<Vec<LoggedPartition>>, JobError> {
        let of_source = |source: &LoggedSource| {
            let ids = source.positions.iter().map(|at| &at.partition);
            ids.map(|id| writer.partition(&source.plan.name, id)).collect::<Result<_, _>>()
        };
        self.logged().map(of_source).collect::<Result<_, _>>().map_err(failed)
    }

    /// What is known of the input of each source at the end of the log, for those that nobody receives yet.
    fn find_ends(&self, reader: &mut WalReader) -> Result<Vec<Vec<LoggedPart>>, JobError> {
        let begin = |source: &LoggedSource| {
            let parts = source.positions.iter();
            parts.filter_map(|at| LoggedPart::at(at, source.is_numbered)).collect()
        };
        let mut ends: Vec<Vec<LoggedPart>> = self.logged().map(begin).collect();
        let is_known = |source: &LoggedSource| {
            source.intake.has_begun() || (source.is_stream && !source.is_numbered)
        };
        if self.logged().all(is_known) {
            return Ok(ends);
        }
        let indices = |(index, source): (usize, &LoggedSource)| {
            let ids = source.positions.iter().map(|at| at.partition.clone());
            (source.plan.name.clone(), (index, ids.zip(0..).collect::<BTreeMap<String, usize>>()))
        };
        let indices: BTreeMap<_, _> = self.logged().enumerate().map(indices).collect();
        let scanned = scan(reader, |logged, head| {
            if let Some((index, parts)) = indices.get(logged.source)
                && let Some(part) = parts.get(logged.partition)
                && let Some(end) = ends[*index].get_mut(*part)
            {
                end.note(logged.seq, head);
            }
        });
        scanned.map_err(|error| JobError::Checkpoint(error.to_string()))?;
        Ok(ends)
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
                    source.receive(&logged.intake, self.forming, &table, duplicates)
                }
                false => {
                    logged.relay(ends).and_then(|source| source.relay(&logged.intake, self.forming))
                }
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
