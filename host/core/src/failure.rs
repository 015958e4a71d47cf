//! What can go wrong in a call, kept apart by who is to blame.
//!
//! An operator's own `fatal`, a trap or limit of its sandbox, a record that nobody can process, and a
//! fault of the host never share a variant: the first three are the author's or the input's to mend, the
//! last is ours and is blamed on nobody. Which faults are worth another try is said here, once for all.

use std::fmt;

use crate::poison::PoisonError;

/// Why a host call or a call's output was refused. Stable names: users and scripts match on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultCode {
    /// A column's ends, width or presence bits contradict its data.
    BadColumn,
    /// A state, metric or output index that the description does not have.
    UnknownIndex,
    /// A state function used on a state of another kind.
    WrongStateKind,
    /// A slot out of range for the batch, or written twice in one `value-write`.
    BadSlot,
    /// An import called where the contract forbids it (keyed state without a keyed input, ...).
    NotAllowedHere,
    /// A record without key was sent into a keyed input.
    MissingKey,
    /// A key, value or state item over its size limit.
    ItemTooLarge,
    /// One call emitted more records or bytes than allowed.
    EmitLimit,
    /// One call held back more state writes than allowed.
    OverlayLimit,
    /// One host call moved more bytes than allowed.
    HostCallLimit,
    /// The task's state would pass its quota.
    StateQuota,
    /// The state of all jobs of the tenant would pass its quota.
    TenantState,
    /// The guest's memory would pass its limit.
    MemoryLimit,
    /// The memory of all sandboxes of the tenant would pass its quota.
    TenantMemory,
    /// The call used up its own CPU time.
    CpuLimit,
    /// The guest's stack is used up.
    StackLimit,
    /// The guest holds as many handles of the host as it may.
    ResourceLimit,
    /// A Wasm trap: unreachable (a panic in most languages), out of bounds, division by zero, ...
    Trap,
    /// The guest called `exit`.
    Exit,
    /// The answer of `process` names records that are not in the batch.
    BadAnswer,
    /// `save` answered more bytes than a snapshot in the operator's own memory may have.
    SaveLimit,
    /// The job is being stopped; nobody is to blame.
    Stopped,
}

impl FaultCode {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::BadColumn,
        Self::UnknownIndex,
        Self::WrongStateKind,
        Self::BadSlot,
        Self::NotAllowedHere,
        Self::MissingKey,
        Self::ItemTooLarge,
        Self::EmitLimit,
        Self::OverlayLimit,
        Self::HostCallLimit,
        Self::StateQuota,
        Self::TenantState,
        Self::MemoryLimit,
        Self::TenantMemory,
        Self::CpuLimit,
        Self::StackLimit,
        Self::ResourceLimit,
        Self::Trap,
        Self::Exit,
        Self::BadAnswer,
        Self::SaveLimit,
        Self::Stopped,
    ];

    /// The stable name, as in messages, metrics and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadColumn => "BAD_COLUMN",
            Self::UnknownIndex => "UNKNOWN_INDEX",
            Self::WrongStateKind => "WRONG_STATE_KIND",
            Self::BadSlot => "BAD_SLOT",
            Self::NotAllowedHere => "NOT_ALLOWED_HERE",
            Self::MissingKey => "MISSING_KEY",
            Self::ItemTooLarge => "ITEM_TOO_LARGE",
            Self::EmitLimit => "EMIT_LIMIT",
            Self::OverlayLimit => "OVERLAY_LIMIT",
            Self::HostCallLimit => "HOST_CALL_LIMIT",
            Self::StateQuota => "STATE_QUOTA",
            Self::TenantState => "TENANT_STATE",
            Self::MemoryLimit => "MEMORY_LIMIT",
            Self::TenantMemory => "TENANT_MEMORY",
            Self::CpuLimit => "CPU_LIMIT",
            Self::StackLimit => "STACK_LIMIT",
            Self::ResourceLimit => "RESOURCE_LIMIT",
            Self::Trap => "TRAP",
            Self::Exit => "EXIT",
            Self::BadAnswer => "BAD_ANSWER",
            Self::SaveLimit => "SAVE_LIMIT",
            Self::Stopped => "STOPPED",
        }
    }

    /// What may help after a call that failed with this code.
    pub fn remedy(self) -> Remedy {
        match self {
            Self::BadColumn
            | Self::UnknownIndex
            | Self::WrongStateKind
            | Self::BadSlot
            | Self::NotAllowedHere
            | Self::MissingKey
            | Self::ItemTooLarge
            | Self::Trap
            | Self::Exit
            | Self::BadAnswer => Remedy::Repeat,
            Self::EmitLimit
            | Self::OverlayLimit
            | Self::HostCallLimit
            | Self::MemoryLimit
            | Self::CpuLimit
            | Self::StackLimit
            | Self::ResourceLimit => Remedy::Halve,
            // Quotas are the task's or the tenant's, and what was saved is no record's doing.
            Self::StateQuota
            | Self::TenantState
            | Self::TenantMemory
            | Self::SaveLimit
            | Self::Stopped => Remedy::None,
        }
    }
}

/// What may help after a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The same call in a new sandbox; after that, fewer records.
    Repeat,
    /// Fewer records: the call was too much.
    Halve,
    /// Nothing: no record is to blame.
    None,
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A guest broke the contract or a limit. Its sandbox is poisoned and must be dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct GuestFault {
    /// What was broken.
    pub code: FaultCode,
    /// The observed value and the limit, in one sentence.
    pub message: String,
}

impl GuestFault {
    /// A fault with its explanation.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How a call of an operator can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The operator answered `fatal`: it cannot work. Its sandbox is healthy; the job fails.
    #[error("the operator gave up: {0}")]
    Fatal(String),
    /// A record that cannot be processed, and the job does not allow for it, or not for so many.
    /// Terminal: another start would meet it again.
    #[error(transparent)]
    Poison(#[from] Box<PoisonError>),
    /// An operator that keeps state in its own memory lost it with its sandbox. Only a restart from the
    /// newest checkpoint brings it back.
    #[error("the operator's state in its own memory was lost with its sandbox: {fault}")]
    Lost {
        /// What the sandbox died of.
        fault: GuestFault,
    },
    /// The guest trapped or broke a limit. Its sandbox must be dropped.
    #[error(transparent)]
    Guest(#[from] GuestFault),
    /// The host has no room for another sandbox now. Never blamed on the operator.
    #[error("HOST_FULL: {0}")]
    HostFull(String),
    /// Our fault. Never blamed on the operator.
    #[error("host fault: {0}")]
    Host(String),
}
