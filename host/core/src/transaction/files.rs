//! The files of one writer, one after the other, up to where a manifest may name them.
//!
//! Owns which file is being written and which wait for the next barrier, and the order of effects. How bytes
//! become a file (compression, digests) comes in as [`FileEffects`]. Order of a barrier: the file ended -> its
//! content durable -> the names in the directory durable -> the answer. Invariants: blocks are written in
//! order; a file ends between two blocks and at every barrier; a file is created only when there is something
//! to write in it; a barrier is answered only when all its files are durable, names included.

use super::names::{FileId, SinkNames};
use crate::connector::PreparedFile;
use crate::ids::CheckpointId;
use crate::planted::{self, Bug};

/// What is done to files in the directory of a sink.
pub trait FileEffects {
    /// A file that is being written.
    type Body;
    /// One whose content is complete, and not durable.
    type Ended;
    /// What can go wrong.
    type Error;

    /// Creates a file, which must not be there.
    ///
    /// # Errors
    /// It is there, or cannot be created.
    fn create(&mut self, name: &str) -> Result<Self::Body, Self::Error>;

    /// Appends a block; answers the bytes in the file so far.
    ///
    /// # Errors
    /// The device fails or is full.
    fn append(&mut self, body: &mut Self::Body, block: &[u8]) -> Result<u64, Self::Error>;

    /// Completes the content; answers its length and BLAKE3 digest.
    ///
    /// # Errors
    /// The device fails or is full.
    fn end(&mut self, body: Self::Body) -> Result<(Self::Ended, u64, [u8; 32]), Self::Error>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// The device fails; what is durable is not known then.
    fn sync(&mut self, ended: Self::Ended) -> Result<(), Self::Error>;

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// As [`FileEffects::sync`].
    fn sync_names(&mut self) -> Result<(), Self::Error>;
}

/// One writer's files.
pub struct OutputFiles<E: FileEffects> {
    effects: E,
    names: SinkNames,
    /// What the published names end with.
    ending: String,
    /// Length after which a new file is begun.
    file_bytes: u64,
    /// The file that is being written, or is begun next.
    current: FileId,
    body: Option<E::Body>,
    /// Durable files since the last barrier.
    done: Vec<PreparedFile>,
}

impl<E: FileEffects> OutputFiles<E> {
    /// Files from `first` on; a new one is begun after `file_bytes`. Published names end with `ending`.
    pub fn new(
        effects: E,
        names: SinkNames,
        ending: String,
        first: FileId,
        file_bytes: u64,
    ) -> Self {
        Self { effects, names, ending, file_bytes, current: first, body: None, done: Vec::new() }
    }

    /// The in-progress name of the file that is being written or begun next.
    pub fn current(&self) -> String {
        self.names.in_progress(self.current)
    }

    /// Appends a block.
    ///
    /// # Errors
    /// Those of the effects.
    pub fn append(&mut self, block: &[u8]) -> Result<(), E::Error> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let body = self.effects.create(&self.names.in_progress(self.current))?;
                self.body.insert(body)
            }
        };
        let bytes = self.effects.append(body, block)?;
        if bytes >= self.file_bytes { self.finish() } else { Ok(()) }
    }

    /// Ends the current file, if there is one: its content is durable, its name not yet.
    fn finish(&mut self) -> Result<(), E::Error> {
        let Some(body) = self.body.take() else { return Ok(()) };
        let (ended, bytes, digest) = self.effects.end(body)?;
        if !planted::is(Bug::NoSyncOfPreparedFile) {
            self.effects.sync(ended)?;
        }
        self.done.push(PreparedFile {
            in_progress: self.names.in_progress(self.current),
            published: self.names.published(self.current, &self.ending),
            bytes,
            digest,
        });
        self.current.number += 1;
        Ok(())
    }

    /// What was appended so far belongs to `checkpoint`; answers the files since the barrier before, in the
    /// order in which they were written. Without files there is nothing to wait for.
    ///
    /// # Errors
    /// Those of the effects.
    pub fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PreparedFile>, E::Error> {
        self.finish()?;
        if !self.done.is_empty() && !planted::is(Bug::NoDirectorySyncOfPreparedFile) {
            self.effects.sync_names()?;
        }
        self.current.checkpoint = CheckpointId(checkpoint.0.saturating_add(1));
        self.current.number = 0;
        Ok(std::mem::take(&mut self.done))
    }
}
