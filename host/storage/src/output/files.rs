//! The files of one lane, one after the other.
//!
//! Owns which file is being written and which wait for the next barrier. Runs on an I/O thread and knows
//! nothing of queues. Invariants: blocks are written in order; a file ends between two blocks and at
//! every barrier; a file is created only when there is something to write in it; a barrier is answered
//! only when all its files are durable, names included.

use std::path::PathBuf;

use tidemill_core::connector::PreparedFile;
use tidemill_core::ids::CheckpointId;
use tidemill_core::transaction::FileId;

use crate::disk::sync_directory;
use crate::error::FileError;
use crate::output::OutputNames;
use crate::output::body::Body;

/// One lane's files.
pub(super) struct Files {
    pub(super) directory: PathBuf,
    pub(super) names: OutputNames,
    /// Length after which a new file is begun.
    pub(super) file_bytes: u64,
    /// The file that is being written, or is begun next.
    pub(super) current: FileId,
    pub(super) body: Option<Body>,
    /// Durable files since the last barrier.
    pub(super) done: Vec<PreparedFile>,
}

impl Files {
    /// Where the current file lies.
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(self.names.in_progress(self.current))
    }

    pub(super) fn append(&mut self, block: &[u8]) -> Result<(), FileError> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = Body::create(self.path(), self.names.packing())?;
                self.body.insert(body)
            }
        };
        body.append(block)?;
        if body.bytes() >= self.file_bytes {
            self.finish()?;
        }
        Ok(())
    }

    /// Ends the current file, if there is one: its content is durable, its name not yet.
    fn finish(&mut self) -> Result<(), FileError> {
        let Some(body) = self.body.take() else { return Ok(()) };
        let (bytes, digest) = body.finish()?;
        self.done.push(PreparedFile {
            in_progress: self.names.in_progress(self.current),
            published: self.names.published(self.current),
            bytes,
            digest,
        });
        self.current.number += 1;
        Ok(())
    }

    /// What was appended so far belongs to `checkpoint`; answers the files since the barrier before, in
    /// the order in which they were written. Order: contents durable, then names, then the answer.
    /// Without files there is nothing to wait for.
    pub(super) fn prepare(
        &mut self,
        checkpoint: CheckpointId,
    ) -> Result<Vec<PreparedFile>, FileError> {
        self.finish()?;
        if !self.done.is_empty() {
            sync_directory(&self.directory)
                .map_err(|error| FileError::sync(&self.directory, error))?;
        }
        self.current.checkpoint = CheckpointId(checkpoint.0.saturating_add(1));
        self.current.number = 0;
        Ok(std::mem::take(&mut self.done))
    }
}
