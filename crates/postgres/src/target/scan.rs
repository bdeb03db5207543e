//! Reads the records of a line, from its segments in the vault, fetched ahead.
//!
//! # Invariants
//! - **S1 bounded.** As many segments are held as fit into [`AHEAD_BYTES`], one at least, however long the
//!   stretch is; of a search also what they say, which is about as much at most.
//! - **S2 damage is an error.** Only where the vault's WAL ends, reading ends quietly.

use super::line::{Line, SegmentBytes};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};
use lifeboat_pgformat::search::{Chain, Digest, Outcome, Part, Search};
use lifeboat_pgformat::wal::{
    Content, DecodeError, End, EndReason, ReaderOptions, Record, RecordReader, RmgrSet, Start, Step,
};
use lifeboat_pgformat::{MajorVersion, UnsupportedVersionError};
use lifeboat_vault::wal::WalError;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use tokio::task::JoinHandle;

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
    let mut segments = Segments::new(line, LsnRange { start: first, end: range.end }, |segment| segment);
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

/// Shows what the records that begin in `range` say to a search to `visit`, until it breaks; in digests, which the
/// tasks that fetch the segments make side by side.
///
/// `range` lies within one stretch of the line.
pub(crate) async fn digest(
    line: &Line,
    range: LsnRange,
    mut visit: impl FnMut(&Digest) -> Result<ControlFlow<()>, DecodeError>,
) -> Result<(), ScanError> {
    let segment_bytes = line.segment_bytes();
    let first = range.start.segment_start(segment_bytes);
    let options = reader_options(line, Search::wanted())?;
    let read = move |segment: SegmentBytes| {
        let part = Part::read(options, segment.start, &segment.bytes, range);
        (segment, part)
    };
    let mut segments = Segments::new(line, LsnRange { start: first, end: range.end }, read);
    let mut chain = Chain::default();
    while let Some(segment) = segments.next().await {
        let (SegmentBytes { start, bytes }, part) = segment?;
        let is_last = start.advance(segment_bytes) >= range.end;
        let (digests, outcome) = chain.follow(part, range, &bytes);
        for digest in &digests {
            if visit(digest).map_err(ScanError::Record)?.is_break() {
                return Ok(());
            }
        }
        match outcome {
            Outcome::NeedMore => {}
            Outcome::Passed => return Ok(()),
            Outcome::End(end) if is_last && end.why == EndReason::Zeros => return Ok(()),
            Outcome::End(end) => return Err(ScanError::Damaged(end)),
            Outcome::Failed(error) => return Err(ScanError::Record(error)),
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

/// The segments of a range, one after the other, fetched ahead by tasks of their own (S1), which also do `then` with
/// them.
///
/// The further the reading comes, the more is fetched ahead: a probe that ends at once wastes nothing.
struct Segments<T, F> {
    line: Line,
    then: F,
    next: Lsn,
    end: Lsn,
    ahead: VecDeque<JoinHandle<Result<T, WalError>>>,
    depth: usize,
}

impl<T: Send + 'static, F: Fn(SegmentBytes) -> T + Send + Clone + 'static> Segments<T, F> {
    fn new(line: &Line, range: LsnRange, then: F) -> Self {
        let (line, ahead) = (line.clone(), VecDeque::new());
        Self { line, then, next: range.start, end: range.end, ahead, depth: 1 }
    }

    async fn next(&mut self) -> Option<Result<T, ScanError>> {
        let segment_bytes = self.line.segment_bytes();
        while self.ahead.len() < self.depth && self.next < self.end {
            let (line, then, at) = (self.line.clone(), self.then.clone(), self.next);
            self.ahead.push_back(tokio::spawn(async move { line.segment(at).await.map(then) }));
            self.next = at.advance(segment_bytes);
        }
        let limit = (AHEAD_BYTES / segment_bytes).clamp(1, AHEAD_SEGMENTS);
        self.depth = (self.depth * 2).min(limit as usize);
        let fetched = self.ahead.front_mut()?.await;
        self.ahead.pop_front();
        Some(match fetched {
            Ok(segment) => segment.map_err(ScanError::Wal),
            Err(_) => Err(ScanError::CutOff),
        })
    }
}

impl<T, F> Drop for Segments<T, F> {
    fn drop(&mut self) {
        self.ahead.iter().for_each(JoinHandle::abort);
    }
}

/// What a commit record says; `None` for every other.
pub(crate) fn commit(record: &Record<'_>, content: &Content<'_>) -> Result<Option<Moment>, DecodeError> {
    let Content::Commit(commit) = content else { return Ok(None) };
    let damaged = DecodeError { lsn: record.lsn, what: "commit time" };
    let time = commit.time.timestamp().ok_or(damaged)?;
    Ok(Some(Moment { lsn: record.lsn, time, xid: commit.xid }))
}
