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
pub(super) const BUSY: Name =
    Name { name: "tidemill_busy_seconds", help: "Time that a lane has spent in a task" };
pub(super) const STATE_BYTES: Name =
    Name { name: "tidemill_state_bytes", help: "Bytes of keyed state of a task" };
pub(super) const KEYS: Name = Name { name: "tidemill_keys", help: "Keys with state of a task" };
pub(super) const JOB_RECORDS_IN: Name =
    Name { name: "tidemill_job_records_in", help: "Records that the job's sources have read" };
pub(super) const JOB_RECORDS_OUT: Name =
    Name { name: "tidemill_job_records_out", help: "Records that have reached the job's sinks" };
pub(super) const JOB_BYTES_IN: Name =
    Name { name: "tidemill_job_bytes_in", help: "Bytes of keys and values that sources have read" };
pub(super) const JOB_REMAINING: Name = Name {
    name: "tidemill_job_remaining",
    help: "What is left to read where that is known, in the unit of the source's positions",
};
/// In front of the metrics that operators describe themselves.
pub(super) const OPERATOR_PREFIX: &str = "tidemill_operator_";
