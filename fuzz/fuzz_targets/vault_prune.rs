//! What prune decides about what it finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::prune(bytes));
