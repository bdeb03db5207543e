//! Finds where in a span a target is, reading as little WAL as possible.
//!
//! A time is found by bisection over the first commits of segments, then read exactly. Commit times do not
//! rise strictly: a transaction takes its time just before its record. Where the probes contradict each
//! other by more than [`CLOCK_SLACK`], the server's clock was set back, and the span is read from its
//! beginning: what counts is the first commit after the time, as PostgreSQL counts.

use super::line::Line;
use super::scan::{Moment, ScanError, commit, scan};
use crate::window::Span;
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Lsn, LsnRange};
use lifeboat_pgformat::wal::{Content, Rmgr, RmgrSet};
use std::ops::ControlFlow;

/// Commits may be so much out of order without the clock having been set back.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(60);
/// Segments read back for the last commit before a position; an idle server has none for long.
const BACKWARD_SEGMENTS: u64 = 256;
/// Segments read for the first commit after a position.
const FORWARD_SEGMENTS: u64 = 32;
/// Segments read for one probe of transaction numbers.
const PROBE_SEGMENTS: u64 = 4;
/// Restore points of one name that are told.
const NAMED_LIMIT: usize = 32;

const COMMITS: [Rmgr; 1] = [Rmgr::TRANSACTION];
const TRANSACTIONS: [Rmgr; 3] = [Rmgr::XLOG, Rmgr::TRANSACTION, Rmgr::STANDBY];

/// A record that recovery can stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) record: LsnRange,
    pub(super) time: Timestamp,
}

/// Where a target lies as seen from a span.
#[derive(Debug)]
pub(super) enum Place {
    /// Right before the record at this position.
    Before(Lsn),
    /// After all of the span.
    AfterSpan,
    /// Before what can be reached in the span.
    BeforeSpan,
}

/// What became of a transaction.
#[derive(Debug)]
pub(super) enum Fate {
    Committed(Hit),
    RolledBack(Hit),
    /// The span says nothing of it.
    Unknown,
}

/// The end of a stretch of WAL.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail {
    /// The last whole record.
    pub(crate) last_record: Option<LsnRange>,
    /// The last commit.
    pub(crate) last_commit: Option<Moment>,
    /// The latest time that a record tells: every earlier commit is before it.
    pub(crate) known_until: Option<Timestamp>,
}

