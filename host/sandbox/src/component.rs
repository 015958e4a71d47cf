//! An admitted component: compiled, linked, described, ready to be instantiated.

mod factory;
mod loaded;
mod migrate;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use tidemill_core::call::{CallRules, OutputRule, Phase};
use tidemill_core::describe::{
    Description, InputDescription, MetricDescription, MetricKind, OutputDescription,
    StateDescription, StateKind, Ttl, TtlUpdate,
};
use tidemill_core::failure::{Failure, FaultCode};
use tidemill_core::limits::{AdmissionLimits, Limits};
use tidemill_core::operator::{InstanceFactory, OperatorInstance};
use tidemill_core::quota::TenantUsage;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::admission::{
    self, AdmissionError, ComponentKind, MIGRATE_EXPORT, OPERATOR_EXPORT, SNAPSHOT_EXPORT,
};
use crate::bindings::operator::PlainIndices;
use crate::bindings::operator::exports::tidemill::operator::operator as guest;
use crate::compiler::Confinement;
use crate::engine::Sandboxes;
use crate::files::{Files, GrantedFiles};
use crate::guest_data::GuestData;
use crate::guest_log::LogRate;
use crate::instance::SandboxInstance;
use crate::signal::CallSignal;
use factory::SandboxFactory;
use loaded::Loaded;
pub(crate) use loaded::LoadedComponents;
pub use migrate::Migrator;

/// Whose task a sandbox runs.
#[derive(Clone, Debug, Default)]
pub struct TaskIdentity {
    /// What the owner of the job uses.
    pub tenant: Arc<TenantUsage>,
    /// Name of the job.
    pub job: String,
    /// Name of the node.
    pub operator: String,
    /// Lane of the task.
    pub task: u32,
    /// What all sandboxes of the task have written to the log.
    pub(crate) log_rate: Arc<LogRate>,
}

impl TaskIdentity {
    /// The task of an operator on a lane.
    pub fn new(tenant: Arc<TenantUsage>, job: &str, operator: &str, task: u32) -> Self {
        let (job, operator) = (job.to_owned(), operator.to_owned());
        Self { tenant, job, operator, task, log_rate: Arc::default() }
    }
}

/// What an operator finds around it beside the records: by default nothing. Not there in `describe` and
/// `migrate`, which depend on nothing but the component.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Its environment, as WASI shows it.
    pub environment: Vec<(String, String)>,
    /// Files that it may read.
    pub files: GrantedFiles,
}

/// What admission found out about a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFacts {
    /// Component, or core module that was encoded.
    pub kind: ComponentKind,
    /// Size of the file in bytes.
    pub bytes: usize,
    /// BLAKE3 digest of the file, in hexadecimal.
    pub digest: String,
    /// Imports, by name.
    pub imports: Vec<String>,
    /// Exports, by name.
    pub exports: Vec<String>,
    /// Time to compile it, or to load its artefact, in microseconds.
    pub compile_us: u64,
    /// Whether it was not compiled for this: the artefact of an earlier run was used, or another operator runs the same file.
    pub cached: bool,
    /// The layers around the compiler, where it worked just now and in a process of its own.
    pub confinement: Option<Confinement>,
}

/// An admitted component.
#[derive(Clone)]
pub struct Component {
    /// Kept so that others of the same file find it.
    _loaded: Arc<Loaded>,
    pre: InstancePre<GuestData>,
    exports: GuestExports,
    facts: Arc<ComponentFacts>,
    description: Arc<Description>,
}

