//! Protection and recovery of PostgreSQL: stream its WAL, back it up, bring it back to a moment.
//!
//! Usable without a plan: everything takes a vault, a service's name and a connection.
//!
//! Deliberately absent: when to do any of it (`core`), and what a plan says.

pub mod advance;
pub mod backup;
pub mod catalogue;
pub mod client;
pub mod fetch;
pub mod lineage;
pub mod push;
pub mod restore;
pub mod search;
pub mod server;
pub mod slot;
pub mod stream;
pub mod target;
pub mod verify;
pub mod view;
pub mod window;
