//! Hands out again what lies in the log and no checkpoint covers.
//!
//! Owns the thread that reads the log. Must not know who takes the batches. Invariants: memory is bounded, as
//! intakes bound it; a record that cannot be understood is an error, never passed over.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use tidemill_core::connector::ConnectorError;
use tidemill_core::input_log::next_replayed;
use tidemill_core::quota::Account;
use tidemill_core::wal::WalReader;

use crate::connectors::logged::intake::Intake;
use crate::spawner;

/// A source whose batches are replayed.
pub(crate) struct Replayed {
    /// Its name.
    pub(crate) name: String,
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

/// Starts to replay what `reader` finds, each batch to the intake of its source; the thread works for `account`.
///
/// # Errors
/// The thread cannot be started.
pub(crate) fn start(
    mut reader: WalReader,
    sources: Vec<Replayed>,
    counts: Arc<ReplayCounts>,
    account: &Arc<dyn Account>,
) -> io::Result<JoinHandle<()>> {
    let account = account.clone();
    let body = move || {
        let _employed = account.employ_thread();
        let outcome = match replay(&mut reader, &sources, &counts) {
            Ok(true) => Ok(()),
            // The incarnation has ended.
            Ok(false) => return,
            Err(failure) => Err(failure),
        };
        for source in &sources {
            source.intake.end_replay(source.run, outcome.clone());
        }
    };
    spawner::builder("tidemill-replay")?.spawn(body)
}

/// Answers whether all was replayed.
fn replay(
    reader: &mut WalReader,
    sources: &[Replayed],
    counts: &ReplayCounts,
) -> Result<bool, ConnectorError> {
    let places = sources.iter().enumerate().map(|(at, source)| (source.name.as_str(), at));
    let places: BTreeMap<&str, usize> = places.collect();
    let part_of = |source: &str, partition: &str| {
        let source = *places.get(source)?;
        Some((source, *sources[source].parts.get(partition)?))
    };
    while let Some((source, batch)) = next_replayed(reader, part_of)? {
        counts.batches.fetch_add(1, Relaxed);
        counts.records.fetch_add(batch.body.batch.len() as u64, Relaxed);
        let Some(Replayed { intake, run, .. }) = sources.get(source) else { continue };
        if !intake.replay(*run, batch) {
            return Ok(false);
        }
    }
    Ok(true)
}
