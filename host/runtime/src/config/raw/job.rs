//! The job itself, its operators and their limits.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};

use super::{
    CheckpointingWord, PoisonWord, RawEdges, RawGrants, RawRestartStrategy, RawSink, RawSource,
    WalWord,
};
use crate::config::scalar::{At, ConfigText, Size, Time, Whole};

/// A Tidemill job: sources, operators and sinks, and how to run them.
///
/// Durations carry units ("500ms", "1h"), a bare number is milliseconds. Sizes carry units
/// ("64MiB"), a bare number is bytes. Paths count from the job file's directory.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(title = "Tidemill job file")]
pub(in crate::config) struct RawJob {
    /// Name of the job; unique within a data directory.
    pub(in crate::config) name: At<String>,
    /// Owner of the job, whose quotas it runs under; "default" by default.
    pub(in crate::config) tenant: Option<At<String>>,
    /// How many lanes (threads) run the job.
    pub(in crate::config) parallelism: Option<At<Whole>>,
    /// Units of routing and of state ownership; fixed for the life of the job's state.
    pub(in crate::config) key_groups: Option<At<Whole>>,
    /// Keyed state that is not written for so long is removed; none by default.
    pub(in crate::config) state_timeout: Option<At<Time>>,
    /// Where keyed state lives while the job runs.
    pub(in crate::config) state_backend: Option<At<StateBackend>>,
    /// Records that a source gathers into one batch.
    pub(in crate::config) batch_records: Option<At<Whole>>,
    /// Bytes of keys and values that a source gathers into one batch.
    pub(in crate::config) batch_bytes: Option<At<Size>>,
    /// How long an unfinished batch waits for more records.
    pub(in crate::config) linger: Option<At<Time>>,
    /// Bytes that one queue between two nodes holds before its sender waits.
    pub(in crate::config) queue_bytes: Option<At<Size>>,
    /// How often the effects of a record are in state and output after a failure.
    pub(in crate::config) checkpointing_mode: Option<At<CheckpointingWord>>,
    /// Time from the start of one checkpoint to the start of the next.
    pub(in crate::config) checkpoint_interval: Option<At<Time>>,
    /// Time from the end of one checkpoint to the start of the next, at least.
    pub(in crate::config) min_pause_between_checkpoints: Option<At<Time>>,
    /// A checkpoint that takes longer is aborted.
    pub(in crate::config) checkpoint_timeout: Option<At<Time>>,
    /// Checkpoints in a row that may fail; with one more the job fails.
    pub(in crate::config) tolerable_failed_checkpoints: Option<At<Whole>>,
    /// Completed checkpoints that are kept.
    pub(in crate::config) checkpoints_retained: Option<At<Whole>>,
    /// Where checkpoints lie; in the job's data directory by default.
    pub(in crate::config) checkpoint_dir: Option<At<String>>,
    /// How often it is looked whether the job's lanes advance.
    pub(in crate::config) heartbeat_interval: Option<At<Time>>,
    /// A lane that works and does not advance for so long fails the job; longer than
    /// `heartbeat-interval`.
    pub(in crate::config) heartbeat_timeout: Option<At<Time>>,
    /// How long a stop may take, its last checkpoint included.
    pub(in crate::config) stop_timeout: Option<At<Time>>,
    /// How long a restart waits for the storage operations of the run before.
    pub(in crate::config) storage_timeout: Option<At<Time>>,
    /// Which input is logged before it is processed.
    pub(in crate::config) wal: Option<At<WalWord>>,
    /// Bytes that the input log may use; intake stops when they are used up.
    pub(in crate::config) wal_quota: Option<At<Size>>,
    /// Whether and when the job is started again after a failure.
    pub(in crate::config) restart_strategy: Option<At<RawRestartStrategy>>,
    /// What happens to a record that an operator cannot process.
    pub(in crate::config) on_poison: Option<At<PoisonWord>>,
    /// Records per minute that one operator may skip or dead-letter; with one more the job fails.
    pub(in crate::config) poison_limit: Option<At<Whole>>,
    /// Directory of the dead letters; "dead-letters" beside the job file by default.
    pub(in crate::config) dead_letter_dir: Option<At<String>>,
    /// Where records come from.
    #[serde(default)]
    pub(in crate::config) sources: Nodes<RawSource>,
    /// What is computed: one WebAssembly component each.
    #[serde(default)]
    pub(in crate::config) operators: Nodes<RawOperator>,
    /// Where records go.
    #[serde(default)]
    pub(in crate::config) sinks: Nodes<RawSink>,
}

