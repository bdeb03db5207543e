//! Sealed objects, packs and indices as a copy gives them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::sealed(bytes));