impl Sandboxes {
    /// Admits a file as an operator: checks it, compiles it, links it and asks what it is; within the host's own
    /// limits.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit(&self, bytes: &[u8]) -> Result<Component, AdmissionError> {
        self.admit_within(bytes, &self.admission, &Arc::default(), &Arc::default())
    }

    /// As [`Sandboxes::admit`], within the limits of its owner: on what it may be made of and what compiling it may
    /// cost, on the file, and of the sandbox that is asked what it is. The memory of that and the CPU time of
    /// the compiler's process count for `tenant`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit_within(
        &self,
        bytes: &[u8],
        admission: &AdmissionLimits,
        limits: &Arc<Limits>,
        tenant: &Arc<TenantUsage>,
    ) -> Result<Component, AdmissionError> {
        admission::precheck(bytes, limits.component_bytes)?;
        let began = Instant::now();
        let (loaded, how) = self.loaded.get(self, bytes, admission, tenant)?;
        let compile_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wrong_type =
            |error: wasmtime::Error| AdmissionError::WrongType(format!("{error:#}")).cut();
        let pre = self.linker.instantiate_pre(loaded.component()).map_err(wrong_type)?;
        let exports = GuestExports::find(&pre).map_err(wrong_type)?;
        let facts = Arc::new(ComponentFacts {
            kind: loaded.kind(),
            bytes: bytes.len(),
            digest: blake3::hash(bytes).to_hex().to_string(),
            imports: loaded.imports().to_vec(),
            exports: loaded.exports().to_vec(),
            compile_us,
            cached: how.is_cached(),
            confinement: how.confinement(),
        });
        let mut component =
            Component { _loaded: loaded, pre, exports, facts, description: Arc::default() };
        let description = component.describe(limits, tenant)?;
        description.validate()?;
        if component.has_snapshot() && !description.states.is_empty() {
            return Err(AdmissionError::StateTwice);
        }
        component.description = Arc::new(description);
        // Of what is refused nothing is kept.
        how.keep(self);
        Ok(component)
    }
}

impl Component {
    /// What admission found out.
    pub fn facts(&self) -> &ComponentFacts {
        &self.facts
    }

    /// What the operator says it is.
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// Linear memory that each of its sandboxes takes at the least, in bytes.
    pub fn least_memory_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 64 * 1024;
        let required = self.pre.component().resources_required();
        required.and_then(|required| required.max_initial_memory_size).unwrap_or(0) * PAGE_BYTES
    }

    /// How many sandboxes' worth of the pool each of its sandboxes takes: most have one memory and few tables.
    pub fn pool_share(&self) -> u64 {
        let required = self.pre.component().resources_required();
        let tables_each = u64::from(crate::engine::TABLES_PER_SANDBOX);
        required.map_or(1, |required| {
            let tables = u64::from(required.num_tables).div_ceil(tables_each);
            u64::from(required.num_memories).max(tables).max(1)
        })
    }

    /// Whether the operator keeps state in its own memory, and can save and restore it.
    pub fn has_snapshot(&self) -> bool {
        self.exports.snapshot.is_some()
    }

    /// Whether the operator can rewrite stored items of older schema versions.
    pub fn has_migrate(&self) -> bool {
        self.exports.migrate.is_some()
    }

    /// Makes the sandboxes of one task, as [`instantiate`](Self::instantiate) does.
    pub fn factory(
        &self,
        rules: Arc<CallRules>,
        identity: TaskIdentity,
        surroundings: Surroundings,
        stop: Arc<CallSignal>,
    ) -> Box<dyn InstanceFactory> {
        Box::new(SandboxFactory { component: self.clone(), rules, identity, surroundings, stop })
    }

    /// Makes a sandbox for one task. `stop` interrupts its calls.
    ///
    /// # Errors
    /// [`Failure::Guest`] when its start code traps or breaks a limit, [`Failure::Host`] when the pool
    /// is full.
    pub fn instantiate(
        &self,
        rules: Arc<CallRules>,
        identity: &TaskIdentity,
        surroundings: &Surroundings,
        stop: Arc<CallSignal>,
    ) -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(self.sandbox(rules, identity, surroundings, stop)?))
    }

    fn sandbox(
        &self,
        rules: Arc<CallRules>,
        identity: &TaskIdentity,
        surroundings: &Surroundings,
        stop: Arc<CallSignal>,
    ) -> Result<SandboxInstance, Failure> {
        let mut data = GuestData::new(rules, identity, stop);
        data.environment = surroundings.environment.clone();
        data.files = Files::new(surroundings.files.clone(), identity.tenant.open_files.clone());
        SandboxInstance::new(&self.pre, &self.exports, data)
    }

    fn describe(
        &self,
        limits: &Arc<Limits>,
        tenant: &Arc<TenantUsage>,
    ) -> Result<Description, AdmissionError> {
        let rules = rules_outside_of_jobs(Arc::default(), limits.clone());
        let (tenant, operator) = (tenant.clone(), "describe".to_owned());
        let identity = TaskIdentity { tenant, operator, ..TaskIdentity::default() };
        let sandbox = self.sandbox(rules, &identity, &Surroundings::default(), Arc::default());
        let failed = |failure| match failure {
            Failure::HostFull(words) => AdmissionError::HostFull(words),
            Failure::Guest(fault) if fault.code == FaultCode::TenantMemory => {
                AdmissionError::TenantMemory(fault.message)
            }
            failure => AdmissionError::Describe(failure),
        };
        let mut sandbox = sandbox.map_err(failed)?;
        let typed = sandbox.check_optional_exports();
        typed.map_err(|error| AdmissionError::WrongType(format!("{error:#}")))?;
        sandbox.begin_spare(Phase::Describe);
        sandbox.describe().map(description).map_err(failed)
    }
}

