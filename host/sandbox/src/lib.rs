//! Runs operators as WebAssembly components.
//!
//! The only crate that names wasmtime. Owns the engine profile, admission, the host side of every
//! import, limits and the classification of traps. Knows nothing of lanes and queues, and of files only those
//! that an operator was granted: bytes come in, an [`OperatorInstance`](tidemill_core::operator::OperatorInstance) comes out.
//!
//! Invariants: a sandbox that trapped or broke a limit is never used again; a guest value never
//! indexes, allocates or loops unchecked; bytes from outside are never deserialised as machine code,
//! only our own artefacts: fresh from our compiler, or kept under a keyed digest.

mod admission;
mod artefact;
mod bindings;
pub mod compiler;
mod component;
mod engine;
pub mod failpoint;
mod files;
mod guest_data;
mod guest_log;
mod host_operator;
mod host_wasi;
mod instance;
mod signal;
mod trap;

pub use admission::{AdmissionError, ComponentKind};
pub use artefact::ArtefactStore;
pub use component::{Component, ComponentFacts, Migrator, Surroundings, TaskIdentity};
pub use engine::{EngineError, EngineSettings, Sandboxes};
pub use files::{GrantedDirectory, GrantedFiles};
pub use signal::CallSignal;
