//! Every default and bound of the job file, in one place.
//!
//! Limits of sandboxes are not here: their defaults are the host's own,
//! [`Limits::default`](tidemill_core::limits::Limits). Nor are the parameters of restart strategies,
//! whose defaults are those of [`tidemill_core::restart`].

use std::ops::RangeInclusive;

use tidemill_core::limits;

use super::raw::{
    CheckpointingWord, CompressionWord, EncodingWord, FieldWord, InputFormat, OutputFormat,
    PoisonWord, StreamWord, WalWord,
};

/// Owner of a job that names none.
pub(super) const TENANT: &str = "default";
/// Lanes of a job.
pub(super) const PARALLELISM: u64 = 1;
/// Key groups of a job.
pub(super) const KEY_GROUPS: u64 = limits::KEY_GROUPS_DEFAULT as u64;
/// Records that a source gathers into one batch.
pub(super) const BATCH_RECORDS: u64 = 4096;
/// Bytes that a source gathers into one batch.
pub(super) const BATCH_BYTES: u64 = 256 * limits::KIB as u64;
/// Microseconds that an unfinished batch waits for more records.
pub(super) const LINGER_US: u64 = 1_000;
/// Bytes that a queue holds before its sender waits.
pub(super) const QUEUE_BYTES: u64 = limits::MIB as u64;
/// Bytes of a part of a large file.
pub(super) const SPLIT_BYTES: u64 = limits::FILE_PARTITION_BYTES;
/// Seed of generated records.
pub(super) const SEED: u64 = 42;
/// Partitions of generated records.
pub(super) const PARTITIONS: u64 = 1;
/// Distinct keys of `stream = "uniform"`.
pub(super) const KEYS: u64 = 1_000_000;
/// Fields of a value that a sink writes; each is compared with each field that a value has.
pub(super) const FIELDS_MAX: usize = 128;
/// Patterns of a file source; for each the file system is searched.
pub(super) const PATTERNS_MAX: usize = 1_000;
/// Directories, or variables of the environment, that one operator may ask for.
pub(super) const GRANTS_MAX: usize = 64;
/// Bytes of the path at which an operator sees a directory.
pub(super) const GUEST_PATH_BYTES_MAX: usize = 1024;
/// How bytes are cut into records.
pub(super) const INPUT_FORMAT: InputFormat = InputFormat::Lines;
/// What the generator makes.
pub(super) const STREAM: StreamWord = StreamWord::Nexmark;
/// How a generated record is written.
pub(super) const ENCODING: EncodingWord = EncodingWord::Ndjson;
/// The shape of a written line.
pub(super) const OUTPUT_FORMAT: OutputFormat = OutputFormat::Raw;
/// What a written value holds, where it matters.
pub(super) const VALUE_TYPE: FieldWord = FieldWord::Text;
/// How written files are compressed.
pub(super) const COMPRESSION: CompressionWord = CompressionWord::None;
/// What checkpoints promise.
pub(super) const CHECKPOINTING_MODE: CheckpointingWord = CheckpointingWord::ExactlyOnce;
/// Microseconds from the start of a checkpoint to the start of the next.
pub(super) const CHECKPOINT_INTERVAL_US: u64 = 10 * SECOND_US;
/// Microseconds from the end of a checkpoint to the start of the next.
pub(super) const MIN_PAUSE_US: u64 = 0;
/// Microseconds that a checkpoint may take.
pub(super) const CHECKPOINT_TIMEOUT_US: u64 = 60 * SECOND_US;
/// Checkpoints in a row that may fail.
pub(super) const TOLERABLE_FAILED_CHECKPOINTS: u64 = 3;
/// Completed checkpoints that are kept.
pub(super) const CHECKPOINTS_RETAINED: u64 = 3;
/// Microseconds between two looks at the lanes.
pub(super) const HEARTBEAT_INTERVAL_US: u64 = SECOND_US;
/// Microseconds without advance that fail a job.
pub(super) const HEARTBEAT_TIMEOUT_US: u64 = 5 * SECOND_US;
/// Microseconds that a stop may take.
pub(super) const STOP_TIMEOUT_US: u64 = 30 * SECOND_US;
/// Microseconds that a restart waits for storage.
pub(super) const STORAGE_TIMEOUT_US: u64 = 30 * SECOND_US;
/// Which input is logged.
pub(super) const WAL: WalWord = WalWord::Auto;
/// Bytes of the input log.
pub(super) const WAL_QUOTA_BYTES: u64 = 1024 * limits::MIB as u64;
/// What happens to poison records.
pub(super) const ON_POISON: PoisonWord = PoisonWord::Fail;
/// Poison records per minute of an operator.
pub(super) const POISON_LIMIT: u64 = 100;
/// Where dead letters go, beside the job file.
pub(super) const DEAD_LETTER_DIR: &str = "dead-letters";

const SECOND_US: u64 = 1_000_000;
const DAY_US: u64 = 24 * 3_600 * SECOND_US;

