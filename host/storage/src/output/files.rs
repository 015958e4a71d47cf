//! What is done to the files of one lane.
//!
//! Owns the effects; their order, and which file is being written, is that of
//! [`OutputFiles`](tidemill_core::transaction::OutputFiles). Runs on an I/O thread and knows nothing of queues.

use std::path::PathBuf;

use tidemill_core::transaction::FileEffects;

use crate::disk::sync_directory;
use crate::error::FileError;
use crate::files::Packing;
use crate::output::body::{Body, Ended};

/// The files of one lane in a directory.
pub(super) struct DirectoryFiles {
    pub(super) directory: PathBuf,
    pub(super) packing: Packing,
}

impl FileEffects for DirectoryFiles {
    type Body = Body;
    type Ended = Ended;
    type Error = FileError;

    fn create(&mut self, name: &str) -> Result<Body, FileError> {
        Body::create(self.directory.join(name), self.packing)
    }

    fn append(&mut self, body: &mut Body, block: &[u8]) -> Result<u64, FileError> {
        body.append(block)?;
        Ok(body.bytes())
    }

    fn end(&mut self, body: Body) -> Result<(Ended, u64, [u8; 32]), FileError> {
        body.end()
    }

    fn sync(&mut self, ended: Ended) -> Result<(), FileError> {
        ended.sync()
    }

    fn sync_names(&mut self) -> Result<(), FileError> {
        sync_directory(&self.directory).map_err(|error| FileError::sync(&self.directory, error))
    }
}
