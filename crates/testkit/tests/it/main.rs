//! The test kit against the real things.

mod faulty;
mod postgres;
mod s3;
