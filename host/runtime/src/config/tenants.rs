//! Tenants' files: from TOML text to a [`TenantsPlan`].
//!
//! As for job files, unknown names are refused and every error carries its place. What a tenant leaves out has the
//! default that is written here; a host without a tenants' file has one tenant without quotas.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill_core::limits::{AdmissionLimits, Limits, MIB};
use tidemill_storage::read_text;
use toml::de::DeTable;

use super::error::ConfigError;
use super::load::{FILE_BYTES_MAX, Origin};
use super::problem::{Problem, Rejection};
use super::raw::RawTenants;
use super::reader::Reader;
use super::resolve;
use super::text::JobText;
use crate::tenants::GrantPolicy;

/// Sandboxes that a host has room for.
pub(super) const HOST_SANDBOXES: u64 = 2048;
/// Bounds of the same.
pub(super) const HOST_SANDBOXES_BOUNDS: std::ops::RangeInclusive<u64> = 1..=100_000;

/// Cores that a quota may speak of: from a thousandth to more than any machine has.
pub(super) const CPU_BOUNDS: std::ops::RangeInclusive<f64> = 0.001..=4096.0;
pub(super) const CPU_SHARE_BOUNDS: std::ops::RangeInclusive<u64> = 1..=1000;
/// Least that compiling a component may be left.
pub(super) const COMPILE_CPU_MIN_US: u64 = 1_000_000;
pub(super) const COMPILE_MEMORY_MIN: u64 = 16 * MIB as u64;

/// Who may run jobs on this host, and how much each may use.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantsPlan {
    /// Sandboxes that may exist at once, of all tenants.
    pub sandboxes: u32,
    /// The tenants, in the order of the file.
    pub tenants: Vec<TenantPlan>,
    /// The file, absolute; `None` for a host without one.
    pub file: Option<PathBuf>,
}

/// The quotas of one tenant, over all its jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantPlan {
    /// Its name.
    pub name: String,
    /// Absolute directory in which all its job files lie, and nobody else's.
    pub jobs_dir: Option<PathBuf>,
    /// Sandboxes: one for each operator and lane, or for each lane; more for components with several memories or many tables.
    pub sandboxes: u64,
    /// Different component files.
    pub components: u64,
    /// Bytes of linear memory of its sandboxes.
    pub memory_bytes: u64,
    /// Bytes of keyed state.
    pub state_bytes: u64,
    /// Bytes that may wait between the tasks of its jobs.
    pub buffer_bytes: u64,
    /// Granted files and directories that its sandboxes have open, and connections to its sources.
    pub open_files: u64,
    /// Sources and sinks of its jobs, on each lane.
    pub connectors: u64,
    /// Partitions of the sources of its jobs.
    pub partitions: u64,
    /// Bytes that the input logs of its jobs may come to.
    pub input_log_bytes: u64,
    /// Bytes of snapshot files of its checkpoints.
    pub checkpoint_bytes: u64,
    /// Microseconds of CPU time in a second of wall time; `None` for as much as there is.
    pub cpu_us_per_second: Option<u64>,
    /// Weight among tenants when cores are short.
    pub cpu_share: u64,
    /// Bytes of output in a second; `None` for no limit.
    pub output_bytes_per_second: Option<u64>,
    /// Log lines in a second; `None` for no limit.
    pub log_lines_per_second: Option<u64>,
    /// Limits of each of its sandboxes, which its jobs may lower.
    pub limits: Limits,
    /// What its components may be made of, and what compiling one may cost.
    pub admission: AdmissionLimits,
    /// What of the host its operators may see.
    pub grants: GrantPolicy,
}

impl TenantPlan {
    /// A tenant that a tenants' file says nothing more of than its name.
    pub(super) fn with_defaults(name: &str) -> Self {
        const GIB: u64 = 1024 * MIB as u64;
        Self {
            name: name.to_owned(),
            jobs_dir: None,
            sandboxes: 256,
            components: 64,
            memory_bytes: 8 * GIB,
            state_bytes: 8 * GIB,
            buffer_bytes: 16 * GIB,
            open_files: 512,
            connectors: 256,
            partitions: 10_000,
            input_log_bytes: 16 * GIB,
            checkpoint_bytes: 64 * GIB,
            cpu_us_per_second: None,
            cpu_share: 1,
            output_bytes_per_second: None,
            log_lines_per_second: Some(200),
            limits: Limits::default(),
            admission: AdmissionLimits::default(),
            grants: GrantPolicy::none(),
        }
    }

    /// A tenant of a host without a tenants' file: its owner runs its own jobs.
    pub fn without_quotas(name: &str) -> Self {
        Self {
            sandboxes: u64::MAX,
            components: u64::MAX,
            memory_bytes: u64::MAX,
            state_bytes: u64::MAX,
            buffer_bytes: u64::MAX,
            open_files: u64::MAX,
            connectors: u64::MAX,
            partitions: u64::MAX,
            input_log_bytes: u64::MAX,
            checkpoint_bytes: u64::MAX,
            log_lines_per_second: None,
            ..Self::with_defaults(name)
        }
    }
}

impl Default for TenantsPlan {
    /// A host without a tenants' file: whatever a job's tenant is named, it has no quotas.
    fn default() -> Self {
        Self { sandboxes: HOST_SANDBOXES as u32, tenants: Vec::new(), file: None }
    }
}

impl TenantsPlan {
    /// Reads and checks the tenants' file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or the first thing in it that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error| ConfigError::unreadable_tenants(path, &error);
        let file = std::path::absolute(path).map_err(unreadable)?;
        let content = read_text(&file, FILE_BYTES_MAX).map_err(unreadable)?;
        Self::from_text(path, &file, content)
    }

    /// Checks the text of a tenants' file: `shown` names it in messages, relative paths count from `file`.
    ///
    /// # Errors
    /// The first thing in it that is wrong.
    pub fn from_text(shown: &Path, file: &Path, content: String) -> Result<Self, ConfigError> {
        let text = JobText::new(shown.display().to_string(), content, &[]);
        let directory = file.parent().unwrap_or(file).to_owned();
        let origin = Origin { file: file.to_owned(), directory };
        let plan = parse(&text).and_then(|raw| resolve::tenants(raw, &origin));
        plan.map_err(|rejection| ConfigError::new(rejection, &text))
    }
}

fn parse(text: &JobText) -> Result<RawTenants, Rejection> {
    let document = DeTable::parse(text.file()).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        Rejection::at(Problem::syntax(error.message(), text.file(), &span), &span, &[])
    })?;
    RawTenants::deserialize(Reader::document(document))
}
