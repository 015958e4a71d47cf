//! Every default and bound of the job file, in one place.
//!
//! Limits of sandboxes are not here: their defaults are the host's own,
//! [`Limits::default`](tidemill_core::limits::Limits).

use std::ops::RangeInclusive;

use tidemill_core::limits;

use super::raw::{CompressionWord, EncodingWord, FieldWord, InputFormat, OutputFormat, StreamWord};

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
/// Number of generated records.
pub(super) const EVENTS_BOUNDS: RangeInclusive<u64> = 1..=i64::MAX as u64;

/// Bytes of a job's name; it becomes a directory.
pub(super) const JOB_NAME_BYTES_MAX: usize = 63;
