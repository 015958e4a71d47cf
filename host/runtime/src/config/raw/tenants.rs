//! The shape of a tenants' file: who may run jobs here, and how much each may use.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Nodes, RawLimits};
use crate::config::scalar::{At, Ratio, Size, Time, Whole};

/// Tenants of a Tidemill host: who may run jobs on it, and how much each may use over all its jobs.
///
/// Durations carry units ("30s"), a bare number is milliseconds. Sizes carry units ("64MiB"), a bare number is
/// bytes. Paths count from this file's directory.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Tidemill tenants' file")]
pub(in crate::config) struct RawTenants {
    /// What the host as a whole has.
    #[serde(default)]
    pub(in crate::config) host: RawHost,
    /// The tenants by name.
    #[serde(default)]
    pub(in crate::config) tenants: Nodes<RawTenant>,
}

/// What the host as a whole has.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Host")]
pub(in crate::config) struct RawHost {
    /// Sandboxes that may exist at once.
    pub(in crate::config) sandboxes: Option<At<Whole>>,
}

/// The quotas of one tenant, over all its jobs.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Tenant")]
pub(in crate::config) struct RawTenant {
    /// Directory in which all its job files lie, and nobody else's.
    pub(in crate::config) jobs_dir: Option<At<String>>,
    /// Sandboxes: one for each operator and lane.
    pub(in crate::config) sandboxes: Option<At<Whole>>,
    /// Different component files.
    pub(in crate::config) components: Option<At<Whole>>,
    /// CPU time that compiling one of them may take.
    pub(in crate::config) compile_cpu: Option<At<Time>>,
    /// Memory that compiling one of them may take.
    pub(in crate::config) compile_memory: Option<At<Size>>,
    /// Linear memory of all its sandboxes.
    pub(in crate::config) memory: Option<At<Size>>,
    /// Keyed state.
    pub(in crate::config) state: Option<At<Size>>,
    /// What may wait between the tasks of its jobs.
    pub(in crate::config) buffers: Option<At<Size>>,
    /// Granted files and directories that its operators have open at once, and connections to its sources.
    pub(in crate::config) open_files: Option<At<Whole>>,
    /// Sources and sinks: one for each of them and each lane.
    pub(in crate::config) connectors: Option<At<Whole>>,
    /// Partitions of its sources: files and parts of files, mostly.
    pub(in crate::config) partitions: Option<At<Whole>>,
    /// What the input logs of its jobs may come to.
    pub(in crate::config) input_log: Option<At<Size>>,
    /// Snapshot files of its checkpoints.
    pub(in crate::config) checkpoints: Option<At<Size>>,
    /// Cores' worth of CPU time.
    pub(in crate::config) cpu: Option<At<Ratio>>,
    /// Weight among tenants when cores are short.
    pub(in crate::config) cpu_share: Option<At<Whole>>,
    /// Bytes of output in a second.
    pub(in crate::config) output_rate: Option<At<Size>>,
    /// Log lines in a second.
    pub(in crate::config) log_lines_per_second: Option<At<Whole>>,
    /// Limits of each of its sandboxes.
    pub(in crate::config) limits: Option<RawLimits>,
    /// What of the host its jobs may grant to their operators.
    pub(in crate::config) grants: Option<RawGrantPolicy>,
}

/// What of the host the operators of a tenant may see.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "GrantPolicy")]
pub(in crate::config) struct RawGrantPolicy {
    /// Directories that they may read, with all that is below them.
    pub(in crate::config) directories: Option<Vec<At<String>>>,
    /// Names of variables of the host's environment.
    pub(in crate::config) environment: Option<Vec<At<String>>>,
}
