//! Decides where streaming begins, so that no byte is left out.
//!
//! Pure: from the server's timeline history, what the vault covers, and from where on the slot keeps WAL.
//!
//! # Invariants
//! - **S1 no silent gap.** Between what the vault has and where streaming begins nothing is missing, or
//!   the missing stretches are told.
//! - **S2 the server is asked first.** Before a hole is accepted, the WAL right after the vault's end is
//!   asked for: a server often still has what its slot no longer keeps.
//! - **S3 whole segments.** A timeline that the vault does not have yet begins with a whole segment.
//!
//! Deliberately absent: whether the server may be streamed from at all (`lineage`).

use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::{SegmentSize, TimelineHistory};
use lifeboat_vault::wal::Coverage;
use std::collections::BTreeMap;

/// A position on a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) timeline: Timeline,
    pub(super) lsn: Lsn,
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    /// What to ask for.
    pub(super) at: Place,
    /// If the server no longer has that, where it surely has WAL, and what is missing between.
    pub(super) otherwise: Option<Detour>,
}

/// A way on that leaves a hole behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Detour {
    pub(super) at: Place,
    pub(super) missing: Vec<(Timeline, LsnRange)>,
}

/// The way from the cluster's birth to the server's timeline.
struct Way<'a> {
    history: &'a TimelineHistory,
    size: SegmentSize,
}

impl Way<'_> {
    /// Each timeline with the position where it is left, oldest first.
    fn steps(&self) -> Vec<(Timeline, Lsn)> {
        let own = (self.history.timeline(), Lsn(u64::MAX));
        self.history.ancestors().iter().map(|e| (e.timeline, e.switch)).chain([own]).collect()
    }

    /// The beginning of the segment that holds `lsn`.
    fn segment(&self, lsn: Lsn) -> Lsn {
        lsn.segment_start(self.size.bytes())
    }

    /// `at` itself, or the beginning of the timeline that follows if `at` is the end of its own (S3).
    fn onwards(&self, at: Place) -> Place {
        let steps = self.steps();
        let mut at = at;
        for pair in steps.windows(2) {
            let ((timeline, end), (next, _)) = (pair[0], pair[1]);
            if at.timeline == timeline && at.lsn >= end {
                at = Place { timeline: next, lsn: self.segment(end) };
            }
        }
        at
    }

    /// What lies between two places of the way.
    fn missing(&self, from: Place, to: Place) -> Vec<(Timeline, LsnRange)> {
        let begin = from.timeline;
        let stretches = self.steps().into_iter().filter(|(t, _)| (begin..=to.timeline).contains(t));
        let mut start = from.lsn;
        let mut missing = Vec::new();
        for (timeline, end) in stretches {
            let end = if timeline == to.timeline { to.lsn } else { end };
            missing.push((timeline, LsnRange { start, end }));
            start = self.segment(end);
        }
        missing.retain(|(_, range)| !range.is_empty());
        missing
    }
}

/// Where to begin, given the server's `history`, what the vault covers of the timelines on it, and from
/// where on the server keeps WAL for us.
pub(super) fn choose(
    history: &TimelineHistory,
    coverage: &BTreeMap<Timeline, Coverage>,
    kept_from: Lsn,
    size: SegmentSize,
) -> Start {
    let way = Way { history, size };
    let timeline = history.owner_of(kept_from);
    let kept = Place { timeline, lsn: way.segment(kept_from) };
    // A slot stands where the vault ended when it was last told: usually inside a stretch.
    let inside = |place: Place| coverage.get(&place.timeline)?.end_from(place.lsn);
    let within = inside(Place { timeline, lsn: kept_from }).or_else(|| inside(kept));
    if let Some(end) = within {
        return Start { at: follow(&way, coverage, Place { timeline, lsn: end }), otherwise: None };
    }
    // S2: the newest that the vault has before the slot's place.
    let before = way.steps().into_iter().filter(|(t, _)| *t <= timeline).rev().find_map(|(t, end)| {
        let limit = if t == timeline { kept.lsn } else { end };
        let ends = coverage.get(&t)?.stretches.iter().map(|stretch| stretch.end);
        let newest = if t == timeline { ends.filter(|e| *e < limit).max() } else { ends.max() };
        newest.map(|lsn| Place { timeline: t, lsn })
    });
    let Some(before) = before else { return Start { at: kept, otherwise: None } };
    let at = way.onwards(before);
    let missing = way.missing(at, kept);
    if missing.is_empty() {
        return Start { at: kept, otherwise: None };
    }
    Start { at, otherwise: Some(Detour { at: kept, missing }) }
}

