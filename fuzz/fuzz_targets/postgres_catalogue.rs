//! Catalogue snapshots, behind the seal.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_postgres::catalogue::fuzz(bytes));
