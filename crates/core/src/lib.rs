//! What Lifeboat decides, and never does itself.
//!
//! Functions of state and time: what happened and what the plan says go in, what is to be done comes
//! out. The engine does it and records what came of it.
//!
//! # Invariants
//! - **Pure.** No I/O, no clock, no randomness: `now` is an argument.

pub mod forecast;
pub mod port;
pub mod run;
pub mod runbook;
pub mod schedule;
