//! Which WAL and catalogue snapshots stay. Pure.
//!
//! # Invariants
//! - **A1 onwards.** From the start of a point that is kept onwards, every byte stays on every timeline that
//!   it can reach.
//! - **A2 just enough.** For any other kept point, what makes it consistent stays, and what was written on
//!   timelines that branch off there.
//! - **A3 what is being written stays.** The newest timeline of a cluster stays whole until a kept point lies
//!   on it; a cluster that never had a restore point stays whole.
//! - **A4 whole segments.** One byte that is needed keeps its segment.
//! - **A5 in doubt, it stays.** A timeline whose history is not known is not judged.
//!
//! Histories of timelines always stay: they are small, and guard against a number used again.

use super::facts::{Facts, TimelineFacts, WalFacts};
use super::tombs::{Burial, Item};
use crate::point::RestorePoint;
use lifeboat_base::{Lsn, LsnRange, SystemId, Timeline};
use std::collections::{BTreeMap, BTreeSet};

/// What is needed of one timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Everything.
    pub all: bool,
    /// These stretches, not ordered, rounded to whole segments.
    pub ranges: Vec<LsnRange>,
}

impl Need {
    fn touches(&self, range: LsnRange) -> bool {
        self.all || self.ranges.iter().any(|need| need.start < range.end && range.start < need.end)
    }

    fn begin(&self) -> Option<Lsn> {
        if self.all { Some(Lsn(0)) } else { self.ranges.iter().map(|range| range.start).min() }
    }
}

pub(super) type Needs = BTreeMap<(SystemId, Timeline), Need>;

/// Whether nothing of `range` is needed.
pub(super) fn is_free(needs: &Needs, system: SystemId, timeline: Timeline, range: LsnRange) -> bool {
    needs.get(&(system, timeline)).is_none_or(|need| !need.touches(range))
}

/// Where the WAL that is needed of a cluster begins; `None` if none is.
pub(super) fn begin(needs: &Needs, system: SystemId) -> Option<Lsn> {
    needs.iter().filter(|((of, _), _)| *of == system).filter_map(|(_, need)| need.begin()).min()
}

/// What the points in `kept` need of all WAL (with each, whether it is kept onwards), and warnings.
pub(super) fn needs(
    facts: &Facts,
    kept: &[(&RestorePoint, bool)],
    doomed: &[&RestorePoint],
) -> (Needs, Vec<String>) {
    let mut needs = Needs::new();
    let mut warnings = Vec::new();
    for (system, wal) in &facts.wal {
        let here: Vec<(&RestorePoint, bool)> =
            kept.iter().copied().filter(|(point, _)| point.system_id == *system).collect();
        if here.is_empty() {
            let had = doomed.iter().any(|point| point.system_id == *system)
                || facts
                    .begun
                    .iter()
                    .any(|item| matches!(item, Item::Point { system: s, .. } if s == system));
            if !had {
                // A3.
                for timeline in wal.timelines.keys() {
                    needs.entry((*system, *timeline)).or_default().all = true;
                }
            }
            continue;
        }
        for (timeline, facts) in &wal.timelines {
            match &facts.history {
                Some(_) => {}
                None => {
                    let text = format!(
                        "WAL of timeline {timeline} of cluster {system} stays: its history is not known"
                    );
                    warnings.push(text);
                    needs.entry((*system, *timeline)).or_default().all = true;
                }
            }
        }
        let newest = wal.timelines.keys().next_back();
        if let Some(newest) = newest.filter(|t| !here.iter().any(|(point, _)| point.timeline == **t)) {
            needs.entry((*system, *newest)).or_default().all = true;
        }
        for (point, onwards) in here {
            for (timeline, range) in stretches(wal, point, onwards) {
                needs.entry((*system, timeline)).or_default().ranges.push(range);
            }
        }
    }
    (needs, warnings)
}

