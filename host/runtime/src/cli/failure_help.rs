//! What to do about a job that was refused or has failed.
//!
//! Owns the advice alone; what happened is said by the errors themselves. Must not repeat numbers that they have.

use tidemill_core::connector::ConnectorFault;
use tidemill_core::failure::{Failure as CallFailure, FaultCode};
use tidemill_core::poison::{PoisonCause, PoisonError};

use super::failure::is_checkpoint_quota;
use crate::job::JobError;
use crate::tenants::TenantRefusal;

pub(super) const HOST_FAULT_HELP: &str =
    "no operator is to blame: please report it, with the log lines of `-vv` before it";

const HOST_FULL_HELP: &str = "nothing is lost: run fewer jobs, lanes or operators on this host, or raise its limits (threads of the user, \
     `sandboxes` in the tenants' file), and run the job again";

pub(super) fn job_help(error: &JobError) -> Option<String> {
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
        JobError::Tenant(refusal) => return Some(tenant_help(refusal)),
        JobError::Component { error, .. } => {
            return Some(format!(
                "{}; `tidemill inspect FILE.wasm` shows what the host sees, with `--policy TENANTS.toml` for each tenant",
                error.advice()
            ));
        }
        JobError::Operator { failure, .. } => match failure {
            CallFailure::Guest(fault) => fault_help(fault.code)?,
            CallFailure::HostFull(_) => HOST_FULL_HELP,
            CallFailure::Host(_) => HOST_FAULT_HELP,
            CallFailure::Poison(poison) => return Some(poison_help(poison)),
            CallFailure::Lost { fault } => fault_help(fault.code)?,
            CallFailure::Fatal(_) => return None,
        },
        _ if is_checkpoint_quota(error) => {
            "raise `checkpoints` of the tenant in the tenants' file, keep fewer (`checkpoints-retained`), let state expire \
             (`state-timeout`), or stop another of its jobs; run again, the job goes on from its newest checkpoint"
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
        JobError::Connector { error, .. } if error.fault == ConnectorFault::HostFull => {
            HOST_FULL_HELP
        }
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

/// What to do about a job that its tenant may not run.
pub(super) fn tenant_help(refusal: &TenantRefusal) -> String {
    let (code, is_alone) = match refusal {
        TenantRefusal::Unknown { .. } => {
            return "name a tenant of the file with `tenant = ...` in the job file, or add [tenants.NAME] to it"
                .to_owned();
        }
        TenantRefusal::Directory { .. } => {
            return "put the job file into the `jobs-dir` of its tenant, or name the tenant whose it is; no link leads from one \
                    tenant's directory to another's job file"
                .to_owned();
        }
        TenantRefusal::Quota { code, wanted, limit, .. } => (*code, wanted > limit),
    };
    let (quota, less) = match code {
        "TENANT_SANDBOXES" => ("sandboxes", "a lower `parallelism`, fewer operators"),
        "TENANT_COMPONENTS" => ("components", "fewer different component files"),
        "TENANT_INPUT_LOG" => ("input-log", "a lower `wal-quota`"),
        "TENANT_BUFFERS" => {
            ("buffers", "a lower `parallelism`, `queue-bytes`, or `emit-bytes` in `limits`")
        }
        "TENANT_CONNECTORS" => ("connectors", "a lower `parallelism`, fewer sources and sinks"),
        "TENANT_PARTITIONS" => ("partitions", "fewer files, or a larger `split-size`"),
        _ => ("memory", "a lower `parallelism`, operators that begin with less memory"),
    };
    let raise = format!("raise `{quota}` of the tenant in the tenants' file");
    match is_alone {
        true => format!("ask for less ({less}), or {raise}: alone the job takes more than it"),
        false => format!("stop another job of the tenant, ask for less ({less}), or {raise}"),
    }
}

fn poison_help(error: &PoisonError) -> String {
    const GO_ON: &str = "on-poison = \"dead-letter\" keeps such records in a file and goes on, \"skip\" \
                         counts them";
    match error {
        PoisonError::Record { record } => {
            let mend = match record.cause {
                PoisonCause::Fault(code) => one_record_help(code),
                PoisonCause::Rejected => None,
            };
            format!("{}; or: {GO_ON}", mend.unwrap_or("mend the record or the operator"))
        }
        PoisonError::Limit { .. } => {
            "mend the input or the operator, or raise `poison-limit`".to_owned()
        }
    }
}

/// For a batch.
fn fault_help(code: FaultCode) -> Option<&'static str> {
    let help = match code {
        FaultCode::CpuLimit => {
            "smaller batches give a call less to do (`batch-records`); look for a loop without end"
        }
        FaultCode::MemoryLimit => {
            "smaller batches need less memory (`batch-records`); keep data in state, not in the \
            guest"
        }
        FaultCode::EmitLimit | FaultCode::OverlayLimit => {
            "smaller batches emit and write less in one call (`batch-records`)"
        }
        FaultCode::TenantMemory | FaultCode::TenantState => {
            "it is the tenant's quota: stop another of its jobs, or raise it in the tenants' file"
        }
        FaultCode::StateQuota => {
            "let state expire (`state-timeout`), or spread it over more lanes (`parallelism`)"
        }
        FaultCode::ItemTooLarge => {
            "keep the item in parts (a list or map state) or emit several records; `limits` of the operator or its tenant may have \
             lowered `key` or `value`"
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

/// For a batch of one record, which cannot be smaller.
fn one_record_help(code: FaultCode) -> Option<&'static str> {
    let help = match code {
        FaultCode::CpuLimit => {
            "look for a loop without end; `limits` of the operator or its tenant may have lowered `process-cpu` or \
             `process-cpu-max`"
        }
        FaultCode::MemoryLimit => {
            "keep data in state, not in the guest; `limits` of the operator or its tenant may have lowered `memory`"
        }
        FaultCode::EmitLimit => {
            "have one record emit less; `limits` of the operator or its tenant may have lowered `emit-records` or `emit-bytes`"
        }
        FaultCode::OverlayLimit => {
            "have one record write less state; `limits` of the operator or its tenant may have lowered `overlay`"
        }
        _ => return fault_help(code),
    };
    Some(help)
}
