//! Whatever ends a command early, as a diagnostic with an exit code.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use miette::{Diagnostic, LabeledSpan, SourceCode};
use tidemill_core::connector::ConnectorFault;
use tidemill_core::failure::Failure as CallFailure;
use tidemill_core::poison::{PoisonError, ShownRecord};
use tidemill_sandbox::AdmissionError;

use super::exit_code::ExitCode;
use super::failure_help::{HOST_FAULT_HELP, job_help, tenant_help};
use crate::config::{ConfigError, Locations, Part, Place};
use crate::connectors::BROKEN_PIPE;
use crate::job::JobError;
use crate::tenants::TenantRefusal;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The job file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The job could not be prepared, or failed.
    #[error("{error}")]
    Job {
        /// What happened.
        error: Box<JobError>,
        /// The line of the job file that names the node to blame.
        place: Option<Box<Place>>,
    },
    /// A file given on the command line cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// `inspect` found a component that would be refused.
    #[error("{} is refused: {error}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The rule it breaks.
        error: AdmissionError,
    },
    /// `inspect` found a component that a tenant could not run.
    #[error("{} is refused for tenant {tenant:?}: {error}", path.display())]
    RefusedFor {
        /// The file.
        path: PathBuf,
        /// The first such tenant.
        tenant: String,
        /// Why.
        error: RefusedFor,
    },
    /// A file or directory cannot be made.
    #[error("cannot create {}: {problem}", path.display())]
    CannotCreate {
        /// The file or directory.
        path: PathBuf,
        /// What stands in the way.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// The address for metrics cannot be listened on.
    #[error("cannot serve metrics on {address}: {error}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// Jobs that cannot run in one process.
    #[error("{problem}")]
    Together {
        /// What they would both do.
        problem: String,
        /// What to do.
        help: &'static str,
    },
    /// There is no such checkpoint.
    #[error("there is no checkpoint{}; there are: {there}", number(*.wanted))]
    NoCheckpoint {
        /// The number asked for; `None` for the newest.
        wanted: Option<u64>,
        /// Those that are there.
        there: String,
    },
    /// The checkpoint holds no such operator.
    #[error("the checkpoint holds no operator {wanted:?}; it holds: {there}")]
    NoOperator {
        /// The name asked for.
        wanted: String,
        /// Those that are there.
        there: String,
    },
    /// The operator has no such task in the checkpoint.
    #[error("operator {operator} has no task {wanted} in the checkpoint; it has 0 to {last}")]
    NoTask {
        /// The operator.
        operator: String,
        /// The number asked for.
        wanted: u32,
        /// The highest that is there.
        last: usize,
    },
    /// A running job could not make a savepoint.
    #[error("no savepoint was made: {0}")]
    NoSavepoint(String),
    /// A durable file cannot be used.
    #[error("{0}")]
    Damaged(String),
    /// The result cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The host cannot do what it must.
    #[error("{0}")]
    Host(String),
}

/// Why a tenant could not run a component.
#[derive(Debug, thiserror::Error)]
pub(super) enum RefusedFor {
    /// It breaks a rule.
    #[error(transparent)]
    Component(AdmissionError),
    /// It needs more than the tenant may have.
    #[error(transparent)]
    Quota(Box<TenantRefusal>),
}

impl RefusedFor {
    /// The stable name of the rule or quota.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Component(error) => error.code(),
            Self::Quota(refusal) => refusal.code(),
        }
    }
}

fn number(wanted: Option<u64>) -> String {
    wanted.map(|number| format!(" {number}")).unwrap_or_default()
}

impl Failure {
    /// A failure of a job, with the place in its file.
    pub(super) fn job(error: JobError, locations: &Locations) -> Self {
        let place = match &error {
            JobError::Graph(error) => return Self::Config(locations.graph_error(error)),
            JobError::ComponentFile { node, .. } | JobError::Component { node, .. } => {
                locations.place(node, Part::Component)
            }
            JobError::Connector { node, .. } | JobError::Operator { node, .. } => {
                locations.place(node, Part::Name)
            }
            JobError::Migration { node, .. } => locations.place(node, Part::Component),
            JobError::Grant { node, error, .. } => locations.place(node, error.part()),
            JobError::Tenant(_)
            | JobError::DataDir { .. }
            | JobError::MissingSavepoint { .. }
            | JobError::Incompatible { .. }
            | JobError::Checkpoint(_)
            | JobError::Damaged(_)
            | JobError::NoRollback(_)
            | JobError::TooManyFailedCheckpoints(_)
            | JobError::StopTimeout { .. }
            | JobError::HeldUp { .. }
            | JobError::Stuck { .. }
            | JobError::HostFull(_)
            | JobError::Host(_) => None,
        };
        // Nothing in the job file is to blame when `| head` has seen enough.
        let is_reader_gone = matches!(
            &error,
            JobError::Connector { error, .. } if error.message == BROKEN_PIPE
        );
        let place = place.filter(|_| !is_reader_gone);
        Self::Job { error: Box::new(error), place: place.map(Box::new) }
    }

