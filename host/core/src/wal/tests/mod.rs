//! Tests of the log as a whole, on a disk that fails and crashes as it is told.

mod crash;
mod damage;
mod golden;
#[allow(dead_code, reason = "the tests of another crate use the rest of it")]
pub(crate) mod memory_disk;
mod rotation;
mod space;

use std::sync::Arc;

use self::memory_disk::MemoryDisk;
use super::*;
use crate::disk as seam;
use crate::ids::Incarnation;

const DIRECTORY: &str = "wal";

/// Sizes that make many small segments.
fn small() -> Sizes {
    Sizes {
        segment_bytes: 4096 + 2048,
        fill_bytes: 512,
        fill_ahead_bytes: 1024,
        reserve_bytes: 256,
        quota_bytes: 1024 * 1024,
    }
}

fn known(wal_start: Option<u64>) -> KnownDurable {
    KnownDurable { wal_start, positions: Seqs::default() }
}

fn recovered(disk: &MemoryDisk, known: &KnownDurable) -> Result<Recovered, WalError> {
    recover(disk, DIRECTORY, known)
}

fn begin_with(disk: &MemoryDisk, incarnation: u64, sizes: Sizes) -> WalWriter {
    let found = recovered(disk, &known(None)).unwrap();
    let salt = [incarnation as u8; 16];
    WalWriter::begin(Arc::new(disk.clone()), found, Incarnation(incarnation), salt, sizes).unwrap()
}

fn begin(disk: &MemoryDisk, incarnation: u64) -> WalWriter {
    begin_with(disk, incarnation, small())
}

/// LSN, partition, sequence number, body.
type Row = (u64, String, u64, Vec<u8>);

fn replay(
    disk: &MemoryDisk,
    view: LogView,
    from_lsn: u64,
    first: Seqs,
) -> Result<Vec<Row>, WalError> {
    let mut reader = WalReader::new(Arc::new(disk.clone()), view, from_lsn, first);
    let mut rows = Vec::new();
    while let Some(logged) = reader.next_batch()? {
        assert_eq!(logged.source, "in");
        rows.push((logged.lsn, logged.partition.to_owned(), logged.seq, logged.body.to_vec()));
    }
    Ok(rows)
}

/// What a start would replay, without starting.
fn replay_found(disk: &MemoryDisk, found: &Recovered) -> Result<Vec<Row>, WalError> {
    let older = found.older.iter().map(|closed| (closed.header.segment, closed.tail.lsn));
    let newest = found.newest.map(|(header, tail)| (header.segment, tail.lsn));
    let segments = older.chain(newest).collect();
    let view = LogView { directory: DIRECTORY.to_owned(), segments };
    replay(disk, view, 0, Seqs::default())
}

fn all(disk: &MemoryDisk, wal: &WalWriter) -> Vec<Row> {
    replay(disk, wal.view(), 0, Seqs::default()).unwrap()
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    seam::Disk::list(disk, DIRECTORY).unwrap()
}

fn path(segment: u64) -> String {
    format!("{DIRECTORY}/{}", segment_name(segment))
}
