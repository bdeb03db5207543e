//! Holds the crate against real PostgreSQL servers.

mod client;
mod server;
