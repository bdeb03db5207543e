//! The rules, attacked with fabricated facts.

use super::facts::{Facts, LayerFacts, TimelineFacts, Verification, WalFacts, WalObject};
use super::keep::{Policy, Verdicts, decide};
use super::tombs::Item;
use crate::pins::{Pin, Purpose};
use crate::point::RestorePoint;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Lsn, LsnRange, SystemId, Timeline};
use lifeboat_pgformat::{SegmentSize, TimelineHistory};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const SEGMENT: u64 = 1 << 20;
const SYSTEM: SystemId = SystemId(7);
const HOUR: u64 = 3_600;

fn at(hours: u64) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    start + Duration::from_secs(hours * HOUR)
}

/// A point taken in hour `hours`, from segment `start` on, consistent within the same segment.
fn point(hours: u64, start: u64, timeline: u32, layers: &[&str]) -> RestorePoint {
    RestorePoint {
        id: format!("p{hours:05}"),
        service: "db".parse().unwrap(),
        system_id: SYSTEM,
        major: 18,
        segment_bytes: SEGMENT as u32,
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        advanced_from: None,
        timeline: Timeline(timeline),
        start: Lsn(start * SEGMENT + 40),
        stop: Lsn(start * SEGMENT + 400),
        started: at(hours),
        finished: at(hours),
        from_standby: false,
        checksums: true,
        backup_label: String::new(),
        tablespace_map: String::new(),
        tablespaces: Vec::new(),
        damaged_pages: Vec::new(),
        size_bytes: 1,
        stored_bytes: 1,
        files: 1,
    }
}

fn segments(range: std::ops::Range<u64>) -> Vec<WalObject> {
    let whole = |n| LsnRange { start: Lsn(n * SEGMENT), end: Lsn((n + 1) * SEGMENT) };
    range.map(|n| WalObject { range: whole(n), is_piece: false, bytes: 10 }).collect()
}

/// A point an hour, each with a layer of its own and a segment of WAL of its own.
fn hourly(count: u64) -> Facts {
    let mut facts = Facts::default();
    for n in 0..count {
        let layer = format!("layer-{n}");
        facts.points.push(point(n, n, 1, &[&layer]));
        facts.layers.insert(layer, LayerFacts { objects: 2, bytes: 100 });
    }
    let history = Some(TimelineHistory::root(Timeline(1)));
    let timeline = TimelineFacts { history, objects: segments(0..count + 2) };
    let segment = SegmentSize::new(SEGMENT).unwrap();
    let timelines = [(Timeline(1), timeline)].into();
    facts.wal.insert(SYSTEM, WalFacts { major: 18, segment, timelines, catalogues: Vec::new() });
    facts
}

fn timeline(facts: &mut Facts, number: u32, history: &str, range: std::ops::Range<u64>) {
    let history = TimelineHistory::parse(Timeline(number), history.as_bytes()).ok();
    let timeline = TimelineFacts { history, objects: segments(range) };
    facts.wal.get_mut(&SYSTEM).unwrap().timelines.insert(Timeline(number), timeline);
}

fn kept(verdicts: &Verdicts) -> Vec<&str> {
    verdicts.keep.iter().map(|kept| kept.id.as_str()).collect()
}

/// Segments of `timeline` that stay.
fn wal_left(facts: &Facts, verdicts: &Verdicts, timeline: u32) -> Vec<u64> {
    let goes = |object: &WalObject| {
        verdicts.bury.iter().any(|burial| match &burial.item {
            Item::Wal { timeline: of, range, .. } => {
                of.0 == timeline && range.start <= object.range.start && object.range.end <= range.end
            }
            _ => false,
        })
    };
    let objects = &facts.wal[&SYSTEM].timelines[&Timeline(timeline)].objects;
    objects.iter().filter(|object| !goes(object)).map(|object| object.range.start.0 / SEGMENT).collect()
}

fn policy() -> Policy {
    Policy::everything()
}

