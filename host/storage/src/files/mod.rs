//! Input files: which there are, and reading them ahead of a lane.
//!
//! Owns listing, opening, decompression and the bounded buffers between an I/O thread and a lane.
//! Must not know lines or records: it moves bytes of a range in order. Invariant: a file that is no
//! longer what it was when it was listed is an error, never a shorter or longer input.

mod list;
mod packed;
mod read_ahead;
mod walk;

pub use list::{FoundFile, list};
pub use packed::Packing;
pub use read_ahead::{Chunk, ReadAhead, ReadPlan};
pub use walk::PATTERN_BYTES_MAX;
