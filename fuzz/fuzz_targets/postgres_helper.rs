//! What the helper and its clients say to each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_postgres::fetch::fuzz(bytes));
