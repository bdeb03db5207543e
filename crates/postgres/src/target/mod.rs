//! Resolves what a person asks for to a position: a restore point, a timeline, and where to stop.
//!
//! Whatever was asked for, PostgreSQL is given a position that is known to be in the vault: an end that comes
//! too early is then an error there, not a promotion (see `docs/decisions/0007-targets-become-positions.md`).
//!
//! # Invariants
//! - **T1 proven.** Every record from the point's start to the stop is in the vault, contiguous, on one line of
//!   history; the stop is a record that was read.
//! - **T2 no silent choice.** A target that several branches of history hold is refused until one is chosen.
//! - **T3 nothing later is replayed**, nothing earlier left out, than was asked for.
//!
//! Deliberately absent: which points are to be trusted (the journal knows), and restoring them (`restore`).

mod error;
pub(crate) mod find;
pub(crate) mod line;
mod parse;
pub(crate) mod scan;

use crate::restore::{Recovery, Stop};
use crate::window::{Span, shown, spans, window};
use find::{Fate, Hit, Place, fate_of, named, next_commit, place_of_time, record_from, tail};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, Timeline};
use lifeboat_vault::Vault;
use lifeboat_vault::point::{self, RestorePoint};
use lifeboat_vault::wal::{self, Cluster, WalArchive};
use line::{Line, Timelines};
use std::fmt;

pub use error::{Branch, Outside, TargetError};
pub use parse::{ParseTargetError, Target};
pub use scan::{Moment, ScanError};

/// A target, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The restore point to begin from.
    pub point: RestorePoint,
    /// The cluster.
    pub cluster: Cluster,
    /// The timeline to name to PostgreSQL.
    pub timeline: Timeline,
    /// The record to stop at.
    pub stop: Lsn,
    /// Whether that record is replayed too.
    pub inclusive: bool,
    /// Where what is replayed ends.
    pub end: Lsn,
    /// The last commit that is included; none if none was found near.
    pub last: Option<Moment>,
    /// The first commit that is not; none if nothing follows, or none soon.
    pub next: Option<Moment>,
    /// Where the vault's WAL of this line ends.
    pub proven_end: Lsn,
    /// WAL of other timelines that is on no way to this one.
    pub left_out: Vec<(Timeline, LsnRange)>,
}

/// The server did not come to where it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReached {
    /// Too early.
    #[error(
        "replay ended at {reached}, short of {end}: what lies between is in the vault and was not replayed; do not use this server"
    )]
    Short {
        /// Where it ended.
        reached: Lsn,
        /// Where it should have.
        end: Lsn,
    },
    /// Too far.
    #[error(
        "replay went on to {reached}, beyond {end}: it holds what was to be left out; do not use this server"
    )]
    Beyond {
        /// Where it ended.
        reached: Lsn,
        /// Where it should have.
        end: Lsn,
    },
}

impl Resolved {
    /// The commit time of the last transaction that is included.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        self.last.map(|moment| moment.time)
    }

    /// WAL to be replayed, in bytes.
    #[must_use]
    pub fn replay_bytes(&self) -> u64 {
        self.end.bytes_since(self.point.start)
    }

    /// Where recovery ends.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop { lsn: self.stop, inclusive: self.inclusive }
    }

    /// How a restore of it goes on.
    #[must_use]
    pub fn recovery(&self, restore_command: String) -> Recovery {
        Recovery { restore_command, timeline: self.timeline, stop: self.stop() }
    }
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.inclusive { "with" } else { "before" };
        write!(f, "timeline {}, up to and {side} the record at {}", self.timeline, self.stop)?;
        if let Some(last) = self.last {
            write!(f, "; last commit {} (transaction {})", shown(last.time), last.xid)?;
        }
        match self.next {
            Some(next) => write!(f, "; next, left out: {} (transaction {})", shown(next.time), next.xid)?,
            None => f.write_str("; no commit follows")?,
        }
        write!(f, "; from restore point {}", self.point.id)
    }
}

