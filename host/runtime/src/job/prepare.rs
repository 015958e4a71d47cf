//! From a plan to a job that is ready to run: grants checked, components admitted, graph validated. Inputs are
//! listed when it is known that the job is created: one that goes on has its own list.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidemill_core::describe::{Description, Ttl, TtlUpdate};
use tidemill_core::graph::{
    EdgeKind, EdgeSpec, Graph, GraphSpec, NodeKind, NodeSpec, NodeSpecKind,
};
use tidemill_core::ids::NodeId;
use tidemill_core::lane::queue_count;
use tidemill_core::limits::{BATCH_BYTES_MAX, MIB};
use tidemill_core::state::memory::MemoryBackend;
use tidemill_sandbox::{AdmissionError, Component};

use super::{Engine, InputLog, Job, JobError, RunOptions, Shared, grants};
use crate::config::{JobPlan, OnPoison, OperatorPlan, SinkPlan, SourcePlan};
use crate::connectors::settings::{
    Compression, FieldType, Fields, FileSink, RecordFormat, SinkSettings, SourceSettings, Style,
};
use crate::connectors::{LISTENER_BYTES, Source};
use crate::tenants::{JobNeeds, Tenant, Tenants};

/// Name of the sink of dead letters; the graph refuses a node of a job file that has it too.
const DEAD_LETTER_SINK: &str = "dead-letters";

impl Job {
    /// Checks a plan against the world: opens what its operators are granted, admits its components, validates
    /// the graph. Has no effect on the world. Looks for no input files: see [`list_sources`](Self::list_sources).
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn prepare(
        mut plan: JobPlan,
        engine: &Engine,
        tenants: &Tenants,
        options: RunOptions,
    ) -> Result<Self, JobError> {
        let tenant = tenants.owner(&plan.tenant, &plan.paths())?;
        for operator in &mut plan.operators {
            operator.limits = tenant.cap(&operator.limits);
        }
        plan.sinks.extend(dead_letter_sink(&plan));
        let surroundings = grants::surroundings(&plan, &tenant.plan().grants)?;
        let shared = Arc::new(Shared::default());
        let unlisted = |source: &SourcePlan| {
            Source::unlisted(&source.name, &source.settings)
                .map_err(|error| JobError::Connector { node: source.name.clone(), error })
        };
        let sources = plan.sources.iter().map(unlisted).collect::<Result<Vec<_>, _>>()?;
        let input_log = InputLog::new(&plan, &sources, shared.input_log.clone(), tenant.clone());
        // Before anything is compiled: what there is no room for costs nothing.
        let needs = needs(&plan, &input_log);
        let mut reserved = vec![tenant.reserve(needs)?];
        check_room(tenants, needs.sandboxes)?;
        let components: Vec<Component> = plan
            .operators
            .iter()
            .map(|operator| admit(engine, &tenant, operator))
            .collect::<Result<_, _>>()?;
        let shares: u64 = components.iter().map(|component| component.pool_share() - 1).sum();
        let sandboxes = shares * plan.parallelism as u64;
        let surplus = tenant.reserve(JobNeeds { sandboxes, ..JobNeeds::default() });
        reserved.push(surplus.map_err(|refusal| refusal.beside(needs.sandboxes))?);
        check_room(tenants, needs.sandboxes + sandboxes)?;
        let of_lane: u64 = components.iter().map(Component::least_memory_bytes).sum();
        tenant.check_memory(of_lane.saturating_mul(plan.parallelism as u64))?;
        let graph = graph_spec(&plan, &components).validate()?;
        let buffer_bytes = buffer_bytes(&plan, &graph);
        reserved.push(tenant.reserve(JobNeeds { buffer_bytes, ..JobNeeds::default() })?);
        Ok(Self {
            plan,
            options,
            graph,
            components,
            surroundings,
            sources,
            sinks: Vec::new(),
            input_log,
            tenant,
            reserved: Arc::new(reserved),
            partitions: Vec::new(),
            shared,
        })
    }
}

/// Whether the host has room for so many sandboxes, with nobody else there.
fn check_room(tenants: &Tenants, wanted: u64) -> Result<(), JobError> {
    let room = u64::from(tenants.sandboxes());
    match wanted <= room {
        true => Ok(()),
        false => Err(JobError::HostFull(format!(
            "the job takes {wanted} sandboxes; the host has room for {room}"
        ))),
    }
}

/// What the job will use of its tenant's quotas for as long as it is there.
fn needs(plan: &JobPlan, input_log: &InputLog) -> JobNeeds {
    let files: BTreeSet<_> = plan.operators.iter().map(|operator| &operator.component).collect();
    let is_logged = (0..plan.sources.len()).any(|source| input_log.is_logged(source));
    JobNeeds {
        // A lane without one is a thread with its queues, and no less.
        sandboxes: (plan.operators.len().max(1) * plan.parallelism) as u64,
        components: files.len() as u64,
        input_log_bytes: if is_logged { plan.wal.quota_bytes } else { 0 },
        // Known when components have said what they are.
        buffer_bytes: 0,
        connectors: ((plan.sources.len() + plan.sinks.len()) * plan.parallelism) as u64,
        // Known when they have been listed.
        partitions: 0,
    }
}

/// What a source may have read ahead on each lane, or a sink not written yet.
const CONNECTOR_BYTES: usize = 4 * MIB;
/// The same for files: two that are read ahead, decompressed in windows of 8 MiB; or what waits to be compressed.
const FILES_BYTES: usize = 24 * MIB;