/// Where keyed state lives while the job runs.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum StateBackend {
    /// In memory.
    Memory,
    #[schemars(skip)]
    Disk,
}

/// One WebAssembly component and what feeds it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Operator")]
pub(in crate::config) struct RawOperator {
    /// The component file.
    pub(in crate::config) component: At<String>,
    /// What feeds its only input.
    pub(in crate::config) from: Option<RawEdges>,
    /// What feeds its inputs, by their names.
    pub(in crate::config) inputs: Option<At<Nodes<RawEdges>>>,
    /// Configuration that the operator receives, as text.
    pub(in crate::config) config: Option<Nodes<At<ConfigText>>>,
    /// What of the host the operator sees, where the tenant's policy allows it.
    pub(in crate::config) grants: Option<RawGrants>,
    /// Limits below the host's.
    pub(in crate::config) limits: Option<RawLimits>,
    /// As the job's setting, for this operator only.
    pub(in crate::config) on_poison: Option<At<PoisonWord>>,
    /// As the job's setting, for this operator only.
    pub(in crate::config) poison_limit: Option<At<Whole>>,
}

/// Limits of one sandbox and its component; they can only be lowered.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(in crate::config) struct RawLimits {
    /// The component's file.
    pub(in crate::config) component_size: Option<At<Size>>,
    /// Linear memory of a sandbox.
    pub(in crate::config) memory: Option<At<Size>>,
    /// Elements of all tables of a sandbox.
    pub(in crate::config) table_elements: Option<At<Whole>>,
    /// One record's key.
    pub(in crate::config) key: Option<At<Size>>,
    /// One record's value, one state item or one map key.
    pub(in crate::config) value: Option<At<Size>>,
    /// What one call may emit.
    pub(in crate::config) emit_bytes: Option<At<Size>>,
    /// Records that one call may emit.
    pub(in crate::config) emit_records: Option<At<Whole>>,
    /// State writes that one call may hold back.
    pub(in crate::config) overlay: Option<At<Size>>,
    /// What one host call may move.
    pub(in crate::config) host_call: Option<At<Size>>,
    /// Keyed state of one task.
    pub(in crate::config) state: Option<At<Size>>,
    /// Log lines in a second.
    pub(in crate::config) log_lines_per_second: Option<At<Whole>>,
    /// One log line; the rest is cut.
    pub(in crate::config) log_line: Option<At<Size>>,
    /// Own CPU time of a call, without the share per record.
    pub(in crate::config) process_cpu: Option<At<Time>>,
    /// Own CPU time that each record of the batch adds.
    pub(in crate::config) process_cpu_per_record: Option<At<Time>>,
    /// Own CPU time of a call at most.
    pub(in crate::config) process_cpu_max: Option<At<Time>>,
    /// Own CPU time of instantiation and of every call other than `process`.
    pub(in crate::config) hook_cpu: Option<At<Time>>,
}

/// Tables by name, in the order of the file.
pub(in crate::config) struct Nodes<T>(pub(in crate::config) Vec<(At<String>, T)>);

impl<T> Default for Nodes<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Nodes<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NodesVisitor(PhantomData))
    }
}

struct NodesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for NodesVisitor<T> {
    type Value = Nodes<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Nodes<T>, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = map.next_entry()? {
            nodes.push(entry);
        }
        Ok(Nodes(nodes))
    }
}

impl<T: JsonSchema> JsonSchema for Nodes<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Nodes_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}
