//! Epochs of leases, pins, clusters and headers, behind the seal.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::record(bytes));