/// The facts once everything that goes is gone.
fn after(facts: &Facts, verdicts: &Verdicts) -> Facts {
    let mut left = facts.clone();
    let goes: BTreeSet<&Item> = verdicts.bury.iter().map(|burial| &burial.item).collect();
    left.points.retain(|p| !goes.contains(&Item::Point { id: p.id.clone(), system: p.system_id }));
    left.layers.retain(|id, _| !goes.contains(&Item::Layer { id: id.clone() }));
    for (system, wal) in &mut left.wal {
        for (timeline, of) in &mut wal.timelines {
            of.objects.retain(|object| {
                !goes.iter().any(|item| match item {
                    Item::Wal { system: s, timeline: t, range } => {
                        s == system
                            && t == timeline
                            && range.start <= object.range.start
                            && object.range.end <= range.end
                    }
                    Item::Pieces { system: s, timeline: t, range } => {
                        let inside = range.start <= object.range.start && object.range.end <= range.end;
                        s == system && t == timeline && object.is_piece && inside
                    }
                    _ => false,
                })
            });
        }
    }
    left.begun = goes.into_iter().cloned().collect();
    left
}

#[test]
fn k1_counts_are_of_days_that_have_a_point_in_the_plans_time_zone() {
    let facts = hourly(72);
    let daily = Policy { daily: 2, ..policy() };
    assert_eq!(kept(&decide(&facts, &daily, at(72))), ["p00047", "p00071"]);
    // The day in Taipei ends at 16:00 UTC.
    let taipei = Policy { time_zone: TimeZone::get("Asia/Taipei").unwrap(), ..daily.clone() };
    assert_eq!(kept(&decide(&facts, &taipei, at(72))), ["p00063", "p00071"]);
    // A year without backups deletes nothing.
    assert_eq!(decide(&facts, &daily, at(72)), decide(&facts, &daily, at(72 + 365 * 24)));
    let last = Policy { last: Some(3), ..policy() };
    assert_eq!(kept(&decide(&facts, &last, at(72))), ["p00069", "p00070", "p00071"]);
}

