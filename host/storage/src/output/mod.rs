//! Output files: written behind a lane, prepared at barriers, published by commits.
//!
//! Owns the compression of output files, the order of writes up to a prepared file, and the directory
//! that they lie in. Must not know what is in them: it takes blocks that hold whole records. Names and
//! commit are those of [`tidemill_core::transaction`].
//!
//! Order, for each file: create under its in-progress name, which must be free; append; end the
//! compression; fdatasync. Then, once for each barrier that has files: fsync the directory; only then the
//! barrier is answered, and a manifest may name the files. So what a manifest names is there, whole, and
//! a commit can always be finished.

mod body;
mod directory;
mod files;
mod lock;
mod names;
#[cfg(test)]
mod tests;
mod writer;

pub use directory::{OutputDirectory, SinkStart, clean_up_in, set_aside_in};
pub use names::OutputNames;
pub use writer::{Output, OutputTask, QUEUED_BYTES_MAX};
