//! Where WAL ends, and why.
//!
//! Each reason names what was found and where, so that "not written yet" and "damaged" are never confused:
//! only [`EndReason::NeedMore`] and [`EndReason::Zeros`] are how healthy WAL ends.

use super::page::WalPageError;
use super::rmgr::Rmgr;
use lifeboat_base::Lsn;

/// Where WAL ends, and why that is an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("WAL ends at {at}")]
pub struct End {
    /// The end of the last valid record.
    pub at: Lsn,
    /// Why nothing valid follows.
    #[source]
    pub why: EndReason,
}

/// Why no valid record follows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// Nothing was written there.
    #[error("only zeros follow")]
    Zeros,
    /// The bytes that were given end.
    #[error("no more bytes were given")]
    NeedMore,
    /// A length that no record has.
    #[error("the record at {lsn} would have {bytes} bytes, which no record has")]
    Length {
        /// Where the record would begin.
        lsn: Lsn,
        /// Its length.
        bytes: u32,
    },
    /// A number that no resource manager has.
    #[error("the record at {lsn} is of resource manager {rmgr}, which does not exist", rmgr = rmgr.0)]
    Rmgr {
        /// Where the record would begin.
        lsn: Lsn,
        /// The number.
        rmgr: Rmgr,
    },
    /// The back link is another record's.
    #[error("the record at {lsn} says that it follows {found}, not {expected}")]
    Previous {
        /// Where the record begins.
        lsn: Lsn,
        /// The record before it.
        expected: Lsn,
        /// What it says.
        found: Lsn,
    },
    /// The CRC does not hold.
    #[error("the record at {lsn} does not match its CRC")]
    Crc {
        /// Where the record begins.
        lsn: Lsn,
    },
    /// The page is not one that belongs there.
    #[error("the page at {lsn} cannot be used")]
    Page {
        /// Where the page begins.
        lsn: Lsn,
        /// Why.
        #[source]
        source: WalPageError,
    },
}
