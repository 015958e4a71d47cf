//! Every metric of the host: name, meaning, unit. Dashboards depend on them.
//!
//! The encoder adds `_total` to counters, so their names here go without.

/// A metric as Prometheus sees it.
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

pub(super) const BUILD: Name =
    Name { name: "tidemill_build", help: "The version of the host that runs the job" };
pub(super) const RECORDS_IN: Name =
    Name { name: "tidemill_records_in", help: "Records that a task has taken in" };
pub(super) const RECORDS_OUT: Name =
    Name { name: "tidemill_records_out", help: "Records that a task has handed on" };
pub(super) const CALLS: Name = Name {
    name: "tidemill_calls",
    help: "Calls of an operator, polls of a source, writes to a sink",
};
pub(super) const RETRIES: Name = Name {
    name: "tidemill_retries",
    help: "Calls made again in a new sandbox after a trap or a broken limit",
};
pub(super) const BATCH_SPLITS: Name = Name {
    name: "tidemill_batch_splits",
    help: "Batches that failed as a whole, and all of whose parts succeeded",
};
pub(super) const POISON: Name = Name {
    name: "tidemill_poison_records",
    help: "Records that could not be processed and were skipped or dead-lettered",
};
pub(super) const SANDBOXES: Name =
    Name { name: "tidemill_sandboxes", help: "Sandboxes made, the first one included" };
pub(super) const BUSY: Name =
    Name { name: "tidemill_busy_seconds", help: "Time that a lane has spent in a task" };
pub(super) const CPU: Name =
    Name { name: "tidemill_cpu_seconds", help: "CPU time that a lane has spent in a task" };
pub(super) const HOST_CALLS: Name =
    Name { name: "tidemill_host_calls", help: "Host calls made by the sandboxes of a task" };
pub(super) const COPIED_BYTES: Name = Name {
    name: "tidemill_copied_bytes",
    help: "Bytes copied into and out of the sandboxes of a task",
};
pub(super) const MEMORY_BYTES: Name = Name {
    name: "tidemill_sandbox_memory_bytes",
    help: "The most linear memory that a sandbox of a task has had",
};
pub(super) const TENANT_CPU: Name = Name {
    name: "tidemill_tenant_cpu_seconds",
    help: "CPU time of all threads that work for a tenant's jobs",
};
pub(super) const TENANT_HELD: Name = Name {
    name: "tidemill_tenant_held_seconds",
    help: "Time for which lanes of a tenant's jobs were held back by its rates",
};
pub(super) const TENANT_COMPILE_CPU: Name = Name {
    name: "tidemill_tenant_compile_cpu_seconds",
    help: "CPU time that compiling a tenant's components took, in processes of their own",
};
pub(super) const TENANT_LOG_DROPPED: Name = Name {
    name: "tidemill_tenant_log_lines_dropped",
    help: "Log lines of a tenant's operators dropped because of a rate",
};
pub(super) const TENANT_HOST_CALLS: Name = Name {
    name: "tidemill_tenant_host_calls",
    help: "Host calls made by the sandboxes of a tenant's jobs",
};
pub(super) const TENANT_COPIED_BYTES: Name = Name {
    name: "tidemill_tenant_copied_bytes",
    help: "Bytes copied into and out of the sandboxes of a tenant's jobs",
};
pub(super) const TENANT_RESTARTS: Name = Name {
    name: "tidemill_tenant_sandbox_restarts",
    help: "Sandboxes of a tenant's jobs that took the place of others",
};
pub(super) const TENANT_PEAK: Name = Name {
    name: "tidemill_tenant_peak",
    help: "The most of a quota that a tenant's jobs used at once",
};
pub(super) const TENANT_USED: Name =
    Name { name: "tidemill_tenant_used", help: "What of a quota a tenant's jobs use" };
pub(super) const TENANT_QUOTA: Name =
    Name { name: "tidemill_tenant_quota", help: "A tenant's quota, where it has one" };
pub(super) const STATE_BYTES: Name =
    Name { name: "tidemill_state_bytes", help: "Bytes of keyed state of a task" };
pub(super) const KEYS: Name = Name { name: "tidemill_keys", help: "Keys with state of a task" };
pub(super) const JOB_RECORDS_IN: Name =
    Name { name: "tidemill_job_records_in", help: "Records that the job's sources have read" };
pub(super) const JOB_RECORDS_OUT: Name =
    Name { name: "tidemill_job_records_out", help: "Records that have reached the job's sinks" };
