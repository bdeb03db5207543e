//! Finds the transactions that destroyed data.
//!
//! [`Search`] is fed records and tells, at each commit, what the transaction dropped, truncated or changed
//! much of. Subtransactions count for their parent; what was rolled back does not count.
//!
//! # How a drop, a truncation and a rewrite are told apart
//! All three remove a relation's old files with the commit. The commit record tells more (seen on 15 to 18,
//! and held against real servers by the tests):
//! - **Dropped**: the commit removes the *statistics of the relation's OID*. PostgreSQL does so for whatever
//!   relation leaves the catalogues, and only then. Partitioned tables, which have no files, show by it too.
//! - **Rewritten** (`VACUUM FULL`, `CLUSTER`, `ALTER TABLE`, `REFRESH`): the rows are copied to a transient
//!   relation, which gives its file away and is dropped: statistics of an OID are removed that is the number
//!   of *a file born in this transaction that survives it*. A table has one such file, and two more (TOAST
//!   and its index) where its TOAST relation stays; where that is dropped, a rewrite is certain.
//! - **Truncated**: the files are replaced, and neither holds. With `wal_level=logical` a record names the
//!   truncated relations outright.
//! - Where the transient files are neither none nor as many as rewrites of all replaced tables need, some
//!   were truncated and some rewritten, and which is not known. All are reported as truncated,
//!   [`Effect::certain`] false: a false alarm costs a look, a missed truncation costs the data.
//!
//! Names follow files: a transaction that only truncates makes the new files in the order in which it gives
//! up the old ones (the commit lists these newest first); rewritten tables inherit in turn.
//!
//! # Invariants
//! - **S1 bounded.** At most [`OPEN_TRANSACTIONS_LIMIT`] and [`ENTRIES_LIMIT`]; beyond them counting stops
//!   and [`Search::is_incomplete`] says so.
//! - **S2 only what was committed** is told.
//!
//! Deliberately absent: how many rows a truncation or drop removed. WAL does not say.

mod digest;
mod effects;
mod open;
mod parts;

use crate::catalogue::{CatalogueSnapshot, Names, RelationName};
use crate::wal::{Content, DecodeError, Record, Rmgr, RmgrSet};
use crate::{Oid, RelationLocator};
pub use digest::{Digest, Said};
use digest::{What, changed_rows};
use jiff::Timestamp;
use lifeboat_base::Lsn;
pub use open::{ENTRIES_LIMIT, OPEN_TRANSACTIONS_LIMIT};
use open::{FileKind, OpenTransactions, index_pages};
pub use parts::{Chain, Outcome, Part};

/// What is worth telling.
#[derive(Debug, Clone, Copy)]
pub struct SearchOptions {
    /// Changed rows of one relation, in one transaction, from which on they are told.
    pub min_rows: u64,
    /// Whether rewrites are told although nothing else happened. Normally nothing is lost by them.
    pub rewrites: bool,
}

/// A transaction that destroyed or changed much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect {
    /// The transaction.
    pub xid: u32,
    /// Its first record of note. Nothing of it is before.
    pub first_lsn: Lsn,
    /// Its commit record: recover to before it.
    pub commit_lsn: Lsn,
    /// The end of its commit record.
    pub commit_end_lsn: Lsn,
    /// When it committed, by the server's clock.
    pub commit_time: Timestamp,
    /// What it did; the worst first.
    pub what: Vec<Effect>,
    /// What it did below [`SearchOptions::min_rows`], as far as [`Search::tell_below`] asks for it.
    pub below: Vec<Effect>,
}

/// What a transaction did to one relation or database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What.
    pub kind: EffectKind,
    /// The database.
    pub database: Oid,
    /// Its name, if a snapshot has it.
    pub database_name: Option<String>,
    /// The relation, if a snapshot has it.
    pub relation: Option<RelationName>,
    /// Its file at the time; none for a database, or a relation that has no files.
    pub file: Option<RelationLocator>,
    /// How many rows, where WAL tells.
    pub rows: Option<u64>,
    /// False where it may have been something more harmless.
    pub certain: bool,
}

/// What happened to a relation or database; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectKind {
    /// The database is gone.
    DropDatabase,
    /// The relation is gone.
    Drop,
    /// All rows are gone.
    Truncate,
    /// Rows were deleted.
    Delete,
    /// Rows were updated.
    Update,
    /// Rows were inserted.
    Insert,
    /// The rows were copied to new files, and are the same unless a statement said otherwise.
    Rewrite,
}

/// Rows from which on a transaction is told although it is below [`SearchOptions::min_rows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Below {
    /// Of what it deleted.
    pub deleted: u64,
    /// Of what it updated.
    pub updated: u64,
}

