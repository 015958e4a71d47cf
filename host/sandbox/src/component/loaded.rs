//! Machine code that was made runnable, once for all who run the same file.
//!
//! Owns the way from a file to it: what is loaded already, an artefact of an earlier run, or the compiler. A component that is
//! loaded holds its code and, for each of its memories that begins with data, a descriptor. Invariant: it is forgotten with the
//! last operator that runs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidemill_core::limits::AdmissionLimits;
use tidemill_core::quota::TenantUsage;
use wasmtime::component::Component;

use crate::admission::{AdmissionError, ComponentKind};
use crate::artefact;
use crate::compiler::{Compilation, Compiled, Confinement};
use crate::engine::Sandboxes;
use crate::trap::is_shortage;

/// A component that is loaded.
pub(super) struct Loaded {
    component: Component,
    kind: ComponentKind,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// What is loaded, by a digest of the file and of the limits that it was admitted under.
#[derive(Default)]
pub(crate) struct LoadedComponents(Mutex<HashMap<blake3::Hash, Weak<Loaded>>>);

/// Where a component came from.
pub(super) enum How {
    /// It was there already.
    Shared,
    /// From an artefact of an earlier run.
    Cached,
    /// It was compiled, and is to be kept under this name, if any.
    Compiled(Box<Compilation>, Option<String>),
}

impl How {
    pub(super) fn is_cached(&self) -> bool {
        !matches!(self, Self::Compiled(..))
    }

    pub(super) fn confinement(&self) -> Option<Confinement> {
        match self {
            Self::Compiled(compilation, _) => compilation.confinement.clone(),
            Self::Shared | Self::Cached => None,
        }
    }

    /// Keeps what was compiled for the next run.
    pub(super) fn keep(&self, of: &Sandboxes) {
        if let (Self::Compiled(compilation, Some(name)), Some(store)) = (self, &of.artefacts) {
            artefact::save(&**store, name, &compilation.compiled);
        }
    }
}

impl Loaded {
    fn new(component: Component, compiled: &Compiled) -> Self {
        let (imports, exports) = (compiled.imports.clone(), compiled.exports.clone());
        Self { component, kind: compiled.kind, imports, exports }
    }

    pub(super) fn component(&self) -> &Component {
        &self.component
    }

    pub(super) fn kind(&self) -> ComponentKind {
        self.kind
    }

    pub(super) fn imports(&self) -> &[String] {
        &self.imports
    }

    pub(super) fn exports(&self) -> &[String] {
        &self.exports
    }
}

impl LoadedComponents {
    /// The component of a file, admitted under these limits. What compiling it takes counts for `tenant`.
    pub(super) fn get(
        &self,
        of: &Sandboxes,
        bytes: &[u8],
        limits: &AdmissionLimits,
        tenant: &TenantUsage,
    ) -> Result<(Arc<Loaded>, How), AdmissionError> {
        let key = key(bytes, limits)?;
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(loaded) = found.and_then(|loaded| loaded.upgrade()) {
            return Ok((loaded, How::Shared));
        }
        // Not under the lock: whoever compiles may take a minute. Who else loads the same file meanwhile has his own.
        let (loaded, how) = load(of, bytes, limits, tenant)?;
        let loaded = Arc::new(loaded);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, loaded| loaded.strong_count() > 0);
        all.insert(key, Arc::downgrade(&loaded));
        Ok((loaded, how))
    }
}

fn key(bytes: &[u8], limits: &AdmissionLimits) -> Result<blake3::Hash, AdmissionError> {
    let limits =
        rmp_serde::to_vec(limits).map_err(|error| AdmissionError::Host(error.to_string()))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(limits.len() as u64).to_le_bytes()).update(&limits).update(bytes);
    Ok(hasher.finalize())
}

/// The artefact of an earlier run, or else compiles the file.
fn load(
    of: &Sandboxes,
    bytes: &[u8],
    limits: &AdmissionLimits,
    tenant: &TenantUsage,
) -> Result<(Loaded, How), AdmissionError> {
    let engine = &of.engine;
    let store = of.artefacts.as_deref();
    let name = store.and_then(|store| artefact::name(store, engine, limits, bytes));
    let kept = store.zip(name.as_ref()).and_then(|(store, name)| artefact::load(store, name));
    let no_room = |error: &wasmtime::Error| {
        is_shortage(error)
            .then(|| AdmissionError::HostFull(format!("it cannot be loaded: {error:#}")))
    };
    if let Some(compiled) = kept {
        match artefact::link_in(engine, &compiled) {
            Ok(component) => return Ok((Loaded::new(component, &compiled), How::Cached)),
            // To compile it anew would not help.
            Err(error) => no_room(&error).map_or(Ok(()), Err)?,
        }
    }
    let compilation = of.compiler.compile(bytes, limits, tenant)?;
    let component = artefact::link_in(engine, &compilation.compiled).map_err(|error| {
        no_room(&error).unwrap_or_else(|| AdmissionError::Compile(format!("{error:#}")).cut())
    })?;
    let loaded = Loaded::new(component, &compilation.compiled);
    Ok((loaded, How::Compiled(Box::new(compilation), name)))
}
