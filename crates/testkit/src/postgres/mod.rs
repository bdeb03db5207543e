//! Real PostgreSQL servers for tests: those found on this machine, started in throw-away directories.
//!
//! ```no_run
//! use lifeboat_testkit::postgres::{Cluster, ClusterOptions, Installation};
//!
//! for installation in Installation::all() {
//!     let cluster = Cluster::start(&installation, &ClusterOptions::new().set("wal_level", "logical"));
//!     cluster.psql("create table t as select generate_series(1, 1000) as i");
//!     cluster.kill9();
//! }
//! ```
//!
//! Everything blocks. In an asynchronous test whose own tasks must go on meanwhile (a stream that a
//! synchronous commit waits for), call it from `spawn_blocking` or use a multi-threaded runtime.

mod cluster;
mod guard;
mod initdb;
mod installation;
mod options;
mod process;
mod ready;
mod user;

pub use cluster::Cluster;
pub use installation::Installation;
pub use options::ClusterOptions;
pub use user::{ServerUser, as_server_user, give_to_server_user, scratch_directory, server_user};
