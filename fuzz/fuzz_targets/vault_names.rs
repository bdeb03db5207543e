//! Names of objects.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::names(bytes));
