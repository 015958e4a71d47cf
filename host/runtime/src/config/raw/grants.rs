//! What an operator asks for of the host.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::scalar::At;

/// What of the host an operator sees, where the tenant's policy allows it.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Grants")]
pub(in crate::config) struct RawGrants {
    /// Directories that it may read.
    pub(in crate::config) directories: Option<At<Vec<RawDirectory>>>,
    /// Names of variables of the host's environment that it sees.
    pub(in crate::config) environment: Option<At<Vec<At<String>>>>,
}

/// A directory that an operator may read, with all that is below it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Directory")]
pub(in crate::config) struct RawDirectory {
    /// The directory.
    pub(in crate::config) path: At<String>,
    /// The absolute path at which the operator sees it; "/" and its name by default.
    #[serde(rename = "as")]
    pub(in crate::config) guest_path: Option<At<String>>,
}
