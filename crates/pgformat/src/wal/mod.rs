//! The write-ahead log: its pages, its records, and what the records say.
//!
//! [`RecordReader`] turns a stream of bytes into [`Record`]s; [`Record::content`] decodes those that
//! Lifeboat needs to understand. Records of other resource managers are walked over.

mod content;
mod end;
mod heap;
mod location;
mod page;
mod reader;
mod record;
mod rmgr;
mod storage;
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod writer;
mod xact;

pub use content::{Content, DecodeError, Locators, Oids, WalTime, Xids};
pub use end::{End, EndReason};
pub use heap::HeapTruncate;
pub use location::{Change, may_begin_inside, without_location};
pub use page::{WAL_PAGE_SIZE_BYTES, WalPageError, WalPageHeader, WalSegmentIdentity};
pub use reader::{Feed, RECORD_LIMIT_BYTES, ReaderOptions, RecordReader, Start, Step};
pub use record::{BlockReference, Layout, RECORD_HEADER_SIZE_BYTES, Record, RecordHeader};
pub use rmgr::{Rmgr, RmgrSet};
pub use storage::{DatabaseDrop, RelationMapUpdate, StorageCreate, StorageTruncate};
pub use system::{
    Checkpoint, EndOfRecovery, Lock, Locks, ParameterChange, RestorePoint, RunningTransactions,
};
pub use xact::{Completion, DroppedStatistic, DroppedStatistics, Prepare};
