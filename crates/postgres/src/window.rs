//! The recoverable window: from which moment to which a service can be taken back, holes named.
//!
//! Computed from the vault alone: restore points, and the positions in the names of the WAL objects. Only
//! the times at the ends are read from WAL.
//!
//! # Invariants
//! - **W1** Nothing is claimed across a hole: a span begins where a restore point is consistent and ends where
//!   contiguous WAL ends.

use crate::target::ScanError;
use crate::target::find::tail;
use crate::target::line::{Line, Timelines};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_vault::Vault;
use lifeboat_vault::point::{self, PointError, RestorePoint};
use lifeboat_vault::wal::{self, WalArchive, WalError};
use std::fmt;

/// Moments that can all be reached: contiguous WAL behind at least one restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The earliest position: the oldest point's consistency.
    pub from: Lsn,
    /// When that point was finished, by Lifeboat's clock.
    pub from_time: Timestamp,
    /// Where WAL ends.
    pub to: Lsn,
    /// The restore points in it, oldest first; never empty.
    pub points: Vec<RestorePoint>,
    /// The WAL that it rests on.
    stretch: LsnRange,
}

/// What can be reached on one line of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline to which the line leads.
    pub timeline: Timeline,
    /// The timeline and position that it left, if it did.
    pub forked: Option<(Timeline, Lsn)>,
    /// Reachable spans, oldest first.
    pub spans: Vec<Span>,
    /// What is missing between the first restore point and the end.
    pub holes: Vec<LsnRange>,
    /// Where the vault's WAL of the line ends, reachable or not.
    pub wal_end: Lsn,
    /// The last commit of the newest span, by the server's clock.
    pub last_commit: Option<Timestamp>,
}

/// Why the window is not known.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The restore points.
    #[error("the restore points cannot be listed")]
    Points(#[source] PointError),
    /// The WAL's names.
    #[error("the WAL in the vault cannot be listed")]
    Wal(#[source] WalError),
    /// Its content.
    #[error("the end of the WAL cannot be read")]
    Scan(#[source] ScanError),
}

impl Span {
    /// The oldest restore point of the span.
    #[must_use]
    pub fn oldest(&self) -> &RestorePoint {
        &self.points[0]
    }

    /// The newest restore point that is consistent by `lsn`.
    #[must_use]
    pub fn newest_by(&self, lsn: Lsn) -> Option<&RestorePoint> {
        self.points.iter().rev().find(|point| point.stop <= lsn)
    }

    /// The WAL worth reading: from the segment of the oldest point's start on.
    pub(crate) fn readable(&self, segment_bytes: u64) -> LsnRange {
        let start = self.oldest().start.segment_start(segment_bytes);
        LsnRange { start: start.max(self.stretch.start), end: self.to }
    }
}

/// The spans of a line that its restore points reach, oldest first.
pub(crate) fn spans(line: &Line, points: &[RestorePoint]) -> Vec<Span> {
    let segment_bytes = line.segment_bytes();
    let mut spans: Vec<Span> = Vec::new();
    for stretch in line.stretches().iter().copied() {
        let reaches = |point: &&RestorePoint| {
            let own = LsnRange { start: point.start.segment_start(segment_bytes), end: point.stop };
            let is_there = stretch.start <= own.start && own.end <= stretch.end;
            is_there && line.passes(point.timeline, point.stop)
        };
        let mut reaching: Vec<RestorePoint> = points.iter().filter(reaches).cloned().collect();
        reaching.sort_by(|a, b| (a.stop, &a.id).cmp(&(b.stop, &b.id)));
        if let Some(oldest) = reaching.first() {
            let (from, from_time) = (oldest.stop, oldest.finished);
            spans.push(Span { from, from_time, to: stretch.end, points: reaching, stretch });
        }
    }
    spans
}

/// The window of a service, a part for each line of history; the newest line comes last. Restore points that cannot be
/// read are left out.
///
/// # Errors
/// [`WindowError`].
pub async fn window(vault: &Vault, service: &ServiceName) -> Result<Vec<Window>, WindowError> {
    let (points, _) = point::list_readable(vault, service).await.map_err(WindowError::Points)?;
    window_of(vault, service, &points).await
}

/// The same, for who has read the restore points already.
///
/// # Errors
/// [`WindowError`].
pub async fn window_of(
    vault: &Vault,
    service: &ServiceName,
    points: &[RestorePoint],
) -> Result<Vec<Window>, WindowError> {
    let mut windows = Vec::new();
    for cluster in wal::clusters(vault, service).await.map_err(WindowError::Wal)? {
        let system = cluster.system_id;
        let archive = WalArchive::of(vault, service, cluster).map_err(WindowError::Wal)?;
        let timelines = Timelines::load(&archive).await.map_err(WindowError::Wal)?;
        let own: Vec<RestorePoint> = points.iter().filter(|p| p.system_id == system).cloned().collect();
        for line in timelines.tips() {
            windows.push(of_line(&line, &own).await?);
        }
    }
    Ok(windows)
}

async fn of_line(line: &Line, points: &[RestorePoint]) -> Result<Window, WindowError> {
    let spans = spans(line, points);
    let last_commit = match spans.last() {
        Some(span) => {
            let range = span.readable(line.segment_bytes());
            tail(line, range).await.map_err(WindowError::Scan)?.last_commit.map(|moment| moment.time)
        }
        None => None,
    };
    let forked = line.history().ancestors().last().map(|entry| (entry.timeline, entry.switch));
    let stretches = line.stretches();
    let first = spans.first().map(|span| span.from).unwrap_or_default();
    let holes = stretches.windows(2).map(|pair| LsnRange { start: pair[0].end, end: pair[1].start });
    Ok(Window {
        system_id: line.archive().cluster().system_id,
        timeline: line.timeline(),
        forked,
        holes: holes.filter(|hole| !spans.is_empty() && hole.end > first).collect(),
        wal_end: stretches.last().map(|stretch| stretch.end).unwrap_or_default(),
        spans,
        last_commit,
    })
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timeline {}", self.timeline)?;
        if let Some((parent, lsn)) = self.forked {
            write!(f, " (left timeline {parent} at {lsn})")?;
        }
        if self.spans.is_empty() {
            return f.write_str(": no restore point with its WAL");
        }
        for (index, span) in self.spans.iter().enumerate() {
            let is_last = index + 1 == self.spans.len();
            let joint = if index == 0 { ": " } else { ", and " };
            write!(f, "{joint}from {} (lsn:{}) to ", shown(span.from_time), span.from)?;
            match self.last_commit.filter(|_| is_last) {
                Some(time) => write!(f, "{} (lsn:{})", shown(time), span.to)?,
                None => write!(f, "lsn:{}", span.to)?,
            }
        }
        for hole in &self.holes {
            write!(f, "; {hole} is missing")?;
        }
        Ok(())
    }
}

/// A time to the millisecond.
pub(crate) fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
