//! The pure core of Tidemill.
//!
//! Owns everything that can be decided without touching the world: batches, the job's graph, routing,
//! keyed state, the rules of a call, and the lane that makes steps. It must not know threads, files,
//! sockets, clocks, random sources or Wasm: time comes in as an argument, records and effects go through
//! the traits in [`connector`], [`operator`] and [`disk`]. So the whole of it runs under a seeded simulator.

pub mod batch;
pub mod call;
pub mod checkpoint;
pub mod checksum;
pub mod column;
pub mod connector;
pub mod counters;
pub mod describe;
pub mod disk;
pub mod events;
pub mod failure;
pub mod graph;
pub mod ids;
pub mod input_log;
pub mod key_group;
pub mod lane;
pub mod limits;
pub mod operator;
pub mod planted;
pub mod poison;
pub mod quota;
pub mod restart;
pub mod snapshot;
pub mod state;
pub mod transaction;
pub mod wal;