/// Holds where replay ended (`pg_last_wal_replay_lsn()`) against where it should have.
///
/// # Errors
/// [`NotReached`]: the server is not to be used.
pub fn reached(replayed: Lsn, resolved: &Resolved) -> Result<(), NotReached> {
    let end = resolved.end;
    if replayed < end {
        return Err(NotReached::Short { reached: replayed, end });
    }
    // Before the record at `stop` there may be padding and a page header.
    let limit = if resolved.inclusive { end } else { end.max(resolved.stop) };
    if replayed > limit { Err(NotReached::Beyond { reached: replayed, end }) } else { Ok(()) }
}

/// Finds `target` among all restore points of a service.
///
/// # Errors
/// [`TargetError`], which says what can be reached instead.
pub async fn resolve(
    vault: &Vault,
    service: &ServiceName,
    target: &Target,
    timeline: Option<Timeline>,
) -> Result<Resolved, TargetError> {
    let (points, unread) = point::list_readable(vault, service).await.map_err(TargetError::Points)?;
    if let Some((_, error)) = unread.into_iter().next().filter(|_| points.is_empty()) {
        return Err(TargetError::Points(error));
    }
    resolve_among(vault, service, &points, target, timeline).await
}

/// Finds `target`, beginning from one of `points`: those that the caller trusts.
///
/// # Errors
/// [`TargetError`].
pub async fn resolve_among(
    vault: &Vault,
    service: &ServiceName,
    points: &[RestorePoint],
    target: &Target,
    timeline: Option<Timeline>,
) -> Result<Resolved, TargetError> {
    let newest = points.iter().max_by_key(|point| point.finished);
    let newest = newest.ok_or_else(|| TargetError::NoPoint { service: service.clone() })?;
    let mut clusters = wal::clusters(vault, service).await.map_err(TargetError::Wal)?;
    // The cluster in use now first; before a major upgrade it was another one.
    clusters.sort_by_key(|cluster| cluster.system_id != newest.system_id);
    let mut outside = Outside::NotFound;
    for (index, cluster) in clusters.into_iter().enumerate() {
        let points: Vec<_> = points.iter().filter(|p| p.system_id == cluster.system_id).cloned().collect();
        let archive = WalArchive::of(vault, service, cluster).map_err(TargetError::Wal)?;
        match in_cluster(&archive, service, &points, target, timeline).await? {
            Ok(resolved) => return Ok(resolved),
            Err(why) if index == 0 => outside = why,
            Err(_) => {}
        }
    }
    let windows = window(vault, service).await.map_err(TargetError::Window)?;
    Err(TargetError::OutOfWindow { target: target.clone(), why: outside, windows })
}

/// The end of a restore point's own WAL: the earliest moment that it reaches, and needs nothing later for.
///
/// # Errors
/// [`TargetError`]; [`TargetError::OutOfWindow`] if its own WAL is not all there.
pub async fn own_end(vault: &Vault, point: &RestorePoint) -> Result<Resolved, TargetError> {
    let service = &point.service;
    let clusters = wal::clusters(vault, service).await.map_err(TargetError::Wal)?;
    if let Some(cluster) = clusters.into_iter().find(|cluster| cluster.system_id == point.system_id) {
        let archive = WalArchive::of(vault, service, cluster).map_err(TargetError::Wal)?;
        let line = Timelines::load(&archive).await.map_err(TargetError::Wal)?.line(point.timeline);
        if !line.has_history() {
            return Err(TargetError::NoHistory(line.timeline()));
        }
        if let [span] = &spans(&line, std::slice::from_ref(point))[..] {
            let own = LsnRange { end: point.stop, ..span.readable(line.segment_bytes()) };
            let last = tail(&line, own).await.map_err(TargetError::Scan)?.last_record;
            if let Some(record) = last
                && let Ok(resolved) = finish(&line, span, At::With(record)).await?
            {
                return Ok(resolved);
            }
        }
    }
    let windows = window(vault, service).await.map_err(TargetError::Window)?;
    Err(TargetError::OutOfWindow { target: Target::Lsn(point.stop), why: Outside::NotFound, windows })
}

