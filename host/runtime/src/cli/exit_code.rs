//! How `tidemill` ends, and which failure ends it how.
//!
//! The numbers are public: scripts branch on them. They follow `sysexits.h` where it has one. This
//! is the only place that maps a failure to a number.

use tidemill_core::connector::ConnectorFault;
use tidemill_core::failure::Failure;

use crate::config::{ConfigError, Problem};
use crate::job::{GrantError, JobError};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All done.
    Done = 0,
    /// The job failed: an operator trapped, hit a limit or gave up.
    JobFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Stopped with a savepoint, as was asked for.
    HandedOver = 3,
    /// The input holds something that cannot be parsed.
    BadData = 65,
    /// An input, job file, component or granted thing does not exist or cannot be read.
    MissingInput = 66,
    /// The host failed; no operator is to blame.
    HostFault = 70,
    /// An output, a directory or a listening address cannot be created.
    CannotCreate = 73,
    /// Reading or writing failed.
    Io = 74,
    /// A stop came to no checkpoint in time, or the host has no room; nothing is lost.
    TryAgain = 75,
    /// A component was refused, or a job that its tenant may not run, or what an operator asks for of the host.
    Refused = 77,
    /// The job file or its graph is wrong.
    BadJob = 78,
    /// Stopped by SIGINT, at a checkpoint.
    Interrupted = 130,
    /// Stopped by SIGTERM, at a checkpoint.
    Terminated = 143,
}

impl ExitCode {
    /// Every way to end, by number.
    pub const ALL: [Self; 14] = [
        Self::Done,
        Self::JobFailed,
        Self::Usage,
        Self::HandedOver,
        Self::BadData,
        Self::MissingInput,
        Self::HostFault,
        Self::CannotCreate,
        Self::Io,
        Self::TryAgain,
        Self::Refused,
        Self::BadJob,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::JobFailed => "the job failed: an operator trapped, hit a limit or gave up",
            Self::Usage => "the command line is wrong",
            Self::HandedOver => "stopped with a savepoint, by `savepoint create --stop`",
            Self::BadData => "the input holds something that cannot be parsed",
            Self::MissingInput => "an input, job file or component is missing or unreadable",
            Self::HostFault => "a fault of the host; no operator is to blame",
            Self::CannotCreate => "an output, directory or listening address cannot be created",
            Self::Io => "reading or writing failed",
            Self::TryAgain => {
                "a stop came to no checkpoint in time, or the host has no room; nothing is lost, run it again"
            }
            Self::Refused => {
                "a component was refused, or the job for its tenant's quotas or grants"
            }
            Self::BadJob => "the job file is wrong, or does not go with the checkpoint",
            Self::Interrupted => "stopped by SIGINT, at a checkpoint",
            Self::Terminated => "stopped by SIGTERM, at a checkpoint",
        }
    }

    /// The list that `--help` ends with.
    pub fn table() -> String {
        let rows =
            Self::ALL.iter().map(|code| format!("  {:>3}  {}\n", code.number(), code.meaning()));
        rows.collect()
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.number().into()
    }
}

impl From<&ConfigError> for ExitCode {
    fn from(error: &ConfigError) -> Self {
        match error.problem() {
            Problem::Unreadable { .. }
            | Problem::UnreadableTenants { .. }
            | Problem::MissingComponent { .. } => Self::MissingInput,
            _ => Self::BadJob,
        }
    }
}

impl From<&JobError> for ExitCode {
    fn from(error: &JobError) -> Self {
        match error {
            JobError::Graph(_) => Self::BadJob,
            JobError::ComponentFile { .. } | JobError::MissingSavepoint { .. } => {
                Self::MissingInput
            }
            JobError::Component { error, .. } if error.is_host_fault() => Self::HostFault,
            JobError::Component { error, .. } if error.is_host_full() => Self::TryAgain,
            JobError::Grant { error, .. } => match **error {
                GrantError::Refused(_) => Self::Refused,
                GrantError::Missing { .. } => Self::MissingInput,
            },
            JobError::Component { .. } | JobError::Tenant(_) => Self::Refused,
            JobError::Connector { error, .. } => match error.fault {
                ConnectorFault::BadData => Self::BadData,
                ConnectorFault::MissingInput => Self::MissingInput,
                ConnectorFault::CannotCreate => Self::CannotCreate,
                ConnectorFault::Io => Self::Io,
                ConnectorFault::HostFull => Self::TryAgain,
            },
            JobError::Operator { failure, .. } => match failure {
                Failure::Fatal(_)
                | Failure::Poison(_)
                | Failure::Lost { .. }
                | Failure::Guest(_) => Self::JobFailed,
                Failure::HostFull(_) => Self::TryAgain,
                Failure::Host(_) => Self::HostFault,
            },
            JobError::Migration { .. } => Self::JobFailed,
            JobError::DataDir { .. } => Self::CannotCreate,
            JobError::Incompatible { .. } => Self::BadJob,
            JobError::Checkpoint(_)
            | JobError::Damaged(_)
            | JobError::NoRollback(_)
            | JobError::TooManyFailedCheckpoints(_) => Self::Io,
            JobError::StopTimeout { .. } | JobError::HostFull(_) => Self::TryAgain,
            JobError::HeldUp { failure, .. } => Self::from(&**failure),
            JobError::Stuck { .. } | JobError::Host(_) => Self::HostFault,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tidemill_core::connector::ConnectorError;
    use tidemill_core::failure::{FaultCode, GuestFault};
    use tidemill_core::graph::{GraphError, GraphProblem};

    use super::*;

    #[test]
    fn numbers_are_as_documented() {
        let numbers: Vec<u8> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 65, 66, 70, 73, 74, 75, 77, 78, 130, 143]);
    }

    #[test]
    fn a_failure_of_the_job_is_told_from_a_fault_of_the_host() {
        let operator = |failure| {
            let error = JobError::Operator { node: "op".into(), lane: 0, failure };
            ExitCode::from(&error).number()
        };
        assert_eq!(operator(Failure::Fatal("no".into())), 1);
        assert_eq!(operator(GuestFault::new(FaultCode::Trap, "unreachable").into()), 1);
        assert_eq!(operator(Failure::Host("no".into())), 70);
        assert_eq!(ExitCode::from(&JobError::Host("no".into())).number(), 70);
    }

    #[test]
    fn a_connectors_fault_decides() {
        let connector = |fault| {
            let error = ConnectorError::new(fault, "no");
            ExitCode::from(&JobError::Connector { node: "in".into(), error }).number()
        };
        assert_eq!(connector(ConnectorFault::BadData), 65);
        assert_eq!(connector(ConnectorFault::MissingInput), 66);
        assert_eq!(connector(ConnectorFault::CannotCreate), 73);
        assert_eq!(connector(ConnectorFault::Io), 74);
        assert_eq!(connector(ConnectorFault::HostFull), 75);
    }

    #[test]
    fn a_wrong_graph_is_a_wrong_job_file() {
        let error = GraphError { node: String::new(), edge: None, problem: GraphProblem::NoSource };
        assert_eq!(ExitCode::from(&JobError::Graph(error)).number(), 78);
        let data_dir = JobError::DataDir {
            path: PathBuf::new(),
            problem: "locked".into(),
            help: "wait".into(),
        };
        assert_eq!(ExitCode::from(&data_dir).number(), 73);
    }
}