impl Below {
    /// Nothing is.
    pub const NOTHING: Self = Self { deleted: u64::MAX, updated: u64::MAX };
}

/// Aggregates records into suspects.
#[derive(Debug)]
pub struct Search {
    options: SearchOptions,
    names: Names,
    open: OpenTransactions,
    below: Below,
    last_commit: Option<(Lsn, Timestamp)>,
}

impl Search {
    /// A search that knows the names of `snapshots`.
    #[must_use]
    pub fn new(options: SearchOptions, snapshots: Vec<CatalogueSnapshot>) -> Self {
        let (names, open) = (Names::of(snapshots), OpenTransactions::default());
        Self { options, names, open, below: Below::NOTHING, last_commit: None }
    }

    /// From now on also tells, in [`Suspect::below`], what is below the limit and not below this. Whoever
    /// raises it with each answer learns the most that was below the limit, at little cost.
    pub fn tell_below(&mut self, below: Below) {
        self.below = below;
    }

    /// The last commit that was fed, whatever it did: its record and its time.
    #[must_use]
    pub fn last_commit(&self) -> Option<(Lsn, Timestamp)> {
        self.last_commit
    }

    /// The resource managers whose records a search needs.
    #[must_use]
    pub fn wanted() -> RmgrSet {
        RmgrSet::of(&[
            Rmgr::XLOG,
            Rmgr::TRANSACTION,
            Rmgr::STORAGE,
            Rmgr::DATABASE,
            Rmgr::STANDBY,
            Rmgr::HEAP,
            Rmgr::HEAP2,
        ])
    }

    /// Takes the next record; tells the transaction that it commits if that is worth telling.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is damaged.
    pub fn feed(&mut self, record: &Record<'_>) -> Result<Option<Suspect>, DecodeError> {
        let (xid, lsn) = (record.header.xid, record.lsn);
        let content = record.content()?;
        if let Some((locator, tally)) = changed_rows(&content) {
            self.open.change(xid, lsn, locator, tally);
            return Ok(None);
        }
        match content {
            Content::Insert { locator, .. } | Content::MultiInsert { locator, .. } => {
                self.open.learn(locator, FileKind::Toast);
            }
            Content::Delete { locator, .. } => self.open.take_back(xid, lsn, locator),
            Content::Truncate(truncate) => {
                let relations = truncate.relations.iter().map(|oid| (truncate.database, oid));
                self.open.truncate(xid, lsn, relations);
            }
            Content::StorageCreate(create) => self.open.create(xid, lsn, create.locator, create.fork),
            Content::PageImages if self.open.has_created(xid) => {
                index_pages(&record.layout()?).for_each(|locator| self.open.see_index_page(xid, locator));
            }
            Content::DatabaseDrop(drop) => self.open.drop_database(xid, lsn, drop.database),
            Content::RunningTransactions(running) => self.open.forget_before(running.oldest_running_xid),
            Content::Abort(abort) => self.open.abort(abort.xid, abort.subxacts),
            Content::Commit(commit) => {
                let transaction = self.open.commit(commit.xid, lsn, commit.subxacts);
                let damaged = DecodeError { lsn, what: "commit time" };
                let commit_time = commit.time.timestamp().ok_or(damaged)?;
                self.last_commit = Some((lsn, commit_time));
                let below =
                    effects::below(&self.options, self.below, &self.names, &self.open, &transaction, &commit);
                let what =
                    effects::effects(&self.options, &mut self.names, &mut self.open, &transaction, &commit);
                if !what.is_empty() || !below.is_empty() {
                    return Ok(Some(Suspect {
                        xid: commit.xid,
                        first_lsn: transaction.first_lsn,
                        commit_lsn: lsn,
                        commit_end_lsn: record.end_lsn,
                        commit_time,
                        what,
                        below,
                    }));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Takes the next of a [`Digest`], as [`Search::feed`] takes a record.
    ///
    /// # Errors
    /// As [`Search::feed`].
    pub fn take(&mut self, said: &Said<'_>) -> Result<Option<Suspect>, DecodeError> {
        match said.what {
            What::Rows { xid, locator, tally } => self.open.change(xid, said.lsn, locator, tally),
            What::Toast(locator) => self.open.learn(locator, FileKind::Toast),
            What::IndexPage { xid, locator } => self.open.see_index_page(xid, locator),
            What::Record(record) => return self.feed(&record),
        }
        Ok(None)
    }

    /// Whether a limit was reached, and something may be missing.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.open.is_incomplete()
    }
}