/// Lanes of a job.
pub(super) const PARALLELISM_BOUNDS: RangeInclusive<u64> = 1..=limits::PARALLELISM_MAX as u64;
/// Key groups of a job.
pub(super) const KEY_GROUPS_BOUNDS: RangeInclusive<u64> = 1..=limits::KEY_GROUPS_MAX as u64;
/// Records of a batch.
pub(super) const BATCH_RECORDS_BOUNDS: RangeInclusive<u64> = 1..=limits::BATCH_RECORDS_MAX as u64;
/// Bytes of a batch.
pub(super) const BATCH_BYTES_BOUNDS: RangeInclusive<u64> = 1..=limits::BATCH_BYTES_MAX as u64;
/// Microseconds of linger: up to a minute, 0 hands records on at once.
pub(super) const LINGER_BOUNDS_US: RangeInclusive<u64> = 0..=60_000_000;
/// Microseconds of a state's life: 1 ms to 100 years.
pub(super) const STATE_TIMEOUT_BOUNDS_US: RangeInclusive<u64> =
    1_000..=100 * 31_557_600 * 1_000_000;
/// Bytes of a queue.
pub(super) const QUEUE_BYTES_BOUNDS: RangeInclusive<u64> = 1..=1024 * limits::MIB as u64;
/// Bytes of a part of a file. Smaller parts would make millions of partitions of a large file.
pub(super) const SPLIT_BYTES_BOUNDS: RangeInclusive<u64> =
    limits::KIB as u64..=1024 * 1024 * limits::MIB as u64;
/// Partitions of generated records.
pub(super) const PARTITIONS_BOUNDS: RangeInclusive<u64> = 1..=4096;
/// Distinct keys of a generator: as many as one of its draws can tell apart.
pub(super) const KEYS_BOUNDS: RangeInclusive<u64> = 1..=1 << 31;
/// Number of generated records.
pub(super) const EVENTS_BOUNDS: RangeInclusive<u64> = 1..=i64::MAX as u64;
/// Microseconds of the checkpoint interval. Below 10 ms a job would do little else.
pub(super) const CHECKPOINT_INTERVAL_BOUNDS_US: RangeInclusive<u64> = 10_000..=DAY_US;
/// Microseconds of the pause between checkpoints.
pub(super) const MIN_PAUSE_BOUNDS_US: RangeInclusive<u64> = 0..=DAY_US;
/// Microseconds of a checkpoint.
pub(super) const CHECKPOINT_TIMEOUT_BOUNDS_US: RangeInclusive<u64> = 1_000..=DAY_US;
/// Checkpoints in a row that may fail.
pub(super) const TOLERABLE_FAILED_CHECKPOINTS_BOUNDS: RangeInclusive<u64> = 0..=u32::MAX as u64;
/// Completed checkpoints that are kept; without one there is nothing to go on from.
pub(super) const CHECKPOINTS_RETAINED_BOUNDS: RangeInclusive<u64> = 1..=1_000;
/// Microseconds between two looks at the lanes.
pub(super) const HEARTBEAT_INTERVAL_BOUNDS_US: RangeInclusive<u64> = 10_000..=3_600 * SECOND_US;
/// Microseconds without advance. Below 100 ms a busy machine would look like a stuck lane.
pub(super) const HEARTBEAT_TIMEOUT_BOUNDS_US: RangeInclusive<u64> = 100_000..=DAY_US;
/// Microseconds of a stop: the process waits for all its jobs, so none may have it wait for long.
pub(super) const STOP_TIMEOUT_BOUNDS_US: RangeInclusive<u64> = 1_000..=600 * SECOND_US;
/// Microseconds of the wait for storage.
pub(super) const STORAGE_TIMEOUT_BOUNDS_US: RangeInclusive<u64> = 1_000..=DAY_US;
/// Bytes of the input log. With less, one group of batches could use it up between two checkpoints.
pub(super) const WAL_QUOTA_BOUNDS: RangeInclusive<u64> =
    16 * limits::MIB as u64..=16 * 1024 * 1024 * limits::MIB as u64;
/// Poison records per minute. None at all is `on-poison = "fail"`.
pub(super) const POISON_LIMIT_BOUNDS: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Microseconds before a restart of `fixed-delay` or `failure-rate`.
pub(super) const RESTART_DELAY_BOUNDS_US: RangeInclusive<u64> = 0..=DAY_US;
/// Microseconds of a backoff. Flink's least.
pub(super) const BACKOFF_BOUNDS_US: RangeInclusive<u64> = 1_000..=DAY_US;
/// Microseconds over which failures are counted, or after which they are forgotten: up to a year.
pub(super) const RESTART_WINDOW_BOUNDS_US: RangeInclusive<u64> = 1_000..=31_557_600 * SECOND_US;
/// Growth of a backoff.
pub(super) const BACKOFF_MULTIPLIER_BOUNDS: RangeInclusive<f64> = 1.0..=100.0;
/// The part of chance in a backoff.
pub(super) const JITTER_FACTOR_BOUNDS: RangeInclusive<f64> = 0.0..=1.0;
/// Restarts of `fixed-delay`; none at all is `none`.
pub(super) const RESTART_ATTEMPTS_BOUNDS: RangeInclusive<u64> = 1..=u32::MAX as u64;

/// Bytes of a job's name; it becomes a directory.
pub(super) const JOB_NAME_BYTES_MAX: usize = 63;
