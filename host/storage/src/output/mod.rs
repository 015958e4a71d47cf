//! Output files: written behind a lane, published whole.
//!
//! Owns the names of output files, their compression, and the order of writes. Must not know what
//! is in them: it takes blocks that hold whole records.
//!
//! Order, for each file: create under its in-progress name, which must be free; append; end the
//! compression; fdatasync. Then, once for the whole job and only when every lane has come this far:
//! link all to their final names, which must be free; unlink the in-progress names; fsync the
//! directory. So a final name always stands for a complete and durable file, and a job that fails
//! leaves none.

mod body;
mod directory;
mod names;
mod writer;

pub use directory::OutputDirectory;
pub use names::OutputNames;
pub use writer::{Output, QUEUED_BYTES_MAX};
