//! The tar archives of a base backup.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_postgres::backup::fuzz::archive(bytes));