    /// How the process ends.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(error) => error.into(),
            Self::Job { error, .. } => (&**error).into(),
            Self::Unreadable { .. }
            | Self::NoCheckpoint { .. }
            | Self::NoOperator { .. }
            | Self::NoTask { .. } => ExitCode::MissingInput,
            Self::NoSavepoint(_) => ExitCode::TryAgain,
            Self::Damaged(_) => ExitCode::BadData,
            Self::Refused { error, .. } if error.is_host_fault() => ExitCode::HostFault,
            Self::Refused { error, .. } if error.is_host_full() => ExitCode::TryAgain,
            Self::RefusedFor { error: RefusedFor::Component(error), .. }
                if error.is_host_fault() =>
            {
                ExitCode::HostFault
            }
            Self::RefusedFor { error: RefusedFor::Component(error), .. }
                if error.is_host_full() =>
            {
                ExitCode::TryAgain
            }
            Self::Refused { .. } | Self::RefusedFor { .. } => ExitCode::Refused,
            Self::CannotCreate { .. } | Self::Metrics { .. } => ExitCode::CannotCreate,
            Self::Output(_) => ExitCode::Io,
            Self::Together { .. } => ExitCode::Usage,
            Self::Host(_) => ExitCode::HostFault,
        }
    }

    /// The stable code of what was refused or broken, where it has one.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused { error, .. } => Some(error.code()),
            Self::RefusedFor { error, .. } => Some(error.code()),
            Self::Job { error, .. } => job_code(error),
            _ => None,
        }
    }

    /// The place in the job file, for log lines.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Config(error) => error.place(),
            Self::Job { place, .. } => place.as_deref(),
            _ => None,
        }
    }
}

/// The code of what the host has no room for.
const HOST_FULL: &str = "HOST_FULL";

fn job_code(error: &JobError) -> Option<&'static str> {
    match error {
        JobError::Tenant(refusal) => Some(refusal.code()),
        JobError::Component { error, .. } => Some(error.code()),
        JobError::Grant { error, .. } => error.code(),
        JobError::HostFull(_) => Some(HOST_FULL),
        JobError::Connector { error, .. } if error.fault == ConnectorFault::HostFull => {
            Some(HOST_FULL)
        }
        JobError::Operator { failure, .. } => call_code(failure),
        JobError::Migration { error, .. } => call_code(&error.failure),
        _ if is_checkpoint_quota(error) => Some("CHECKPOINT_QUOTA"),
        _ => None,
    }
}

fn call_code(failure: &CallFailure) -> Option<&'static str> {
    match failure {
        CallFailure::Guest(fault) | CallFailure::Lost { fault } => Some(fault.code.name()),
        CallFailure::HostFull(_) => Some(HOST_FULL),
        CallFailure::Poison(poison) => match &**poison {
            PoisonError::Record { record: ShownRecord { cause, .. } }
            | PoisonError::Limit { record: ShownRecord { cause, .. }, .. } => Some(cause.name()),
        },
        CallFailure::Fatal(_) | CallFailure::Host(_) => None,
    }
}

/// Whether a checkpoint failed by the quota of its tenant, which comes as an error of a disk like any other.
pub(super) fn is_checkpoint_quota(error: &JobError) -> bool {
    let (JobError::Checkpoint(why) | JobError::TooManyFailedCheckpoints(why)) = error else {
        return false;
    };
    why.contains(": CHECKPOINT_QUOTA: ")
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = match self {
            Self::Config(error) => return error.help(),
            Self::Job { error, .. } => job_help(error)?,
            Self::CannotCreate { help, .. } | Self::Together { help, .. } => (*help).to_owned(),
            Self::Metrics { .. } => {
                "take another port, or port 0 for a free one; below 1024 needs privileges"
                    .to_owned()
            }
            Self::NoCheckpoint { .. } => {
                "a job has checkpoints once it has run; --data-dir says where its data is"
                    .to_owned()
            }
            Self::Refused { error, .. } => error.advice().to_owned(),
            Self::RefusedFor { error, .. } => match error {
                RefusedFor::Component(error) => error.advice().to_owned(),
                RefusedFor::Quota(refusal) => tenant_help(refusal),
            },
            Self::Unreadable { .. }
            | Self::NoOperator { .. }
            | Self::NoTask { .. }
            | Self::NoSavepoint(_)
            | Self::Damaged(_) => return None,
            Self::Output(_) => "is the reader of the pipe gone, or the disk full?".to_owned(),
            Self::Host(_) => HOST_FAULT_HELP.to_owned(),
        };
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place().map(|place| &place.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        match self {
            Self::Config(error) => error.labels(),
            _ => {
                let span = self.place()?.span.clone();
                Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, span))))
            }
        }
    }
}
