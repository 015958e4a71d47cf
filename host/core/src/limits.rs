//! Every limit of the host, with its unit and default, in one place.
//!
//! Relations between limits that other code relies on are asserted at compile time at the end.

mod admission;

pub use admission::{AdmissionLimits, StructureRule};

/// Limits of one sandbox, its calls and its file. A job file may lower them, never raise them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the component's file.
    pub component_bytes: u64,
    /// Bytes of all linear memories of a sandbox.
    pub memory_bytes: u64,
    /// Elements of all tables of a sandbox.
    pub table_elements: u64,
    /// Bytes of one record's key.
    pub key_bytes: usize,
    /// Bytes of one record's value, one state item or one map key.
    pub value_bytes: usize,
    /// Bytes that one call may emit.
    pub emit_bytes: usize,
    /// Records that one call may emit.
    pub emit_records: usize,
    /// Bytes of state writes that one call may hold back.
    pub overlay_bytes: usize,
    /// Bytes that one host call may move.
    pub host_call_bytes: usize,
    /// Bytes of keyed state of one task.
    pub state_bytes: u64,
    /// Log lines that a sandbox may write in a second.
    pub log_lines_per_second: u32,
    /// Bytes of one log line; the rest is cut.
    pub log_line_bytes: usize,
    /// Own CPU time of a `process` call, in microseconds, without the share per record.
    pub process_cpu_us: u64,
    /// Own CPU time that each record of the batch adds, in microseconds.
    pub process_cpu_us_per_record: u64,
    /// Own CPU time of a `process` call at most, in microseconds.
    pub process_cpu_us_max: u64,
    /// Own CPU time of instantiation and of every other export, in microseconds.
    pub hook_cpu_us: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: COMPONENT_BYTES_MAX,
            memory_bytes: 128 * MIB as u64,
            table_elements: 100_000,
            key_bytes: 4 * KIB,
            value_bytes: MIB,
            emit_bytes: 16 * MIB,
            emit_records: 1_000_000,
            overlay_bytes: 64 * MIB,
            host_call_bytes: 16 * MIB,
            state_bytes: 1024 * MIB as u64,
            log_lines_per_second: 100,
            log_line_bytes: 8 * KIB,
            process_cpu_us: 250_000,
            process_cpu_us_per_record: 100,
            process_cpu_us_max: 1_000_000,
            hook_cpu_us: 1_000_000,
        }
    }
}

impl Limits {
    /// For each limit the lower of the two.
    pub fn lower_of(&self, other: &Self) -> Self {
        Self {
            component_bytes: self.component_bytes.min(other.component_bytes),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            table_elements: self.table_elements.min(other.table_elements),
            key_bytes: self.key_bytes.min(other.key_bytes),
            value_bytes: self.value_bytes.min(other.value_bytes),
            emit_bytes: self.emit_bytes.min(other.emit_bytes),
            emit_records: self.emit_records.min(other.emit_records),
            overlay_bytes: self.overlay_bytes.min(other.overlay_bytes),
            host_call_bytes: self.host_call_bytes.min(other.host_call_bytes),
            state_bytes: self.state_bytes.min(other.state_bytes),
            log_lines_per_second: self.log_lines_per_second.min(other.log_lines_per_second),
            log_line_bytes: self.log_line_bytes.min(other.log_line_bytes),
            process_cpu_us: self.process_cpu_us.min(other.process_cpu_us),
            process_cpu_us_per_record: self
                .process_cpu_us_per_record
                .min(other.process_cpu_us_per_record),
            process_cpu_us_max: self.process_cpu_us_max.min(other.process_cpu_us_max),
            hook_cpu_us: self.hook_cpu_us.min(other.hook_cpu_us),
        }
    }

    /// Own CPU time that a `process` call on `records` records may use, in microseconds.
    pub fn process_cpu_us_for(&self, records: usize) -> u64 {
        let share = self.process_cpu_us_per_record.saturating_mul(records as u64);
        self.process_cpu_us.saturating_add(share).min(self.process_cpu_us_max)
    }
}

/// 1,024 bytes.
pub const KIB: usize = 1024;
/// 1,024 KiB.
pub const MIB: usize = 1024 * KIB;

/// Records of one batch at most, everywhere.
pub const BATCH_RECORDS_MAX: usize = 8192;
/// Bytes of one batch at most, everywhere; one record alone may be larger.
pub const BATCH_BYTES_MAX: usize = MIB;
/// Bytes of a component file at most, everywhere.
pub const COMPONENT_BYTES_MAX: u64 = 32 * MIB as u64;
/// Bytes of a guest's stack.
pub const WASM_STACK_BYTES: usize = 512 * KIB;
/// Bytes of a lane's thread stack: the guest's stack, and ample room for the host calls under it.
pub const LANE_STACK_BYTES: usize = 4 * MIB;
/// Bytes of the value states of one call's slots at most; a batch is cut until it fits.
pub const CALL_STATE_BYTES_MAX: usize = 8 * MIB;
/// Bytes of one page of a list or map read.
pub const PAGE_BYTES_MAX: usize = MIB;
/// Lanes of a job at most.
pub const PARALLELISM_MAX: usize = 256;
/// Key groups of a job at most.
pub const KEY_GROUPS_MAX: u32 = 32_768;
/// Key groups of a job unless it says otherwise.
pub const KEY_GROUPS_DEFAULT: u32 = 128;
/// Inputs, outputs, states or metrics that one operator may describe.
pub const DESCRIBED_ITEMS_MAX: usize = 64;
/// Bytes of a name in a description or a job file.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of random that one host call may ask for.
pub const RANDOM_BYTES_MAX: u32 = 4096;
/// Bytes of a message that a guest gives as reason or panic; the rest is cut.
pub const MESSAGE_BYTES_MAX: usize = KIB;
/// Bytes of one line or one CSV record of a source.
pub const LINE_BYTES_MAX: usize = MIB;
/// Bytes of a partition of a splittable file.
pub const FILE_PARTITION_BYTES: u64 = 64 * MIB as u64;

const _: () = assert!(LINE_BYTES_MAX <= BATCH_BYTES_MAX, "a line must fit in a batch");
const _: () = assert!(PAGE_BYTES_MAX <= BATCH_BYTES_MAX, "a page moves like a batch");
const _: () =
    assert!(WASM_STACK_BYTES * 4 <= LANE_STACK_BYTES, "host calls need the rest of the stack");
const _: () = assert!(BATCH_RECORDS_MAX.is_power_of_two(), "batch targets double up to it");
