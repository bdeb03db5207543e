//! The headers of WAL pages.
//!
//! Every 8 KiB of WAL begin with a header: 24 bytes, or 40 at the start of a segment, where the cluster is
//! named too.

use crate::bytes::Reader;
use crate::{MajorVersion, SegmentSize, UnsupportedVersionError};
use lifeboat_base::{Lsn, SystemId, Timeline};

/// Bytes in a WAL page.
pub const WAL_PAGE_SIZE_BYTES: usize = 8192;

pub(super) const SHORT_HEADER_SIZE_BYTES: usize = 24;
pub(super) const LONG_HEADER_SIZE_BYTES: usize = 40;

const FIRST_IS_CONTINUATION: u16 = 0x0001;
const LONG_HEADER: u16 = 0x0002;
const FIRST_OVERWRITES_CONTINUATION: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// What begins a WAL page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalPageHeader {
    /// The version that wrote it.
    pub version: MajorVersion,
    /// The timeline of the first record on it.
    pub timeline: Timeline,
    /// Where the page is.
    pub lsn: Lsn,
    /// The page begins with the rest of a record that began before it.
    pub continues_record: bool,
    /// The record that an earlier page left unfinished is void: the server crashed in it.
    pub overwrites_unfinished: bool,
    /// How much of that record was left, in bytes without page headers.
    pub remaining_bytes: u32,
    /// On the first page of a segment.
    pub segment: Option<WalSegmentIdentity>,
}

/// What the first page of a segment says of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalSegmentIdentity {
    /// The cluster.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
}

/// Why bytes are not a WAL page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalPageError {
    /// Cut off.
    #[error("the page header is cut off")]
    TooShort,
    /// Nothing was written here yet.
    #[error("the page is empty: nothing was written there yet")]
    Zeros,
    /// Of another version, or no WAL.
    #[error("the page's magic number is unknown")]
    Version(#[source] UnsupportedVersionError),
    /// Of another version than the WAL before it.
    #[error("the page is of PostgreSQL {found}, not {expected}")]
    OtherVersion {
        /// The version of the WAL.
        expected: MajorVersion,
        /// The page's.
        found: MajorVersion,
    },
    /// Flags that have no meaning.
    #[error("the page has unknown flags {0:04X}")]
    Flags(u16),
    /// Pages of another size.
    #[error("the page size {0} is not {WAL_PAGE_SIZE_BYTES}")]
    PageSize(u32),
    /// No segment has this size.
    #[error("the segment size {0} is impossible")]
    SegmentSize(u32),
    /// Left from an earlier use of the file, or of another place.
    #[error("the page is of {found}, not of {expected}: the file was recycled and not written yet")]
    Elsewhere {
        /// Where the page was read.
        expected: Lsn,
        /// Where it says to be.
        found: Lsn,
    },
    /// Of another cluster.
    #[error("the page is of cluster {found}, not of {expected}")]
    System {
        /// The cluster so far.
        expected: SystemId,
        /// The page's.
        found: SystemId,
    },
    /// It does not say what was left of the record before it.
    #[error("the page should continue a record with {expected} bytes left, and says {found}")]
    Continuation {
        /// Bytes left of the record; 0 for no record.
        expected: u32,
        /// What the page says.
        found: u32,
    },
    /// A long header where there is none, or none where there must be one.
    #[error("the page's header is not of the kind that belongs at this place of a segment")]
    HeaderKind,
    /// Before the timeline of the page before it.
    #[error("the page is of timeline {found}, older than {expected} before it")]
    Timeline {
        /// The timeline so far.
        expected: Timeline,
        /// The page's.
        found: Timeline,
    },
}

impl WalPageHeader {
    /// Reads the header that begins `bytes`: 24 of them, or 40 where a segment begins.
    ///
    /// # Errors
    /// [`WalPageError`] if it is none that PostgreSQL writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, WalPageError> {
        let mut reader = Reader::new(bytes);
        Self::read(&mut reader).ok_or(WalPageError::TooShort)?
    }

    fn read(reader: &mut Reader<'_>) -> Option<Result<Self, WalPageError>> {
        let (magic, flags, timeline) = (reader.u16()?, reader.u16()?, Timeline(reader.u32()?));
        let (lsn, remaining_bytes) = (Lsn(reader.u64()?), reader.u32()?);
        if magic == 0 && flags == 0 && lsn.0 == 0 {
            return Some(Err(WalPageError::Zeros));
        }
        let version = match MajorVersion::from_wal_magic(magic) {
            Ok(version) => version,
            Err(source) => return Some(Err(WalPageError::Version(source))),
        };
        if flags & !ALL_FLAGS != 0 {
            return Some(Err(WalPageError::Flags(flags)));
        }
        let segment = match flags & LONG_HEADER != 0 {
            false => None,
            true => match Self::read_identity(reader)? {
                Ok(identity) => Some(identity),
                Err(error) => return Some(Err(error)),
            },
        };
        let continues_record = flags & FIRST_IS_CONTINUATION != 0;
        let overwrites_unfinished = flags & FIRST_OVERWRITES_CONTINUATION != 0;
        Some(Ok(Self {
            version,
            timeline,
            lsn,
            continues_record,
            overwrites_unfinished,
            remaining_bytes,
            segment,
        }))
    }

    fn read_identity(reader: &mut Reader<'_>) -> Option<Result<WalSegmentIdentity, WalPageError>> {
        let _padding = reader.u32()?;
        let system_id = SystemId(reader.u64()?);
        let (segment_bytes, page_bytes) = (reader.u32()?, reader.u32()?);
        if page_bytes as usize != WAL_PAGE_SIZE_BYTES {
            return Some(Err(WalPageError::PageSize(page_bytes)));
        }
        let Ok(segment_size) = SegmentSize::new(segment_bytes.into()) else {
            return Some(Err(WalPageError::SegmentSize(segment_bytes)));
        };
        Some(Ok(WalSegmentIdentity { system_id, segment_size }))
    }
}
