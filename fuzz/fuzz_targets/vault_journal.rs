//! Records of the journal, behind the seal, and what prune reads from them.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lifeboat_vault::fuzz::journal(bytes));
