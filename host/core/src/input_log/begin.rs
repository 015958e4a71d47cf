//! How the log of an incarnation begins, and replay.
//!
//! Owns what of an older log is needed, and what is told of the input at its end: only there it says which lines
//! of which clients are known. Knows neither threads nor who receives input. Invariant: a record that cannot be
//! understood is an error, never passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::body::{Body, Head};
use super::lanes::LoggedBatch;
use super::reader::LoggedPart;
use super::retained::Retained;
use crate::checkpoint::manifest::Manifest;
use crate::connector::{ConnectorError, ConnectorFault, PartitionPosition};
use crate::disk::Disk;
use crate::planted::{self, Bug};
use crate::wal::{
    KnownDurable, LogView, Logged, LoggedPartition, Recovered, Seqs, Sizes, WalError, WalReader,
    WalWriter, recover,
};

/// A logged source, as a checkpoint has it.
#[derive(Clone, Copy, Debug)]
pub struct LoggedSource<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its clients number their lines.
    pub is_numbered: bool,
    /// Where its partitions go on.
    pub positions: &'a [PartitionPosition],
}

/// Finds out what is left of the log in a directory: as much as the oldest checkpoint needs whose input is all
/// there. What still older ones need has been trimmed: they are dropped after that.
///
/// # Errors
/// As [`recover`]; not even what `manifest` needs is all there.
pub fn recover_log(
    disk: &dyn Disk,
    directory: &str,
    manifest: &Manifest,
    retained: &Retained,
    sources: &[LoggedSource<'_>],
) -> Result<Recovered, WalError> {
    let positions = next_seqs(sources);
    let known = |wal_start| KnownDurable { wal_start, positions: positions.clone() };
    // The beginning comes first.
    let older: BTreeSet<Option<u64>> = retained.iter().map(|(_, start)| start).collect();
    for start in older.range(..manifest.wal_start) {
        match recover(disk, directory, &known(*start)) {
            Err(WalError::Missing { .. }) => {}
            other => return other,
        }
    }
    recover(disk, directory, &known(manifest.wal_start))
}

fn next_seqs(sources: &[LoggedSource<'_>]) -> Seqs {
    let mut seqs = Seqs::default();
    for source in sources {
        for at in source.positions {
            seqs.set(source.name, &at.partition, at.position.offset);
        }
    }
    seqs
}

/// The log of an incarnation.
pub struct BegunLog {
    /// Who writes it.
    pub writer: WalWriter,
    /// For each logged source its partitions, as the writer knows them.
    pub partitions: Vec<Vec<LoggedPartition>>,
    /// Where replay begins.
    pub from_lsn: u64,
    disk: Arc<dyn Disk>,
    view: LogView,
    positions: Seqs,
}

/// Begins the log of the incarnation that `manifest` is the basis of. `salt` is random bytes, other ones each
/// time. `settled_lsn` is that of the intakes: nothing of this incarnation lies before it.
///
/// # Errors
/// As [`WalWriter::begin`] and [`WalWriter::partition`].
pub fn begin(
    disk: Arc<dyn Disk>,
    recovered: Recovered,
    manifest: &Manifest,
    sources: &[LoggedSource<'_>],
    salt: [u8; 16],
    sizes: Sizes,
    settled_lsn: &AtomicU64,
) -> Result<BegunLog, WalError> {
    let incarnation = manifest.incarnation;
    let mut writer = WalWriter::begin(disk.clone(), recovered, incarnation, salt, sizes)?;
    let mut of_source = |source: &LoggedSource<'_>| {
        let ids = source.positions.iter().map(|at| &at.partition);
        ids.map(|id| writer.partition(source.name, id)).collect::<Result<_, _>>()
    };
    let partitions = sources.iter().map(&mut of_source).collect::<Result<_, _>>()?;
    settled_lsn.store(writer.durable_lsn(), SeqCst);
    let (view, positions) = (writer.view(), next_seqs(sources));
    let from_lsn = manifest.wal_start.unwrap_or(0);
    Ok(BegunLog { writer, partitions, from_lsn, disk, view, positions })
}

impl BegunLog {
    /// Reads what the checkpoint does not cover.
    pub fn replay(&self) -> WalReader {
        let positions = match planted::is(Bug::ReplayIgnoresPositions) {
            true => Seqs::default(),
            false => self.positions.clone(),
        };
        WalReader::new(self.disk.clone(), self.view.clone(), self.from_lsn, positions)
    }

    /// What is known of each partition of the sources at the end of the log.
    ///
    /// # Errors
    /// The log cannot be read, or holds a record that is not understood.
    pub fn find_ends(
        &self,
        sources: &[LoggedSource<'_>],
    ) -> Result<Vec<Vec<LoggedPart>>, ConnectorError> {
        let mut ends: Vec<Vec<LoggedPart>> =
            sources.iter().map(|source| source.parts().collect()).collect();
        let indices = index(sources);
        let mut reader = self.replay();
        while let Some(logged) = reader.next_batch().map_err(unreadable)? {
            let head = Head::decode(logged.body).ok_or_else(|| foreign(&logged))?;
            if planted::is(Bug::LogNotReadForClients) {
                continue;
            }
            if let Some((source, part)) = find(&indices, &logged)
                && let Some(end) = ends[source].get_mut(part)
            {
                end.note(logged.seq, head);
            }
        }
        Ok(ends)
    }
}

impl LoggedSource<'_> {
    /// Its partitions, where they go on; one whose position is not one of such a partition is left out.
    pub fn parts(&self) -> impl Iterator<Item = LoggedPart> {
        self.positions.iter().filter_map(|at| LoggedPart::at(at, self.is_numbered))
    }
}

/// Places of sources and partitions, by name and id.
type Indices = BTreeMap<String, (usize, BTreeMap<String, usize>)>;

fn index(sources: &[LoggedSource<'_>]) -> Indices {
    let indices = sources.iter().enumerate().map(|(index, source)| {
        let ids = source.positions.iter().map(|at| at.partition.clone());
        (source.name.to_owned(), (index, ids.zip(0..).collect()))
    });
    indices.collect()
}

fn find(indices: &Indices, logged: &Logged<'_>) -> Option<(usize, usize)> {
    let (source, parts) = indices.get(logged.source)?;
    Some((*source, *parts.get(logged.partition)?))
}

/// The next batch that is to be replayed, with the place of its source among the logged ones. `part_of` knows the
/// places of a source and a partition.
///
/// # Errors
/// The log cannot be read, or holds a record that is not understood.
pub fn next_replayed(
    reader: &mut WalReader,
    part_of: impl Fn(&str, &str) -> Option<(usize, usize)>,
) -> Result<Option<(usize, LoggedBatch)>, ConnectorError> {
    while let Some(logged) = reader.next_batch().map_err(unreadable)? {
        // A source that is gone, or was listed anew before its first checkpoint, has none that is needed.
        let Some((source, part)) = part_of(logged.source, logged.partition) else { continue };
        let (seq, lsn) = (logged.seq, logged.lsn);
        let body = Body::decode(logged.body).ok_or_else(|| foreign(&logged))?;
        return Ok(Some((source, LoggedBatch { part, seq, lsn, body })));
    }
    Ok(None)
}

fn unreadable(error: WalError) -> ConnectorError {
    ConnectorError::new(ConnectorFault::Io, error.to_string())
}

/// The record is whole, so it was written like that.
fn foreign(logged: &Logged<'_>) -> ConnectorError {
    let Logged { lsn, source, partition, seq, .. } = logged;
    ConnectorError::new(
        ConnectorFault::Io,
        format!(
            "the input log has a record that this Tidemill does not understand: LSN {lsn}, batch {seq} of \
             {source}/{partition}; use the version that wrote it"
        ),
    )
}
