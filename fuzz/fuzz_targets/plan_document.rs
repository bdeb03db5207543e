//! Recovery documents.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_plan::fuzz::document(bytes));
