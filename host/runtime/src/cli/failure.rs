//! Whatever ends a command early, as a diagnostic with an exit code.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use miette::{Diagnostic, LabeledSpan, SourceCode};
use tidemill_core::failure::{Failure as CallFailure, FaultCode};
use tidemill_core::poison::{PoisonCause, PoisonError};
use tidemill_sandbox::AdmissionError;

use super::exit_code::ExitCode;
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
    #[error("{0}")]
    Together(String),
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
            Self::Refused { .. } | Self::RefusedFor { .. } => ExitCode::Refused,
            Self::CannotCreate { .. } | Self::Metrics { .. } => ExitCode::CannotCreate,
            Self::Output(_) => ExitCode::Io,
            Self::Together(_) => ExitCode::Usage,
            Self::Host(_) => ExitCode::HostFault,
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

fn job_help(error: &JobError) -> Option<String> {
    let help = match error {
        JobError::DataDir { help, .. }
        | JobError::Incompatible { help, .. }
        | JobError::Grant { help, .. } => return Some(help.clone()),
        JobError::MissingSavepoint { .. } => {
            "give the directory of a savepoint: `tidemill savepoint list JOB.toml` shows those of a job"
        }
        JobError::Migration { .. } => {
            "nothing has changed: mend `migrate` (`run --dry-run` tries it), or run the job with the component \
             that wrote the checkpoint"
        }
        JobError::Tenant(refusal) => match refusal {
            TenantRefusal::Unknown { .. } => {
                "name a tenant of the file with `tenant = ...` in the job file, or add [tenants.NAME] to it"
            }
            TenantRefusal::Directory { .. } => {
                "put the job file into the `jobs-dir` of its tenant, or name the tenant whose it is"
            }
            TenantRefusal::Quota { wanted, limit, .. } if wanted > limit => {
                "ask for less (`parallelism`, `queue-bytes`, `wal-quota`, fewer operators), or raise the quota in the tenants' file: alone \
                 the job takes more than it"
            }
            TenantRefusal::Quota { .. } => {
                "stop another job of the tenant, ask for less (`parallelism`, `queue-bytes`, `wal-quota`), or raise the quota \
                 in the tenants' file"
            }
        },
        JobError::Component { .. } => "`tidemill inspect FILE.wasm` shows what the host sees",
        JobError::Operator { failure, .. } => match failure {
            CallFailure::Guest(fault) => fault_help(fault.code)?,
            CallFailure::HostFull(_) => HOST_FULL_HELP,
            CallFailure::Host(_) => HOST_FAULT_HELP,
            CallFailure::Poison(poison) => return Some(poison_help(poison)),
            CallFailure::Lost { fault } => fault_help(fault.code)?,
            CallFailure::Fatal(_) => return None,
        },
        JobError::Checkpoint(why) | JobError::TooManyFailedCheckpoints(why)
            if why.contains(": CHECKPOINT_QUOTA: ") =>
        {
            "raise `checkpoints` of the tenant in the tenants' file, or remove data directories of its jobs that nobody needs; \
             run again, the job goes on from its newest checkpoint"
        }
        JobError::Checkpoint(_) | JobError::TooManyFailedCheckpoints(_) => {
            "mend what the message names and run the job again: it goes on from its newest checkpoint"
        }
        JobError::Damaged(_) => {
            "put the file back from a backup, or go back with --accept-rollback to the newest checkpoint that \
             is whole: what was published since is set aside and published again, so whoever has read it sees \
             it twice; or begin anew with --fresh, which removes all that was published"
        }
        JobError::NoRollback(_) => {
            "put the files back from a backup, or begin anew with --fresh, which removes all that was published"
        }
        JobError::StopTimeout { .. } => {
            "nothing is lost: the next run goes on from the newest checkpoint; `stop-timeout` gives a \
             stop more time"
        }
        JobError::HostFull(_) => HOST_FULL_HELP,
        JobError::HeldUp { .. } => {
            "have its output read, and run the job again: it goes on from its newest checkpoint"
        }
        JobError::Stuck { .. } | JobError::Host(_) => HOST_FAULT_HELP,
        JobError::Graph(_) | JobError::ComponentFile { .. } | JobError::Connector { .. } => {
            return None;
        }
    };
    Some(help.to_owned())
}

fn poison_help(error: &PoisonError) -> String {
    const GO_ON: &str = "on-poison = \"dead-letter\" keeps such records in a file and goes on, \"skip\" \
                         counts them";
    match error {
        PoisonError::Record { record } => {
            let mend = match record.cause {
                PoisonCause::Fault(code) => fault_help(code),
                PoisonCause::Rejected => None,
            };
            format!("{}; or: {GO_ON}", mend.unwrap_or("mend the record or the operator"))
        }
        PoisonError::Limit { .. } => {
            "mend the input or the operator, or raise `poison-limit`".to_owned()
        }
    }
}

const HOST_FULL_HELP: &str = "nothing is lost: run fewer jobs, lanes or operators on this host, or raise its limits (threads of the user, \
     `sandboxes` in the tenants' file), and run the job again";

const HOST_FAULT_HELP: &str =
    "no operator is to blame: please report it, with the log lines of `-vv` before it";

fn fault_help(code: FaultCode) -> Option<&'static str> {
    let help = match code {
        FaultCode::CpuLimit => {
            "smaller batches give a call less to do (`batch-records`); look for a loop without end"
        }
        FaultCode::MemoryLimit => {
            "smaller batches need less memory (`batch-records`); keep data in state, not in the \
            guest"
        }
        FaultCode::TenantMemory | FaultCode::TenantState => {
            "it is the tenant's quota: stop another of its jobs, or raise it in the tenants' file"
        }
        FaultCode::StateQuota => {
            "let state expire (`state-timeout`), or spread it over more lanes (`parallelism`)"
        }
        FaultCode::EmitLimit | FaultCode::OverlayLimit => {
            "smaller batches emit and write less in one call (`batch-records`)"
        }
        FaultCode::ItemTooLarge => {
            "keep the item in parts (a list or map state), emit several records, or raise `value`, `key` or `element` in the \
             operator's `limits`"
        }
        FaultCode::HostCallLimit => {
            "log less, and read and write whole columns instead of single items"
        }
        FaultCode::ResourceLimit => "drop streams and pollables when they are done with",
        FaultCode::MissingKey => "emit with a key, or feed an input that is not keyed",
        FaultCode::Trap | FaultCode::StackLimit => {
            "run the operator's own tests (`cargo test`) with the record that kills it"
        }
        _ => return None,
    };
    Some(help)
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = match self {
            Self::Config(error) => return error.help(),
            Self::Job { error, .. } => job_help(error)?,
            Self::CannotCreate { help, .. } => (*help).to_owned(),
            Self::Metrics { .. } => {
                "take another port, or port 0 for a free one; below 1024 needs privileges"
                    .to_owned()
            }
            Self::NoCheckpoint { .. } => {
                "a job has checkpoints once it has run; --data-dir says where its data is"
                    .to_owned()
            }
            Self::Together(_) => "run them by a command each".to_owned(),
            Self::Unreadable { .. }
            | Self::Refused { .. }
            | Self::RefusedFor { .. }
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
