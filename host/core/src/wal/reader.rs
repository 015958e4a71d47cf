//! Replay.
//!
//! Owns which records are handed out. Reads what was durable when it was made and nothing written since.
//! Invariants: in the order of their LSNs; memory is bounded by one record and one chunk; damage found on the
//! way is an error, never an end.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::WalError;
use super::record::{Kind, read_input};
use super::seqs::Seqs;
use super::walk::{Found, Walk};
use crate::disk::Disk;

/// What lay durably in the log at one time. It can be read as long as no trim goes beyond where reading
/// begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogView {
    pub(super) directory: String,
    /// Number and last LSN of each segment, oldest first.
    pub(super) segments: VecDeque<(u64, u64)>,
}

/// A logged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged<'a> {
    /// Its place in the log.
    pub lsn: u64,
    /// Name of the source.
    pub source: &'a str,
    /// Id of the partition.
    pub partition: &'a str,
    /// Number of the batch in its partition.
    pub seq: u64,
    /// What was logged.
    pub body: &'a [u8],
}

/// Reads a log in order.
pub struct WalReader {
    disk: Arc<dyn Disk>,
    view: LogView,
    from_lsn: u64,
    first_seqs: Seqs,
    open: Option<(Walk, u64)>,
}

impl WalReader {
    /// Will read input from `from_lsn` on, and of the partitions in `first_seqs` only from that batch on.
    pub fn new(disk: Arc<dyn Disk>, mut view: LogView, from_lsn: u64, first_seqs: Seqs) -> Self {
        view.segments.retain(|(_, last_lsn)| *last_lsn >= from_lsn);
        Self { disk, view, from_lsn, first_seqs, open: None }
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// The disk fails, or what was whole at the start is not any more.
    pub fn next_batch(&mut self) -> Result<Option<Logged<'_>>, WalError> {
        let Some(found) = self.find()? else { return Ok(None) };
        let Some((walk, _)) = &mut self.open else { return Ok(None) };
        Ok(read_input(walk.payload(&found)?).map(|input| Logged {
            lsn: found.header.lsn,
            source: input.source,
            partition: input.partition,
            seq: input.seq,
            body: input.body,
        }))
    }

    /// Goes to the next record that is wanted, in the open segment.
    fn find(&mut self) -> Result<Option<Found>, WalError> {
        loop {
            let Some((walk, last_lsn)) = &mut self.open else {
                let Some((segment, last_lsn)) = self.view.segments.pop_front() else {
                    return Ok(None);
                };
                let walk = Walk::open(&*self.disk, &self.view.directory, segment)?;
                self.open = Some((walk, last_lsn));
                continue;
            };
            if walk.tail.lsn >= *last_lsn {
                self.open = None;
                continue;
            }
            let found = match walk.next()? {
                Ok(found) => found,
                Err(stop) => return Err(walk.corrupt(stop.describe())),
            };
            if found.kind != Kind::Input || found.header.lsn < self.from_lsn {
                continue;
            }
            let Some(input) = read_input(walk.payload(&found)?) else {
                return Err(walk.corrupt("the record before this byte holds no input"));
            };
            let first = self.first_seqs.get(input.source, input.partition);
            if first.is_none_or(|first| input.seq >= first) {
                return Ok(Some(found));
            }
        }
    }
}
