//! One line of history: a timeline with the ancestors that led to it, and what the vault has of them.
//!
//! # Invariants
//! - **L1** A byte belongs to the timeline that wrote it on the way to this one. What an ancestor went on to
//!   write after it was left is never read.
//! - **L2** As PostgreSQL does, a segment is taken from the newest timeline that has it: its first segment
//!   begins with a copy of its parent's.

use crate::fetch::settled;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::{TimelineHistory, WalFileName};
use lifeboat_vault::wal::{Coverage, Fetched, WalArchive, WalError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Timelines looked at, the newest first: each is a promotion.
const TIMELINES_LIMIT: usize = 256;

/// A timeline and its ancestors in the vault. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    archive: WalArchive,
    history: TimelineHistory,
    has_history: bool,
    /// Each timeline on the way, oldest first: the bytes that are its own here, and what the vault has of it.
    path: Vec<Part>,
    stretches: Vec<LsnRange>,
}

#[derive(Debug)]
struct Part {
    timeline: Timeline,
    own: LsnRange,
    coverage: Coverage,
}

/// One segment's bytes, as far as they are there and belong to the line.
#[derive(Debug)]
pub(crate) struct SegmentBytes {
    pub(crate) start: Lsn,
    pub(crate) bytes: Vec<u8>,
}

/// All timelines of a cluster that the vault has WAL of.
#[derive(Debug)]
pub(crate) struct Timelines {
    archive: WalArchive,
    known: BTreeMap<Timeline, Known>,
}

#[derive(Debug)]
struct Known {
    /// Missing where a later timeline's history is not in the vault.
    history: Option<TimelineHistory>,
    coverage: Coverage,
}

impl Timelines {
    /// What the vault's names tell now.
    pub(crate) async fn load(archive: &WalArchive) -> Result<Self, WalError> {
        let mut known = BTreeMap::new();
        let timelines = archive.timelines().await?;
        for timeline in timelines.into_iter().rev().take(TIMELINES_LIMIT) {
            let has_history = timeline == Timeline(1) || archive.history_file(timeline).await?.is_some();
            let history = if has_history { Some(archive.history(timeline).await?) } else { None };
            known.insert(timeline, Known { history, coverage: archive.held(timeline).await? });
        }
        Ok(Self { archive: archive.clone(), known })
    }

    /// Those that there is WAL of, oldest first.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = Timeline> + '_ {
        self.known.iter().filter(|(_, known)| !known.coverage.stretches.is_empty()).map(|(t, _)| *t)
    }

    /// The lines that are not a part of another: of timelines that were never left, and of those that went
    /// on after they were.
    pub(crate) fn tips(&self) -> Vec<Line> {
        let lines: Vec<Line> = self.all().map(|timeline| self.line(timeline)).collect();
        let is_left_whole = |line: &Line| {
            let end = line.stretches().last().map(|stretch| stretch.end).unwrap_or_default();
            let others = lines.iter().filter(|other| other.timeline() != line.timeline());
            others.filter_map(|other| other.history().range_of(line.timeline())).any(|own| end <= own.end)
        };
        lines.iter().filter(|line| !is_left_whole(line)).cloned().collect()
    }

    /// The line that leads to `timeline`.
    ///
    /// A history that the vault lacks makes the line begin with the timeline; see [`Line::has_history`].
    pub(crate) fn line(&self, timeline: Timeline) -> Line {
        let history = self.known.get(&timeline).and_then(|known| known.history.clone());
        let has_history = history.is_some() || timeline == Timeline(1);
        let history = history.unwrap_or_else(|| TimelineHistory::root(timeline));
        let timelines = history.ancestors().iter().map(|entry| entry.timeline).chain([timeline]);
        let mut path = Vec::new();
        let mut stretches = Vec::new();
        for timeline in timelines {
            let Some(own) = history.range_of(timeline) else { continue };
            let coverage = self.known.get(&timeline).map(|known| known.coverage.clone()).unwrap_or_default();
            let start = own.start.segment_start(self.archive.segment_size().bytes());
            let clip = |s: &LsnRange| LsnRange { start: s.start.max(start), end: s.end.min(own.end) };
            stretches.extend(coverage.stretches.iter().map(clip).filter(|s| !s.is_empty()));
            path.push(Part { timeline, own, coverage });
        }
        let archive = self.archive.clone();
        let inner = Inner { archive, history, has_history, path, stretches: join(stretches) };
        Line { inner: Arc::new(inner) }
    }
}

/// Joins what touches or overlaps.
fn join(mut stretches: Vec<LsnRange>) -> Vec<LsnRange> {
    stretches.sort_unstable();
    let mut joined: Vec<LsnRange> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if stretch.start <= last.end => last.end = last.end.max(stretch.end),
            _ => joined.push(stretch),
        }
    }
    joined
}

impl Line {
    pub(crate) fn timeline(&self) -> Timeline {
        self.inner.history.timeline()
    }

    pub(crate) fn history(&self) -> &TimelineHistory {
        &self.inner.history
    }

    /// Whether PostgreSQL could follow the line: it asks for the history.
    pub(crate) fn has_history(&self) -> bool {
        self.inner.has_history
    }

    pub(crate) fn archive(&self) -> &WalArchive {
        &self.inner.archive
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.inner.archive.segment_size().bytes()
    }

    /// What the vault has of the line, without holes in each stretch.
    pub(crate) fn stretches(&self) -> &[LsnRange] {
        &self.inner.stretches
    }

    /// Whether a position of `timeline` lies on this line.
    pub(crate) fn passes(&self, timeline: Timeline, lsn: Lsn) -> bool {
        self.history().passes(timeline, lsn)
    }

    /// The timeline to name to PostgreSQL, so that it finds the record in `record`: the one that wrote it, or,
    /// where the vault has its bytes only as a copy in a later timeline's first segment, that.
    pub(crate) fn timeline_for(&self, record: LsnRange) -> Timeline {
        let start = record.start.segment_start(self.segment_bytes());
        let whole = LsnRange { start, end: record.end };
        let can_serve = |part: &&Part| record.start < part.own.end && part.coverage.covers(whole);
        self.inner.path.iter().find(can_serve).map_or(self.timeline(), |part| part.timeline)
    }

    /// The bytes of the segment that holds `at`.
    pub(crate) async fn segment(&self, at: Lsn) -> Result<SegmentBytes, WalError> {
        let Inner { archive, path, .. } = &*self.inner;
        let range = WalFileName::holding(self.timeline(), at, archive.segment_size()).range();
        for part in path.iter().rev() {
            if part.own.start >= range.end || part.own.end <= range.start {
                continue;
            }
            let (mut bytes, end) = match settled(archive, part.timeline, range.start).await? {
                Fetched::Whole(bytes) => (bytes, range.end),
                Fetched::Beginning { bytes, end } => (bytes, end),
                Fetched::Absent => continue,
            };
            let length = end.min(part.own.end).bytes_since(range.start);
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            return Ok(SegmentBytes { start: range.start, bytes });
        }
        Err(WalError::Hole { timeline: self.timeline(), hole: range })
    }
}
