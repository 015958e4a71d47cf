//! What a job is when it comes into being, and what its nodes are to manifests.

use tidemill_core::checkpoint::basis::Basis;
use tidemill_core::checkpoint::ledger::NodeRole;
use tidemill_core::checkpoint::manifest::{Manifest, SourceSnapshot};
use tidemill_core::ids::{CheckpointId, Incarnation};

use crate::plan::{Kind, Plan};
use crate::source::first_positions;

/// Key groups of every simulated job.
pub const KEY_GROUPS: u32 = 16;

/// The roles of all nodes.
pub fn roles(plan: &Plan) -> Vec<NodeRole> {
    let role = |node: usize| {
        let name = plan.name(node).to_owned();
        match (plan.kinds[node], plan.description(node)) {
            (Kind::Source, _) => NodeRole::Source { name },
            (_, Some(description)) => {
                let (component, states) = (String::new(), description.states.clone());
                NodeRole::Operator { name, component, states }
            }
            (_, None) => NodeRole::Sink { directory: name.clone(), name },
        }
    };
    (0..plan.kinds.len()).map(role).collect()
}

/// The basis of a job that has none.
pub fn first(plan: &Plan, lanes: usize, incarnation: Incarnation, hash_seed: u64) -> Basis {
    let source = |node: usize| SourceSnapshot {
        name: plan.name(node).to_owned(),
        partitions: first_positions(plan, node),
    };
    let manifest = Manifest {
        job: "job".to_owned(),
        identity: format!("{hash_seed:016x}"),
        files_identity: None,
        checkpoint: CheckpointId(0),
        incarnation,
        created_ms: 0,
        written_by: "simulator".to_owned(),
        finished: false,
        hash_seed,
        owners: Vec::new(),
        parallelism: 0,
        plan: String::new(),
        wal_start: None,
        sources: plan.nodes_of(Kind::Source).map(source).collect(),
        operators: Vec::new(),
        sinks: Vec::new(),
    };
    Basis::first(manifest, KEY_GROUPS, lanes)
}
