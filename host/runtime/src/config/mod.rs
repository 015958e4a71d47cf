//! Job files: from TOML text to a [`JobPlan`]; tenants' files, read the same way, to a [`TenantsPlan`].
//!
//! Owns the public format of job files, their defaults and bounds, and the words in which a job
//! file is refused. It must not know lanes, sandboxes or how a connector works: it hands over plain
//! settings. Invariants: an unknown name is always refused, with the nearest known one; every error
//! carries the line and column to look at; nothing but the job file itself is read.
//!
//! The way: `load` reads the file and lays `--set` over it (`overrides`), `reader` turns it into
//! the structs of `raw`, `resolve` checks these into `plan`. `text` remembers where everything
//! stood.

mod defaults;
mod error;
mod load;
mod overrides;
mod plan;
mod problem;
mod raw;
mod reader;
mod resolve;
mod scalar;
mod schema;
mod show;
mod tenants;
mod text;

#[cfg(test)]
mod tests;

pub use error::ConfigError;
pub use load::directory_name;
pub use plan::{
    CheckpointPlan, CheckpointingMode, DirectoryGrant, Grants, HeartbeatPlan, JobPlan, Locations,
    OnPoison, OperatorPlan, Part, PoisonPlan, SinkPlan, SourcePlan, TimeoutPlan, WalMode, WalPlan,
};
pub use problem::Problem;
pub use schema::{job_schema, tenants_schema};
pub use show::{Shown, lowered_limits};
pub use tenants::{TenantPlan, TenantsPlan};
pub use text::{JobText, Place, Span};
