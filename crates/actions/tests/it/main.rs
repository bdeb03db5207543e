//! Holds the steps against what they are about.

mod postgres;
