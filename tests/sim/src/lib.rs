//! A seeded simulator of the pure core.
//!
//! The lanes are the product's own; sources, sinks and operators are scripted; time is virtual and one
//! seeded generator decides everything that the world could decide: which lane runs, when a source has
//! records, when a sink has room. A seed reproduces a run step by step.

pub mod plan;
pub mod rng;
pub mod script;
pub mod world;
