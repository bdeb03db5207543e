//! Holds the decoders against PostgreSQL itself, and against bytes that nobody wrote.

mod control;
mod mutation;
mod search;
mod server;
mod wal;
