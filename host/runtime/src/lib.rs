
pub mod cli;
pub mod config;
pub mod connectors;
pub mod job;
pub mod telemetry;
