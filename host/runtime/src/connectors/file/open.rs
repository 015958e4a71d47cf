//! A partition that is being read.
//!
//! Owns the chunk at hand and turning it into records, and the position behind them. Knows nothing
//! of other partitions. Invariants: no record is taken before the bytes in front of the position
//! that reading began at were compared; what a position covers was looked at by its digest.

use std::borrow::Cow;
use std::sync::Arc;

use tidemill_core::connector::{ConnectorError, ConnectorFault, Position, Wake};
use tidemill_core::quota::Account;
use tidemill_storage::files::{Chunk, FoundFile, ReadAhead, ReadPlan};

use crate::connectors::file::detail::{Detail, format_name};
use crate::connectors::file::partition::Rest;
use crate::connectors::file::tail::Tail;
use crate::connectors::formats::Parser;
use crate::connectors::records::Records;
use crate::connectors::settings::{FileSource, Format};

/// A partition that is being read.
pub(super) struct Open {
    rest: Rest,
    format: Format,
    ahead: ReadAhead,
    parser: Parser,
    /// What stands before the chunk at hand.
    tail: Tail,
    chunk: Vec<u8>,
    /// How far the chunk was used.
    at: usize,
    /// Whether the bytes before the offset are those that were read the last time.
    is_checked: bool,
    is_read: bool,
}

pub(super) enum Step {
    More,
    Pending,
    Done,
}

impl Open {
    /// Begins to read what is left of a partition.
    pub(super) fn start(
        rest: Rest,
        settings: &FileSource,
        waker: &Arc<dyn Wake>,
        account: &Arc<dyn Account>,
    ) -> Result<Self, ConnectorError> {
        let format = settings.format;
        let parser =
            Parser::part(format, settings.key.as_deref(), rest.part()).map_err(|what| {
                let what = format!("`{}`: {what}", rest.file.name());
                ConnectorError::new(ConnectorFault::BadData, what)
            })?;
        let from = parser.offset().min(rest.checked_from(rest.offset));
        let plan = ReadPlan { file: FoundFile::clone(&rest.file), start: from, end: rest.end };
        let ahead = ReadAhead::start(plan, Arc::clone(waker), Arc::clone(account))?;
        let is_checked = rest.offset == rest.start;
        let (tail, chunk) = (Tail::new(from), Vec::new());
        let (at, is_read) = (0, false);
        Ok(Self { rest, format, ahead, parser, tail, chunk, at, is_checked, is_read })
    }

    /// Gets on with the partition until the batch is full or there is nothing to read.
    pub(super) fn advance(&mut self, out: &mut Records) -> Result<Step, ConnectorError> {
        if self.at < self.chunk.len() {
            if !self.is_checked {
                self.check()?;
                return Ok(Step::More);
            }
            let parsed = self.parser.parse(&self.chunk[self.at..], out);
            let parsed = parsed.map_err(|bad| self.rest.bad(bad))?;
            self.at += parsed.consumed;
            return Ok(if parsed.is_done { Step::Done } else { Step::More });
        }
        if self.is_read {
            if !self.is_checked {
                return Err(self.rest.changed());
            }
            let finished = self.parser.finish(out).map_err(|bad| self.rest.bad(bad))?;
            return Ok(if finished { Step::Done } else { Step::More });
        }
        self.tail.keep(&self.chunk, self.checked_from());
        self.at = 0;
        match self.ahead.take(std::mem::take(&mut self.chunk))? {
            Chunk::Bytes(chunk) => self.chunk = chunk,
            Chunk::Pending => return Ok(Step::Pending),
            Chunk::End => self.is_read = true,
        }
        Ok(Step::More)
    }

    /// Passes over what stands before the offset, and compares it once all of it is there.
    fn check(&mut self) -> Result<(), ConnectorError> {
        let Rest { offset, digest, .. } = self.rest;
        let end = self.tail.end() + self.chunk.len() as u64;
        if end < offset {
            self.at = self.chunk.len();
            return Ok(());
        }
        if self.tail.digest(&self.chunk, self.checked_from(), offset) != digest {
            return Err(self.rest.changed());
        }
        self.is_checked = true;
        // The last of these bytes is in this chunk, and the parser wants none before it.
        self.at = (self.parser.offset() - self.tail.end()) as usize;
        Ok(())
    }

    /// Where the next record begins that is not in a batch. Before the first line of the range is
    /// found, the parser stands one byte before it.
    pub(super) fn offset(&self) -> u64 {
        self.parser.offset().max(self.rest.offset)
    }

    /// Where the bytes begin by which the file is known again at the present offset.
    fn checked_from(&self) -> u64 {
        self.rest.checked_from(self.offset())
    }

    /// The position behind what is in a batch; `None` if nothing was read yet.
    pub(super) fn position(&self) -> Option<Position> {
        if !self.is_checked {
            return None;
        }
        let (from, offset) = (self.checked_from(), self.offset());
        let detail = Detail {
            format: Cow::Borrowed(format_name(self.format)),
            size_bytes: self.rest.file.bytes,
            digest: self.tail.digest(&self.chunk, from, offset),
            header: self.parser.header().map(Cow::Borrowed),
        };
        Some(Position { offset, detail: detail.encode(), ended: false })
    }

    /// Bytes left, when that is known.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.rest.remaining(self.offset())
    }

    pub(super) fn is_ready(&self) -> bool {
        self.at < self.chunk.len() || self.is_read || self.ahead.is_ready()
    }
}
