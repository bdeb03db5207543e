//! A stream of WAL, and the search over it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_pgformat::fuzz::wal(bytes));