/// What may wait between the tasks of a job and at its ends. In each queue its bound and the batch that passes it, and in the
/// outbox behind it a part that is to follow. At each operator what one call may emit: it is shared if it comes as a whole, and
/// copied for each that it goes to if it comes in small batches, which are merged. And what tables of state take while they are empty.
fn buffer_bytes(plan: &JobPlan, graph: &Graph) -> u64 {
    let lanes = plan.parallelism;
    let queues = queue_count(graph, lanes) as u64;
    let in_queues = queues * (plan.queue_bytes + 2 * BATCH_BYTES_MAX) as u64;
    let operators = plan.operators.iter().zip(plan.sources.len()..);
    let emitted = operators.map(|(operator, node)| {
        let copies = |kind| if kind == EdgeKind::Broadcast { lanes } else { 1 };
        let edges = graph.edges.iter().filter(|edge| edge.from == NodeId(node));
        let copies: usize = edges.map(|edge| copies(edge.kind)).sum();
        (1 + copies) as u64 * operator.limits.emit_bytes as u64
    });
    let at_ends = plan.sources.iter().map(|source| match source.settings {
        SourceSettings::File(_) => FILES_BYTES,
        SourceSettings::Stdin(_) | SourceSettings::Tcp(_) | SourceSettings::Nexmark(_) => {
            CONNECTOR_BYTES
        }
    });
    let at_ends = at_ends.chain(plan.sinks.iter().map(|sink| match sink.settings {
        SinkSettings::File(_) => FILES_BYTES,
        SinkSettings::Stdout(_) | SinkSettings::Discard(_) => CONNECTOR_BYTES,
    }));
    let of_lane = emitted.sum::<u64>().saturating_add(at_ends.sum::<usize>() as u64);
    // All lanes together have each key group once.
    let empty = graph.nodes.iter().map(|node| match &node.kind {
        NodeKind::Operator(description) if description.inputs.iter().any(|input| input.keyed) => {
            MemoryBackend::empty_bytes(&description.states, plan.key_groups)
        }
        NodeKind::Source | NodeKind::Sink | NodeKind::Operator(_) => 0,
    });
    let is_listener = |source: &&SourcePlan| matches!(source.settings, SourceSettings::Tcp(_));
    let listeners = plan.sources.iter().filter(is_listener).count() * LISTENER_BYTES;
    let all = [in_queues, of_lane.saturating_mul(lanes as u64), listeners as u64, empty.sum()];
    all.into_iter().fold(0, u64::saturating_add)
}

fn admit(engine: &Engine, tenant: &Tenant, operator: &OperatorPlan) -> Result<Component, JobError> {
    let (node, path) = (operator.name.clone(), operator.component.clone());
    let refused = |error| JobError::Component { node: node.clone(), path: path.clone(), error };
    // The lower of what its tenant and its job allow.
    let limit = operator.limits.component_bytes;
    let bytes = match tidemill_storage::read_whole(&path, limit) {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(bytes)) => return Err(refused(AdmissionError::TooLarge { bytes, limit })),
        Err(error) => {
            let problem = error.to_string();
            return Err(JobError::ComponentFile { node, path, problem });
        }
    };
    // In turn: whoever brings many files at once keeps others from the compiler for one file at a time, and the sandbox that is
    // asked what it is, which no quota counts, is one.
    let admitted = tenant.in_turn(|| engine.admit(&bytes, tenant));
    admitted.map_err(refused)
}

/// The graph as the plan asks for it. States without a time to live of their own get the job's.
fn graph_spec(plan: &JobPlan, components: &[Component]) -> GraphSpec {
    let sources = plan.sources.iter().map(|source| NodeSpec {
        name: source.name.clone(),
        kind: NodeSpecKind::Source { keyed: source.settings.is_keyed() },
        inputs: Vec::new(),
    });
    let operators = plan.operators.iter().zip(components).map(|(operator, component)| NodeSpec {
        name: operator.name.clone(),
        kind: NodeSpecKind::Operator(Box::new(with_state_timeout(
            component.description(),
            plan.state_timeout_ms,
        ))),
        inputs: operator.inputs.clone(),
    });
    let sinks = plan.sinks.iter().map(|sink| NodeSpec {
        name: sink.name.clone(),
        kind: match &*sink.name {
            DEAD_LETTER_SINK => NodeSpecKind::DeadLetters,
            _ => NodeSpecKind::Sink,
        },
        inputs: sink.inputs.clone(),
    });
    GraphSpec { nodes: sources.chain(operators).chain(sinks).collect() }
}

/// The sink of the records that operators cannot process, when any operator keeps them.
fn dead_letter_sink(plan: &JobPlan) -> Option<SinkPlan> {
    let directory = plan.dead_letter_dir.clone()?;
    let keeps = |operator: &&OperatorPlan| operator.poison.on_poison == OnPoison::DeadLetter;
    let edge =
        |operator: &OperatorPlan| EdgeSpec { input: None, from: operator.name.clone(), kind: None };
    let inputs = plan.operators.iter().filter(keeps).map(edge).collect();
    let fields = Fields { key: None, value: FieldType::Bytes, select: Vec::new() };
    let settings = SinkSettings::File(FileSink {
        directory,
        format: RecordFormat { style: Style::Raw, fields },
        compression: Compression::None,
    });
    Some(SinkPlan { name: DEAD_LETTER_SINK.to_owned(), inputs, settings })
}

fn with_state_timeout(description: &Description, timeout_ms: Option<u64>) -> Description {
    let mut description = description.clone();
    if let Some(milliseconds) = timeout_ms {
        let ttl = Ttl { milliseconds, update: TtlUpdate::OnCreateAndWrite };
        for state in &mut description.states {
            state.ttl.get_or_insert(ttl);
        }
    }
    description
}