/// The last checkpoint of production that replay to `resolved` passes, newer than its restore point's own; `None`
/// if there is none yet.
///
/// # Errors
/// [`TargetError`].
pub async fn checkpoint_before(vault: &Vault, resolved: &Resolved) -> Result<Option<Resolved>, TargetError> {
    let (line, point) = (line_of(vault, resolved).await?, &resolved.point);
    let range = LsnRange { start: point.stop, end: resolved.end };
    let found = find::last_checkpoint(&line, range, point.start).await.map_err(TargetError::Scan)?;
    let Some(record) = found else { return Ok(None) };
    Ok(Some(Resolved {
        timeline: line.timeline_for(record),
        stop: record.start,
        inclusive: true,
        end: record.end,
        // What lies around it is nobody's question.
        last: None,
        next: None,
        ..resolved.clone()
    }))
}

/// The tablespaces that were made between the restore point and where replay of `resolved` ends: OID and place.
///
/// # Errors
/// [`TargetError`].
pub(crate) async fn created_tablespaces(
    vault: &Vault,
    resolved: &Resolved,
) -> Result<Vec<(u32, String)>, TargetError> {
    let line = line_of(vault, resolved).await?;
    let range = LsnRange { start: resolved.point.start, end: resolved.end };
    find::created_tablespaces(&line, range).await.map_err(TargetError::Scan)
}

async fn line_of(vault: &Vault, resolved: &Resolved) -> Result<Line, TargetError> {
    let archive = WalArchive::of(vault, &resolved.point.service, resolved.cluster.clone());
    let timelines = Timelines::load(&archive.map_err(TargetError::Wal)?).await.map_err(TargetError::Wal)?;
    Ok(timelines.line(resolved.timeline))
}

async fn in_cluster(
    archive: &WalArchive,
    service: &ServiceName,
    points: &[RestorePoint],
    target: &Target,
    chosen: Option<Timeline>,
) -> Result<Result<Resolved, Outside>, TargetError> {
    let timelines = Timelines::load(archive).await.map_err(TargetError::Wal)?;
    let all: Vec<Timeline> = timelines.all().collect();
    if let Some(timeline) = chosen {
        if !all.contains(&timeline) {
            return Err(TargetError::UnknownTimeline { service: service.clone(), timeline, have: all });
        }
        return on_line(&timelines.line(timeline), &timelines, points, target).await;
    }
    let mut lines = timelines.tips();
    // The newest line speaks first.
    lines.sort_by_key(|line| std::cmp::Reverse(line.timeline()));
    let Some(main) = lines.first().cloned() else { return Ok(Err(Outside::NotFound)) };
    if *target == Target::Latest {
        // A tail that an old primary wrote is not the newest; another promotion may be.
        let is_rival = |line: &&Line| {
            line.timeline() != main.timeline() && main.history().range_of(line.timeline()).is_none()
        };
        if !lines.iter().any(|line| is_rival(&line)) {
            return on_line(&main, &timelines, points, target).await;
        }
    }
    let mut found: Vec<(Line, Resolved)> = Vec::new();
    let mut outside = None;
    for line in lines {
        let is_shared = |(other, resolved): &(Line, Resolved)| {
            let fork = line.history().fork_from(other.history());
            fork.is_some_and(|(_, lsn)| stops_before_fork(resolved, lsn))
        };
        if found.iter().any(is_shared) {
            continue;
        }
        match on_line(&line, &timelines, points, target).await? {
            Ok(resolved) if found.iter().any(|first| has_same_state(first, (&line, &resolved))) => {}
            Ok(resolved) => found.push((line, resolved)),
            Err(why) => outside = outside.or(Some(why)),
        }
    }
    if found.len() > 1 {
        let branches = found.iter().map(|(line, resolved)| branch(line, resolved)).collect();
        return Err(TargetError::Ambiguous { target: target.clone(), branches });
    }
    match found.pop() {
        Some((_, resolved)) => Ok(Ok(resolved)),
        None => Ok(Err(outside.unwrap_or(Outside::NotFound))),
    }
}

/// Whether both branches hold all that decides the target: the record that it stops at.
fn stops_before_fork(resolved: &Resolved, fork: Lsn) -> bool {
    if resolved.inclusive { resolved.end <= fork } else { resolved.stop < fork }
}

