//! What operators are given of the host: checked against the policy, and opened.
//!
//! Owns the one place where a policy is asked. Directories are opened once, when the job is prepared, and held for
//! all its sandboxes and restarts; values of the environment are read then, too.

use tidemill_sandbox::{GrantedDirectory, GrantedFiles, Surroundings};
use toml::{Table, Value};

use super::{JobError, chance};
use crate::config::{Grants, JobPlan, OperatorPlan, Part};
use crate::tenants::{GrantPolicy, GrantRefusal};

/// Why an operator is not given what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The tenant's policy does not allow it.
    #[error(transparent)]
    Refused(#[from] GrantRefusal),
    /// The policy allows it, and it cannot be had.
    #[error("{problem}")]
    Missing {
        /// Which of the operator's grants.
        part: Part,
        /// What is wrong.
        problem: String,
    },
}

impl GrantError {
    /// The stable code, if it was refused.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused(_) => Some("GRANT_REFUSED"),
            Self::Missing { .. } => None,
        }
    }

    /// Which of the operator's grants.
    pub fn part(&self) -> Part {
        match self {
            Self::Refused(refusal) => refusal.part,
            Self::Missing { part, .. } => *part,
        }
    }
}

/// What each operator of the plan is given, in their order.
pub(super) fn surroundings(
    plan: &JobPlan,
    policy: &GrantPolicy,
) -> Result<Vec<Surroundings>, JobError> {
    let surroundings = plan.operators.iter().map(|operator| {
        let refused = |error| JobError::Grant {
            node: operator.name.clone(),
            help: help(plan, &error),
            error: Box::new(error),
        };
        surroundings_of(operator, policy).map_err(refused)
    });
    surroundings.collect()
}

fn surroundings_of(
    operator: &OperatorPlan,
    policy: &GrantPolicy,
) -> Result<Surroundings, GrantError> {
    let allowed = policy.allow(&operator.grants)?;
    let mut environment = operator.config.clone();
    for (index, name) in operator.grants.environment.iter().enumerate() {
        let part = Part::Variable(index);
        let value = std::env::var(name).map_err(|error| {
            let problem = match error {
                std::env::VarError::NotPresent => "is not set",
                std::env::VarError::NotUnicode(_) => "is not UTF-8",
            };
            let problem = format!("the variable {name} {problem} in the host's environment");
            GrantError::Missing { part, problem }
        })?;
        environment.push((name.clone(), value));
    }
    let mut directories = Vec::new();
    for (index, (asked, directory)) in operator.grants.directories.iter().zip(allowed).enumerate() {
        let opened = GrantedDirectory::open(&directory.path, &directory.guest_path);
        directories.push(opened.map_err(|error| {
            let path = asked.path.display();
            let problem = format!("the directory {path} cannot be opened: {error}");
            GrantError::Missing { part: Part::Directory(index), problem }
        })?);
    }
    let key = chance::identity();
    let files = GrantedFiles::new(directories, blake3::derive_key(HASH_KEY, key.as_bytes()));
    Ok(Surroundings { environment, files })
}

/// For the numbers that stand for inodes.
const HASH_KEY: &str = "tidemill 0.1 file identities";

fn help(plan: &JobPlan, error: &GrantError) -> String {
    match error {
        GrantError::Refused(_) => {
            let lines = policy_lines(&plan.tenant, plan.operators.iter().map(|o| &o.grants));
            format!(
                "whoever runs the host allows it in the tenants' file (`--tenants tenants.toml`), after a look at where links in \
                 these paths lead, with what is there of the tenant's grants already; all that this job asks for:\n{lines}"
            )
        }
        GrantError::Missing { part: Part::Variable(_), .. } => {
            "set it where `tidemill` is started, or do not ask for it".to_owned()
        }
        GrantError::Missing { .. } => "its path counts from the job file's directory".to_owned(),
    }
}

/// The lines of a policy that allows all of `grants`.
fn policy_lines<'a>(tenant: &str, grants: impl Iterator<Item = &'a Grants>) -> String {
    let (mut directories, mut environment) = (Vec::new(), Vec::new());
    for asked in grants {
        // As they were asked for: where a path leads, or whether it does, is not for whoever asks.
        let paths = asked.directories.iter().map(|directory| directory.path.display().to_string());
        directories.extend(paths);
        environment.extend(asked.environment.iter().cloned());
    }
    let mut lines = Table::new();
    for (name, mut list) in [("directories", directories), ("environment", environment)] {
        list.sort_unstable();
        list.dedup();
        if !list.is_empty() {
            let list = list.into_iter().map(Value::String).collect();
            lines.insert(name.to_owned(), Value::Array(list));
        }
    }
    format!("[tenants.{tenant}.grants]\n{}", lines.to_string().trim_end())
}
