//! Turns a lane's batches into lines.
//!
//! Formatting is done on the lane, into a block that is used again: lanes are as many as the job
//! asked for while I/O threads are few and shared, and a record that cannot be written fails the
//! very batch that holds it. Owns the wording of that failure.

use std::sync::Arc;

use tidemill_core::batch::Batch;
use tidemill_core::connector::{ConnectorError, ConnectorFault};

use crate::connectors::fields::LineFormat;
use crate::connectors::sink::counts::Counts;

/// Bytes of a key or value that a message shows.
const SHOWN_BYTES: usize = 60;

/// One lane's formatter.
pub(super) struct Lines {
    lane: usize,
    format: LineFormat,
    counts: Arc<Counts>,
}

impl Lines {
    pub(super) fn new(lane: usize, format: LineFormat, counts: Arc<Counts>) -> Self {
        Self { lane, format, counts }
    }

    /// What goes with a barrier that stands behind everything appended so far.
    pub(super) fn state(&self) -> Result<Vec<u8>, ConnectorError> {
        self.counts.state()
    }

    /// Appends the records of a batch to a block.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        block: &mut Vec<u8>,
    ) -> Result<(), ConnectorError> {
        let before = block.len();
        block.reserve(batch.values.data.len() + batch.len() * 4);
        for (index, value) in batch.values.iter().enumerate() {
            let key = batch.key(index);
            self.format
                .write(key, value, block)
                .map_err(|what| bad_record(self.lane, &what, key, value))?;
        }
        self.counts.add(batch.len(), block.len() - before, 0);
        Ok(())
    }
}

/// The failure of a sink to make sense of a record.
#[cold]
pub(super) fn bad_record(
    lane: usize,
    what: &str,
    key: Option<&[u8]>,
    value: &[u8],
) -> ConnectorError {
    let key = key.map_or_else(|| "no key".to_owned(), |key| format!("key {}", show(key)));
    let message = format!(
        "lane {lane} cannot take a record: {what} ({key}, value {}); make the sink's types fit \
         what the operator before it emits",
        show(value)
    );
    ConnectorError::new(ConnectorFault::BadData, message)
}

fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    let more = if shown.len() < bytes.len() { ".." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}
