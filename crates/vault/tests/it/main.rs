//! The vault over stores that fail, lag, lie and die.

mod journal;
mod lease;
mod support;
