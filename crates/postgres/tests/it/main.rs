//! Holds the crate against real PostgreSQL servers.

mod advance;
mod backup_damage;
mod backup_faults;
mod backup_fixture;
mod backup_places;
mod backup_scale;
mod client;
mod corpus;
mod fetch;
mod recovery;
mod restore_faults;
mod search;
mod search_counts;
mod server;
mod stream;
mod targets;
mod targets_recovery;
mod targets_world;
mod views;
mod views_away;
mod views_posix;
