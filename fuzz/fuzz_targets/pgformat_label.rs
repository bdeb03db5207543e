//! Backup labels and tablespace maps.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_pgformat::fuzz::label(bytes));