pub(super) const JOB_BYTES_IN: Name =
    Name { name: "tidemill_job_bytes_in", help: "Bytes of values that sources have read" };
pub(super) const JOB_REMAINING: Name = Name {
    name: "tidemill_job_remaining",
    help: "What is left to read where that is known, in the unit of the source's positions",
};
pub(super) const CHECKPOINTS_COMPLETED: Name = Name {
    name: "tidemill_checkpoints_completed",
    help: "Checkpoints completed by this process (Flink: numberOfCompletedCheckpoints)",
};
pub(super) const CHECKPOINTS_ABORTED: Name = Name {
    name: "tidemill_checkpoints_aborted",
    help: "Checkpoints given up by this process (Flink: numberOfFailedCheckpoints)",
};
pub(super) const NEWEST_CHECKPOINT: Name =
    Name { name: "tidemill_newest_checkpoint", help: "Number of the newest complete checkpoint" };
pub(super) const CHECKPOINT_DURATION: Name = Name {
    name: "tidemill_last_checkpoint_duration_seconds",
    help: "From the trigger of the newest checkpoint to its manifest (Flink: lastCheckpointDuration)",
};
pub(super) const CHECKPOINT_FULL_BYTES: Name = Name {
    name: "tidemill_last_checkpoint_full_bytes",
    help: "Snapshot files of the newest checkpoint (Flink: lastCheckpointFullSize)",
};
pub(super) const CHECKPOINT_DELTA_BYTES: Name = Name {
    name: "tidemill_last_checkpoint_bytes",
    help: "Snapshot files that the newest checkpoint added (Flink: lastCheckpointSize)",
};
pub(super) const ALIGNMENT: Name = Name {
    name: "tidemill_last_checkpoint_alignment_seconds",
    help: "Longest alignment of a task in the newest checkpoint (Flink: checkpointAlignmentTime)",
};
pub(super) const PAUSE: Name = Name {
    name: "tidemill_checkpoint_pause_seconds",
    help: "Longest time, for each barrier and lane, in which ready input was not processed because \
           of the checkpoint",
};
pub(super) const RESTARTS: Name = Name {
    name: "tidemill_restarts",
    help: "Restarts from the newest checkpoint, by cause (Flink: numRestarts)",
};
pub(super) const RECOVERY: Name = Name {
    name: "tidemill_recovery_seconds",
    help: "Time spent in recoveries, from a failure or the start to running lanes",
};
pub(super) const STORE_SECONDS: Name = Name {
    name: "tidemill_snapshot_store_seconds",
    help: "Time in which snapshot files were sorted, compressed, written and synced; its rate is the ratio S",
};
pub(super) const HEARTBEAT_SECONDS: Name = Name {
    name: "tidemill_heartbeat_seconds",
    help: "Time in which lanes were watched for signs of life; its rate is the ratio F",
};
pub(super) const WAL_BYTES: Name =
    Name { name: "tidemill_wal_bytes", help: "Bytes written to the input log" };
pub(super) const WAL_SYNCS: Name =
    Name { name: "tidemill_wal_syncs", help: "Groups of batches made durable in the input log" };
pub(super) const WAL_SECONDS: Name = Name {
    name: "tidemill_wal_write_seconds",
    help: "Time spent in writing and syncing groups in the input log; its rate is the ratio P",
};
pub(super) const WAL_SYNC_MAX: Name = Name {
    name: "tidemill_wal_longest_sync_seconds",
    help: "Longest time of writing and syncing one group in the input log",
};
pub(super) const WAL_LAG: Name = Name {
    name: "tidemill_wal_lag_seconds",
    help: "How long the oldest batch that is not durable in the input log has waited",
};
pub(super) const WAL_USED: Name =
    Name { name: "tidemill_wal_used_bytes", help: "Bytes of the input log's quota in use" };
pub(super) const WAL_QUOTA: Name =
    Name { name: "tidemill_wal_quota_bytes", help: "The input log's quota" };
pub(super) const WAL_FULL: Name =
    Name { name: "tidemill_wal_full", help: "1 while intake waits for room in the input log" };
pub(super) const WAL_DUPLICATES: Name = Name {
    name: "tidemill_duplicates_suppressed",
    help: "Lines that clients sent again and that were dropped",
};
pub(super) const WAL_REPLAYED: Name = Name {
    name: "tidemill_records_replayed",
    help: "Records taken from the input log at a start, which were logged and not in the checkpoint",
};
/// In front of the metrics that operators describe themselves.
pub(super) const OPERATOR_PREFIX: &str = "tidemill_operator_";
