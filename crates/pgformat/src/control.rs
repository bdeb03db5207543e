//! The control file, `global/pg_control`: what a cluster is, and where its recovery starts.
//!
//! One structure at fixed offsets, protected by a CRC-32C. Read it again when the CRC fails: a running
//! server may be writing it.
//!
//! # Invariants
//! - No field is believed before the CRC has held.
//!
//! Format: `catalog/pg_control.h` of each version, on a 64-bit little-endian machine. 15 and 16 share a
//! layout, 17 adds the checkpoint's `wal_level` in what was padding, 18 adds the signedness of `char`.

use crate::bytes::{array_at, u32_at, u64_at};
use crate::{MajorVersion, SegmentSize, SegmentSizeError, UnsupportedVersionError};
use jiff::Timestamp;
use lifeboat_base::{Lsn, SystemId, Timeline};

/// Where the control file is in a data directory.
pub const PG_CONTROL_PATH: &str = "global/pg_control";
/// How many bytes PostgreSQL writes; those after the structure are zeros.
pub const PG_CONTROL_SIZE_BYTES: usize = 8192;

/// What the cluster was doing when the file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterState {
    /// `initdb` has not finished.
    StartingUp,
    /// Stopped cleanly.
    ShutDown,
    /// Stopped cleanly as a standby.
    ShutDownInRecovery,
    /// On its way down.
    ShuttingDown,
    /// Replaying WAL after a crash.
    InCrashRecovery,
    /// Replaying WAL from an archive or a primary.
    InArchiveRecovery,
    /// Open for writing, or killed while it was.
    InProduction,
}

/// How much the WAL tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalLevel {
    /// Enough for crash recovery; no archive can be recovered from it.
    Minimal,
    /// Enough for archives and standbys.
    Replica,
    /// Enough for logical decoding too.
    Logical,
}

impl WalLevel {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Minimal),
            1 => Some(Self::Replica),
            2 => Some(Self::Logical),
            _ => None,
        }
    }
}

/// What a checkpoint record says; the control file has a copy of the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointCopy {
    /// Where replay starts.
    pub redo: Lsn,
    /// The timeline.
    pub timeline: Timeline,
    /// The timeline before, where the checkpoint begins a timeline; else the same.
    pub previous_timeline: Timeline,
    /// Whether full-page images were on.
    pub full_page_writes: bool,
    /// The next transaction ID, with its epoch in the upper half.
    pub next_xid: u64,
    /// The next OID.
    pub next_oid: u32,
    /// When the checkpoint was made; whole seconds.
    pub time: Timestamp,
    /// The oldest transaction running then; 0 for a shutdown checkpoint.
    pub oldest_active_xid: u32,
}

impl CheckpointCopy {
    /// Reads the structure that begins `bytes`; `None` if it is cut off or its time is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            redo: Lsn(u64_at(bytes, 0)?),
            timeline: Timeline(u32_at(bytes, 8)?),
            previous_timeline: Timeline(u32_at(bytes, 12)?),
            full_page_writes: *bytes.get(16)? != 0,
            next_xid: u64_at(bytes, 24)?,
            next_oid: u32_at(bytes, 32)?,
            time: Timestamp::from_second(u64_at(bytes, 64)?.cast_signed()).ok()?,
            oldest_active_xid: u32_at(bytes, 80)?,
        })
    }
}

