//! Reads the records of a line, from its segments in the vault, fetched ahead.
//!
//! # Invariants
//! - **S1 bounded.** As many segments are held as fit into [`AHEAD_BYTES`], one at least, however long the
//!   stretch is.
//! - **S2 damage is an error.** Only where the vault's WAL ends, reading ends quietly.

use super::line::{Line, SegmentBytes};
use futures::StreamExt;
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};
use lifeboat_pgformat::wal::{
    Content, DecodeError, End, EndReason, ReaderOptions, Record, RecordReader, RmgrSet, Start, Step,
};
use lifeboat_pgformat::{MajorVersion, UnsupportedVersionError};
use lifeboat_vault::wal::WalError;
use std::ops::ControlFlow;

/// Bytes of segments fetched ahead.
const AHEAD_BYTES: u64 = 64 << 20;
/// Segments fetched at once, however small.
const AHEAD_SEGMENTS: u64 = 8;

/// Why WAL in the vault could not be read on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The vault.
    #[error("archived WAL cannot be read")]
    Wal(#[source] WalError),
    /// What is there does not read (S2).
    #[error(
        "the archived WAL is damaged after {}; moments up to lsn:{} can be reached. `lifeboat vault check --repair` may heal it from another copy",
        .0.at, .0.at
    )]
    Damaged(#[source] End),
    /// One record does not.
    #[error("an archived record does not read")]
    Record(#[source] DecodeError),
    /// A version that is not read here.
    #[error("the archive is of a version that Lifeboat does not read")]
    Version(#[source] UnsupportedVersionError),
    /// A task of ours died.
    #[error("a segment's fetch was cut off")]
    CutOff,
}

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Where its record begins.
    pub lsn: Lsn,
    /// When, by the server's clock.
    pub time: Timestamp,
    /// The transaction.
    pub xid: u32,
}

/// Shows the records that begin in `range` to `visit`, until it breaks.
///
/// `range` lies within one stretch of the line. Records of resource managers that are not `wanted` are
/// passed over.
pub(crate) async fn scan(
    line: &Line,
    range: LsnRange,
    wanted: RmgrSet,
    mut visit: impl FnMut(&Record<'_>) -> Result<ControlFlow<()>, DecodeError>,
) -> Result<(), ScanError> {
    let segment_bytes = line.segment_bytes();
    let first = range.start.segment_start(segment_bytes);
    let mut reader = RecordReader::new(reader_options(line, wanted)?, Start::Anywhere(first));
    let mut segments = std::pin::pin!(segments(line, LsnRange { start: first, end: range.end }));
    while let Some(segment) = segments.next().await {
        let SegmentBytes { start, bytes } = segment?;
        let is_last = start.advance(segment_bytes) >= range.end;
        let mut feed = reader.feed(&bytes);
        loop {
            match feed.next() {
                Step::Record(record) if record.lsn < range.start => {}
                Step::Record(record) if record.lsn >= range.end => {
                    return Ok(());
                }
                Step::Record(record) => {
                    if visit(&record).map_err(ScanError::Record)?.is_break() {
                        return Ok(());
                    }
                }
                Step::NeedMore => break,
                Step::End(end) if is_last && end.why == EndReason::Zeros => {
                    return Ok(());
                }
                Step::End(end) => return Err(ScanError::Damaged(end)),
            }
        }
    }
    Ok(())
}

fn reader_options(line: &Line, wanted: RmgrSet) -> Result<ReaderOptions, ScanError> {
    let cluster = line.archive().cluster();
    let version = MajorVersion::from_server_version_num(cluster.major.saturating_mul(10_000));
    let version = version.map_err(ScanError::Version)?;
    let options = ReaderOptions::new(version, line.archive().segment_size());
    Ok(ReaderOptions { system_id: Some(cluster.system_id), wanted, ..options })
}

/// The segments of `range`, one after the other, fetched ahead by tasks of their own (S1).
fn segments(line: &Line, range: LsnRange) -> impl futures::Stream<Item = Result<SegmentBytes, ScanError>> {
    let segment_bytes = line.segment_bytes();
    let depth = (AHEAD_BYTES / segment_bytes).clamp(1, AHEAD_SEGMENTS) as usize;
    let line = line.clone();
    let starts = std::iter::successors(Some(range.start), move |at| Some(at.advance(segment_bytes)));
    let starts = starts.take_while(move |at| *at < range.end);
    let fetch = move |at| {
        let line = line.clone();
        let task = tokio::spawn(async move { line.segment(at).await });
        async move { task.await.map_err(|_| ScanError::CutOff)?.map_err(ScanError::Wal) }
    };
    futures::stream::iter(starts).map(fetch).buffered(depth)
}

/// What a commit record says; `None` for every other.
pub(crate) fn commit(record: &Record<'_>, content: &Content<'_>) -> Result<Option<Moment>, DecodeError> {
    let Content::Commit(commit) = content else { return Ok(None) };
    let damaged = DecodeError { lsn: record.lsn, what: "commit time" };
    let time = commit.time.timestamp().ok_or(damaged)?;
    Ok(Some(Moment { lsn: record.lsn, time, xid: commit.xid }))
}
