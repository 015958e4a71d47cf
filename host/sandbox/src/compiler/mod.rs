//! From a file that nobody trusts to machine code.
//!
//! Owns what is done with the file ([`compile`]), and the seam behind which it is done: parsers and the
//! compiler may be brought down by a file, so the product does it in a process that has nothing to lose.
//! Knows nothing of processes; whoever has one implements [`Compiler`] with the [`codec`].

pub mod codec;

use serde::{Deserialize, Serialize};
use tidemill_core::limits::AdmissionLimits;
use tidemill_core::quota::TenantUsage;

use crate::admission::{self, AdmissionError, ComponentKind};
use crate::engine::{allowed_features, compile_engine};

/// A compiled component, and what was found out about it on the way.
///
/// Its machine code is trusted. So nothing makes one but [`compile`], the answer of a process that ran it, and
/// an artefact that verified.
#[derive(Clone, Serialize, Deserialize)]
pub struct Compiled {
    pub(crate) kind: ComponentKind,
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    #[serde(with = "serde_bytes")]
    pub(crate) code: Vec<u8>,
}

/// What keeps a compiler from doing anything but compiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layer {
    /// Limits of the system on time, memory, files and processes.
    ResourceLimits,
    /// No program that it starts could have more rights.
    NoNewPrivileges,
    /// No file, no network.
    Landlock,
    /// Only the system calls that a compiler needs.
    Seccomp,
}

impl Layer {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ResourceLimits => "rlimits",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

/// The layers around a compiler in a process of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// Those that confine it.
    pub active: Vec<Layer>,
    /// Those that this system does not have.
    pub missing: Vec<Layer>,
}

/// A compiled component, and how its compiler was confined.
pub struct Compilation {
    /// The component.
    pub compiled: Compiled,
    /// The layers around the compiler; `None` for one in the process of the host.
    pub confinement: Option<Confinement>,
}

/// Compiles files.
pub trait Compiler: Send + Sync {
    /// Checks a file and compiles it. What that takes in another process counts for `tenant`; who pays for this thread is for
    /// others to say.
    ///
    /// # Errors
    /// The first rule that it breaks.
    fn compile(
        &self,
        bytes: &[u8],
        limits: &AdmissionLimits,
        tenant: &TenantUsage,
    ) -> Result<Compilation, AdmissionError>;
}

/// Compiles in the process of the host, where nothing limits time and memory: for files that are trusted.
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

impl Compiler for InProcess {
    fn compile(
        &self,
        bytes: &[u8],
        limits: &AdmissionLimits,
        _tenant: &TenantUsage,
    ) -> Result<Compilation, AdmissionError> {
        Ok(Compilation { compiled: compile(bytes, limits)?, confinement: None })
    }
}

/// Checks a file and compiles it, on this thread alone.
///
/// # Errors
/// The first rule that it breaks. Time and memory are for the process to limit; where the compiler notices
/// that it gets no more memory, that is told apart.
pub fn compile(bytes: &[u8], limits: &AdmissionLimits) -> Result<Compiled, AdmissionError> {
    let checked = admission::check(bytes, allowed_features(), limits)?;
    let failed = |error: wasmtime::Error| match is_out_of_memory(&error) {
        true => AdmissionError::CompileMemory { limit: limits.compile_memory_bytes },
        false => AdmissionError::Compile(format!("{error:#}")).cut(),
    };
    let engine = compile_engine().map_err(failed)?;
    let code = engine.precompile_component(&checked.component).map_err(failed)?;
    let size = code.len() as u64;
    if size > limits.code_bytes {
        return Err(AdmissionError::CodeTooLarge { bytes: size, limit: limits.code_bytes });
    }
    let admission::Checked { kind, imports, exports, .. } = checked;
    Ok(Compiled { kind, imports, exports, code })
}

fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    let is_refused = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::OutOfMemory;
    let mut causes = error.chain();
    causes.any(|cause| {
        cause.is::<wasmtime::error::OutOfMemory>()
            || cause.downcast_ref::<std::io::Error>().is_some_and(is_refused)
    })
}
