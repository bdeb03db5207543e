//! The vault over stores that fail, lag, lie and die.

mod fixture;
mod journal;
mod lease;
mod prune;
mod support;
