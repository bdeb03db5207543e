//! Holds the crate against real PostgreSQL servers.

mod client;
mod fetch;
mod recovery;
mod search;
mod server;
mod stream;
mod targets;
mod targets_recovery;
mod targets_world;
