//! Limits of the contract that the SDK keeps, and the sizes at which it hands its buffers over.
//!
//! A host may enforce lower limits; it then cuts the batch and calls again. Checking here turns
//! what would be a trap of the whole sandbox into a bad record with a reason.

/// Longest key of a record, and longest key of a map entry.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// Longest value of a record, and longest item of a state.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of keys and values that one call may emit.
pub const CALL_EMITTED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that one call may emit.
pub const CALL_EMITTED_RECORDS_MAX: usize = 1_000_000;
/// Bytes that may cross the boundary in one host call.
pub const HOST_CALL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that an operator may save of the state in its own memory.
pub const SAVED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// An output column is handed over when it holds this many bytes ...
pub(crate) const EMIT_BYTES_TARGET: usize = 512 * 1024;
/// ... or this many records.
pub(crate) const EMIT_RECORDS_TARGET: usize = 8 * 1024;
/// Buffered state writes are handed over in pieces of about this many bytes.
pub(crate) const STATE_WRITE_BYTES_TARGET: usize = 4 * 1024 * 1024;
/// Entries of a map that are read at once.
pub(crate) const SCAN_PAGE_ENTRIES: u32 = 1024;
/// Observations of histograms that are kept before they are handed over.
pub(crate) const OBSERVATIONS_BUFFERED: usize = 4096;
/// A reason for a bad record is cut after this many bytes.
pub(crate) const REASON_BYTES_MAX: usize = 512;

const _: () = {
    assert!(EMIT_BYTES_TARGET + KEY_BYTES_MAX + VALUE_BYTES_MAX < HOST_CALL_BYTES_MAX);
    assert!(EMIT_BYTES_TARGET < CALL_EMITTED_BYTES_MAX);
    assert!(EMIT_RECORDS_TARGET < CALL_EMITTED_RECORDS_MAX);
    assert!(STATE_WRITE_BYTES_TARGET + KEY_BYTES_MAX + VALUE_BYTES_MAX < HOST_CALL_BYTES_MAX);
};
