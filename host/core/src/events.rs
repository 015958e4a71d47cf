//! What is worth telling about a job's life: the content of its event log.
//!
//! Owns the words and fields of events. Knows no file and no JSON: an event is a serde value that makes a flat
//! object, for which one line of NDJSON is written. Invariants: every event carries its kind (`event`), a
//! wall-clock time and an incarnation; units are in the names of fields; a name that was published keeps its
//! meaning, for other programs read these lines.
//!
//! Nothing is decided from events: what a recovery needs is in manifests and the WAL.

use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, Incarnation};

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// To which start of the job; for a restart, the one that failed.
    pub incarnation: Incarnation,
    /// What.
    #[serde(flatten)]
    pub kind: JobEventKind,
}

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum JobEventKind {
    /// Its lanes run.
    JobStarted {
        /// Lanes.
        parallelism: u32,
    },
    /// It went on from a checkpoint, and what had been read since was read again.
    Recovered {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Milliseconds from the start until the first new record could be read.
        took_ms: u64,
    },
    /// It was told to go back behind damaged checkpoints.
    RolledBack {
        /// The checkpoint that it went back to.
        checkpoint: CheckpointId,
        /// The manifests that were given up, and what is wrong with them.
        discarded: String,
        /// Published files that were set aside.
        files: u64,
    },
    /// A checkpoint is durable, and every sink has committed it.
    CheckpointCompleted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Milliseconds from its trigger to its last commit.
        duration_ms: u64,
        /// Bytes of all its snapshot files.
        full_bytes: u64,
        /// Bytes of the snapshot files that it added.
        delta_bytes: u64,
        /// Milliseconds that the slowest task held back channels whose barrier had come.
        alignment_ms: u64,
    },
    /// A checkpoint was given up; nothing is lost by that.
    CheckpointAborted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        reason: String,
    },
    /// A savepoint is complete.
    SavepointCompleted {
        /// The checkpoint that it was made from.
        checkpoint: CheckpointId,
        /// Where it lies.
        path: String,
        /// Milliseconds from the request to its end.
        duration_ms: u64,
    },
    /// The job failed and will be started again.
    Restart {
        /// What failed.
        cause: String,
        /// Milliseconds until the new start.
        delay_ms: u64,
    },
    /// Records that an operator cannot process.
    Poison {
        /// The operator.
        operator: String,
        /// The lane that it ran on.
        lane: u32,
        /// Records since the last such event of this operator and lane, skipped or dead-lettered.
        count: u64,
    },
    /// There was input, and no task has processed any for a long time.
    Stalled {
        /// Milliseconds since something was last processed.
        silent_ms: u64,
        /// What each lane and task last did.
        tasks: String,
    },
    /// The input log has used its quota up and takes nothing until a checkpoint lets it be trimmed.
    WalFull {
        /// Bytes in use.
        used_bytes: u64,
        /// Bytes allowed.
        quota_bytes: u64,
        /// What keeps it from being trimmed.
        blocked_by: String,
    },
    /// All input is processed and committed.
    JobFinished,
    /// Somebody stopped it; it can go on later.
    JobStopped,
    /// It failed and is not started again.
    JobFailed {
        /// What failed, and why there is no restart.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A value of any self-describing format.
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Field {
        Number(i64),
        Text(String),
    }

    fn kinds() -> Vec<JobEventKind> {
        let checkpoint = CheckpointId(7);
        vec![
            JobEventKind::JobStarted { parallelism: 2 },
            JobEventKind::Recovered { checkpoint, took_ms: 4 },
            JobEventKind::CheckpointCompleted {
                checkpoint,
                duration_ms: 1,
                full_bytes: 2,
                delta_bytes: 3,
                alignment_ms: 4,
            },
            JobEventKind::CheckpointAborted { checkpoint, reason: "timeout".into() },
            JobEventKind::SavepointCompleted { checkpoint, path: "/s".into(), duration_ms: 5 },
            JobEventKind::Restart { cause: "panic".into(), delay_ms: 1_000 },
            JobEventKind::Poison { operator: "count".into(), lane: 1, count: 2 },
            JobEventKind::Stalled { silent_ms: 30_000, tasks: "lane 0".into() },
            JobEventKind::WalFull { used_bytes: 9, quota_bytes: 9, blocked_by: "sink".into() },
            JobEventKind::RolledBack { checkpoint, discarded: "manifest".into(), files: 3 },
            JobEventKind::JobFinished,
            JobEventKind::JobStopped,
            JobEventKind::JobFailed { reason: "none left".into() },
        ]
    }

    fn encode(kind: &JobEventKind) -> Vec<u8> {
        let event = JobEvent { time_ms: -1, incarnation: Incarnation(4), kind: kind.clone() };
        rmp_serde::to_vec_named(&event).unwrap()
    }

    fn fields(kind: &JobEventKind) -> BTreeMap<String, Field> {
        rmp_serde::from_slice(&encode(kind)).unwrap()
    }

    #[test]
    fn every_event_is_a_flat_object_with_its_kind_time_and_incarnation() {
        let mut names = Vec::new();
        for kind in kinds() {
            let fields = fields(&kind);
            assert_eq!(fields["time_ms"], Field::Number(-1));
            assert_eq!(fields["incarnation"], Field::Number(4));
            let Field::Text(name) = &fields["event"] else { panic!("{fields:?}") };
            names.push(name.clone());
        }
        assert_eq!(
            names,
            [
                "job-started",
                "recovered",
                "checkpoint-completed",
                "checkpoint-aborted",
                "savepoint-completed",
                "restart",
                "poison",
                "stalled",
                "wal-full",
                "rolled-back",
                "job-finished",
                "job-stopped",
                "job-failed"
            ]
        );
    }

    #[test]
    fn published_fields_keep_their_names() {
        let kinds = kinds();
        let completed: Vec<String> = fields(&kinds[2]).into_keys().collect();
        assert_eq!(
            completed,
            [
                "alignment_ms",
                "checkpoint",
                "delta_bytes",
                "duration_ms",
                "event",
                "full_bytes",
                "incarnation",
                "time_ms"
            ]
        );
        let poison = fields(&kinds[6]);
        assert_eq!(poison["operator"], Field::Text("count".to_owned()));
        assert_eq!((&poison["lane"], &poison["count"]), (&Field::Number(1), &Field::Number(2)));
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        for kind in kinds() {
            let event: JobEvent = rmp_serde::from_slice(&encode(&kind)).unwrap();
            assert_eq!(event.kind, kind);
        }
    }
}
