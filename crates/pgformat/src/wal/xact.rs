//! Transaction records: commit, abort, prepare.
//!
//! Commit and abort records hold only the parts that they need, in a fixed order, as a word of flags says.
//!
//! Format: `access/xact.h`. 18 made the object number of a dropped statistic 64 bits wide.

use super::content::{Content, Locators, WalTime, Xids};
use crate::bytes::Reader;
use crate::{MajorVersion, Oid};

const OPERATION_MASK: u8 = 0x70;
const HAS_FLAGS: u8 = 0x80;
const COMMIT: u8 = 0x00;
const PREPARE: u8 = 0x10;
const ABORT: u8 = 0x20;
const COMMIT_PREPARED: u8 = 0x30;
const ABORT_PREPARED: u8 = 0x40;
const ASSIGNMENT: u8 = 0x50;

const HAS_DATABASE: u32 = 1 << 0;
const HAS_SUBXACTS: u32 = 1 << 1;
const HAS_RELATIONS: u32 = 1 << 2;
const HAS_INVALIDATIONS: u32 = 1 << 3;
const HAS_TWO_PHASE: u32 = 1 << 4;
const HAS_GID: u32 = 1 << 7;
const HAS_DROPPED_STATISTICS: u32 = 1 << 8;

/// Bytes in a message about caches, which is not decoded.
const INVALIDATION_BYTES: usize = 16;

/// How a transaction ended.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// The transaction; for a prepared one the one that was prepared.
    pub xid: u32,
    /// When, by the server's clock.
    pub time: WalTime,
    /// It was prepared before.
    pub prepared: bool,
    /// Its subtransactions.
    pub subxacts: Xids<'a>,
    /// The relation files removed with it; the newest decision first.
    pub dropped: Locators<'a>,
    /// The statistics removed with it: those of dropped objects.
    pub dropped_statistics: DroppedStatistics<'a>,
    /// The name it was prepared under; empty if it has none here.
    pub gid: &'a [u8],
}

/// A transaction was prepared.
#[derive(Debug, Clone, Copy)]
pub struct Prepare<'a> {
    /// The transaction.
    pub xid: u32,
    /// Its database.
    pub database: Oid,
    /// When.
    pub time: WalTime,
    /// Its name.
    pub gid: &'a [u8],
}

/// The statistics of one dropped object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DroppedStatistic {
    /// What kind: see [`DroppedStatistic::RELATION`].
    pub kind: u32,
    /// The database; zero for what all share.
    pub database: Oid,
    /// The object.
    pub object: u64,
}

impl DroppedStatistic {
    /// The kind of relations: tables, indexes, sequences and the rest.
    pub const RELATION: u32 = 2;
}

/// Statistics of dropped objects inside a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct DroppedStatistics<'a> {
    items: &'a [u8],
    wide: bool,
}

impl<'a> DroppedStatistics<'a> {
    fn read(reader: &mut Reader<'a>, version: MajorVersion) -> Option<Self> {
        let wide = version >= MajorVersion::V18;
        let item_bytes = if wide { 16 } else { 12 };
        let count = reader.u32()? as usize;
        Some(Self { items: reader.take(count.checked_mul(item_bytes)?)?, wide })
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = DroppedStatistic> + use<'a> {
        let mut reader = Reader::new(self.items);
        let wide = self.wide;
        std::iter::from_fn(move || {
            let (kind, database, low) = (reader.u32()?, Oid(reader.u32()?), reader.u32()?);
            let high = if wide { reader.u32()? } else { 0 };
            Some(DroppedStatistic { kind, database, object: u64::from(high) << 32 | u64::from(low) })
        })
    }
}

pub(super) fn decode(version: MajorVersion, kind: u8, xid: u32, main: &[u8]) -> Option<Content<'_>> {
    let flagged = kind & HAS_FLAGS != 0;
    let completion = |prepared| decode_completion(version, flagged, prepared, xid, main);
    Some(match kind & OPERATION_MASK {
        COMMIT => Content::Commit(completion(false)?),
        COMMIT_PREPARED => Content::Commit(completion(true)?),
        ABORT => Content::Abort(completion(false)?),
        ABORT_PREPARED => Content::Abort(completion(true)?),
        PREPARE => Content::Prepare(decode_prepare(main)?),
        ASSIGNMENT => {
            let mut reader = Reader::new(main);
            let (top_xid, count) = (reader.u32()?, reader.u32()?);
            Content::Assignment { top_xid, subxacts: Xids::read(&mut reader, count)? }
        }
        _ => Content::Other,
    })
}

fn decode_completion(
    version: MajorVersion,
    flagged: bool,
    prepared: bool,
    xid: u32,
    main: &[u8],
) -> Option<Completion<'_>> {
    let mut reader = Reader::new(main);
    let mut completion = Completion {
        xid,
        time: WalTime(reader.i64()?),
        prepared,
        subxacts: Xids::default(),
        dropped: Locators::default(),
        dropped_statistics: DroppedStatistics::default(),
        gid: &[],
    };
    let flags = if flagged { reader.u32()? } else { 0 };
    if flags & HAS_DATABASE != 0 {
        let _database_and_tablespace = reader.u64()?;
    }
    if flags & HAS_SUBXACTS != 0 {
        let count = reader.u32()?;
        completion.subxacts = Xids::read(&mut reader, count)?;
    }
    if flags & HAS_RELATIONS != 0 {
        let count = reader.u32()?;
        completion.dropped = Locators::read(&mut reader, count)?;
    }
    if flags & HAS_DROPPED_STATISTICS != 0 {
        completion.dropped_statistics = DroppedStatistics::read(&mut reader, version)?;
    }
    if flags & HAS_INVALIDATIONS != 0 {
        let count = reader.u32()? as usize;
        let _messages = reader.take(count.checked_mul(INVALIDATION_BYTES)?)?;
    }
    if flags & HAS_TWO_PHASE != 0 {
        completion.xid = reader.u32()?;
        if flags & HAS_GID != 0 {
            completion.gid = reader.rest().split(|byte| *byte == 0).next()?;
        }
    }
    Some(completion)
}

fn decode_prepare(main: &[u8]) -> Option<Prepare<'_>> {
    /// Where the name begins: after the fixed part, aligned.
    const GID_OFFSET: usize = 72;
    let mut reader = Reader::new(main);
    let (_magic, _total, xid) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let (database, time) = (Oid(reader.u32()?), WalTime(reader.i64()?));
    let name = main.get(GID_OFFSET..)?;
    Some(Prepare { xid, database, time, gid: name.split(|byte| *byte == 0).next()? })
}
