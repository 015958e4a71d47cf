//! One lane's partitions of a file source, read one after the other.
//!
//! Owns the order of partitions and the positions of those that are not being read. Knows nothing of
//! bytes. Invariants: records that were taken before a failure are handed out before it; a position
//! of a partition that is not being read is kept as it is handed out; after a stop nothing is.

use std::sync::Arc;

use tidemill_core::connector::{
    BatchTarget, ConnectorError, PartitionPosition, Position, SourcePoll, SourceReader, Wake,
};
use tidemill_core::ids::Now;
use tidemill_core::quota::Account;

use crate::connectors::file::open::{Open, Step};
use crate::connectors::file::partition::{FilePartition, Rest};
use crate::connectors::records::Records;
use crate::connectors::settings::FileSource;

/// Chunks that are taken or looked through in one poll, if they come to no full batch: a file may be terabytes of empty lines, and
/// between polls the lane does all else.
const STEPS_MAX: usize = 16;

/// One lane's partitions of a file source.
pub(in crate::connectors) struct FileReader {
    settings: FileSource,
    partitions: Vec<FilePartition>,
    /// The partition being read, and its index.
    open: Option<(usize, Open)>,
    /// The one after it, so that its beginning is there when it is wanted.
    next: Option<(usize, Open)>,
    /// Partitions from this one on were not begun yet.
    unbegun: usize,
    /// What is left in the partitions behind the one being read.
    later: Later,
    records: Records,
    /// What the next poll answers.
    failure: Option<ConnectorError>,
    is_stopped: bool,
    waker: Arc<dyn Wake>,
    account: Arc<dyn Account>,
}

/// How much is left in some partitions.
#[derive(Default)]
struct Later {
    bytes: u64,
    /// Partitions of which it is not known.
    unknown: usize,
}

impl FileReader {
    pub(in crate::connectors) fn new(
        settings: FileSource,
        partitions: Vec<FilePartition>,
        waker: Arc<dyn Wake>,
        account: Arc<dyn Account>,
    ) -> Result<Self, ConnectorError> {
        let mut later = Later::default();
        for rest in partitions.iter().filter_map(|partition| partition.rest.as_ref()) {
            later.join(rest.remaining(rest.offset));
        }
        let mut reader = Self {
            records: Records::new(settings.key.is_some(), false),
            settings,
            partitions,
            open: None,
            next: None,
            unbegun: 0,
            later,
            failure: None,
            is_stopped: false,
            waker,
            account,
        };
        reader.go_on()?;
        reader.go_on()?;
        Ok(reader)
    }

    /// Makes the partition that was read ahead the one being read, if there is none, and begins to
    /// read the one after it.
    fn go_on(&mut self) -> Result<(), ConnectorError> {
        if self.open.is_none() {
            self.open = self.next.take();
            if let Some((_, open)) = &self.open {
                self.later.leave(open.remaining());
            }
        }
        while self.next.is_none()
            && let Some(partition) = self.partitions.get(self.unbegun)
        {
            if let Some(rest) = &partition.rest {
                let open =
                    Open::start(Rest::clone(rest), &self.settings, &self.waker, &self.account)?;
                self.next = Some((self.unbegun, open));
            }
            self.unbegun += 1;
        }
        Ok(())
    }

    /// Adds records until the batch is full, nothing more is there, or much was read that holds few.
    fn fill(&mut self) -> Result<(), ConnectorError> {
        let mut steps = 0;
        while !self.records.is_full()
            && steps < STEPS_MAX
            && let Some((index, open)) = &mut self.open
        {
            match open.advance(&mut self.records)? {
                Step::More => steps += 1,
                Step::Pending => break,
                Step::Done => {
                    let partition = &mut self.partitions[*index];
                    // Nothing is read there any more, so nothing need be found again.
                    let (offset, detail) = (open.offset(), Vec::new());
                    partition.at.position = Position { offset, detail, ended: true };
                    partition.rest = None;
                    self.open = None;
                    self.go_on()?;
                }
            }
        }
        Ok(())
    }
}

impl Later {
    /// One partition more, with so much left.
    fn join(&mut self, remaining: Option<u64>) {
        match remaining {
            Some(bytes) => self.bytes += bytes,
            None => self.unknown += 1,
        }
    }

    /// One partition with so much left is not among them any more.
    fn leave(&mut self, remaining: Option<u64>) {
        match remaining {
            Some(bytes) => self.bytes -= bytes,
            None => self.unknown -= 1,
        }
    }
}

impl SourceReader for FileReader {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.records.begin(target);
        if let Err(failure) = self.fill() {
            self.records.cut_unfinished();
            self.failure = Some(failure);
        }
        match (self.records.take(), &self.failure) {
            (Some(batch), _) => Ok(SourcePoll::Batch(batch)),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) if self.open.is_some() => Ok(SourcePoll::Pending),
            (None, None) => Ok(SourcePoll::Ended),
        }
    }

    fn is_ready(&mut self) -> bool {
        let is_ready = |(_, open): &(usize, Open)| open.is_ready();
        !self.is_stopped && (self.failure.is_some() || self.open.as_ref().is_none_or(is_ready))
    }

    fn stop(&mut self) {
        if let Some((index, open)) = self.open.take() {
            if let Some(position) = open.position() {
                self.partitions[index].at.position = position;
            }
            self.later.join(open.remaining());
        }
        // What was read ahead can be read again.
        self.next = None;
        self.is_stopped = true;
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let each = |partition: &FilePartition| partition.at.clone();
        let mut positions: Vec<_> = self.partitions.iter().map(each).collect();
        if let Some((index, open)) = &self.open
            && let Some(position) = open.position()
        {
            positions[*index].position = position;
        }
        positions
    }

    fn remaining(&self) -> Option<u64> {
        let present = match &self.open {
            Some((_, open)) => open.remaining()?,
            None => 0,
        };
        (self.later.unknown == 0).then_some(self.later.bytes + present)
    }
}
