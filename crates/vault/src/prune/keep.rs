//! Which restore points and layers stay, and why. Pure.
//!
//! # Invariants
//! - **K1 counts are of points that exist**: "the newest of each of 7 days" are the 7 newest days that have
//!   one, so a pause in backups deletes nothing.
//! - **K2 the window can be recovered whole**: the newest good point older than the window stays.
//! - **K3 failed points do not count**: one that failed its verification takes no good one's place. Where all
//!   have failed, all count.
//! - **K5 production's line stands by itself**: what another branch of history has, an old primary's for
//!   instance, takes no place of the newest timeline's.
//! - **K4 no rule, no deletion**: a policy that says nothing keeps every point.

use super::facts::{Facts, Verification};
use super::tombs::{Burial, Item};
use super::wal;
use crate::pins::{Pin, Purpose};
use crate::point::RestorePoint;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A layer without a manifest that is older than this was left by a killed backup.
pub const ORPHAN_GRACE: SignedDuration = SignedDuration::from_hours(24);

/// What is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The newest so many restore points.
    pub last: Option<u32>,
    /// The newest one of each of so many days.
    pub daily: u32,
    /// The newest one of each of so many ISO weeks.
    pub weekly: u32,
    /// The newest one of each of so many months.
    pub monthly: u32,
    /// The newest one of each of so many years.
    pub yearly: u32,
    /// How far back every moment can be recovered. Without one: from the newest restore point on.
    pub window: Option<Duration>,
    /// Where days begin.
    pub time_zone: TimeZone,
}

impl Policy {
    /// A policy that keeps everything.
    #[must_use]
    pub fn everything() -> Self {
        let time_zone = TimeZone::UTC;
        Self { last: None, daily: 0, weekly: 0, monthly: 0, yearly: 0, window: None, time_zone }
    }

    /// K4.
    fn says_nothing(&self) -> bool {
        let counts = [self.daily, self.weekly, self.monthly, self.yearly];
        self.last.is_none() && self.window.is_none() && counts == [0; 4]
    }
}

/// A restore point that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The point.
    pub id: String,
    /// Why, each for people.
    pub reasons: Vec<String>,
    /// Whether every moment after it is kept too, not just the point itself.
    pub onwards: bool,
}

/// What stays and what goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Restore points that stay, oldest first.
    pub keep: Vec<Kept>,
    /// What goes, in the order in which it goes: points, layers, WAL.
    pub bury: Vec<Burial>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Pins that look forgotten; the next run may ignore them.
    pub forgotten: Vec<(String, u64)>,
}

/// Decides what stays of `facts` under `policy`.
#[must_use]
pub fn decide(facts: &Facts, policy: &Policy, now: Timestamp) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let points = oldest_first(facts);
    let anchor = points.last().map_or(now, |newest| newest.finished.min(now));
    let pins = believed_pins(facts, now, &mut verdicts);
    let reasons = reasons(&points, facts, policy, anchor, &pins);
    let kept: Vec<&RestorePoint> = points.iter().copied().filter(|p| reasons.contains_key(&p.id)).collect();
    let doomed: Vec<&RestorePoint> =
        points.iter().copied().filter(|p| !reasons.contains_key(&p.id)).collect();
    for (id, wanted) in reasons {
        let onwards = wanted.iter().any(|reason| reason.onwards);
        verdicts.keep.push(Kept { id, reasons: wanted.into_iter().map(|r| r.text).collect(), onwards });
    }
    verdicts.keep.sort_by_key(|kept| points.iter().position(|point| point.id == kept.id));
    for point in &doomed {
        let reason = match facts.verification(&point.id) {
            Verification::Failed => "it failed its verification, and no rule keeps it".to_owned(),
            _ => format!("no rule keeps it; it is of {}", point.finished),
        };
        let item = Item::Point { id: point.id.clone(), system: point.system_id };
        verdicts.bury.push(Burial { item, bytes: 0, reason });
    }
    bury_layers(facts, &kept, &doomed, &pins, now, &mut verdicts);
    let onwards: BTreeSet<&str> =
        verdicts.keep.iter().filter(|kept| kept.onwards).map(|kept| kept.id.as_str()).collect();
    let kept: Vec<(&RestorePoint, bool)> =
        kept.into_iter().map(|point| (point, onwards.contains(point.id.as_str()))).collect();
    let (needs, warnings) = wal::needs(facts, &kept, &doomed);
    verdicts.bury.extend(wal::burials(facts, &needs));
    verdicts.warnings.extend(warnings);
    verdicts
}

