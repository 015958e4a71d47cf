//! The built-in generator, version 1: persons, auctions and bids, evenly spread numbers, lines of
//! words.
//!
//! Owns the definition of every event: a pure function of the seed and the event's number, so that
//! the only state of a partition is its position. Knows nothing of lanes; time is part of the
//! events. The bytes are a published contract: a change of any of them is a new version.
//! Invariant: the partitions deal out the events in blocks and give each exactly once.

mod encode;
mod events;
mod generator;
mod pace;
mod position;
mod reader;
mod rng;
mod room;
mod tables;

pub use generator::Generator;
pub(super) use reader::GeneratorReader;
pub(super) use rng::{fold, mix};
