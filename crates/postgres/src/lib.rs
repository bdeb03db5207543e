//! Lifeboat: postgres.

pub mod client;
