//! What must come of a job: which records each node has taken at a cut through all streams.
//!
//! Owns the arithmetic of copies. Knows nothing of lanes, time or order: what it says holds under any. A cut
//! is what a checkpoint claims: so far was each partition read, so many tasks of each operator had closed.

use std::collections::BTreeMap;

use tidemill_core::graph::{EdgeKind, NodeKind};

use crate::plan::{Kind, Plan};

/// How many copies of one record that a node brings into the graph come out of and into the others.
#[derive(Clone, Debug)]
pub struct Copies {
    /// By the node that the record begins at: what each node takes.
    taken: Vec<Vec<u64>>,
    /// The same, by keyed inputs only.
    keyed: Vec<Vec<u64>>,
}

impl Copies {
    /// The copies of a plan's graph. A broadcast counts with the lanes that the plan begins with.
    pub fn new(plan: &Plan) -> Self {
        let count = plan.graph.nodes.len();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|node| plan.graph.nodes[*node].depth);
        let mut copies =
            Self { taken: vec![vec![0; count]; count], keyed: vec![vec![0; count]; count] };
        for origin in 0..count {
            let mut emitted = vec![0; count];
            emitted[origin] = 1;
            for &node in &order {
                let into =
                    plan.graph.edges.iter().filter(|edge| edge.to.0 == node && edge.output == 0);
                for edge in into {
                    let lanes =
                        if edge.kind == EdgeKind::Broadcast { plan.lanes as u64 } else { 1 };
                    let came = emitted[edge.from.0] * lanes;
                    let is_keyed = match &plan.graph.nodes[node].kind {
                        NodeKind::Operator(description) => description.inputs[edge.input].keyed,
                        NodeKind::Source | NodeKind::Sink => false,
                    };
                    copies.taken[origin][node] += came;
                    copies.keyed[origin][node] += if is_keyed { came } else { 0 };
                }
                if node != origin {
                    emitted[node] = copies.taken[origin][node] * plan.fan_out[node] as u64;
                }
            }
        }
        copies
    }

    /// How often `node` takes a record that `origin` brought in.
    pub fn taken(&self, origin: usize, node: usize) -> u64 {
        self.taken[origin][node]
    }

    /// The same, by keyed inputs only.
    pub fn keyed(&self, origin: usize, node: usize) -> u64 {
        self.keyed[origin][node]
    }
}

/// The value of record `number` of a source.
pub fn record_value(source: usize, number: usize) -> String {
    format!("s{source}:{number}")
}

/// The key of record `number` of any source.
pub fn record_key(number: usize, keys: usize) -> String {
    format!("k{}", number % keys)
}

/// The number of the record at an offset of a partition.
pub fn record_number(partition: usize, offset: u64, partitions: usize) -> usize {
    partition + offset as usize * partitions
}

/// How many records a partition has.
pub fn partition_records(partition: usize, partitions: usize, records: usize) -> u64 {
    (records + partitions - 1).saturating_sub(partition) as u64 / partitions as u64
}

/// The key of records that are emitted at close.
pub const CLOSE_KEY: &str = "close";

/// The value of what the tasks of an operator emit at close.
pub fn close_value(node: usize) -> String {
    format!("c{node}")
}

/// The value of a running count.
pub fn count_value(node: usize, key: &str, count: u64) -> String {
    format!("n{node}:{key}:{count}")
}

/// A cut through all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// For each source the numbers of the records before it.
    pub read: BTreeMap<usize, Vec<usize>>,
    /// For each node how many of its tasks closed before it.
    pub closes: Vec<u64>,
}

/// A record that begins before a cut.
struct Origin {
    node: usize,
    key: String,
    value: String,
    times: u64,
}

/// How often each thing is there.
pub type Bag = BTreeMap<String, u64>;

impl Cut {
    fn origins(&self, plan: &Plan) -> Vec<Origin> {
        let mut origins = Vec::new();
        for (&node, numbers) in &self.read {
            origins.extend(numbers.iter().map(|number| {
                let key = record_key(*number, plan.keys);
                Origin { node, key, value: record_value(node, *number), times: 1 }
            }));
        }
        for (node, &times) in self.closes.iter().enumerate() {
            if times > 0 && plan.emits_at_close[node] {
                let key = CLOSE_KEY.to_owned();
                origins.push(Origin { node, key, value: close_value(node), times });
            }
        }
        origins
    }

    /// All records that `node` has taken.
    pub fn taken(&self, plan: &Plan, copies: &Copies, node: usize) -> Bag {
        let mut bag = Bag::new();
        for origin in self.origins(plan) {
            let times = origin.times * copies.taken(origin.node, node);
            if times > 0 {
                *bag.entry(origin.value).or_default() += times;
            }
        }
        bag
    }

    /// For each key the records that `node` has taken by keyed inputs.
    pub fn keyed(&self, plan: &Plan, copies: &Copies, node: usize) -> BTreeMap<String, Bag> {
        let mut keys: BTreeMap<String, Bag> = BTreeMap::new();
        for origin in self.origins(plan) {
            let times = origin.times * copies.keyed(origin.node, node);
            if times > 0 {
                *keys.entry(origin.key).or_default().entry(origin.value).or_default() += times;
            }
        }
        keys
    }

    /// All running counts that all nodes have emitted.
    pub fn counts(&self, plan: &Plan, copies: &Copies) -> Bag {
        let mut bag = Bag::new();
        for node in plan.nodes_of(Kind::Count) {
            for (key, records) in self.keyed(plan, copies, node) {
                let count: u64 = records.values().sum();
                bag.extend((1..=count).map(|number| (count_value(node, &key, number), 1)));
            }
        }
        bag
    }
}
