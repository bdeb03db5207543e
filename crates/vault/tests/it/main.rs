//! The vault over stores that fail, lag, lie and die.

mod check;
mod fixture;
mod journal;
mod lease;
mod prune;
mod support;
