//! Holds the crate against real PostgreSQL servers.

mod client;
mod recovery;
mod server;
mod stream;