/// The stretches that one kept point needs, in whole segments.
fn stretches(wal: &WalFacts, point: &RestorePoint, onwards: bool) -> Vec<(Timeline, LsnRange)> {
    let segment = wal.segment.bytes();
    let mut stretches = Vec::new();
    // A4. The segment that holds the end is asked for too, even if the end is its first byte.
    let round = |range: LsnRange| LsnRange {
        start: range.start.segment_start(segment),
        end: range.end.segment_start(segment).advance(segment),
    };
    let consistent = LsnRange { start: point.start, end: point.stop };
    for (timeline, TimelineFacts { history, .. }) in &wal.timelines {
        let Some(history) = history.as_ref().filter(|h| h.passes(point.timeline, point.start)) else {
            continue;
        };
        let is_own = *timeline == point.timeline;
        // A2: a timeline that branches off within what is kept of this one can be followed from here.
        let switch = history.range_of(point.timeline).map_or(Lsn(u64::MAX), |range| range.end);
        let follows = onwards || (!is_own && switch < round(consistent).end);
        let wanted = match (follows, is_own) {
            (true, _) => LsnRange { start: point.start, end: Lsn(u64::MAX) },
            (false, true) => consistent,
            (false, false) => continue,
        };
        for step in wal.timelines.keys() {
            let Some(written) = history.range_of(*step) else { continue };
            let (start, end) = (written.start.max(wanted.start), written.end.min(wanted.end));
            if start <= end {
                stretches.push((*step, round(LsnRange { start, end })));
            }
        }
    }
    stretches
}

/// What goes.
pub(super) fn burials(facts: &Facts, needs: &Needs) -> Vec<Burial> {
    let mut burials = Vec::new();
    for (system, wal) in &facts.wal {
        for (timeline, of_timeline) in &wal.timelines {
            let need = needs.get(&(*system, *timeline)).cloned().unwrap_or_default();
            let (system, timeline) = (*system, *timeline);
            for (range, bytes) in free_stretches(wal, of_timeline, &need) {
                let reason = match need.begin() {
                    None => format!("no kept restore point reaches timeline {timeline}"),
                    Some(begin) if range.end <= begin => {
                        format!("no kept restore point needs anything before {begin}")
                    }
                    Some(_) => "between kept restore points, outside the window".to_owned(),
                };
                burials.push(Burial { item: Item::Wal { system, timeline, range }, bytes, reason });
            }
            for (range, bytes) in joined_pieces(wal, of_timeline, &need) {
                let reason = "their segments are there whole".to_owned();
                burials.push(Burial { item: Item::Pieces { system, timeline, range }, bytes, reason });
            }
        }
        burials.extend(old_catalogues(*system, wal, begin(needs, *system)));
    }
    burials
}

/// The segment that holds `at`.
fn segment_of(wal: &WalFacts, at: Lsn) -> LsnRange {
    let start = at.segment_start(wal.segment.bytes());
    LsnRange { start, end: start.advance(wal.segment.bytes()) }
}

/// Stretches of segments that are there and not needed, with their bytes.
fn free_stretches(wal: &WalFacts, timeline: &TimelineFacts, need: &Need) -> Vec<(LsnRange, u64)> {
    let objects = timeline.objects.iter().map(|object| (segment_of(wal, object.range.start), object.bytes));
    join(objects.filter(|(segment, _)| !need.touches(*segment)))
}

/// Stretches of segments that are needed and there both whole and in pieces, with the pieces' bytes.
fn joined_pieces(wal: &WalFacts, timeline: &TimelineFacts, need: &Need) -> Vec<(LsnRange, u64)> {
    let whole: BTreeSet<Lsn> =
        timeline.objects.iter().filter(|o| !o.is_piece).map(|o| o.range.start).collect();
    let pieces = timeline.objects.iter().filter(|object| object.is_piece);
    let pieces = pieces.map(|object| (segment_of(wal, object.range.start), object.bytes));
    join(pieces.filter(|(segment, _)| whole.contains(&segment.start) && need.touches(*segment)))
}

/// Joins ascending segments that touch.
fn join(segments: impl Iterator<Item = (LsnRange, u64)>) -> Vec<(LsnRange, u64)> {
    let mut joined: Vec<(LsnRange, u64)> = Vec::new();
    for (segment, bytes) in segments {
        match joined.last_mut() {
            Some((last, sum)) if segment.start <= last.end => {
                last.end = last.end.max(segment.end);
                *sum += bytes;
            }
            _ => joined.push((segment, bytes)),
        }
    }
    joined
}

/// Snapshots before the one that speaks for the oldest WAL that stays.
fn old_catalogues(system: SystemId, wal: &WalFacts, begin: Option<Lsn>) -> Option<Burial> {
    let before = match begin {
        Some(begin) => *wal.catalogues.iter().rev().find(|at| **at <= begin)?,
        None => Lsn(u64::MAX),
    };
    wal.catalogues.iter().any(|at| *at < before).then(|| Burial {
        item: Item::Catalogues { system, before },
        bytes: 0,
        reason: "the WAL that they explain goes".to_owned(),
    })
}
