//! Password files.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_postgres::client::fuzz::passfile(bytes));