#[test]
fn k2_the_window_can_be_recovered_whole() {
    let facts = hourly(10);
    let window = Policy { window: Some(Duration::from_secs(3 * HOUR + 1)), ..policy() };
    let verdicts = decide(&facts, &window, at(9));
    // 5:59:59 is the begin of the window; the point of 5:00 is needed for it.
    assert_eq!(kept(&verdicts), ["p00005", "p00006", "p00007", "p00008", "p00009"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [5, 6, 7, 8, 9, 10, 11]);
    // One outside of it has just the WAL that makes it consistent.
    let and_yearly = Policy { last: Some(8), ..window };
    let verdicts = decide(&facts, &and_yearly, at(9));
    assert_eq!(verdicts.keep.len(), 8);
    let sparse = Policy { window: Some(Duration::from_secs(HOUR)), daily: 1, ..policy() };
    let mut facts = hourly(30);
    facts.points.retain(|p| ["p00003", "p00028", "p00029"].contains(&p.id.as_str()));
    let two_days = Policy { daily: 2, ..sparse };
    let verdicts = decide(&facts, &two_days, at(29));
    assert_eq!(kept(&verdicts), ["p00003", "p00028", "p00029"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [3, 28, 29, 30, 31]);
}

#[test]
fn k3_a_failed_point_takes_no_good_ones_place() {
    let mut facts = hourly(5);
    for id in ["p00004", "p00003", "p00001"] {
        facts.verification.insert(id.to_owned(), Verification::Failed);
    }
    facts.verification.insert("p00000".to_owned(), Verification::Verified);
    let last = Policy { last: Some(1), ..policy() };
    // The newest, though failed; the newest that is not; the last verified.
    assert_eq!(kept(&decide(&facts, &last, at(5))), ["p00000", "p00002", "p00004"]);
}

#[test]
fn k3_where_all_have_failed_all_count() {
    let mut facts = hourly(5);
    let ids: Vec<String> = facts.points.iter().map(|point| point.id.clone()).collect();
    facts.verification.extend(ids.into_iter().map(|id| (id, Verification::Failed)));
    let window = Policy { window: Some(Duration::from_secs(2 * HOUR)), ..policy() };
    assert_eq!(kept(&decide(&facts, &window, at(5))), ["p00002", "p00003", "p00004"]);
}

/// An old primary came back and was backed up after production, which is on timeline 2.
#[test]
fn k5_what_an_old_primary_has_takes_no_place_of_productions() {
    let mut facts = hourly(3);
    timeline(&mut facts, 2, "1\t0/200000\tpromoted\n", 2..9);
    facts.points.push(point(10, 4, 2, &[]));
    facts.points.push(point(20, 3, 1, &[]));
    facts.points.push(point(30, 4, 1, &[]));
    let window = Policy { window: Some(Duration::from_secs(HOUR)), ..policy() };
    let verdicts = decide(&facts, &window, at(31));
    assert!(kept(&verdicts).contains(&"p00010"), "{:?}", kept(&verdicts));
    assert_eq!(wal_left(&facts, &verdicts, 2), [4, 5, 6, 7, 8]);
    let last = Policy { last: Some(1), ..policy() };
    assert!(kept(&decide(&facts, &last, at(31))).contains(&"p00010"));
}

#[test]
fn k4_without_rules_every_point_stays() {
    let facts = hourly(5);
    let verdicts = decide(&facts, &policy(), at(5));
    assert_eq!((verdicts.keep.len(), verdicts.bury.len()), (5, 0));
}

#[test]
fn r6_a_clock_that_jumps_deletes_nothing() {
    let facts = hourly(10);
    let window = Policy { window: Some(Duration::from_secs(3 * HOUR)), ..policy() };
    let sane = decide(&facts, &window, at(9));
    assert_eq!(decide(&facts, &window, at(100_000)), sane);
    let back = decide(&facts, &window, at(4));
    assert!(kept(&sane).iter().all(|id| kept(&back).contains(id)));
}

#[test]
fn r2_a_layer_stays_while_one_kept_point_names_it() {
    let mut facts = hourly(3);
    facts.points[1].layers.push("layer-0".to_owned());
    facts.points[2].layers = vec!["layer-2".to_owned(), "layer-1".to_owned(), "layer-0".to_owned()];
    let last = Policy { last: Some(1), ..policy() };
    let verdicts = decide(&facts, &last, at(3));
    assert_eq!(kept(&verdicts), ["p00002"]);
    assert!(!verdicts.bury.iter().any(|burial| matches!(burial.item, Item::Layer { .. })));
}

fn pin(purpose: Purpose, point: Option<&str>, refreshed: Timestamp) -> Pin {
    let (id, holder, point) = ("pin".to_owned(), "me".to_owned(), point.map(str::to_owned));
    Pin { id, number: 3, purpose, holder, point, written: refreshed, refreshed }
}

#[test]
fn r2_what_is_pinned_stays_until_two_runs_saw_the_pin_forgotten() {
    let mut facts = hourly(5);
    let last = Policy { last: Some(1), ..policy() };
    facts.pins.push(pin(Purpose::Restore, Some("p00001"), at(5)));
    let verdicts = decide(&facts, &last, at(6));
    assert_eq!(kept(&verdicts), ["p00001", "p00004"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [1, 2, 3, 4, 5, 6], "it may be recovered to any moment");
    let seen = decide(&facts, &last, at(5 + 49));
    assert_eq!((kept(&seen).len(), seen.forgotten.len()), (2, 1));
    facts.forgotten = seen.forgotten.into_iter().collect();
    assert_eq!(kept(&decide(&facts, &last, at(5 + 49))), ["p00004"]);
    // It was refreshed since.
    facts.pins[0].number += 1;
    assert_eq!(kept(&decide(&facts, &last, at(5 + 49))).len(), 2);
    // A person's word does not end.
    facts.pins[0] = pin(Purpose::Hold, Some("p00001"), at(5));
    facts.forgotten.insert(("pin".to_owned(), 3));
    assert_eq!(kept(&decide(&facts, &last, at(50_000))).len(), 2);
}

#[test]
fn layers_of_a_killed_backup_go_after_a_day_unless_a_backup_runs() {
    let mut facts = hourly(1);
    facts.layers.insert("20260101T000000Z-1a2b3c4d".to_owned(), LayerFacts { objects: 1, bytes: 5 });
    facts.layers.insert("whatever".to_owned(), LayerFacts { objects: 1, bytes: 5 });
    let buried = |facts: &Facts, hours| decide(facts, &policy(), at(hours)).bury.len();
    assert_eq!((buried(&facts, 24), buried(&facts, 25)), (0, 1));
    facts.pins.push(pin(Purpose::Backup, None, at(25)));
    let verdicts = decide(&facts, &policy(), at(26));
    assert_eq!((verdicts.bury.len(), verdicts.warnings.len()), (0, 1));
}

#[test]
fn a3_what_was_written_before_the_first_restore_point_of_a_cluster_stays() {
    let mut facts = hourly(2);
    let new = facts.wal[&SYSTEM].clone();
    facts.wal.insert(SystemId(8), new);
    let last = Policy { last: Some(1), ..policy() };
    let of_new = |verdicts: &Verdicts| {
        let is_new = |item: &Item| matches!(item, Item::Wal { system: SystemId(8), .. });
        verdicts.bury.iter().filter(|burial| is_new(&burial.item)).count()
    };
    assert_eq!(of_new(&decide(&facts, &last, at(2))), 0);
    // But once its points were pruned, nothing can be recovered from its WAL.
    facts.begun.insert(Item::Point { id: "old".to_owned(), system: SystemId(8) });
    assert_eq!(of_new(&decide(&facts, &last, at(2))), 1);
}

#[test]
fn timelines_that_no_kept_point_reaches_go_and_the_newest_stays() {
    // 1 ─┬─────────── (a point at 8)
    //    ├ 2 from segment 3: abandoned
    //    └ 3 from segment 9, 4 from segment 5: promoted just now, no point on it yet
    let mut facts = hourly(10);
    facts.points.retain(|p| p.id == "p00008");
    timeline(&mut facts, 2, "1\t0/300080\tabandoned\n", 3..6);
    timeline(&mut facts, 3, "1\t0/900080\tfollowed\n", 9..12);
    timeline(&mut facts, 4, "1\t0/500080\tpromoted\n", 5..7);
    let last = Policy { last: Some(1), ..policy() };
    let verdicts = decide(&facts, &last, at(10));
    assert_eq!(kept(&verdicts), ["p00008"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [8, 9, 10, 11]);
    assert_eq!(wal_left(&facts, &verdicts, 2), [] as [u64; 0]);
    assert_eq!(wal_left(&facts, &verdicts, 3), [9, 10, 11]);
    assert_eq!(wal_left(&facts, &verdicts, 4), [5, 6]);
}

#[test]
fn a1_from_a_point_kept_onwards_every_byte_stays_on_every_timeline_that_it_reaches() {
    // 1 ─┬───┬──── (points at 0, 4)
    //    │   ├ 4 from segment 6 ── 5 from segment 8
    //    └ 2 from segment 2 ── 3 from segment 3
    let mut facts = hourly(10);
    facts.points.retain(|p| ["p00000", "p00004"].contains(&p.id.as_str()));
    timeline(&mut facts, 2, "1\t0/200080\tx\n", 2..6);
    timeline(&mut facts, 3, "1\t0/200080\tx\n\n2\t0/300080\tx\n", 3..7);
    timeline(&mut facts, 4, "1\t0/600080\tx\n", 6..11);
    timeline(&mut facts, 5, "1\t0/600080\tx\n\n4\t0/800080\tx\n", 8..12);
    let last = Policy { last: Some(1), ..policy() };
    // Whether by a window or by a pin.
    let verdicts = decide(&facts, &last, at(10));
    assert_eq!(kept(&verdicts), ["p00004"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(wal_left(&facts, &verdicts, 4), [6, 7, 8, 9, 10]);
    assert_eq!(wal_left(&facts, &verdicts, 5), [8, 9, 10, 11]);
    assert_eq!(wal_left(&facts, &verdicts, 2), [] as [u64; 0]);
    facts.pins.push(pin(Purpose::Restore, Some("p00000"), at(10)));
    let verdicts = decide(&facts, &last, at(10));
    for (number, expected) in [(1, 0..12), (2, 2..6), (3, 3..7), (4, 6..11), (5, 8..12)] {
        assert_eq!(wal_left(&facts, &verdicts, number), expected.collect::<Vec<_>>(), "timeline {number}");
    }
}

#[test]
fn a4_one_byte_that_is_needed_keeps_its_segment() {
    let last = Policy { last: Some(1), ..policy() };
    // The newest point goes on from segment 9; the verified one needs from `start` to `stop`.
    let left = |start: u64, stop: u64| {
        let mut facts = hourly(10);
        facts.points.retain(|p| ["p00003", "p00009"].contains(&p.id.as_str()));
        facts.verification.insert("p00003".to_owned(), Verification::Verified);
        (facts.points[0].start, facts.points[0].stop) = (Lsn(start), Lsn(stop));
        let verdicts = decide(&facts, &last, at(10));
        assert_eq!(kept(&verdicts), ["p00003", "p00009"]);
        let mut left = wal_left(&facts, &verdicts, 1);
        left.retain(|segment| *segment < 9);
        left
    };
    assert_eq!(left(3 * SEGMENT + 40, 3 * SEGMENT + 400), [3]);
    assert_eq!(left(4 * SEGMENT - 1, 4 * SEGMENT + 1), [3, 4]);
    assert_eq!(left(3 * SEGMENT, 6 * SEGMENT - 1), [3, 4, 5]);
    // An end that is a segment's first byte is asked for with that segment.
    assert_eq!(left(3 * SEGMENT, 4 * SEGMENT), [3, 4]);
}

#[test]
fn a5_a_timeline_whose_history_is_not_known_is_not_judged() {
    let mut facts = hourly(10);
    facts.points.retain(|p| ["p00000", "p00008"].contains(&p.id.as_str()));
    timeline(&mut facts, 3, "1\t0/900080\tx\n", 9..12);
    let last = Policy { last: Some(1), ..policy() };
    for history in ["1\t0/300080\tabandoned\n", "garbage", "9\t0/300080\tof another order\n"] {
        timeline(&mut facts, 2, history, 3..6);
        let is_known = facts.wal[&SYSTEM].timelines[&Timeline(2)].history.is_some();
        let verdicts = decide(&facts, &last, at(10));
        assert_eq!(
            wal_left(&facts, &verdicts, 2),
            if is_known { vec![] } else { vec![3, 4, 5] },
            "{history}"
        );
        assert_eq!(verdicts.warnings.len(), usize::from(!is_known), "{history}");
        assert_eq!(wal_left(&facts, &verdicts, 1), [8, 9, 10, 11], "the others are judged all the same");
    }
}

#[test]
fn a2_a_timeline_that_branches_off_a_kept_backup_stays() {
    let mut facts = hourly(10);
    timeline(&mut facts, 2, "1\t0/2001A0\tpromoted from the backup of hour 2\n", 2..5);
    timeline(&mut facts, 3, "2\t0/400000\tx\n", 4..6);
    let two = Policy { last: Some(1), ..policy() };
    facts.verification.insert("p00002".to_owned(), Verification::Verified);
    facts.points.push(point(50, 4, 3, &[]));
    let verdicts = decide(&facts, &two, at(50));
    assert_eq!(kept(&verdicts), ["p00002", "p00050"]);
    assert_eq!(wal_left(&facts, &verdicts, 1), [2]);
    assert_eq!(wal_left(&facts, &verdicts, 2), [2, 3, 4]);
}

#[test]
fn pieces_of_whole_segments_and_old_catalogues_go() {
    let mut facts = hourly(4);
    let wal = facts.wal.get_mut(&SYSTEM).unwrap();
    wal.catalogues = vec![Lsn(1), Lsn(SEGMENT), Lsn(2 * SEGMENT + 5), Lsn(9 * SEGMENT)];
    let piece = |start: u64| {
        let range = LsnRange { start: Lsn(start), end: Lsn(start + 100) };
        WalObject { range, is_piece: true, bytes: 1 }
    };
    let objects = &mut wal.timelines.get_mut(&Timeline(1)).unwrap().objects;
    objects.extend([piece(3 * SEGMENT + 5), piece(60 * SEGMENT)]);
    objects.sort();
    let verdicts = decide(&facts, &Policy { last: Some(1), ..policy() }, at(4));
    let items: Vec<&Item> = verdicts.bury.iter().map(|burial| &burial.item).collect();
    let range = LsnRange { start: Lsn(3 * SEGMENT), end: Lsn(4 * SEGMENT) };
    assert!(items.contains(&&Item::Pieces { system: SYSTEM, timeline: Timeline(1), range }), "{items:?}");
    assert!(items.contains(&&Item::Catalogues { system: SYSTEM, before: Lsn(2 * SEGMENT + 5) }), "{items:?}");
}

prop_compose! {
    fn any_facts()(
        hours in prop::collection::btree_set(0_u64..400, 1..25),
        verified in prop::collection::vec(0_u8..3, 25),
        timelines in prop::collection::vec(1_u32..4, 25),
        stacks in prop::collection::vec(prop::collection::vec(0_usize..25, 0..4), 25),
        pinned in prop::collection::vec(0_usize..25, 0..3),
        forks in (10_u64..400, 10_u64..400),
    ) -> Facts {
        let mut facts = hourly(0);
        facts.wal.get_mut(&SYSTEM).unwrap().timelines.get_mut(&Timeline(1)).unwrap().objects = segments(0..410);
        let fork = |n: u64| Lsn(n * SEGMENT + 80);
        timeline(&mut facts, 2, &format!("1\t{}\tx\n", fork(forks.0)), forks.0..410);
        timeline(&mut facts, 3, &format!("1\t{}\tx\n", fork(forks.1)), forks.1..410);
        for (n, hour) in hours.iter().enumerate() {
            let begin = [0, 0, forks.0, forks.1][timelines[n] as usize];
            let own = format!("layer-{n}");
            let mut taken = point(*hour, begin.max(*hour), timelines[n], &[&own]);
            taken.layers.extend(stacks[n].iter().filter(|l| **l < n).map(|l| format!("layer-{l}")));
            facts.layers.insert(own, LayerFacts { objects: 1, bytes: 1 });
            let state = [Verification::Written, Verification::Verified, Verification::Failed][verified[n] as usize];
            facts.verification.insert(taken.id.clone(), state);
            facts.points.push(taken);
        }
        for n in pinned {
            if let Some(point) = facts.points.get(n) {
                let pin = pin(Purpose::View, Some(&point.id), at(400));
                facts.pins.push(pin);
            }
        }
        facts
    }
}

prop_compose! {
    fn any_policy()(
        last in prop::option::of(0_u32..5),
        daily in 0_u32..5,
        weekly in 0_u32..3,
        monthly in 0_u32..2,
        window in prop::option::of(0_u64..200),
    ) -> Policy {
        let window = window.map(|hours| Duration::from_secs(hours * HOUR));
        Policy { last, daily, weekly, monthly, yearly: 0, window, time_zone: TimeZone::UTC }
    }
}

proptest! {
    #[test]
    fn r2_what_is_needed_stays_and_pruning_twice_prunes_once(
        facts in any_facts(), policy in any_policy(), now in 0_u64..1_000,
    ) {
        let now = at(now);
        let verdicts = decide(&facts, &policy, now);
        let kept: BTreeSet<&str> = kept(&verdicts).into_iter().collect();
        let newest = facts.points.iter().max_by_key(|p| p.finished).unwrap();
        prop_assert!(kept.contains(newest.id.as_str()));
        let verified = facts.points.iter().filter(|p| facts.verification(&p.id) == Verification::Verified);
        if let Some(verified) = verified.max_by_key(|p| p.finished) {
            prop_assert!(kept.contains(verified.id.as_str()));
        }
        for pin in facts.pins.iter().filter(|pin| !pin.looks_forgotten(now)) {
            prop_assert!(kept.contains(pin.point.as_deref().unwrap()));
        }
        if let Some(window) = policy.window {
            let begin = newest.finished.min(now) - SignedDuration::try_from(window).unwrap();
            let is_old = |p: &&RestorePoint| {
                p.finished <= begin && facts.verification(&p.id) != Verification::Failed
            };
            let has_old = facts.points.iter().any(|p| is_old(&p));
            let keeps_old = facts.points.iter().filter(is_old).any(|p| kept.contains(p.id.as_str()));
            prop_assert_eq!(has_old, keeps_old);
        }
        // Whatever is kept has its layers and the WAL that makes it consistent.
        let left = after(&facts, &verdicts);
        prop_assert_eq!(left.points.len(), kept.len());
        for point in &left.points {
            for layer in &point.layers {
                prop_assert!(left.layers.contains_key(layer), "{} lost {layer}", point.id);
            }
            let objects = &left.wal[&SYSTEM].timelines[&point.timeline].objects;
            let holds = |at: Lsn| objects.iter().any(|o| o.range.start <= at && at < o.range.end);
            prop_assert!(holds(point.start) && holds(point.stop), "{} lost WAL", point.id);
            let onwards = verdicts.keep.iter().find(|k| k.id == point.id).unwrap().onwards;
            for segment in point.start.0 / SEGMENT..410 {
                prop_assert!(!onwards || holds(Lsn(segment * SEGMENT)), "{} lost {segment}", point.id);
            }
        }
        let again = decide(&left, &policy, now);
        prop_assert_eq!(again.bury, Vec::new());
        prop_assert_eq!(again.keep, verdicts.keep);
        for burial in &verdicts.bury {
            prop_assert!(!burial.reason.is_empty());
        }
    }
}