/// Whether neither branch has committed anything between the fork and where it stops.
fn has_same_state(one: &(Line, Resolved), other: (&Line, &Resolved)) -> bool {
    let Some((_, fork)) = other.0.history().fork_from(one.0.history()) else { return false };
    [&one.1, other.1].iter().all(|resolved| resolved.last.is_some_and(|last| last.lsn < fork))
}

fn branch(line: &Line, resolved: &Resolved) -> Branch {
    Branch {
        timeline: line.timeline(),
        forked: line.history().ancestors().last().map(|entry| (entry.timeline, entry.switch)),
        stop: resolved.stop,
        at: resolved.at(),
        end: resolved.proven_end,
    }
}

/// A record to stop at.
#[derive(Debug, Clone, Copy)]
enum At {
    Before(Lsn),
    With(LsnRange),
}

async fn on_line(
    line: &Line,
    timelines: &Timelines,
    points: &[RestorePoint],
    target: &Target,
) -> Result<Result<Resolved, Outside>, TargetError> {
    // Where the timeline came from is not known: what it holds, and what PostgreSQL could follow, is neither.
    if !line.has_history() {
        return Err(TargetError::NoHistory(line.timeline()));
    }
    let spans = spans(line, points);
    let (index, at) = match locate(line, &spans, target).await? {
        Ok(found) => found,
        Err(why) => return Ok(Err(why)),
    };
    let resolved = finish(line, &spans[index], at).await?;
    Ok(resolved.map(|resolved| Resolved { left_out: left_out(line, timelines), ..resolved }))
}

/// WAL of other timelines beyond where this line left them.
fn left_out(line: &Line, timelines: &Timelines) -> Vec<(Timeline, LsnRange)> {
    let others = timelines.all().filter(|timeline| *timeline != line.timeline());
    let beyond = others.filter_map(|timeline| {
        let other = timelines.line(timeline);
        let (_, fork) = line.history().fork_from(other.history())?;
        let end = other.stretches().last()?.end;
        (end > fork && timeline < line.timeline()).then_some((timeline, LsnRange { start: fork, end }))
    });
    beyond.collect()
}

type Located = Result<(usize, At), Outside>;

/// The span that holds the target, and the record in it.
async fn locate(line: &Line, spans: &[Span], target: &Target) -> Result<Located, TargetError> {
    let located = match target {
        Target::Latest => latest(line, spans).await,
        Target::Time(time) => by_time(line, spans, *time).await,
        Target::Lsn(lsn) => by_lsn(line, spans, *lsn).await,
        Target::Xid(xid) | Target::BeforeXid(xid) => {
            return by_xid(line, spans, *xid, matches!(target, Target::Xid(_))).await;
        }
        Target::Name(name) => return by_name(line, spans, name).await,
    };
    located.map_err(TargetError::Scan)
}

/// The last record of a span.
async fn end_of(line: &Line, span: &Span) -> Result<Option<LsnRange>, ScanError> {
    Ok(tail(line, span.readable(line.segment_bytes())).await?.last_record)
}

async fn latest(line: &Line, spans: &[Span]) -> Result<Located, ScanError> {
    let (Some(span), Some(last)) = (spans.last(), line.stretches().last()) else {
        return Ok(Err(Outside::NotFound));
    };
    if let Some(hole) = hole_after(line, span.to).filter(|_| span.to < last.start) {
        return Ok(Err(Outside::Hole(hole)));
    }
    let end = end_of(line, span).await?;
    Ok(end.map(|record| (spans.len() - 1, At::With(record))).ok_or(Outside::NotFound))
}

fn hole_after(line: &Line, lsn: Lsn) -> Option<LsnRange> {
    let next = line.stretches().iter().find(|stretch| stretch.start > lsn)?;
    Some(LsnRange { start: lsn, end: next.start })
}

