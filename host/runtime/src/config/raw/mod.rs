//! The shape of a job file: what may be written where, before anything is checked.
//!
//! Owns the public names. The JSON schema is made from these types, so their comments are written
//! for users. Knows no bounds and no defaults: those are in `defaults.rs`.

mod connectors;
mod durability;
mod edges;
mod grants;
mod job;
mod restart;
mod tenants;

pub(super) use connectors::*;
pub(super) use durability::*;
pub(super) use edges::*;
pub(super) use grants::*;
pub(super) use job::*;
pub(super) use restart::*;
pub(super) use tenants::*;