/// What `pg_control` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlFile {
    /// The version that wrote it.
    pub version: MajorVersion,
    /// The cluster.
    pub system_id: SystemId,
    /// The version of the file's own format.
    pub control_version: u32,
    /// The version of the catalogues.
    pub catalog_version: u32,
    /// What the cluster was doing.
    pub state: ClusterState,
    /// When the file was written; whole seconds.
    pub written_at: Timestamp,
    /// Where the newest checkpoint record is.
    pub checkpoint: Lsn,
    /// What that record says.
    pub checkpoint_copy: CheckpointCopy,
    /// A server in archive recovery is not consistent before this; zero outside of it.
    pub min_recovery_point: Lsn,
    /// The timeline of `min_recovery_point`; 0 for none.
    pub min_recovery_point_timeline: Timeline,
    /// REDO of the backup being recovered, until its end has been replayed; else zero.
    pub backup_start: Lsn,
    /// Where a backup from a standby ends, until that has been replayed; else zero.
    pub backup_end: Lsn,
    /// Whether a backup-end record must be replayed before the server may open.
    pub backup_end_required: bool,
    /// `wal_level`.
    pub wal_level: WalLevel,
    /// `wal_log_hints`.
    pub wal_log_hints: bool,
    /// `max_connections`. A server that replays this cluster's WAL needs at least as many.
    pub max_connections: u32,
    /// `max_worker_processes`, likewise.
    pub max_worker_processes: u32,
    /// `max_wal_senders`, likewise.
    pub max_wal_senders: u32,
    /// `max_prepared_transactions`, likewise.
    pub max_prepared_transactions: u32,
    /// `max_locks_per_transaction`, likewise.
    pub max_locks_per_transaction: u32,
    /// `track_commit_timestamp`.
    pub track_commit_timestamp: bool,
    /// Bytes in a data page.
    pub block_size_bytes: u32,
    /// Pages in one file of a large relation.
    pub relation_segment_blocks: u32,
    /// Bytes in a WAL page.
    pub wal_block_size_bytes: u32,
    /// Bytes in a WAL segment.
    pub wal_segment_size: SegmentSize,
    /// The version of the data page checksums; 0 when there are none.
    pub data_checksum_version: u32,
}

/// Why the bytes are not a usable control file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Cut off.
    #[error("pg_control has {0} bytes, too few: it is cut off; read it again, or take it from another copy")]
    TooShort(usize),
    /// From a machine with the other byte order.
    #[error("pg_control is of a big-endian machine; Lifeboat protects little-endian ones (x86-64, ARM) only")]
    BigEndian,
    /// Of another version.
    #[error("pg_control cannot be read")]
    Version(#[source] UnsupportedVersionError),
    /// The structure and its CRC disagree.
    #[error(
        "pg_control does not match its CRC (stored {stored:08X}, computed {computed:08X}): read it again, as a running server may be writing it; if that does not help it is damaged"
    )]
    Crc {
        /// As the file has it.
        stored: u32,
        /// As it should be.
        computed: u32,
    },
    /// A value that PostgreSQL never writes.
    #[error(
        "pg_control says {field} {value}, which PostgreSQL does not write: it is not a real control file"
    )]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A WAL segment size that there is not.
    #[error("pg_control has an impossible WAL segment size")]
    SegmentSize(#[source] SegmentSizeError),
}

/// Offsets of the structure, in bytes.
mod at {
    pub(super) const SYSTEM_ID: usize = 0;
    pub(super) const CONTROL_VERSION: usize = 8;
    pub(super) const CATALOG_VERSION: usize = 12;
    pub(super) const STATE: usize = 16;
    pub(super) const TIME: usize = 24;
    pub(super) const CHECKPOINT: usize = 32;
    pub(super) const CHECKPOINT_COPY: usize = 40;
    pub(super) const CHECKPOINT_TIME: usize = CHECKPOINT_COPY + 64;
    pub(super) const MIN_RECOVERY_POINT: usize = 136;
    pub(super) const MIN_RECOVERY_POINT_TIMELINE: usize = 144;
    pub(super) const BACKUP_START: usize = 152;
    pub(super) const BACKUP_END: usize = 160;
    pub(super) const BACKUP_END_REQUIRED: usize = 168;
    pub(super) const WAL_LEVEL: usize = 172;
    pub(super) const WAL_LOG_HINTS: usize = 176;
    pub(super) const MAX_CONNECTIONS: usize = 180;
    pub(super) const MAX_WORKER_PROCESSES: usize = 184;
    pub(super) const MAX_WAL_SENDERS: usize = 188;
    pub(super) const MAX_PREPARED: usize = 192;
    pub(super) const MAX_LOCKS: usize = 196;
    pub(super) const TRACK_COMMIT_TIMESTAMP: usize = 200;
    pub(super) const BLOCK_SIZE: usize = 216;
    pub(super) const RELATION_SEGMENT_BLOCKS: usize = 220;
    pub(super) const WAL_BLOCK_SIZE: usize = 224;
    pub(super) const WAL_SEGMENT_SIZE: usize = 228;
    pub(super) const DATA_CHECKSUM_VERSION: usize = 252;
    pub(super) const END: usize = 296;

