//! Records about the cluster as a whole: checkpoints, settings, restore points, running transactions.
//!
//! Format: `catalog/pg_control.h`, `access/xlog_internal.h`, `storage/standbydefs.h`; what is read of them
//! is the same from 15 to 18.

use super::content::{Content, WalTime, Xids};
use crate::bytes::Reader;
use crate::control::CheckpointCopy;
use crate::{Oid, WalLevel};
use lifeboat_base::{Lsn, Timeline};

const CHECKPOINT_SHUTDOWN: u8 = 0x00;
const CHECKPOINT_ONLINE: u8 = 0x10;
const SWITCH: u8 = 0x40;
const BACKUP_END: u8 = 0x50;
const PARAMETER_CHANGE: u8 = 0x60;
const RESTORE_POINT: u8 = 0x70;
const END_OF_RECOVERY: u8 = 0x90;
const IMAGES_FOR_HINT: u8 = 0xA0;
const IMAGES: u8 = 0xB0;
const CHECKPOINT_REDO: u8 = 0xE0;

const STANDBY_LOCK: u8 = 0x00;
const STANDBY_RUNNING: u8 = 0x10;

/// Bytes kept for the name of a restore point.
const RESTORE_POINT_NAME_BYTES: usize = 64;

/// A checkpoint record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The server stopped with it.
    pub shutdown: bool,
    /// What it says.
    pub copy: CheckpointCopy,
}

/// Settings that a server which replays the WAL must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are the settings of these names")]
pub struct ParameterChange {
    pub max_connections: u32,
    pub max_worker_processes: u32,
    pub max_wal_senders: u32,
    pub max_prepared_transactions: u32,
    pub max_locks_per_transaction: u32,
    pub wal_level: WalLevel,
    pub wal_log_hints: bool,
    pub track_commit_timestamp: bool,
}

/// A named restore point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestorePoint<'a> {
    /// When it was made.
    pub time: WalTime,
    /// Its name, in the server's bytes.
    pub name: &'a [u8],
}

/// The first record of a new timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndOfRecovery {
    /// When.
    pub time: WalTime,
    /// The new timeline.
    pub timeline: Timeline,
    /// The one that it left.
    pub previous_timeline: Timeline,
}

/// The transactions that run at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningTransactions<'a> {
    /// The next transaction's number.
    pub next_xid: u32,
    /// The oldest that runs, prepared ones among them.
    pub oldest_running_xid: u32,
    /// Those that run; top-level first.
    pub xids: Xids<'a>,
}

/// Locks against all other use of relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locks<'a>(&'a [u8]);

/// A lock against all other use of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Who holds it.
    pub xid: u32,
    /// The relation's database; zero for what all share.
    pub database: Oid,
    /// The relation, by OID.
    pub relation: Oid,
}

impl<'a> Locks<'a> {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Lock> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || {
            Some(Lock { xid: reader.u32()?, database: Oid(reader.u32()?), relation: Oid(reader.u32()?) })
        })
    }
}

pub(super) fn decode_xlog(kind: u8, main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    Some(match kind {
        CHECKPOINT_SHUTDOWN | CHECKPOINT_ONLINE => Content::Checkpoint(Checkpoint {
            shutdown: kind == CHECKPOINT_SHUTDOWN,
            copy: CheckpointCopy::decode(main)?,
        }),
        CHECKPOINT_REDO => Content::CheckpointRedo,
        SWITCH => Content::Switch,
        BACKUP_END => Content::BackupEnd { start: Lsn(reader.u64()?) },
        PARAMETER_CHANGE => Content::ParameterChange(ParameterChange {
            max_connections: reader.u32()?,
            max_worker_processes: reader.u32()?,
            max_wal_senders: reader.u32()?,
            max_prepared_transactions: reader.u32()?,
            max_locks_per_transaction: reader.u32()?,
            wal_level: WalLevel::from_number(reader.u32()?)?,
            wal_log_hints: reader.u8()? != 0,
            track_commit_timestamp: reader.u8()? != 0,
        }),
        RESTORE_POINT => Content::RestorePoint(RestorePoint {
            time: WalTime(reader.i64()?),
            name: reader.take(RESTORE_POINT_NAME_BYTES)?.split(|byte| *byte == 0).next()?,
        }),
        END_OF_RECOVERY => Content::EndOfRecovery(EndOfRecovery {
            time: WalTime(reader.i64()?),
            timeline: Timeline(reader.u32()?),
            previous_timeline: Timeline(reader.u32()?),
        }),
        IMAGES | IMAGES_FOR_HINT => Content::PageImages,
        _ => Content::Other,
    })
}

pub(super) fn decode_standby(kind: u8, main: &[u8]) -> Option<Content<'_>> {
    let mut reader = Reader::new(main);
    Some(match kind {
        STANDBY_LOCK => {
            let count = reader.u32()? as usize;
            Content::Locks(Locks(reader.take(count.checked_mul(12)?)?))
        }
        STANDBY_RUNNING => {
            let (count, sub_count) = (reader.u32()?, reader.u32()?);
            let _overflowed_and_padding = reader.u32()?;
            let (next_xid, oldest_running_xid, _latest) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let xids = Xids::read(&mut reader, count.checked_add(sub_count)?)?;
            Content::RunningTransactions(RunningTransactions { next_xid, oldest_running_xid, xids })
        }
        _ => Content::Other,
    })
}
