//! The test kit against the real things.

mod postgres;
mod s3;
