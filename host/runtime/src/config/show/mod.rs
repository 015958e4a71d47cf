//! Settings back in the words of a job file, with every default filled in.
//!
//! For `tidemill explain` and for the manifests of checkpoints. Invariant: what is shown here, written into a
//! job file, gives the same settings again.

mod connectors;
mod job;

use std::path::Path;

use tidemill_core::limits::Limits;
use toml::Value;

use super::scalar::{format_duration_us, format_size};

/// A setting's name and value.
type Setting = (&'static str, Value);

/// A connector and its settings, by the names of the job file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The word for the connector.
    pub connector: &'static str,
    /// Names and values.
    pub settings: Vec<(&'static str, String)>,
}

impl Shown {
    fn new((connector, settings): (&'static str, Vec<Setting>)) -> Self {
        Self { connector, settings: in_words(settings) }
    }
}

/// The limits of `limits` that differ from the host's, by the names of the job file.
pub fn lowered_limits(limits: &Limits) -> Vec<(&'static str, String)> {
    let host = all_limits(&Limits::default());
    let differing = all_limits(limits).into_iter().zip(host).filter(|(own, host)| own != host);
    in_words(differing.map(|(own, _)| own).collect())
}

fn all_limits(limits: &Limits) -> Vec<Setting> {
    vec![
        ("component-size", size(limits.component_bytes)),
        ("memory", size(limits.memory_bytes)),
        ("table-elements", whole(limits.table_elements)),
        ("key", size(limits.key_bytes as u64)),
        ("value", size(limits.value_bytes as u64)),
        ("emit-bytes", size(limits.emit_bytes as u64)),
        ("emit-records", whole(limits.emit_records as u64)),
        ("overlay", size(limits.overlay_bytes as u64)),
        ("host-call", size(limits.host_call_bytes as u64)),
        ("state", size(limits.state_bytes)),
        ("log-lines-per-second", whole(limits.log_lines_per_second.into())),
        ("log-line", size(limits.log_line_bytes as u64)),
        ("process-cpu", duration_us(limits.process_cpu_us)),
        ("process-cpu-per-record", duration_us(limits.process_cpu_us_per_record)),
        ("process-cpu-max", duration_us(limits.process_cpu_us_max)),
        ("hook-cpu", duration_us(limits.hook_cpu_us)),
    ]
}

fn in_words(settings: Vec<Setting>) -> Vec<(&'static str, String)> {
    settings.into_iter().map(|(name, value)| (name, value_in_words(value))).collect()
}

/// A text as it is, and anything else as TOML.
fn value_in_words(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// A path that is not UTF-8 is shown as well as it can be.
fn path(path: &Path) -> Value {
    text(path.display().to_string())
}

fn size(bytes: u64) -> Value {
    text(format_size(bytes))
}

fn duration_us(microseconds: u64) -> Value {
    text(format_duration_us(microseconds))
}

fn duration_ms(milliseconds: u64) -> Value {
    duration_us(milliseconds.saturating_mul(1_000))
}

/// TOML's numbers are signed; a job file cannot hold a larger one either.
fn whole(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