/// What the records that begin in `range` end with; read backwards.
pub(crate) async fn tail(line: &Line, range: LsnRange) -> Result<Tail, ScanError> {
    let segment_bytes = line.segment_bytes();
    let mut tail = Tail::default();
    let mut upper = range.end;
    let mut step = 1;
    let mut read = 0;
    while upper > range.start {
        let lower =
            Lsn((upper.0 - 1).saturating_sub((step - 1) * segment_bytes)).segment_start(segment_bytes);
        let lower = lower.max(range.start.segment_start(segment_bytes));
        // A record that begins here may end in the segment after.
        let until = range.end.min(upper.advance(segment_bytes));
        let mut here = Tail::default();
        let wanted = if tail.last_record.is_none() { RmgrSet::ALL } else { RmgrSet::of(&TRANSACTIONS) };
        scan(line, LsnRange { start: lower.max(range.start), end: until }, wanted, |record| {
            if record.lsn >= upper {
                return Ok(ControlFlow::Break(()));
            }
            here.last_record = Some(LsnRange { start: record.lsn, end: record.end_lsn });
            if !TRANSACTIONS.contains(&record.header.rmgr) {
                return Ok(ControlFlow::Continue(()));
            }
            let content = record.content()?;
            if let Some(moment) = commit(record, &content)? {
                here.last_commit = Some(moment);
                here.known_until = here.known_until.max(Some(moment.time));
            }
            match content {
                Content::Checkpoint(checkpoint) => {
                    here.known_until = here.known_until.max(Some(checkpoint.copy.time));
                }
                Content::RestorePoint(point) => {
                    here.known_until = here.known_until.max(point.time.timestamp());
                }
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        tail.last_record = tail.last_record.or(here.last_record);
        tail.last_commit = tail.last_commit.or(here.last_commit);
        tail.known_until = tail.known_until.max(here.known_until);
        read += step;
        upper = lower;
        if tail.last_record.is_some() && (tail.last_commit.is_some() || read >= BACKWARD_SEGMENTS) {
            break;
        }
        step = (step * 2).min(BACKWARD_SEGMENTS / 4);
    }
    Ok(tail)
}

/// The first commit in `range`.
pub(crate) async fn first_commit(line: &Line, range: LsnRange) -> Result<Option<Moment>, ScanError> {
    first_commit_where(line, range, |_| true).await
}

/// The first commit at `from` or soon after it.
pub(super) async fn next_commit(line: &Line, from: Lsn, end: Lsn) -> Result<Option<Moment>, ScanError> {
    let end = end.min(from.advance(FORWARD_SEGMENTS * line.segment_bytes()));
    first_commit(line, LsnRange { start: from, end }).await
}

async fn first_commit_where(
    line: &Line,
    range: LsnRange,
    is_it: impl Fn(&Moment) -> bool,
) -> Result<Option<Moment>, ScanError> {
    let mut found = None;
    scan(line, range, RmgrSet::of(&COMMITS), |record| {
        found = commit(record, &record.content()?)?.filter(&is_it);
        Ok(if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    Ok(found)
}

/// The first record at or after `lsn`.
pub(super) async fn record_from(line: &Line, lsn: Lsn, end: Lsn) -> Result<Option<Lsn>, ScanError> {
    let mut found = None;
    scan(line, LsnRange { start: lsn, end }, RmgrSet::ALL, |record| {
        found = Some(record.lsn);
        Ok(ControlFlow::Break(()))
    })
    .await?;
    Ok(found)
}

/// The first commit after `time` in a stretch, wherever; `None` if there is none.
pub(crate) async fn first_after(
    line: &Line,
    range: LsnRange,
    time: Timestamp,
) -> Result<Option<Moment>, ScanError> {
    let segment_bytes = line.segment_bytes();
    let base = range.start.segment_start(segment_bytes);
    let start_of = |segment: u64| base.advance(segment * segment_bytes);
    let mut probes: Vec<Moment> = Vec::new();
    // No commit before segment `low` is after the time, if the clock only went on; one at `high` or later is.
    let (mut low, mut high) = (0, range.end.bytes_since(base).div_ceil(segment_bytes));
    while high - low > 2 {
        let middle = low + (high - low) / 2;
        let probe = LsnRange { start: start_of(middle), end: range.end.min(start_of(high)) };
        match first_commit(line, probe).await? {
            Some(moment) => {
                probes.push(moment);
                if moment.time > time {
                    high = middle;
                } else {
                    low = moment.lsn.bytes_since(base) / segment_bytes;
                }
            }
            None => high = middle,
        }
    }
    probes.sort_unstable_by_key(|moment| moment.lsn);
    let went_back =
        |pair: &[Moment]| pair[0].time > pair[1].time.saturating_add(CLOCK_SLACK).unwrap_or(Timestamp::MAX);
    let from = if probes.windows(2).any(went_back) { 0 } else { low.saturating_sub(1) };
    let rest = LsnRange { start: range.start.max(start_of(from)), end: range.end };
    first_commit_where(line, rest, |moment| moment.time > time).await
}

/// Where a time lies.
pub(super) async fn place_of_time(line: &Line, span: &Span, time: Timestamp) -> Result<Place, ScanError> {
    let oldest = span.oldest();
    let all = span.readable(line.segment_bytes());
    // A state without commits since the backup began is that of the backup's end.
    let is_known_from_start = oldest.started <= time;
    let Some(first) = first_commit(line, all).await? else {
        return Ok(if is_known_from_start { Place::AfterSpan } else { Place::BeforeSpan });
    };
    if first.time > time && !is_known_from_start {
        return Ok(Place::BeforeSpan);
    }
    Ok(match first_after(line, all, time).await? {
        None => Place::AfterSpan,
        Some(moment) if moment.lsn < oldest.stop => Place::BeforeSpan,
        Some(moment) => Place::Before(moment.lsn),
    })
}

/// What became of transaction `xid`, or of one that it was a part of.
pub(super) async fn fate_of(line: &Line, span: &Span, xid: u32) -> Result<Fate, ScanError> {
    let all = span.readable(line.segment_bytes());
    let from = before_assigned(line, all, xid).await?;
    let mut fate = Fate::Unknown;
    scan(line, LsnRange { start: from, end: all.end }, RmgrSet::of(&TRANSACTIONS), |record| {
        let content = record.content()?;
        let (completion, committed) = match &content {
            Content::Commit(commit) => (commit, true),
            Content::Abort(abort) => (abort, false),
            // It has ended before this.
            Content::RunningTransactions(running) if is_before(xid, running.oldest_running_xid) => {
                return Ok(ControlFlow::Break(()));
            }
            _ => return Ok(ControlFlow::Continue(())),
        };
        // A part that was rolled back is no rollback of the whole.
        let is_part = committed && completion.subxacts.iter().any(|part| part == xid);
        if completion.xid != xid && !is_part {
            return Ok(ControlFlow::Continue(()));
        }
        let damaged = lifeboat_pgformat::wal::DecodeError { lsn: record.lsn, what: "commit time" };
        let time = completion.time.timestamp().ok_or(damaged)?;
        let hit = Hit { record: LsnRange { start: record.lsn, end: record.end_lsn }, time };
        fate = if committed { Fate::Committed(hit) } else { Fate::RolledBack(hit) };
        Ok(ControlFlow::Break(()))
    })
    .await?;
    Ok(fate)
}

/// A position before which `xid` had not been given to anyone, as late as cheaply found.
async fn before_assigned(line: &Line, range: LsnRange, xid: u32) -> Result<Lsn, ScanError> {
    let segment_bytes = line.segment_bytes();
    let base = range.start.segment_start(segment_bytes);
    let start_of = |segment: u64| base.advance(segment * segment_bytes);
    let (mut low, mut high) = (0, range.end.bytes_since(base).div_ceil(segment_bytes));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let end = range.end.min(start_of(middle + PROBE_SEGMENTS));
        let mut next_xid = None;
        let probe = LsnRange { start: start_of(middle), end };
        scan(line, probe, RmgrSet::of(&[Rmgr::XLOG, Rmgr::STANDBY]), |record| {
            next_xid = match record.content()? {
                // Of an online checkpoint: as it was at its REDO, before this record.
                Content::Checkpoint(checkpoint) if checkpoint.shutdown => {
                    Some(checkpoint.copy.next_xid as u32)
                }
                Content::RunningTransactions(running) => Some(running.next_xid),
                _ => None,
            };
            Ok(if next_xid.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })
        .await?;
        match next_xid {
            Some(next) if !is_before(xid, next) => low = middle,
            _ => high = middle,
        }
    }
    Ok(range.start.max(start_of(low)))
}

/// Whether transaction `a` was given out before `b`; the numbers go round.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// The last checkpoint record in `range` whose REDO lies behind `beyond`; read backwards.
pub(super) async fn last_checkpoint(
    line: &Line,
    range: LsnRange,
    beyond: Lsn,
) -> Result<Option<LsnRange>, ScanError> {
    let segment_bytes = line.segment_bytes();
    let mut upper = range.end;
    while upper > range.start {
        let lower = Lsn(upper.0 - 1).segment_start(segment_bytes).max(range.start);
        // A record that begins here may end in the segment after.
        let until = range.end.min(upper.advance(segment_bytes));
        let mut last = None;
        scan(line, LsnRange { start: lower, end: until }, RmgrSet::of(&[Rmgr::XLOG]), |record| {
            if record.lsn >= upper {
                return Ok(ControlFlow::Break(()));
            }
            if let Content::Checkpoint(checkpoint) = record.content()?
                && checkpoint.copy.redo > beyond
                && record.end_lsn <= range.end
            {
                last = Some(LsnRange { start: record.lsn, end: record.end_lsn });
            }
            Ok(ControlFlow::Continue(()))
        })
        .await?;
        if last.is_some() {
            return Ok(last);
        }
        upper = lower;
    }
    Ok(None)
}

/// The tablespaces that were made in `range`, and where.
pub(super) async fn created_tablespaces(
    line: &Line,
    range: LsnRange,
) -> Result<Vec<(u32, String)>, ScanError> {
    let mut created = Vec::new();
    scan(line, range, RmgrSet::of(&[Rmgr::TABLESPACE]), |record| {
        if let Content::TablespaceCreate { tablespace, path } = record.content()? {
            created.push((tablespace.0, String::from_utf8_lossy(path).into_owned()));
        }
        Ok(ControlFlow::Continue(()))
    })
    .await?;
    Ok(created)
}

/// The restore points of this name.
pub(super) async fn named(line: &Line, span: &Span, name: &str) -> Result<Vec<Hit>, ScanError> {
    let mut hits = Vec::new();
    let all = span.readable(line.segment_bytes());
    scan(line, all, RmgrSet::of(&[Rmgr::XLOG]), |record| {
        if let Content::RestorePoint(point) = record.content()?
            && point.name == name.as_bytes()
            && let Some(time) = point.time.timestamp()
        {
            hits.push(Hit { record: LsnRange { start: record.lsn, end: record.end_lsn }, time });
        }
        let is_full = hits.len() >= NAMED_LIMIT;
        Ok(if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .await?;
    Ok(hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_go_round() {
        assert!(is_before(3, 4) && !is_before(4, 4) && !is_before(5, 4));
        assert!(is_before(u32::MAX, 3) && !is_before(3, u32::MAX));
    }
}
