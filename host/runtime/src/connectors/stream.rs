//! Reads records from a stream of bytes that others receive: standard input, TCP clients.
//!
//! Owns the lane's end of a stream. Invariants: it waits for nothing; after `stop` whole records
//! that were received are still handed out, and the beginning of one is not.

use std::sync::Arc;

use tidemill_core::connector::{
    BatchTarget, ConnectorError, ConnectorFault, PartitionPosition, Position, SourcePoll,
    SourceReader,
};
use tidemill_core::ids::Now;

use crate::connectors::formats::{BadRecord, Parser};
use crate::connectors::inlet::{Inlet, Taken};
use crate::connectors::records::Records;
use crate::connectors::settings::StreamFormat;

/// Tells the receivers of a stream to come to an end. Must not wait.
pub(super) trait Stop: Send {
    fn stop(&mut self);
}

/// The one partition of a stream.
pub(super) struct StreamReader<S: Stop> {
    partition: &'static str,
    /// How the stream is called in messages.
    name: String,
    inlet: Arc<Inlet>,
    receivers: S,
    parser: Parser,
    records: Records,
    chunk: Vec<u8>,
    at: usize,
    is_stopped: bool,
    is_ended: bool,
}

impl<S: Stop> StreamReader<S> {
    pub(super) fn new(
        partition: &'static str,
        name: String,
        format: &StreamFormat,
        inlet: Arc<Inlet>,
        receivers: S,
    ) -> Self {
        let StreamFormat { format, key } = format;
        Self {
            partition,
            name,
            inlet,
            receivers,
            parser: Parser::whole(*format, key.as_deref()),
            records: Records::new(key.is_some(), false),
            chunk: Vec::new(),
            at: 0,
            is_stopped: false,
            is_ended: false,
        }
    }

    /// Gets on until the batch is full; answers whether there is more to do at once.
    fn advance(&mut self) -> Result<bool, ConnectorError> {
        if self.at < self.chunk.len() {
            let parsed = self.parser.parse(&self.chunk[self.at..], &mut self.records);
            self.at += parsed.map_err(|bad| self.bad(bad))?.consumed;
            return Ok(true);
        }
        self.at = 0;
        match self.inlet.take(&mut self.chunk)? {
            Taken::Bytes => Ok(true),
            Taken::Pending => Ok(false),
            Taken::Ended if self.is_stopped => {
                self.is_ended = true;
                Ok(false)
            }
            Taken::Ended => {
                let finished = self.parser.finish(&mut self.records);
                self.is_ended = finished.map_err(|bad| self.bad(bad))?;
                Ok(!self.is_ended)
            }
        }
    }

    fn bad(&self, bad: BadRecord) -> ConnectorError {
        ConnectorError::new(
            ConnectorFault::BadData,
            format!(
                "{}, record {} at byte {}: {}",
                self.name,
                bad.record + 1,
                bad.offset,
                bad.what
            ),
        )
    }
}

impl<S: Stop> SourceReader for StreamReader<S> {
    fn poll(&mut self, target: BatchTarget, _now: Now) -> Result<SourcePoll, ConnectorError> {
        self.records.begin(target);
        while !self.records.is_full() && !self.is_ended && self.advance()? {}
        Ok(match self.records.take() {
            Some(batch) => SourcePoll::Batch(batch),
            None if self.is_ended => SourcePoll::Ended,
            None => SourcePoll::Pending,
        })
    }

    fn is_ready(&mut self) -> bool {
        self.is_ended || self.at < self.chunk.len() || self.inlet.is_ready()
    }

    fn stop(&mut self) {
        self.is_stopped = true;
        self.receivers.stop();
    }

    fn positions(&self) -> Vec<PartitionPosition> {
        let position = Position {
            offset: self.parser.records(),
            detail: Vec::new(),
            // A stop is not the end of the input.
            ended: self.is_ended && !self.is_stopped,
        };
        vec![PartitionPosition { partition: self.partition.to_owned(), position }]
    }

    fn remaining(&self) -> Option<u64> {
        None
    }
}

impl<S: Stop> Drop for StreamReader<S> {
    fn drop(&mut self) {
        self.receivers.stop();
    }
}
