//! Why a file is not admitted: one variant for each rule, with a stable code.

use serde::{Deserialize, Serialize};
use tidemill_core::describe::DescriptionError;
use tidemill_core::failure::Failure;
use tidemill_core::limits::StructureRule;

use super::{CONTRACT, CONTRACT_VERSION, OPERATOR_EXPORT, SNAPSHOT_EXPORT};
use crate::trap::cut_words;

/// Why a file is not admitted as an operator. Nothing of it is kept.
///
/// What is said of files comes from the compiler's process and can be serialised; what is skipped is found
/// out by the host itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AdmissionError {
    /// The file is empty.
    #[error("EMPTY_FILE: the file is empty")]
    Empty,
    /// The file is over the limit.
    #[error("FILE_TOO_LARGE: the file has {bytes} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The file is something else.
    #[error("NOT_WASM: this is {0}, not a WebAssembly component")]
    NotWasm(String),
    /// A core module without an embedded component type.
    #[error(
        "NO_COMPONENT_TYPE: this is a core WebAssembly module without a component type: build it for \
         the target wasm32-wasip2, or embed the world `tidemill:operator/plain`"
    )]
    BareModule,
    /// A core module whose component type does not fit it.
    #[error("CANNOT_ENCODE: the core module could not be encoded as a component: {0}")]
    Encode(String),
    /// The file is damaged, or uses what the engine does not allow.
    #[error("INVALID_COMPONENT: the file is not valid WebAssembly: {0}")]
    Malformed(String),
    /// An import that the host does not give.
    #[error(
        "UNKNOWN_IMPORT: it imports {0:?}, which operators are not given: only \
         {CONTRACT}@{CONTRACT_VERSION} and the clocks, random, stdio, environment and (empty) \
         filesystem of WASI 0.2"
    )]
    UnknownImport(String),
    /// Built for another version of the contract.
    #[error(
        "WRONG_VERSION: it was built for {found}; this host speaks {CONTRACT}@{CONTRACT_VERSION}: \
         build it again with the matching SDK"
    )]
    WrongVersion {
        /// The interface as the component names it.
        found: String,
    },
    /// Not an operator.
    #[error(
        "NOT_AN_OPERATOR: it does not export {OPERATOR_EXPORT:?}, so it is a component but not an \
         operator"
    )]
    NotAnOperator,
    /// An export of the contract's package that the contract does not have.
    #[error(
        "UNKNOWN_EXPORT: it exports {0:?}, which this host would never call: \
         {CONTRACT}@{CONTRACT_VERSION} has the exports operator, snapshot and migrate"
    )]
    UnknownExport(String),
    /// There is too much of something in it.
    #[error(
        "STRUCTURE_LIMIT: it has {found} {}; at most {limit} are allowed (rule `{}`)",
        rule.what(),
        rule.name()
    )]
    Structure {
        /// The rule it breaks.
        rule: StructureRule,
        /// What is allowed.
        limit: u64,
        /// What was found, as far as it was counted.
        found: u64,
    },
    /// The compiler refused it.
    #[error("COMPILE_FAILED: it could not be compiled: {0}")]
    Compile(String),
    /// Compiling it took too long.
    #[error(
        "COMPILE_TIMEOUT: compiling it takes too long: it had used {cpu_ms} ms when it was given up; at most \
         {limit_s} s of CPU time are allowed"
    )]
    CompileTime {
        /// What is allowed, in seconds.
        limit_s: u64,
        /// What the compiler used, in milliseconds.
        cpu_ms: u64,
    },
    /// Compiling it took too much memory.
    #[error(
        "COMPILE_MEMORY: compiling it takes more than {limit} bytes of memory, which are all that is \
         allowed"
    )]
    CompileMemory {
        /// What is allowed.
        limit: u64,
    },
    /// The compiler came to an end of its own.
    #[error("COMPILE_CRASHED: the compiler did not survive it: {0}")]
    CompileCrashed(String),
    /// Its machine code is too large.
    #[error("CODE_TOO_LARGE: its machine code has {bytes} bytes; at most {limit} are allowed")]
    CodeTooLarge {
        /// Its size.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// An import or export has the right name and the wrong type.
    #[error("WRONG_TYPE: its imports or exports do not fit {CONTRACT}@{CONTRACT_VERSION}: {0}")]
    #[serde(skip)]
    WrongType(String),
    /// Keyed state and state in its own memory.
    #[error(
        "STATE_TWICE: it exports {SNAPSHOT_EXPORT:?} and describes keyed state: an operator keeps \
         state in one of the two"
    )]
    #[serde(skip)]
    StateTwice,
    /// The call of `describe` failed.
    #[error("DESCRIBE_FAILED: its `describe` failed: {0}")]
    #[serde(skip)]
    Describe(Failure),
    /// What it described breaks a rule.
    #[error("INVALID_DESCRIPTION: its description is refused: {0}")]
    #[serde(skip)]
    Description(#[from] DescriptionError),
    /// Its tenant has no memory left in which it could be asked what it is.
    #[error("TENANT_MEMORY: it cannot be asked what it is: {0}")]
    #[serde(skip)]
    TenantMemory(String),
    /// The host has no room to find out now: no process, no memory, no sandbox. The component is not to blame.
    #[error("HOST_FULL: {0}")]
    #[serde(skip)]
    HostFull(String),
    /// The host could not find out; the component is not to blame.
    #[error("HOST_FAULT: {0}")]
    #[serde(skip)]
    Host(String),
}

