//! Carries out what `core` decides: holds leases, keeps time, writes the journal, runs the jobs.
//!
//! What it cannot do itself (stream, back up, prune a PostgreSQL) it asks of a port that the command
//! line joins in.
//!
//! Deliberately absent: any knowledge of PostgreSQL, and decisions.

pub mod run;
pub mod serve;
