//! Runs jobs: lanes on threads, connectors, configuration, telemetry and the `tidemill` command.
//!
//! The only crate that knows all the others. Owns no protocol: what a lane does is decided in the core,
//! what a sandbox may do in the sandbox, how files become durable in storage.

pub mod cli;
mod compiler;
pub mod config;
pub mod connectors;
pub mod job;
mod machine;
mod priority;
mod spawner;
pub mod telemetry;
pub mod tenants;
