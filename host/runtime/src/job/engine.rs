//! The Wasm engine of this process, with its compile cache in the user's cache directory. What is not in the
//! cache is compiled by a child process.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_sandbox::{ArtefactStore, Component, EngineSettings, Sandboxes};
use tidemill_storage::artefact_dir::ArtefactDir;

use super::JobError;
use crate::compiler::ChildCompiler;
use crate::tenants::Tenant;

/// Admits components and makes sandboxes.
pub struct Engine {
    sandboxes: Sandboxes,
}

impl Engine {
    /// Starts the engine, with room for so many sandboxes. Compiled artefacts are kept in `$XDG_CACHE_HOME/tidemill` (or
    /// `~/.cache/tidemill`), where that is a private directory. With `perf_map` the functions of operators are listed for
    /// Linux `perf`, in `/tmp/perf-PID.map`.
    ///
    /// # Errors
    /// [`JobError::Host`] when the engine cannot be started.
    pub fn new(sandboxes: u32, perf_map: bool) -> Result<Self, JobError> {
        let store = cache_dir().and_then(|path| ArtefactDir::open(&path.join("artefacts")));
        let store = store.map(|dir| Arc::new(Artefacts(dir)) as Arc<dyn ArtefactStore>);
        let settings = EngineSettings { sandboxes, perf_map, ..EngineSettings::default() };
        Self::with_store(&settings, store)
    }

    /// Starts the engine without a compile cache: every component is compiled anew.
    ///
    /// # Errors
    /// [`JobError::Host`] when the engine cannot be started.
    pub fn without_cache() -> Result<Self, JobError> {
        Self::with_store(&EngineSettings::default(), None)
    }

    fn with_store(
        settings: &EngineSettings,
        store: Option<Arc<dyn ArtefactStore>>,
    ) -> Result<Self, JobError> {
        let sandboxes =
            Sandboxes::new(settings, store).map_err(|error| JobError::Host(error.to_string()))?;
        Ok(Self { sandboxes: sandboxes.with_compiler(Arc::new(ChildCompiler)) })
    }

    /// Admits the bytes of a file as an operator of a tenant.
    ///
    /// # Errors
    /// As [`Sandboxes::admit`].
    pub fn admit(
        &self,
        bytes: &[u8],
        tenant: &Tenant,
    ) -> Result<Component, tidemill_sandbox::AdmissionError> {
        let limits = Arc::new(tenant.plan().limits.clone());
        self.sandboxes.admit_within(bytes, &tenant.plan().admission, &limits, tenant.usage())
    }
}

fn cache_dir() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Some(base.or_else(home)?.join("tidemill"))
}

struct Artefacts(ArtefactDir);

impl ArtefactStore for Artefacts {
    fn secret(&self) -> [u8; 32] {
        self.0.secret()
    }

    fn load(&self, name: &str) -> Option<Vec<u8>> {
        self.0.load(name)
    }

    fn save(&self, name: &str, bytes: &[u8]) {
        self.0.save(name, bytes);
    }
}
