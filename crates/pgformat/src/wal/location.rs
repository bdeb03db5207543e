//! Takes the locations of tablespaces out of WAL, for servers that are not production's.
//!
//! Replaying `CREATE TABLESPACE` links the directory that production named: on the same machine that is
//! production's own, and the recovered server writes into it; on another there is none, and recovery ends. An
//! empty location means, to PostgreSQL 15 and newer, a directory inside the data directory; one that is there
//! already, or a link that the restore made, is left as it is. The record keeps its length: the first byte of
//! the path becomes zero, and its CRC another.

use super::page::{LONG_HEADER_SIZE_BYTES, SHORT_HEADER_SIZE_BYTES, WAL_PAGE_SIZE_BYTES, WalPageHeader};
use super::record::{RECORD_HEADER_SIZE_BYTES, Record};
use super::{Content, DecodeError};
use crate::SegmentSize;
use lifeboat_base::Lsn;

/// No record that creates a tablespace is longer: PostgreSQL's paths have less than 1024 bytes.
const RECORD_LIMIT_BYTES: u32 = 1200;
const CRC_AT: usize = 20;
/// Of the record's own data, what stands before the path: the tablespace's OID.
const PATH_AT: usize = 4;

/// A byte of WAL that is to be another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Where it is.
    pub at: Lsn,
    /// What it becomes.
    pub byte: u8,
}

/// What takes the location out of `record`; nothing if it creates no tablespace, or one without.
///
/// # Errors
/// [`DecodeError`] if the record is not what its kind has.
pub fn without_location(record: &Record<'_>, size: SegmentSize) -> Result<Vec<Change>, DecodeError> {
    match record.content()? {
        Content::TablespaceCreate { path, .. } if !path.is_empty() => {}
        _ => return Ok(Vec::new()),
    }
    let main = record.layout()?.main;
    // The record's own data are its end.
    let path_at = record.bytes.len() - main.len() + PATH_AT;
    let mut bytes = record.bytes.to_vec();
    bytes[path_at] = 0;
    let (head, body) = bytes.split_at(RECORD_HEADER_SIZE_BYTES);
    let crc = crc32c::crc32c_append(crc32c::crc32c(body), &head[..CRC_AT]);
    let new = (CRC_AT..).zip(crc.to_le_bytes()).chain([(path_at, 0)]);
    Ok(new.map(|(index, byte)| Change { at: place(record.lsn, index, size), byte }).collect())
}

/// Whether a segment may begin with the rest of a record that creates a tablespace, so that the segment before
/// it has to be read too.
#[must_use]
pub fn may_begin_inside(segment: &[u8]) -> bool {
    let Ok(header) = WalPageHeader::decode(segment) else { return false };
    if !header.continues_record || header.remaining_bytes > RECORD_LIMIT_BYTES {
        return false;
    }
    let begin = if header.segment.is_some() { LONG_HEADER_SIZE_BYTES } else { SHORT_HEADER_SIZE_BYTES };
    let rest = segment.get(begin..begin + header.remaining_bytes as usize).unwrap_or_default();
    // It ends with a path and one zero byte.
    match rest {
        [.., last, end] => *end == 0 && *last != 0,
        _ => true,
    }
}

/// Where byte `index` of the record that begins at `lsn` lies: pages have headers between.
fn place(lsn: Lsn, index: usize, size: SegmentSize) -> Lsn {
    const PAGE: u64 = WAL_PAGE_SIZE_BYTES as u64;
    let (mut at, mut left) = (lsn.0, index as u64);
    loop {
        let room = PAGE - at % PAGE;
        if left < room {
            return Lsn(at + left);
        }
        left -= room;
        at += room;
        let is_first = at.is_multiple_of(size.bytes());
        at += if is_first { LONG_HEADER_SIZE_BYTES } else { SHORT_HEADER_SIZE_BYTES } as u64;
    }
}