/// Follows what the vault has from `place` on, over the ends of timelines.
fn follow(way: &Way<'_>, coverage: &BTreeMap<Timeline, Coverage>, mut place: Place) -> Place {
    for _ in way.steps() {
        let next = way.onwards(place);
        let end = coverage.get(&next.timeline).and_then(|coverage| coverage.end_from(next.lsn));
        let reached = Place { timeline: next.timeline, lsn: end.unwrap_or(next.lsn) };
        if reached == place {
            break;
        }
        place = reached;
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn range(start: u64, end: u64) -> LsnRange {
        LsnRange { start: Lsn(start), end: Lsn(end) }
    }

    fn place(timeline: u32, lsn: u64) -> Place {
        Place { timeline: Timeline(timeline), lsn: Lsn(lsn) }
    }

    fn history(timeline: u32, text: &str) -> TimelineHistory {
        TimelineHistory::parse(Timeline(timeline), text.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(
        history: &TimelineHistory,
        has: &[(u32, &[LsnRange])],
        kept_from: u64,
        at: Place,
        missing: &[(u32, LsnRange)],
    ) {
        let covered = |(t, stretches): &(u32, &[LsnRange])| {
            (Timeline(*t), Coverage { stretches: stretches.to_vec(), stored_bytes: 0 })
        };
        let coverage = has.iter().map(covered).collect();
        let start = choose(history, &coverage, Lsn(kept_from), SegmentSize::new(MIB).unwrap());
        assert_eq!(start.at, at);
        let told: Vec<_> = start.otherwise.into_iter().flat_map(|detour| detour.missing).collect();
        let expected: Vec<_> = missing.iter().map(|(t, r)| (Timeline(*t), *r)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn an_empty_vault_begins_with_the_slots_whole_segment() {
        check(&TimelineHistory::root(Timeline(1)), &[], 5 * MIB + 17, place(1, 5 * MIB), &[]);
    }

    #[test]
    fn the_vaults_end_is_where_it_goes_on() {
        let root = TimelineHistory::root(Timeline(1));
        // The slot was told less than what is durable.
        let has = range(2 * MIB, 5 * MIB + 30);
        check(&root, &[(1, &[has])], 5 * MIB + 17, place(1, 5 * MIB + 30), &[]);
        check(&root, &[(1, &[has])], 5 * MIB + 30, place(1, 5 * MIB + 30), &[]);
        // A backup left WAL far ahead: the stretch of the slot counts, not the newest.
        let ahead = range(9 * MIB, 10 * MIB);
        check(&root, &[(1, &[has, ahead])], 5 * MIB + 17, place(1, 5 * MIB + 30), &[]);
        // And once it gets there, it goes on behind.
        check(&root, &[(1, &[range(2 * MIB, 10 * MIB)])], 5 * MIB + 17, place(1, 10 * MIB), &[]);
        // The backup began before the slot.
        check(&root, &[(1, &[ahead])], 5 * MIB + 17, place(1, 5 * MIB), &[]);
    }

    #[test]
    fn s1_s2_a_slot_made_anew_asks_for_what_is_missing_and_names_it() {
        let root = TimelineHistory::root(Timeline(1));
        let has = range(2 * MIB, 5 * MIB + 30);
        let hole = range(5 * MIB + 30, 8 * MIB);
        check(&root, &[(1, &[has])], 8 * MIB + 40, place(1, 5 * MIB + 30), &[(1, hole)]);
        // In the same segment nothing is missing: the server has the whole segment.
        check(&root, &[(1, &[has])], 5 * MIB + 99, place(1, 5 * MIB + 30), &[]);
    }

    #[test]
    fn s3_a_new_timeline_begins_with_the_segment_of_the_switch() {
        let history = history(2, &format!("1\t0/{:X}\twhy\n", 5 * MIB + 30));
        let old = range(2 * MIB, 5 * MIB + 30);
        let slot = 5 * MIB + 20;
        // What the old timeline lacks comes first.
        check(&history, &[(1, &[range(2 * MIB, 5 * MIB + 20)])], slot, place(1, 5 * MIB + 20), &[]);
        check(&history, &[(1, &[old])], slot, place(2, 5 * MIB), &[]);
        // The vault has more of the old timeline than the new one took over.
        check(&history, &[(1, &[range(2 * MIB, 6 * MIB)])], slot, place(2, 5 * MIB), &[]);
        let new = range(5 * MIB, 5 * MIB + 200);
        check(&history, &[(1, &[old]), (2, &[new])], slot, place(2, 5 * MIB + 200), &[]);
        check(&history, &[(1, &[old]), (2, &[new])], 5 * MIB + 100, place(2, 5 * MIB + 200), &[]);
    }

    #[test]
    fn s1_a_hole_over_a_promotion_names_both_timelines() {
        let history = history(2, &format!("1\t0/{:X}\twhy\n", 5 * MIB + 30));
        let missing = [(1, range(4 * MIB, 5 * MIB + 30)), (2, range(5 * MIB, 7 * MIB))];
        check(&history, &[(1, &[range(2 * MIB, 4 * MIB)])], 7 * MIB + 5, place(1, 4 * MIB), &missing);
        // The old timeline is whole: only the new one's beginning may be missing.
        let missing = [(2, range(5 * MIB, 7 * MIB))];
        check(&history, &[(1, &[range(2 * MIB, 6 * MIB)])], 7 * MIB + 5, place(2, 5 * MIB), &missing);
    }
}
