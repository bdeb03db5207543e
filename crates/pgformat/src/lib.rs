//! PostgreSQL's bytes: what its files hold, decoded and checked.
//!
//! Pure: every function takes bytes or names and returns values. Reads the formats of PostgreSQL 15 to
//! 18 on little-endian machines with 8 KiB pages, which is what every packaged PostgreSQL is.
//!
//! # Invariants
//! - **F1 no panic.** Whatever the bytes, a decoder returns a value or an error.
//! - **F2 no trust in lengths.** Nothing is allocated by a length found in the bytes before it has been
//!   held against a named limit.
//!
//! Deliberately absent: reading files, speaking to a server, and any knowledge of the vault.

mod bytes;
mod catalogue;
mod control;
mod files;
pub mod fuzz;
mod history;
mod label;
mod oid;
mod page;
mod relation;
pub mod search;
mod segment;
mod targets;
mod version;
pub mod wal;

pub use catalogue::{CatalogueDatabase, CatalogueRelation, CatalogueSnapshot, RelationName};
pub use control::{
    CheckpointCopy, ClusterState, ControlError, ControlFile, PG_CONTROL_PATH, PG_CONTROL_SIZE_BYTES, WalLevel,
};
pub use files::{Treatment, UnloggedRelations, treatment};
pub use history::{HistoryEntry, HistoryError, TimelineHistory};
pub use label::{
    BACKUP_LABEL_FILE, BackupLabel, LabelError, TABLESPACE_MAP_FILE, TablespaceMapEntry, TablespaceMapError,
    parse_tablespace_map, render_tablespace_map,
};
pub use oid::{DEFAULT_TABLESPACE, GLOBAL_TABLESPACE, Oid, RelationLocator};
pub use page::{PAGE_SIZE_BYTES, Page, PageHeader, PageState, checksum, is_zero, verify};
pub use relation::{Fork, RELATION_SEGMENT_BLOCKS, RelationFile, RelationFileName};
pub use segment::{SegmentSize, SegmentSizeError, WalFileName, WalName};
pub use targets::{Landmarks, Target, TargetHit, TargetSearch};
pub use version::{MajorVersion, UnsupportedVersionError};