fn oldest_first(facts: &Facts) -> Vec<&RestorePoint> {
    let mut points: Vec<&RestorePoint> = facts.points.iter().collect();
    points.sort_by(|a, b| a.finished.cmp(&b.finished).then_with(|| a.id.cmp(&b.id)));
    points
}

/// Pins that count (I2 of `pins`).
fn believed_pins<'a>(facts: &'a Facts, now: Timestamp, verdicts: &mut Verdicts) -> Vec<&'a Pin> {
    let mut believed = Vec::new();
    for pin in &facts.pins {
        let state = (pin.id.clone(), pin.number);
        if !pin.looks_forgotten(now) {
            believed.push(pin);
        } else if facts.forgotten.contains(&state) {
            let Pin { id, holder, purpose, refreshed, .. } = pin;
            let text =
                format!("pin {id} of {purpose} by {holder} is ignored: not refreshed since {refreshed}");
            verdicts.warnings.push(text);
            verdicts.forgotten.push(state);
        } else {
            verdicts.forgotten.push(state);
            believed.push(pin);
        }
    }
    believed
}

struct Reason {
    text: String,
    onwards: bool,
}

type Reasons = BTreeMap<String, Vec<Reason>>;

fn reasons(
    points: &[&RestorePoint],
    facts: &Facts,
    policy: &Policy,
    anchor: Timestamp,
    pins: &[&Pin],
) -> Reasons {
    let mut reasons = Reasons::new();
    let mut keep = |point: &RestorePoint, text: String, onwards: bool| {
        let reasons = reasons.entry(point.id.clone()).or_default();
        if reasons.iter().all(|known| known.text != text) {
            reasons.push(Reason { text, onwards });
        }
    };
    let is_good = |point: &RestorePoint| facts.verification(&point.id) != Verification::Failed;
    let mut good: Vec<&RestorePoint> = points.iter().copied().filter(|p| is_good(p)).collect();
    if good.is_empty() {
        good = points.to_vec();
    }
    if policy.says_nothing() {
        for point in points {
            keep(point, "no rule says what goes".to_owned(), true);
        }
    }
    // R2: whatever the policy says.
    if let Some(newest) = points.last() {
        keep(newest, "the newest".to_owned(), true);
    }
    if let Some(newest) = good.last() {
        keep(newest, "the newest that has not failed".to_owned(), true);
    }
    if let Some(newest) = on_newest_line(facts, &good).last() {
        keep(newest, "the newest on the newest timeline".to_owned(), true);
    }
    let is_verified = |p: &&&RestorePoint| facts.verification(&p.id) == Verification::Verified;
    if let Some(verified) = good.iter().rev().find(is_verified) {
        keep(verified, "the last verified".to_owned(), false);
    }
    for pin in pins {
        let pinned = pin.point.as_ref().and_then(|id| points.iter().find(|point| point.id == *id));
        if let Some(point) = pinned {
            keep(point, format!("needed by {} of {} since {}", pin.purpose, pin.holder, pin.written), true);
        }
    }
    // K5.
    for good in [&good, &on_newest_line(facts, &good)] {
        by_rule(good, policy, anchor, &mut keep);
    }
    reasons
}

