//! Indices of layers, behind the seal.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::index(bytes));
