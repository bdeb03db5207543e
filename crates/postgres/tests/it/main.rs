//! Holds the crate against real PostgreSQL servers.

mod client;
mod fetch;
mod recovery;
mod server;
mod stream;
mod targets;
mod targets_world;
