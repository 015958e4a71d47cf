//! Job files that are accepted and refused, through one harness.

mod accepted;
mod durability;
mod mutated;
mod normalised;
mod overrides;
mod refused;
mod refused_nodes;
mod restart;
mod schema;
mod show;
mod tenants;

use miette::Diagnostic;

use super::{ConfigError, JobPlan};

/// Loads `text` as a job file.
fn load(text: &str, sets: &[&str]) -> Result<JobPlan, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    JobPlan::from_text("job.toml".as_ref(), "/jobs/job.toml".as_ref(), text.to_owned(), &sets)
}

/// `SOURCE:LINE:COLUMN: MESSAGE`, and the help under it.
fn show(error: &ConfigError) -> String {
    let mut shown = String::new();
    if let Some(place) = error.place() {
        shown = format!("{}:{}:{}: ", place.source.name(), place.line, place.column);
    }
    shown += &error.to_string();
    if let Some(help) = error.help() {
        shown += &format!("\nhelp: {help}");
    }
    shown
}

#[track_caller]
fn refused_with(text: &str, sets: &[&str], expected: &str) {
    let error = load(text, sets).err().unwrap_or_else(|| panic!("accepted:\n{text}"));
    assert_eq!(show(&error), expected, "\n{text}");
}
