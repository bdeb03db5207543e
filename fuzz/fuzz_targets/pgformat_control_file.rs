//! The control file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_pgformat::fuzz::control_file(bytes));