impl AdmissionError {
    /// Every code, in the order of the documentation.
    pub const CODES: [&'static str; 23] = [
        "EMPTY_FILE",
        "FILE_TOO_LARGE",
        "NOT_WASM",
        "NO_COMPONENT_TYPE",
        "CANNOT_ENCODE",
        "INVALID_COMPONENT",
        "STRUCTURE_LIMIT",
        "UNKNOWN_IMPORT",
        "WRONG_VERSION",
        "NOT_AN_OPERATOR",
        "UNKNOWN_EXPORT",
        "COMPILE_FAILED",
        "COMPILE_TIMEOUT",
        "COMPILE_MEMORY",
        "COMPILE_CRASHED",
        "CODE_TOO_LARGE",
        "WRONG_TYPE",
        "STATE_TWICE",
        "DESCRIBE_FAILED",
        "INVALID_DESCRIPTION",
        "TENANT_MEMORY",
        "HOST_FULL",
        "HOST_FAULT",
    ];

    /// The stable code: messages begin with it, and scripts may match on it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "EMPTY_FILE",
            Self::TooLarge { .. } => "FILE_TOO_LARGE",
            Self::NotWasm(_) => "NOT_WASM",
            Self::BareModule => "NO_COMPONENT_TYPE",
            Self::Encode(_) => "CANNOT_ENCODE",
            Self::Malformed(_) => "INVALID_COMPONENT",
            Self::Structure { .. } => "STRUCTURE_LIMIT",
            Self::UnknownImport(_) => "UNKNOWN_IMPORT",
            Self::WrongVersion { .. } => "WRONG_VERSION",
            Self::NotAnOperator => "NOT_AN_OPERATOR",
            Self::UnknownExport(_) => "UNKNOWN_EXPORT",
            Self::Compile(_) => "COMPILE_FAILED",
            Self::CompileTime { .. } => "COMPILE_TIMEOUT",
            Self::CompileMemory { .. } => "COMPILE_MEMORY",
            Self::CompileCrashed(_) => "COMPILE_CRASHED",
            Self::CodeTooLarge { .. } => "CODE_TOO_LARGE",
            Self::WrongType(_) => "WRONG_TYPE",
            Self::StateTwice => "STATE_TWICE",
            Self::Describe(_) => "DESCRIBE_FAILED",
            Self::Description(_) => "INVALID_DESCRIPTION",
            Self::TenantMemory(_) => "TENANT_MEMORY",
            Self::HostFull(_) => "HOST_FULL",
            Self::Host(_) => "HOST_FAULT",
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Empty => "was the build cut off?",
            Self::TooLarge { .. } => "build with optimisation, strip debug information",
            Self::NotWasm(_) => "name the `.wasm` file that the build made",
            Self::BareModule => "build for `wasm32-wasip2`, or embed the world",
            Self::Encode(_) => "build with one version of the SDK",
            Self::Malformed(_) => {
                "the message names the place; turn the feature off in the compiler"
            }
            Self::Structure { .. } => "leave out what is not needed, split large functions",
            Self::UnknownImport(_) => {
                "leave out the library that needs it (network, HTTP, processes)"
            }
            Self::WrongVersion { .. } | Self::WrongType(_) => {
                "build it again with the matching SDK"
            }
            Self::NotAnOperator => "implement the world `tidemill:operator/plain`",
            Self::UnknownExport(_) => "build it for this version, or leave the export out",
            Self::Compile(_) => "see the message; build with the SDK's own settings",
            Self::CompileTime { .. } | Self::CompileMemory { .. } => {
                "make it smaller, split large functions"
            }
            Self::CompileCrashed(_) => "please report it, with the component",
            Self::CodeTooLarge { .. } => "make it smaller",
            Self::StateTwice => "decide for one of the two",
            Self::Describe(_) => "the message has the operator's own words; run its tests",
            Self::Description(_) => "mend `describe` as the message says",
            Self::TenantMemory(_) => {
                "stop another job of the tenant, or raise `memory` of the tenant in the tenants' file"
            }
            Self::HostFull(_) => "run fewer jobs on this host, or raise its limits; then again",
            Self::Host(_) => "please report it",
        }
    }

    /// Whether the host is to blame, and not the component.
    pub fn is_host_fault(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Describe(Failure::Host(_)))
    }

    /// Whether the host has no room to find out now.
    pub fn is_host_full(&self) -> bool {
        matches!(self, Self::HostFull(_))
    }

    /// The same, with all words that are not the host's own cut and escaped.
    pub(crate) fn cut(self) -> Self {
        match self {
            Self::NotWasm(words) => Self::NotWasm(cut_words(&words)),
            Self::Encode(words) => Self::Encode(cut_words(&words)),
            Self::Malformed(words) => Self::Malformed(cut_words(&words)),
            Self::UnknownImport(name) => Self::UnknownImport(cut_words(&name)),
            Self::UnknownExport(name) => Self::UnknownExport(cut_words(&name)),
            Self::WrongVersion { found } => Self::WrongVersion { found: cut_words(&found) },
            Self::Compile(words) => Self::Compile(cut_words(&words)),
            Self::CompileCrashed(words) => Self::CompileCrashed(cut_words(&words)),
            Self::WrongType(words) => Self::WrongType(cut_words(&words)),
            other => other,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tidemill_core::failure::{FaultCode, GuestFault};

    use super::*;

    pub(in crate::admission) fn one_of_each() -> Vec<AdmissionError> {
        let words = || "words".to_owned();
        let rule = StructureRule::Functions;
        let described = tidemill_core::describe::Description::default().validate();
        vec![
            AdmissionError::Empty,
            AdmissionError::TooLarge { bytes: 2, limit: 1 },
            AdmissionError::NotWasm(words()),
            AdmissionError::BareModule,
            AdmissionError::Encode(words()),
            AdmissionError::Malformed(words()),
            AdmissionError::Structure { rule, limit: 50_000, found: 60_000 },
            AdmissionError::UnknownImport(words()),
            AdmissionError::WrongVersion { found: words() },
            AdmissionError::NotAnOperator,
            AdmissionError::UnknownExport(words()),
            AdmissionError::Compile(words()),
            AdmissionError::CompileTime { limit_s: 1, cpu_ms: 1000 },
            AdmissionError::CompileMemory { limit: 1 },
            AdmissionError::CompileCrashed(words()),
            AdmissionError::CodeTooLarge { bytes: 2, limit: 1 },
            AdmissionError::WrongType(words()),
            AdmissionError::StateTwice,
            AdmissionError::Describe(GuestFault::new(FaultCode::Trap, "unreachable").into()),
            AdmissionError::Description(described.unwrap_err()),
            AdmissionError::TenantMemory(words()),
            AdmissionError::HostFull(words()),
            AdmissionError::Host(words()),
        ]
    }

    #[test]
    fn every_refusal_begins_with_its_code() {
        let codes: Vec<&str> = one_of_each().iter().map(AdmissionError::code).collect();
        assert_eq!(codes, AdmissionError::CODES);
        for error in one_of_each() {
            assert!(error.to_string().starts_with(&format!("{}: ", error.code())), "{error}");
        }
    }

    #[test]
    fn a_broken_limit_is_told_with_what_was_found() {
        let [.., error] = &one_of_each()[..7] else { panic!("there are more") };
        let words = "STRUCTURE_LIMIT: it has 60000 functions; at most 50000 are allowed (rule \
                     `functions`)";
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn words_from_elsewhere_are_cut_and_cannot_steer_a_terminal() {
        let long = format!("\u{1b}[2J{}", "x".repeat(100_000));
        let errors = [
            AdmissionError::NotWasm(long.clone()),
            AdmissionError::UnknownImport(long.clone()),
            AdmissionError::Malformed(long.clone()),
            AdmissionError::WrongVersion { found: long },
        ];
        for error in errors {
            let words = error.cut().to_string();
            assert!(words.len() < 2000 && !words.contains('\u{1b}'), "{words}");
        }
    }
}
