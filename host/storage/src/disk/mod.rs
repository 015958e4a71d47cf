//! The disk that durable state rests on: a directory of the real file system.
//!
//! Owns how the promises of [`Disk`](tidemill_core::disk::Disk) are kept by Linux, and what an error of
//! the system means to a protocol. Must not know what is in a file. Invariants: no name leads outside the
//! directory (cap-std); nothing is reported as durable that was not synced; what was synced in vain is
//! never reported as a full disk, which would invite another try.

mod directory;
mod file;
mod real;

pub(crate) use directory::{create_all, sync_directory};
pub use real::RealDisk;