/// What the counts and the window of a policy keep of `good`, oldest first.
fn by_rule(
    good: &[&RestorePoint],
    policy: &Policy,
    anchor: Timestamp,
    keep: &mut impl FnMut(&RestorePoint, String, bool),
) {
    let last = policy.last.unwrap_or(0);
    for point in good.iter().rev().take(last as usize) {
        keep(point, format!("one of the last {last}"), false);
    }
    for (count, unit, bucket) in buckets(policy) {
        let mut seen = BTreeSet::new();
        for point in good.iter().rev() {
            let key = bucket(&point.finished.to_zoned(policy.time_zone.clone()));
            if !seen.contains(&key) && seen.len() < count as usize {
                keep(point, format!("the newest of {unit} {key}"), false);
                seen.insert(key);
            }
        }
    }
    if let Some(window) = policy.window {
        let begin = window_begin(anchor, window);
        for point in good.iter().filter(|point| point.finished > begin) {
            keep(point, format!("in the window: after {begin}"), true);
        }
        // K2. Before the first point there is nothing to recover; then all of it is in the window.
        if let Some(base) = good.iter().rev().find(|point| point.finished <= begin) {
            keep(base, format!("the newest before {begin}, where the window begins"), true);
        }
    }
}

/// The points on the way to the newest timeline of the newest point's cluster.
fn on_newest_line<'a>(facts: &Facts, points: &[&'a RestorePoint]) -> Vec<&'a RestorePoint> {
    let newest = points.last().map(|point| point.system_id);
    let Some((system, wal)) = newest.and_then(|system| Some((system, facts.wal.get(&system)?))) else {
        return Vec::new();
    };
    let history = wal.timelines.values().next_back().and_then(|newest| newest.history.as_ref());
    let Some(history) = history else { return Vec::new() };
    let is_on =
        |point: &&&RestorePoint| point.system_id == system && history.passes(point.timeline, point.stop);
    points.iter().filter(is_on).copied().collect()
}

fn window_begin(anchor: Timestamp, window: Duration) -> Timestamp {
    SignedDuration::try_from(window)
        .ok()
        .and_then(|window| anchor.checked_sub(window).ok())
        .unwrap_or(Timestamp::MIN)
}

type Bucket = fn(&Zoned) -> String;

fn buckets(policy: &Policy) -> [(u32, &'static str, Bucket); 4] {
    [
        (policy.daily, "the day", |at| at.date().to_string()),
        (policy.weekly, "the week", |at| {
            let week = at.date().iso_week_date();
            format!("{:04}-W{:02}", week.year(), week.week())
        }),
        (policy.monthly, "the month", |at| format!("{:04}-{:02}", at.year(), at.month())),
        (policy.yearly, "the year", |at| format!("{:04}", at.year())),
    ]
}

fn bury_layers(
    facts: &Facts,
    kept: &[&RestorePoint],
    doomed: &[&RestorePoint],
    pins: &[&Pin],
    now: Timestamp,
    verdicts: &mut Verdicts,
) {
    let needed: BTreeSet<&String> = kept.iter().flat_map(|point| &point.layers).collect();
    let backup = pins.iter().find(|pin| pin.purpose == Purpose::Backup);
    for (id, layer) in &facts.layers {
        if needed.contains(id) {
            continue;
        }
        let user = doomed.iter().find(|point| point.layers.contains(id));
        let reason = if let Some(user) = user {
            format!("only {} needs it, and goes", user.id)
        } else if facts.begun.contains(&Item::Layer { id: id.clone() }) {
            "the restore points that needed it are gone".to_owned()
        } else if let Some(made) = made(id).filter(|made| now.duration_since(*made) > ORPHAN_GRACE) {
            if let Some(backup) = backup {
                let text = format!("layer {id} stays for now: {} of {} runs", backup.purpose, backup.holder);
                verdicts.warnings.push(text);
                continue;
            }
            format!("no restore point names it: left by a backup that was killed on {made}")
        } else {
            continue;
        };
        let item = Item::Layer { id: id.clone() };
        verdicts.bury.push(Burial { item, bytes: layer.bytes, reason });
    }
}

/// When a layer was begun, by its name: `20261121T090000Z-1a2b3c4d`. What has another name is not ours to
/// judge by age.
fn made(layer: &str) -> Option<Timestamp> {
    let (time, _) = layer.split_once('-')?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}
