//! Hands out again what lies in the log and no checkpoint covers.
//!
//! Owns the thread that reads the log, and the reading of what is known of the input at its end. Must not know
//! who takes the batches. Invariants: memory is bounded, as intakes bound it; a record that cannot be
//! understood is an error, never passed over.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};

use tidemill_core::connector::{ConnectorError, ConnectorFault};
use tidemill_core::wal::{Logged, WalError, WalReader};

use crate::connectors::logged::body::{Body, Head};
use crate::connectors::logged::intake::Intake;
use crate::connectors::logged::lanes::LoggedBatch;

/// A source whose batches are replayed.
pub(crate) struct Replayed {
    /// Where they go.
    pub(crate) intake: Arc<Intake>,
    /// Its run.
    pub(crate) run: u64,
    /// Places of the partitions in the source's list, by id.
    pub(crate) parts: BTreeMap<String, usize>,
}

/// What was replayed.
#[derive(Debug, Default)]
pub(crate) struct ReplayCounts {
    /// Batches.
    pub(crate) batches: AtomicU64,
    /// Records in them.
    pub(crate) records: AtomicU64,
}

/// Starts to replay what `reader` finds, each batch to the intake of its source.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start(
    mut reader: WalReader,
    sources: BTreeMap<String, Replayed>,
    counts: Arc<ReplayCounts>,
) -> io::Result<JoinHandle<()>> {
    let body = move || {
        let outcome = match replay(&mut reader, &sources, &counts) {
            Ok(true) => Ok(()),
            // The incarnation has ended.
            Ok(false) => return,
            Err(failure) => Err(failure),
        };
        for source in sources.values() {
            source.intake.end_replay(source.run, outcome.clone());
        }
    };
    Builder::new().name("tidemill-replay".to_owned()).spawn(body)
}

/// Answers whether all was replayed.
fn replay(
    reader: &mut WalReader,
    sources: &BTreeMap<String, Replayed>,
    counts: &ReplayCounts,
) -> Result<bool, ConnectorError> {
    let unreadable = |error: WalError| ConnectorError::new(ConnectorFault::Io, error.to_string());
    while let Some(logged) = reader.next_batch().map_err(unreadable)? {
        // A source that is gone, or was listed anew before its first checkpoint, has none that is needed.
        let Some(source) = sources.get(logged.source) else { continue };
        let Some(&part) = source.parts.get(logged.partition) else { continue };
        let (seq, lsn) = (logged.seq, logged.lsn);
        let body = Body::decode(logged.body).ok_or_else(|| foreign(&logged))?;
        counts.batches.fetch_add(1, Relaxed);
        counts.records.fetch_add(body.batch.len() as u64, Relaxed);
        if !source.intake.replay(source.run, LoggedBatch { part, seq, lsn, body }) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the log to its end for what the heads of its records say.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn scan(
    reader: &mut WalReader,
    mut note: impl FnMut(&Logged<'_>, Head),
) -> Result<(), ConnectorError> {
    let unreadable = |error: WalError| ConnectorError::new(ConnectorFault::Io, error.to_string());
    while let Some(logged) = reader.next_batch().map_err(unreadable)? {
        let head = Head::decode(logged.body).ok_or_else(|| foreign(&logged))?;
        note(&logged, head);
    }
    Ok(())
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
