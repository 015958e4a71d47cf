//! The lane's end of logged partitions.
//!
//! Owns how far each was handed out, and what its position says. Must not know where the input comes from.
//! Invariants: it waits for nothing; small batches are handed out together, a record of the log never in
//! part; a position is that of the next record of the log, and holds what is known of the input as of there;
//! after a stop nothing is handed out: the next run replays it.

use std::sync::Arc;

use crate::batch::{Batch, BatchBuilder};
use crate::connector::{
    BatchTarget, ConnectorError, PartitionPosition, Position, SourcePoll, SourceReader, Wake,
};
use crate::ids::Now;

use super::body::Head;
use super::clients::ClientTable;
use super::inner;
use super::lanes::{LoggedBatch, Taken};
use crate::planted::{self, Bug};

/// Where a lane's batches come from: an [`Intake`](super::Intake) behind whatever guards it.
pub trait Supply: Send {
    /// Who is woken when there is a batch for the lane.
    fn attach(&self, lane: usize, waker: Arc<dyn Wake>);

    /// The next batch for a lane.
    ///
    /// # Errors
    /// The input failed; all before that was handed out.
    fn take(&self, lane: usize) -> Result<Taken, ConnectorError>;

    /// The next batch for a lane, if there is one that is wanted.
    fn take_if(&self, lane: usize, is_wanted: impl FnOnce(&Batch) -> bool) -> Option<LoggedBatch>;

    /// Whether `take` would answer something other than `Pending`.
    fn is_ready(&self, lane: usize) -> bool;

    /// Asks those who receive input to come to an end.
    fn stop(&self);
}

/// What a position says beside the number of the next batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// Clients and their last lines.
    Clients(ClientTable),
    /// Where the source that can be read again goes on.
    Inner(Position),
}

impl Known {
    fn detail(&self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Clients(table) => {
                let mut table = table.clone();
                table.forget();
                table.encode()
            }
            Self::Inner(position) => inner::encode(position),
        }
    }
}

/// A partition that a lane reads.
pub struct LoggedPart {
    /// Its id.
    pub partition: String,
    /// Number of the next batch.
    pub next_seq: u64,
    /// Nothing is left.
    pub is_ended: bool,
    /// What is known as of there.
    pub known: Known,
}

/// The logged partitions of one source that a lane reads.
pub struct LoggedReader<S> {
    intake: S,
    lane: usize,
    lanes: usize,
    /// Every `lanes`th of the source's partitions.
    parts: Vec<LoggedPart>,
    is_stopped: bool,
    builder: BatchBuilder,
}

impl<S: Supply> LoggedReader<S> {
    /// Reads the partitions of a lane.
    pub fn new(
        intake: S,
        lane: usize,
        lanes: usize,
        parts: Vec<LoggedPart>,
        waker: Arc<dyn Wake>,
    ) -> Self {
        intake.attach(lane, waker);
        Self { intake, lane, lanes, parts, is_stopped: false, builder: BatchBuilder::default() }
    }

    /// The next batch, with those after it if they are small.
    fn with_those_after(&mut self, first: LoggedBatch, target: BatchTarget) -> Batch {
        let first = self.hand_out(first);
        let (mut records, mut bytes) = (first.len(), first.bytes());
        let mut fits = |next: &Batch| {
            (records, bytes) = (records + next.len(), bytes + next.bytes());
            records <= target.records && bytes <= target.bytes
        };
        let is_alike = |next: &Batch| next.is_keyed() == first.is_keyed();
        let second = self.intake.take_if(self.lane, |next| is_alike(next) && fits(next));
        let Some(mut next) = second else { return first };
        self.builder.append(&first, 0, first.len());
        loop {
            let batch = self.hand_out(next);
            self.builder.append(&batch, 0, batch.len());
            let builder = &self.builder;
            let wanted = |next: &Batch| builder.accepts(next) && fits(next);
            match self.intake.take_if(self.lane, wanted) {
                Some(more) => next = more,
                None => return self.builder.take(),
            }
        }
    }

    /// Takes note that a batch is handed out.
    fn hand_out(&mut self, batch: LoggedBatch) -> Batch {
        let LoggedBatch { part, seq, body, .. } = batch;
        if let Some(part) = self.parts.get_mut(part / self.lanes) {
            debug_assert_eq!(seq, part.next_seq, "without gap or repeat");
            part.note(seq, body.head);
        }
        body.batch
    }
}

impl<S: Supply> SourceReader for LoggedReader<S> {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        if self.is_stopped {
            return Ok(SourcePoll::Pending);
        }
        Ok(match self.intake.take(self.lane)? {
            Taken::Batch(first) => SourcePoll::Batch(self.with_those_after(first, target)),
            Taken::Pending => SourcePoll::Pending,
            Taken::Ended => {
                self.parts.iter_mut().for_each(|part| part.is_ended = true);
                SourcePoll::Ended
            }
        })
    }

    fn is_ready(&mut self) -> bool {
        !self.is_stopped && self.intake.is_ready(self.lane)
    }

    fn stop(&mut self) {
        self.is_stopped = true;
        self.intake.stop();
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        self.parts.iter().map(LoggedPart::position).collect()
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

impl LoggedPart {
    /// Begins at a position; `None` when it is not one of such a partition.
    pub fn at(position: &PartitionPosition, is_numbered: bool) -> Option<Self> {
        let PartitionPosition { partition, position: Position { offset, detail, ended } } =
            position;
        let known = match inner::decode(detail) {
            Some(position) => Known::Inner(position),
            None if is_numbered => {
                let table = ClientTable::decode(detail)?;
                let is_lost = planted::is(Bug::ClientTableNotRestored);
                Known::Clients(if is_lost { ClientTable::default() } else { table })
            }
            None if detail.is_empty() => Known::Nothing,
            None => return None,
        };
        let (partition, next_seq, is_ended) = (partition.clone(), *offset, *ended);
        Some(Self { partition, next_seq, is_ended, known })
    }

    /// Takes note of a batch.
    pub fn note(&mut self, seq: u64, head: Head) {
        self.next_seq = seq + 1;
        match &mut self.known {
            Known::Nothing => {}
            Known::Clients(table) => table.note(&head),
            Known::Inner(position) => {
                if let Some(inner) = head.inner {
                    self.is_ended = inner.ended;
                    *position = inner;
                }
            }
        }
    }

    /// Where its next batch is.
    pub fn position(&self) -> PartitionPosition {
        let (offset, detail, ended) = (self.next_seq, self.known.detail(), self.is_ended);
        let position = Position { offset, detail, ended };
        PartitionPosition { partition: self.partition.clone(), position }
    }
}
