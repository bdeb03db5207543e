//! What tests need of the world: real PostgreSQL servers, an S3 server, a store that fails on command.
//!
//! Development only: nothing in the shipped binary depends on it. It depends on no crate of ours but
//! `base`, so that every other crate's tests can use it.
//!
//! # Invariants
//! - Whatever is started ends with the test, even when the test is killed: see [`postgres::Cluster`].
//! - Any number of tests and test processes run side by side.
//! - Waiting is asking again until a deadline; nothing sleeps a fixed time and hopes.
//! - Failure panics with what was run and what it printed: here a panic *is* the report.
//!
//! Deliberately absent: fabricated PostgreSQL bytes. The servers are real.

pub mod faulty;
mod ports;
pub mod postgres;
mod random;
pub mod s3;
mod wait;
mod workspace;
