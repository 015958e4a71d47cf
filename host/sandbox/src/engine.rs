//! The engine: one profile for every sandbox, every line of it set on purpose.
//!
//! Support for garbage collection is not compiled in at all, and with it `externref` and exceptions;
//! of reference types only function references in tables remain.
//!
//! Owns wasmtime's engine, the linker and the ticker thread that advances the epoch. The resulting set
//! of Wasm features is asserted by a test, so that an upgrade cannot widen it unseen.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::limits::{AdmissionLimits, Limits, WASM_STACK_BYTES};
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    ProfilingStrategy, Strategy, WasmFeatures,
};

use crate::artefact::ArtefactStore;
use crate::bindings::{operator, wasi};
use crate::compiler::{Compiler, InProcess};
use crate::component::LoadedComponents;
use crate::guest_data::GuestData;

/// Tables that the pool has for each sandbox.
pub(crate) const TABLES_PER_SANDBOX: u32 = 4;

/// What the engine depends on beside the profile.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    /// Sandboxes that may exist at once.
    pub sandboxes: u32,
    /// Largest memory of a sandbox, in bytes; `Limits` of an operator may only be lower.
    pub memory_bytes: u64,
    /// What a component may be made of, and what compiling it may cost.
    pub admission: AdmissionLimits,
    /// How often the epoch advances: the resolution of CPU limits. A day is for who counts instructions, in which
    /// ticks would show.
    pub tick: Duration,
    /// Whether compiled functions are listed in `/tmp/perf-PID.map`, where Linux `perf` looks for their names.
    pub perf_map: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let memory_bytes = Limits::default().memory_bytes;
        let (admission, tick) = (AdmissionLimits::default(), Duration::from_millis(5));
        Self { sandboxes: 2048, memory_bytes, admission, tick, perf_map: false }
    }
}

/// The engine could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the Wasm engine could not be started: {0}")]
pub struct EngineError(pub(crate) String);

/// The place where components are admitted and sandboxes made.
pub struct Sandboxes {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<GuestData>,
    pub(crate) artefacts: Option<Arc<dyn ArtefactStore>>,
    pub(crate) compiler: Arc<dyn Compiler>,
    pub(crate) admission: AdmissionLimits,
    pub(crate) loaded: LoadedComponents,
}

impl Sandboxes {
    /// Starts an engine. Without `artefacts` every component is compiled anew. It compiles in this process,
    /// which is for files that are trusted: see [`with_compiler`](Self::with_compiler).
    ///
    /// # Errors
    /// When the pool's address space cannot be reserved, or the ticker thread not be started.
    pub fn new(
        settings: &EngineSettings,
        artefacts: Option<Arc<dyn ArtefactStore>>,
    ) -> Result<Self, EngineError> {
        let mut config = profile();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(settings)));
        if settings.perf_map {
            config.profiler(ProfilingStrategy::PerfMap);
        }
        let engine = Engine::new(&config).map_err(|error| EngineError(format!("{error:#}")))?;
        let linker = linker(&engine).map_err(|error| EngineError(format!("{error:#}")))?;
        start_ticker(&engine, settings.tick)?;
        let admission = settings.admission.clone();
        let compiler = Arc::new(InProcess);
        let loaded = LoadedComponents::default();
        Ok(Self { engine, linker, artefacts, compiler, admission, loaded })
    }

    /// Has components compiled elsewhere.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Arc<dyn Compiler>) -> Self {
        self.compiler = compiler;
        self
    }
}

fn start_ticker(engine: &Engine, tick: Duration) -> Result<(), EngineError> {
    let engine = engine.weak();
    let advance = move || loop {
        std::thread::sleep(tick);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    };
    let ticker = std::thread::Builder::new().name("epoch-ticker".to_owned()).spawn(advance);
    ticker.map_err(|error| EngineError(format!("no thread for the epoch ticker: {error}")))?;
    Ok(())
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestData>> {
    let mut linker = Linker::new(engine);
    operator::Plain::add_to_linker::<_, HasSelf<GuestData>>(&mut linker, |data| data)?;
    wasi::Wasi::add_to_linker::<_, HasSelf<GuestData>>(&mut linker, |data| data)?;
    Ok(linker)
}

/// An engine that compiles for [`Sandboxes`] and runs nothing: the pool and its address space are no part of
/// the code.
pub(crate) fn compile_engine() -> wasmtime::Result<Engine> {
    Engine::new(&profile())
}

fn profile() -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        // The compiler's process may have no threads, and must not grab all cores.
        .parallel_compilation(false)
        .debug_info(false)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20))
        .max_wasm_stack(WASM_STACK_BYTES)
        .epoch_interruption(true)
        .consume_fuel(false)
        .memory_init_cow(true);
    // Everything that is not named is off, proposals that this wasmtime turns on by default included.
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(allowed_features(), true)
        .shared_memory(false)
        .concurrency_support(false);
    config
}

/// All that a component may use of WebAssembly.
pub(crate) fn allowed_features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::FLOATS
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::SIMD
        | WasmFeatures::COMPONENT_MODEL
}

fn pool(settings: &EngineSettings) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let most = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
    // What admission lets through must fit, even if tenants have lower limits.
    let limits = AdmissionLimits::default();
    let (instances, tables) = (most(limits.core_instances), most(limits.tables));
    // A core instance is no more than a number in the pool, so there are enough of them whatever components bring. Memories and
    // tables are address space: most components bring one memory and few tables, and whose bring more take as many
    // sandboxes' worth (`Component::pool_share`). The pool must at least hold the one that brings the most.
    let cores = settings.sandboxes.saturating_mul(instances);
    let memories = settings.sandboxes.max(most(limits.memories));
    let all_tables = settings.sandboxes.saturating_mul(TABLES_PER_SANDBOX).max(tables);
    let table_elements = usize::try_from(Limits::default().table_elements).unwrap_or(usize::MAX);
    pool.total_component_instances(settings.sandboxes)
        .total_core_instances(cores)
        .total_memories(memories)
        .total_tables(all_tables)
        .max_core_instances_per_component(instances)
        .max_memories_per_component(most(limits.memories))
        .max_tables_per_component(tables)
        .max_memory_size(usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX))
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(table_elements);
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the engine takes a core module with this body.
    fn takes(engine: &Engine, module: &str) -> bool {
        let wasm = wat::parse_str(module).unwrap();
        wasmtime::Module::validate(engine, &wasm).is_ok()
    }

    #[test]
    fn the_profile_allows_what_it_names_and_nothing_else() {
        let sandboxes = Sandboxes::new(&EngineSettings::default(), None).unwrap();
        let engine = &sandboxes.engine;
        let allowed = [
            "(module (func (result v128) (v128.const i32x4 0 0 0 0)))",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
            "(module (func (result i32 i32) (i32.const 0) (i32.const 0)))",
            "(module (table 1 funcref) (table 1 funcref) (func (drop (ref.null func))))",
            "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
        ];
        let refused = [
            "(module (table 1 externref))",
            "(module (memory 1 1 shared))",
            "(module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))",
            "(module (type $f (func)) (type (cont $f)))",
            "(module (memory i64 1))",
            "(module (memory 1) (memory 1))",
            "(module (memory 1 (pagesize 1)))",
            "(module (func (return_call 0)))",
            "(module (type (struct)))",
            "(module (tag))",
            "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))",
            "(module (func (result v128) (i8x16.relaxed_swizzle (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0))))",
            "(module (func (result i64 i64) (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))))",
        ];
        for module in allowed {
            assert!(takes(engine, module), "{module}");
        }
        for module in refused {
            assert!(!takes(engine, module), "{module}");
        }
    }
}
