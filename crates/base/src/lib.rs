//! The words every other crate speaks: log positions, timelines, identifiers, units, the clock, and how
//! an error is told.
//!
//! # Invariants
//! - Nothing here does I/O, but for [`SystemClock`], the one place that reads the machine's time
//!   and randomness.
//!
//! Deliberately absent: anything that knows what a vault, a plan or a server is.

mod clock;
mod error;
mod id;
mod lsn;
mod units;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::error_chain;
pub use id::{ParseNameError, RandomId, ServiceName};
pub use lsn::{Lsn, LsnRange, ParseLsnError, ParseSystemIdError, SystemId, Timeline};
pub use units::{ByteCount, ParseUnitError, format_duration, parse_duration};