    pub(super) const fn crc(version: crate::MajorVersion) -> usize {
        match version {
            crate::MajorVersion::V15 | crate::MajorVersion::V16 | crate::MajorVersion::V17 => 288,
            crate::MajorVersion::V18 => 292,
        }
    }
}

impl ControlFile {
    /// Reads the file's content.
    ///
    /// # Errors
    /// [`ControlError`] if it is cut off, damaged, or of a version or machine that is not read here.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlError> {
        let too_short = || ControlError::TooShort(bytes.len());
        let fields = Fields(bytes.first_chunk::<{ at::END }>().ok_or_else(too_short)?);
        let version = fields.version()?;
        fields.verify_crc(version)?;
        fields.decode(version)
    }
}

/// The structure, long enough for every offset in [`at`].
struct Fields<'a>(&'a [u8; at::END]);

impl Fields<'_> {
    fn u32(&self, offset: usize) -> u32 {
        u32_at(self.0, offset).unwrap_or_default()
    }

    fn u64(&self, offset: usize) -> u64 {
        u64_at(self.0, offset).unwrap_or_default()
    }

    fn lsn(&self, offset: usize) -> Lsn {
        Lsn(self.u64(offset))
    }

    fn flag(&self, offset: usize) -> bool {
        self.0[offset] != 0
    }

    fn time(&self, offset: usize, field: &'static str) -> Result<Timestamp, ControlError> {
        let value = self.u64(offset);
        Timestamp::from_second(value.cast_signed()).map_err(|_| ControlError::Value { field, value })
    }

    fn version(&self) -> Result<MajorVersion, ControlError> {
        let control_version = self.u32(at::CONTROL_VERSION);
        if control_version != 0 && control_version & 0xFFFF == 0 {
            return Err(ControlError::BigEndian);
        }
        let version = MajorVersion::from_catalog_version(self.u32(at::CATALOG_VERSION))
            .map_err(ControlError::Version)?;
        if control_version != version.control_version() {
            return Err(ControlError::Value { field: "format version", value: control_version.into() });
        }
        Ok(version)
    }

    fn verify_crc(&self, version: MajorVersion) -> Result<(), ControlError> {
        let offset = at::crc(version);
        let stored = array_at(self.0, offset).map(u32::from_le_bytes).unwrap_or_default();
        let computed = crc32c::crc32c(&self.0[..offset]);
        if stored == computed { Ok(()) } else { Err(ControlError::Crc { stored, computed }) }
    }

    fn state(&self) -> Result<ClusterState, ControlError> {
        Ok(match self.u32(at::STATE) {
            0 => ClusterState::StartingUp,
            1 => ClusterState::ShutDown,
            2 => ClusterState::ShutDownInRecovery,
            3 => ClusterState::ShuttingDown,
            4 => ClusterState::InCrashRecovery,
            5 => ClusterState::InArchiveRecovery,
            6 => ClusterState::InProduction,
            other => return Err(ControlError::Value { field: "state", value: other.into() }),
        })
    }

    fn decode(&self, version: MajorVersion) -> Result<ControlFile, ControlError> {
        let wal_level = self.u32(at::WAL_LEVEL);
        Ok(ControlFile {
            version,
            system_id: SystemId(self.u64(at::SYSTEM_ID)),
            control_version: self.u32(at::CONTROL_VERSION),
            catalog_version: self.u32(at::CATALOG_VERSION),
            state: self.state()?,
            written_at: self.time(at::TIME, "time")?,
            checkpoint: self.lsn(at::CHECKPOINT),
            checkpoint_copy: CheckpointCopy::decode(&self.0[at::CHECKPOINT_COPY..]).ok_or(
                ControlError::Value { field: "checkpoint time", value: self.u64(at::CHECKPOINT_TIME) },
            )?,
            min_recovery_point: self.lsn(at::MIN_RECOVERY_POINT),
            min_recovery_point_timeline: Timeline(self.u32(at::MIN_RECOVERY_POINT_TIMELINE)),
            backup_start: self.lsn(at::BACKUP_START),
            backup_end: self.lsn(at::BACKUP_END),
            backup_end_required: self.flag(at::BACKUP_END_REQUIRED),
            wal_level: WalLevel::from_number(wal_level)
                .ok_or(ControlError::Value { field: "wal_level", value: wal_level.into() })?,
            wal_log_hints: self.flag(at::WAL_LOG_HINTS),
            max_connections: self.u32(at::MAX_CONNECTIONS),
            max_worker_processes: self.u32(at::MAX_WORKER_PROCESSES),
            max_wal_senders: self.u32(at::MAX_WAL_SENDERS),
            max_prepared_transactions: self.u32(at::MAX_PREPARED),
            max_locks_per_transaction: self.u32(at::MAX_LOCKS),
            track_commit_timestamp: self.flag(at::TRACK_COMMIT_TIMESTAMP),
            block_size_bytes: self.u32(at::BLOCK_SIZE),
            relation_segment_blocks: self.u32(at::RELATION_SEGMENT_BLOCKS),
            wal_block_size_bytes: self.u32(at::WAL_BLOCK_SIZE),
            wal_segment_size: SegmentSize::new(self.u32(at::WAL_SEGMENT_SIZE).into())
                .map_err(ControlError::SegmentSize)?,
            data_checksum_version: self.u32(at::DATA_CHECKSUM_VERSION),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control file as a fresh server of `version` has it.
    fn fabricate(version: MajorVersion) -> Vec<u8> {
        let mut bytes = vec![0; PG_CONTROL_SIZE_BYTES];
        let mut put =
            |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(at::SYSTEM_ID, &7_710_552_357_946_496_493u64.to_le_bytes());
        put(at::CONTROL_VERSION, &version.control_version().to_le_bytes());
        put(at::CATALOG_VERSION, &version.catalog_version().to_le_bytes());
        put(at::STATE, &6u32.to_le_bytes());
        put(at::TIME, &1_795_252_869i64.to_le_bytes());
        put(at::CHECKPOINT, &0x16C_37F8u64.to_le_bytes());
        put(at::CHECKPOINT_COPY, &0x16C_37C0u64.to_le_bytes());
        put(at::CHECKPOINT_COPY + 8, &1u32.to_le_bytes());
        put(at::WAL_LEVEL, &1u32.to_le_bytes());
        put(at::MAX_CONNECTIONS, &100u32.to_le_bytes());
        put(at::BLOCK_SIZE, &8192u32.to_le_bytes());
        put(at::WAL_SEGMENT_SIZE, &(16u32 << 20).to_le_bytes());
        seal(&mut bytes, version);
        bytes
    }

    fn seal(bytes: &mut [u8], version: MajorVersion) {
        let offset = at::crc(version);
        let crc = crc32c::crc32c(&bytes[..offset]);
        bytes[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
    }

    #[test]
    fn reads_every_version() {
        for version in MajorVersion::ALL {
            let control = ControlFile::parse(&fabricate(version)).unwrap();
            assert_eq!(control.version, version);
            assert_eq!(control.state, ClusterState::InProduction);
            assert_eq!(control.checkpoint.to_string(), "0/16C37F8");
            assert_eq!(control.checkpoint_copy.redo.to_string(), "0/16C37C0");
            assert_eq!((control.max_connections, control.wal_level), (100, WalLevel::Replica));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = fabricate(MajorVersion::V18);
        for bit in 0..at::END * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ControlFile::parse(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(ControlFile::parse(&[0; 100]), Err(ControlError::TooShort(100)));
        let mut bytes = fabricate(MajorVersion::V15);
        bytes[at::CONTROL_VERSION..][..4].copy_from_slice(&1300u32.to_be_bytes());
        assert_eq!(ControlFile::parse(&bytes), Err(ControlError::BigEndian));
        let mut bytes = fabricate(MajorVersion::V17);
        bytes[at::WAL_LEVEL] = 9;
        seal(&mut bytes, MajorVersion::V17);
        assert_eq!(ControlFile::parse(&bytes), Err(ControlError::Value { field: "wal_level", value: 9 }));
    }
}
