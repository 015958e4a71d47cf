//! See `tidemill_fuzz::wal`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidemill_fuzz::wal(bytes));
