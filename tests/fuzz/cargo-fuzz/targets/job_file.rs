//! See `tidemill_fuzz::job_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidemill_fuzz::job_file(bytes));