/// Rules for calls that are made for no task.
pub(crate) fn rules_outside_of_jobs(
    description: Arc<Description>,
    limits: Arc<Limits>,
) -> Arc<CallRules> {
    let outputs = vec![OutputRule::default(); description.outputs.len()];
    Arc::new(CallRules { description, outputs, limits, random_key: [0; 32] })
}

fn description(said: guest::Description) -> Description {
    let inputs = said.inputs.into_iter().map(|input| InputDescription {
        name: input.name,
        keyed: input.keyed,
        value_width: input.value_width,
    });
    let outputs = said
        .outputs
        .into_iter()
        .map(|output| OutputDescription { name: output.name, value_width: output.value_width });
    let metrics = said.metrics.into_iter().map(|metric| MetricDescription {
        name: metric.name,
        kind: match metric.kind {
            guest::MetricKind::Counter => MetricKind::Counter,
            guest::MetricKind::Gauge => MetricKind::Gauge,
            guest::MetricKind::Histogram => MetricKind::Histogram,
        },
        unit: metric.unit,
        help: metric.help,
    });
    Description {
        name: said.name,
        version: said.version,
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        states: said.states.into_iter().map(state).collect(),
        metrics: metrics.collect(),
    }
}

fn state(said: guest::StateDescription) -> StateDescription {
    StateDescription {
        name: said.name,
        kind: match said.kind {
            guest::StateKind::Value => StateKind::Value,
            guest::StateKind::List => StateKind::List,
            guest::StateKind::Map => StateKind::Map,
        },
        width: said.width,
        schema_version: said.schema_version,
        ttl: said.ttl.map(|ttl| Ttl {
            milliseconds: ttl.milliseconds,
            update: match ttl.update {
                guest::TtlUpdate::OnCreateAndWrite => TtlUpdate::OnCreateAndWrite,
                guest::TtlUpdate::OnReadAndWrite => TtlUpdate::OnReadAndWrite,
            },
        }),
    }
}

/// Where the functions of the operator lie among a component's exports, looked up once.
#[derive(Clone)]
pub(crate) struct GuestExports {
    pub(crate) plain: PlainIndices,
    /// `process` by itself: its arguments are lowered from borrowed columns.
    pub(crate) process: ComponentExportIndex,
    /// `save` and `restore`, where the component has them.
    pub(crate) snapshot: Option<[ComponentExportIndex; 2]>,
    pub(crate) migrate: Option<ComponentExportIndex>,
}

impl GuestExports {
    fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Self> {
        let plain = PlainIndices::new(pre)?;
        let component = pre.component();
        let interface = |name: &str| component.get_export_index(None, name);
        let function = |interface: &ComponentExportIndex, name: &str| {
            let found = component.get_export_index(Some(interface), name);
            found.ok_or_else(|| wasmtime::format_err!("no export `{name}`"))
        };
        let operator = interface(OPERATOR_EXPORT)
            .ok_or_else(|| wasmtime::format_err!("no export `{OPERATOR_EXPORT}`"))?;
        let snapshot = interface(SNAPSHOT_EXPORT)
            .map(|i| Ok::<_, wasmtime::Error>([function(&i, "save")?, function(&i, "restore")?]));
        let migrate = interface(MIGRATE_EXPORT).map(|i| function(&i, "migrate"));
        Ok(Self {
            plain,
            process: function(&operator, "process")?,
            snapshot: snapshot.transpose()?,
            migrate: migrate.transpose()?,
        })
    }
}
