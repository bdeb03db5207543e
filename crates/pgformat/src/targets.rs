//! Finds recovery targets in WAL: where recovery stops, as a position.
//!
//! PostgreSQL stops *before* the first commit after a time, *at* the commit of a transaction, *at* a named
//! restore point. [`TargetSearch`] finds that record; [`Landmarks`] keeps the newest of what a position can
//! be judged by.

use crate::wal::{Checkpoint, Content, DecodeError, Record, Rmgr, RmgrSet, WalTime};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};

/// Who writes the records that recovery can stop at.
const WITH_TARGETS: [Rmgr; 2] = [Rmgr::XLOG, Rmgr::TRANSACTION];

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The first commit after this time. Clocks go back: a later one may be earlier by the clock.
    Time(Timestamp),
    /// The commit of this transaction, prepared or not.
    Xid(u32),
    /// The restore point of this name; the first of several.
    Name(String),
}

/// The record that was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetHit {
    /// Where it is; `end` is the end of the record.
    pub range: LsnRange,
    /// Its time, by the server's clock.
    pub time: Timestamp,
    /// The transaction; 0 for a restore point.
    pub xid: u32,
}

/// Looks for one target.
#[derive(Debug, Clone)]
pub struct TargetSearch {
    target: Target,
}

impl TargetSearch {
    /// A search for `target`.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// The resource managers whose records hold targets.
    #[must_use]
    pub fn wanted() -> RmgrSet {
        RmgrSet::of(&WITH_TARGETS)
    }

    /// Takes the next record; tells whether it is the one.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is damaged.
    pub fn feed(&self, record: &Record<'_>) -> Result<Option<TargetHit>, DecodeError> {
        if !WITH_TARGETS.contains(&record.header.rmgr) {
            return Ok(None);
        }
        let (time, xid) = match record.content()? {
            Content::Commit(commit) => (commit.time, commit.xid),
            Content::RestorePoint(point) => match &self.target {
                Target::Name(name) if name.as_bytes() == point.name => (point.time, 0),
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let time = timestamp(record, time)?;
        let hit = match &self.target {
            Target::Time(limit) => xid != 0 && time > *limit,
            Target::Xid(wanted) => xid == *wanted && xid != 0,
            Target::Name(_) => xid == 0,
        };
        let range = LsnRange { start: record.lsn, end: record.end_lsn };
        Ok(hit.then_some(TargetHit { range, time, xid }))
    }
}

/// The newest of what was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Landmarks {
    /// The last whole record.
    pub last_record: Option<LsnRange>,
    /// The last checkpoint record, and where it is.
    pub last_checkpoint: Option<(Lsn, Checkpoint)>,
    /// The last commit.
    pub last_commit: Option<TargetHit>,
}

impl Landmarks {
    /// Takes the next record.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is damaged.
    pub fn feed(&mut self, record: &Record<'_>) -> Result<(), DecodeError> {
        let range = LsnRange { start: record.lsn, end: record.end_lsn };
        self.last_record = Some(range);
        if !WITH_TARGETS.contains(&record.header.rmgr) {
            return Ok(());
        }
        match record.content()? {
            Content::Checkpoint(checkpoint) => self.last_checkpoint = Some((record.lsn, checkpoint)),
            Content::Commit(commit) => {
                let time = timestamp(record, commit.time)?;
                self.last_commit = Some(TargetHit { range, time, xid: commit.xid });
            }
            _ => {}
        }
        Ok(())
    }
}

fn timestamp(record: &Record<'_>, time: WalTime) -> Result<Timestamp, DecodeError> {
    time.timestamp().ok_or(DecodeError { lsn: record.lsn, what: "time" })
}
