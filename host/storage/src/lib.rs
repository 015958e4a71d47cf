//! The only part of Tidemill that opens files.
//!
//! Owns the I/O threads, reading files ahead of lanes, writing files behind them, and the order of
//! writes that makes output appear whole. It must not know what is inside a file (records, keys,
//! formats), nor wasmtime, tokio or job files. Invariants: nothing here makes a lane wait on a device;
//! every buffer between a lane and a device has a bound; a file that a reader may open under its final
//! name is complete and durable.

pub mod artefact_dir;
pub mod data_dir;
pub mod disk;
mod error;
pub mod event_log;
pub mod files;
pub mod output;
mod pool;
pub mod wal;
mod whole;

pub use disk::RealDisk;
pub use error::FileError;
pub use pool::{recall as recall_io, start as start_io_threads};
pub use whole::{open_regular, read_text, read_text_of, read_whole};
