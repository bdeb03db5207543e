//! The vault over stores that fail, lag, lie and die.

mod chaos;
mod check;
mod copies;
mod directory;
mod fixture;
mod golden;
mod journal;
mod layer;
mod lease;
mod prune;
mod s3;
mod stack;
mod support;
mod wal;
mod wal_joins;
