//! An admitted component: compiled, linked, described, ready to be instantiated.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tidemill_core::call::{CallRules, Phase};
use tidemill_core::describe::{
    Description, InputDescription, MetricDescription, MetricKind, OutputDescription,
    StateDescription, StateKind, Ttl, TtlUpdate,
};
use tidemill_core::failure::Failure;
use tidemill_core::limits::Limits;
use tidemill_core::operator::OperatorInstance;
use wasmtime::component::{Component as WasmComponent, ComponentExportIndex, InstancePre};

use crate::admission::{self, AdmissionError, ComponentKind, OPERATOR_EXPORT};
use crate::artefact;
use crate::bindings::operator::PlainIndices;
use crate::bindings::operator::exports::tidemill::operator::operator as guest;
use crate::engine::Sandboxes;
use crate::guest_data::GuestData;
use crate::host_wasi::link_unreachable_types;
use crate::instance::SandboxInstance;

/// Whose task a sandbox runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskIdentity {
    /// Name of the job.
    pub job: String,
    /// Name of the node.
    pub operator: String,
    /// Lane of the task.
    pub task: u32,
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
    /// Whether the artefact of an earlier run was used.
    pub cached: bool,
}

/// An admitted component.
#[derive(Clone)]
pub struct Component {
    pre: InstancePre<GuestData>,
    exports: GuestExports,
    facts: Arc<ComponentFacts>,
    description: Arc<Description>,
}

impl Sandboxes {
    /// Admits a file as an operator: checks it, compiles it, links it and asks what it is.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn admit(&self, bytes: &[u8]) -> Result<Component, AdmissionError> {
        let checked = admission::check(bytes)?;
        let began = Instant::now();
        let (compiled, cached) = self.compile(&checked.component)?;
        let compile_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let wrong_type = |error: wasmtime::Error| AdmissionError::WrongType(format!("{error:#}"));
        let pre = self.linker_for(&checked.imports, &compiled).map_err(wrong_type)?;
        let exports = GuestExports::find(&pre).map_err(wrong_type)?;
        let facts = Arc::new(ComponentFacts {
            kind: checked.kind,
            bytes: bytes.len(),
            digest: blake3::hash(bytes).to_hex().to_string(),
            imports: checked.imports,
            exports: checked.exports,
            compile_us,
            cached,
        });
        let mut component = Component { pre, exports, facts, description: Arc::default() };
        let description = component.describe().map_err(AdmissionError::Describe)?;
        description.validate()?;
        component.description = Arc::new(description);
        Ok(component)
    }

    fn compile(&self, component: &[u8]) -> Result<(WasmComponent, bool), AdmissionError> {
        let name = self.artefacts.as_ref().map(|store| {
            let name = artefact::name(&**store, &self.engine, component);
            (store, name)
        });
        if let Some((store, name)) = &name
            && let Some(loaded) = artefact::load(&***store, &self.engine, name)
        {
            return Ok((loaded, true));
        }
        let compiled = WasmComponent::from_binary(&self.engine, component)
            .map_err(|error| AdmissionError::Compile(format!("{error:#}")))?;
        if let Some((store, name)) = &name {
            artefact::save(&***store, name, &compiled);
        }
        Ok((compiled, false))
    }

    /// Links what the component imports. The types of the (empty) filesystem are linked under the
    /// very version that it imports.
    fn linker_for(
        &self,
        imports: &[String],
        component: &WasmComponent,
    ) -> wasmtime::Result<InstancePre<GuestData>> {
        let Some(types) =
            imports.iter().find(|import| import.starts_with("wasi:filesystem/types@"))
        else {
            return self.linker.instantiate_pre(component);
        };
        let mut linker = self.linker.clone();
        link_unreachable_types(&mut linker, component, types)?;
        linker.instantiate_pre(component)
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

    /// Makes a sandbox for one task. `stop` interrupts its calls.
    ///
    /// # Errors
    /// [`Failure::Guest`] when its start code traps or breaks a limit, [`Failure::Host`] when the pool
    /// is full.
    pub fn instantiate(
        &self,
        rules: Arc<CallRules>,
        identity: &TaskIdentity,
        environment: &[(String, String)],
        stop: Arc<AtomicBool>,
    ) -> Result<Box<dyn OperatorInstance>, Failure> {
        Ok(Box::new(self.sandbox(rules, identity, environment, stop)?))
    }

    fn sandbox(
        &self,
        rules: Arc<CallRules>,
        identity: &TaskIdentity,
        environment: &[(String, String)],
        stop: Arc<AtomicBool>,
    ) -> Result<SandboxInstance, Failure> {
        let mut data = GuestData::new(rules, identity, stop);
        data.environment = environment.to_vec();
        SandboxInstance::new(&self.pre, &self.exports, data)
    }

    fn describe(&self) -> Result<Description, Failure> {
        let rules = Arc::new(CallRules {
            description: Arc::default(),
            output_needs_key: Vec::new(),
            limits: Arc::new(Limits::default()),
            random_key: [0; 32],
        });
        let identity = TaskIdentity { operator: "describe".to_owned(), ..TaskIdentity::default() };
        let mut sandbox = self.sandbox(rules, &identity, &[], Arc::default())?;
        sandbox.begin_spare(Phase::Describe);
        sandbox.describe().map(description)
    }
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
}

impl GuestExports {
    fn find(pre: &InstancePre<GuestData>) -> wasmtime::Result<Self> {
        let plain = PlainIndices::new(pre)?;
        let component = pre.component();
        let process = component
            .get_export_index(None, OPERATOR_EXPORT)
            .and_then(|operator| component.get_export_index(Some(&operator), "process"))
            .ok_or_else(|| wasmtime::format_err!("no export `process`"))?;
        Ok(Self { plain, process })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Mutex;

    use super::*;
    use crate::artefact::ArtefactStore;
    use crate::engine::EngineSettings;

    #[derive(Default)]
    struct Shelf(Mutex<HashMap<String, Vec<u8>>>);

    impl ArtefactStore for Shelf {
        fn secret(&self) -> [u8; 32] {
            [7; 32]
        }

        fn load(&self, name: &str) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(name).cloned()
        }

        fn save(&self, name: &str, bytes: &[u8]) {
            self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        }
    }

    #[test]
    fn an_artefact_is_used_again_unless_a_single_bit_of_it_changed() {
        let shelf = Arc::new(Shelf::default());
        let store = shelf.clone() as Arc<dyn ArtefactStore>;
        let sandboxes = Sandboxes::new(&EngineSettings::default(), Some(store)).unwrap();
        let component = wat::parse_str("(component (core module (func)))").unwrap();
        let was_cached = || sandboxes.compile(&component).unwrap().1;
        assert!(!was_cached() && was_cached());
        let size = shelf.0.lock().unwrap().values().next().unwrap().len();
        for at in [0, 31, 32, size / 2, size - 1] {
            shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes[at] ^= 1);
            assert!(!was_cached(), "byte {at} changed");
            assert!(was_cached());
        }
        shelf.0.lock().unwrap().values_mut().for_each(|bytes| bytes.truncate(20));
        assert!(!was_cached());
        let other = wat::parse_str("(component)").unwrap();
        assert!(!sandboxes.compile(&other).unwrap().1);
    }
}