async fn by_time(line: &Line, spans: &[Span], time: Timestamp) -> Result<Located, ScanError> {
    for (index, span) in spans.iter().enumerate().rev() {
        match place_of_time(line, span, time).await? {
            Place::Before(lsn) => return Ok(Ok((index, At::Before(lsn)))),
            Place::BeforeSpan => {}
            Place::AfterSpan => {
                let tail = tail(line, span.readable(line.segment_bytes())).await?;
                // When a backup began, all commits so far were before its end.
                let started = span.points.iter().map(|point| point.started).max();
                let known_until = tail.known_until.max(started);
                if let Some(record) = tail.last_record.filter(|_| known_until >= Some(time)) {
                    return Ok(Ok((index, At::With(record))));
                }
                return Ok(Err(match hole_after(line, span.to) {
                    Some(hole) => Outside::Hole(hole),
                    None => Outside::After { known_until },
                }));
            }
        }
    }
    Ok(Err(Outside::Before))
}

async fn by_lsn(line: &Line, spans: &[Span], lsn: Lsn) -> Result<Located, ScanError> {
    let Some(first) = spans.first() else { return Ok(Err(Outside::NotFound)) };
    if lsn < first.from {
        return Ok(Err(Outside::Before));
    }
    let held = spans.iter().position(|span| span.from <= lsn && lsn <= span.to);
    let Some(index) = held else {
        let last = spans.iter().rfind(|span| span.to < lsn).unwrap_or(first);
        return Ok(Err(match hole_after(line, last.to) {
            Some(hole) => Outside::Hole(hole),
            None => Outside::After { known_until: None },
        }));
    };
    if let Some(record) = record_from(line, lsn, spans[index].to).await? {
        return Ok(Ok((index, At::Before(record))));
    }
    match end_of(line, &spans[index]).await? {
        Some(record) if lsn <= record.end => Ok(Ok((index, At::With(record)))),
        _ => Ok(Err(Outside::After { known_until: None })),
    }
}

async fn by_xid(line: &Line, spans: &[Span], xid: u32, with: bool) -> Result<Located, TargetError> {
    for (index, span) in spans.iter().enumerate().rev() {
        match fate_of(line, span, xid).await.map_err(TargetError::Scan)? {
            Fate::Committed(Hit { record, .. }) => {
                let at = if with { At::With(record) } else { At::Before(record.start) };
                return Ok(Ok((index, at)));
            }
            Fate::RolledBack(Hit { time, .. }) => return Err(TargetError::RolledBack { xid, time }),
            Fate::Unknown => {}
        }
    }
    Ok(Err(Outside::NotFound))
}

async fn by_name(line: &Line, spans: &[Span], name: &str) -> Result<Located, TargetError> {
    let mut hits = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let found = named(line, span, name).await.map_err(TargetError::Scan)?;
        hits.extend(found.into_iter().map(|hit| (index, hit)));
    }
    match &hits[..] {
        [] => Ok(Err(Outside::NotFound)),
        [(index, hit)] => Ok(Ok((*index, At::With(hit.record)))),
        several => {
            let found = several.iter().map(|(_, hit)| (hit.record.end, hit.time)).collect();
            Err(TargetError::NameTwice { name: name.to_owned(), found })
        }
    }
}

/// Chooses the point, and reads what is around the record.
async fn finish(line: &Line, span: &Span, at: At) -> Result<Result<Resolved, Outside>, TargetError> {
    let (stop, inclusive, from) = match at {
        At::Before(lsn) => (lsn, false, lsn),
        At::With(record) => (record.start, true, record.end),
    };
    let Some(point) = span.newest_by(from) else { return Ok(Err(Outside::Before)) };
    let before = LsnRange { start: span.readable(line.segment_bytes()).start, end: from };
    let before = tail(line, before).await.map_err(TargetError::Scan)?;
    let next = match next_commit(line, from, span.to).await {
        // Damage behind the target is no hindrance.
        Err(ScanError::Damaged(_)) => None,
        next => next.map_err(TargetError::Scan)?,
    };
    let end = match at {
        At::With(record) => record.end,
        // The last record of all that is before; the point's own consistency at least.
        At::Before(lsn) => before.last_record.map_or(point.stop.min(lsn), |record| record.end),
    };
    let record = LsnRange { start: stop, end: end.max(stop.advance(1)) };
    Ok(Ok(Resolved {
        point: point.clone(),
        cluster: line.archive().cluster().clone(),
        timeline: line.timeline_for(record),
        stop,
        inclusive,
        end,
        last: before.last_commit,
        next,
        proven_end: span.to,
        left_out: Vec::new(),
    }))
}
