//! What records say, for the kinds that Lifeboat has to understand.
//!
//! Lists inside a record stay where they are and are read while they are walked.
//!
//! Deliberately absent: rows. What a row held is recovered by PostgreSQL, not guessed from WAL.

use super::heap::{self, HeapTruncate};
use super::record::{Record, read_locator};
use super::rmgr::Rmgr;
use super::storage::{self, DatabaseDrop, RelationMapUpdate, StorageCreate, StorageTruncate};
use super::system::RunningTransactions;
use super::system::{self, Checkpoint, EndOfRecovery, Locks, ParameterChange, RestorePoint};
use super::xact::{self, Completion, Prepare};
use crate::bytes::Reader;
use crate::{Oid, RelationLocator};
use jiff::Timestamp;
use lifeboat_base::Lsn;

/// A record's bytes are not what its kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at {lsn} does not read as its kind should ({what}): it is damaged, or of another version"
)]
pub struct DecodeError {
    /// Where the record begins.
    pub lsn: Lsn,
    /// What did not read.
    pub what: &'static str,
}

/// What a record says.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// A transaction committed, prepared ones among them.
    Commit(Completion<'a>),
    /// A transaction was rolled back.
    Abort(Completion<'a>),
    /// A transaction was prepared.
    Prepare(Prepare<'a>),
    /// Subtransactions were given to a transaction, which it then is known to have.
    Assignment {
        /// The top-level transaction.
        top_xid: u32,
        /// The subtransactions.
        subxacts: Xids<'a>,
    },
    /// A checkpoint.
    Checkpoint(Checkpoint),
    /// Where an online checkpoint's REDO is (17 on).
    CheckpointRedo,
    /// Settings that a standby needs changed.
    ParameterChange(ParameterChange),
    /// A named restore point.
    RestorePoint(RestorePoint<'a>),
    /// The first record of a new timeline.
    EndOfRecovery(EndOfRecovery),
    /// The rest of the segment is unused.
    Switch,
    /// A backup that started at this position is consistent here.
    BackupEnd {
        /// The backup's start.
        start: Lsn,
    },
    /// Page images, of new relations mostly; the blocks are in the record's layout.
    PageImages,
    /// A relation got a new, empty file.
    StorageCreate(StorageCreate),
    /// A relation was cut at its end.
    StorageTruncate(StorageTruncate),
    /// File numbers of system catalogues changed.
    RelationMap(RelationMapUpdate<'a>),
    /// A row was inserted.
    Insert {
        /// Where.
        locator: RelationLocator,
        /// It is a part of a large value, not a row of its own.
        toast: bool,
    },
    /// Several rows were inserted.
    MultiInsert {
        /// Where.
        locator: RelationLocator,
        /// How many.
        rows: u16,
        /// They are parts of large values.
        toast: bool,
    },
    /// A row was deleted.
    Delete {
        /// Where.
        locator: RelationLocator,
        /// It moved to another partition: the insertion there follows.
        moved: bool,
        /// It was a speculative insertion that is taken back.
        taken_back: bool,
    },
    /// A row was updated.
    Update {
        /// Where.
        locator: RelationLocator,
        /// No index changed, and it stayed on its page.
        hot: bool,
    },
    /// Tables were truncated; written only where logical decoding needs it.
    Truncate(HeapTruncate<'a>),
    /// A row was overwritten outside of any transaction.
    Inplace {
        /// Where.
        locator: RelationLocator,
    },
    /// A database was created.
    DatabaseCreate {
        /// The database.
        database: Oid,
        /// Its tablespace.
        tablespace: Oid,
    },
    /// A database's files were removed.
    DatabaseDrop(DatabaseDrop<'a>),
    /// A tablespace was created. Its path is production's: never to be touched elsewhere.
    TablespaceCreate {
        /// The tablespace.
        tablespace: Oid,
        /// Its location, in the server's bytes.
        path: &'a [u8],
    },
    /// A tablespace was dropped.
    TablespaceDrop {
        /// The tablespace.
        tablespace: Oid,
    },
    /// Which transactions are running.
    RunningTransactions(RunningTransactions<'a>),
    /// Relations locked so that no one can read them.
    Locks(Locks<'a>),
    /// Nothing that is decoded.
    Other,
}

impl<'a> Content<'a> {
    pub(super) fn decode(record: &Record<'a>) -> Result<Self, DecodeError> {
        let Record { lsn, version, header, .. } = *record;
        let damaged = |what| DecodeError { lsn, what };
        let main = || record.layout().map(|layout| layout.main);
        let kind = header.kind();
        match header.rmgr {
            Rmgr::TRANSACTION => {
                xact::decode(version, kind, header.xid, main()?).ok_or(damaged("transaction"))
            }
            Rmgr::XLOG => system::decode_xlog(kind, main()?).ok_or(damaged("system record")),
            Rmgr::STANDBY => system::decode_standby(kind, main()?).ok_or(damaged("standby record")),
            Rmgr::STORAGE => storage::decode_storage(kind, main()?).ok_or(damaged("storage record")),
            Rmgr::RELATION_MAP => storage::decode_relation_map(main()?).ok_or(damaged("relation map")),
            Rmgr::DATABASE => storage::decode_database(kind, main()?).ok_or(damaged("database record")),
            Rmgr::TABLESPACE => storage::decode_tablespace(kind, main()?).ok_or(damaged("tablespace record")),
            Rmgr::HEAP => heap::decode(kind, &record.layout()?).ok_or(damaged("heap record")),
            Rmgr::HEAP2 if heap::is_multi_insert(kind) => {
                heap::decode_multi_insert(&record.layout()?).ok_or(damaged("heap record"))
            }
            _ => Ok(Self::Other),
        }
    }
}

/// A time in WAL: microseconds since 2000-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalTime(pub i64);

impl WalTime {
    /// As a time; `None` for what no clock shows.
    #[must_use]
    pub fn timestamp(self) -> Option<Timestamp> {
        const EPOCH_MICROSECONDS: i64 = 946_684_800 * 1_000_000;
        let microseconds = self.0.checked_add(EPOCH_MICROSECONDS)?;
        Timestamp::from_microsecond(microseconds).ok()
    }
}

/// Transaction numbers inside a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Xids<'a>(&'a [u8]);

impl<'a> Xids<'a> {
    pub(crate) fn read(reader: &mut Reader<'a>, count: u32) -> Option<Self> {
        reader.take((count as usize).checked_mul(4)?).map(Self)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

/// Object numbers inside a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oids<'a>(Xids<'a>);

impl<'a> Oids<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, count: u32) -> Option<Self> {
        Xids::read(reader, count).map(Self)
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Oid> + use<'a> {
        self.0.iter().map(Oid)
    }
}

/// Relations inside a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Locators<'a>(&'a [u8]);

impl<'a> Locators<'a> {
    pub(super) fn read(reader: &mut Reader<'a>, count: u32) -> Option<Self> {
        reader.take((count as usize).checked_mul(12)?).map(Self)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len() / 12
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One after the other, in the record's order.
    pub fn iter(&self) -> impl Iterator<Item = RelationLocator> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || read_locator(&mut reader))
    }
}
