//! One entry per decoder of what a copy gives, for fuzzing: bytes in, nothing out, no panic, no allocation
//! beyond a small multiple of the input but what a named limit allows.
//!
//! What is behind a seal is reached by sealing the bytes first: who holds the key may still be an older or a
//! faulty program.

use crate::journal;
use crate::keys::{self, Unlock, WrappedKey};
use crate::layer::{verify_index, verify_pack};
use crate::lease::EpochRecord;
use crate::pins::Pin;
use crate::point::RestorePoint;
use crate::prune::{Buried, Facts, Item, LayerFacts, Policy, Tombs, Verdicts, WalFacts, decide, timelines};
use crate::seal::{ObjectSealer, VaultKey, open_object};
use crate::wal::Cluster;
use crate::{Header, Scope, names};
use jiff::Timestamp;
use lifeboat_base::{Lsn, ManualClock, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{SegmentSize, TimelineHistory, WalFileName};
use std::collections::BTreeSet;
use std::time::Duration;

/// The name under which everything here is sealed.
pub const NAME: &str = "services/db/layers/x/pack-000000";

/// The segment size of every cluster here.
const SEGMENT: SegmentSize = SegmentSize::DEFAULT;
/// The identity of the age project's own tests.
const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

/// The key under which everything here is sealed.
#[must_use]
pub fn key() -> VaultKey {
    VaultKey::from_bytes(&[7; 32]).expect("a key has 32 bytes")
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::UNIX_EPOCH, 7)
}

/// Sealed bytes as they come: an object, a pack, an index.
pub fn sealed(bytes: &[u8]) {
    _ = open_object(&key(), NAME, bytes);
    _ = verify_pack(&key(), NAME, bytes);
    _ = verify_index(&key(), NAME, bytes);
}

/// The directory of a pack, and the frames that it claims.
pub fn pack_directory(bytes: &[u8]) {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(&key(), NAME, &clock(), 1, &mut out);
    sealer.frame(&[1; 100], &mut out);
    let offset = out.len() as u64;
    let number = sealer.frame(bytes, &mut out);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(b"PACK");
    _ = verify_pack(&key(), NAME, &out);
}

/// The frames of an index: a line each.
pub fn index(bytes: &[u8]) {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(&key(), NAME, &clock(), 1, &mut out);
    for line in bytes.split(|byte| *byte == b'\n') {
        let length_at = out.len();
        out.extend_from_slice(&[0; 4]);
        sealer.frame(line, &mut out);
        let length = (out.len() - length_at - 4) as u32;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
    if let Ok(index) = verify_index(&key(), NAME, &out) {
        _ = index.file("PG_VERSION");
    }
}

/// Names of objects, as a listing has them: a line each.
///
/// # Panics
/// When a name that is read is not the one that is written for what it says: two objects would be one.
pub fn names(bytes: &[u8]) {
    for name in String::from_utf8_lossy(bytes).lines() {
        let last = name.rsplit('/').next().unwrap_or_default();
        if let Some(number) = names::number(name) {
            assert_eq!(names::journal_record("x", number), format!("journal/x/{last}"));
        }
        if let Some(range) = names::piece_range(name) {
            assert_eq!(format!("{}-{}", range.start.to_sortable(), range.end.to_sortable()), last);
        }
        _ = Scope::new(name);
    }
}

/// Manifests of restore points.
pub fn point(bytes: &[u8]) {
    if let Ok(point) = serde_json::from_slice::<RestorePoint>(bytes) {
        _ = serde_json::to_vec(&point);
        _ = point.damaged_pages.iter().map(ToString::to_string).collect::<Vec<_>>();
    }
}

/// Records of the journal, a line each, and what prune makes of them.
pub fn journal(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let records: Vec<_> = (1..).zip(lines).filter_map(|(n, line)| journal::parse(n, line).ok()).collect();
    records.iter().for_each(|record| _ = journal::to_json(record));
    bury(&Tombs::of(records.iter()));
}

fn service() -> ServiceName {
    "db".parse().expect("it is a name")
}

/// Asks about names near to what was buried.
fn bury(tombs: &Tombs) {
    let buried = Buried::new(&service(), tombs, [(SystemId(7), SEGMENT.bytes())].into());
    for item in &tombs.gone {
        _ = item.to_string();
        if let Item::Wal { system, timeline, range } | Item::Pieces { system, timeline, range } = item {
            let segment = WalFileName::holding(*timeline, range.start, SEGMENT).to_string();
            _ = buried.holds(&names::wal_segment(&service(), *system, *timeline, &segment));
            _ = buried.holds(&names::wal_piece(&service(), *system, *timeline, &segment, *range));
            _ = buried.holds_stretch(*system, *timeline, *range);
        }
    }
    tombs.open.values().for_each(|tomb| _ = tomb.is_due(Timestamp::MAX));
}

/// What one object says: an epoch of a lease, a pin, a cluster, the vault's header.
pub fn record(bytes: &[u8]) {
    _ = EpochRecord::parse(bytes);
    if let Ok(pin) = serde_json::from_slice::<Pin>(bytes) {
        _ = (pin.looks_forgotten(Timestamp::MIN), pin.looks_forgotten(Timestamp::MAX));
    }
    if let Ok(cluster) = serde_json::from_slice::<Cluster>(bytes) {
        _ = SegmentSize::new(cluster.segment_bytes.into());
    }
    _ = serde_json::from_slice::<Header>(bytes);
}

/// Wrapped keys. They are not sealed: whoever can write to a copy can change them.
///
/// # Panics
/// When one opens that we have not sealed.
pub fn wrapped_key(bytes: &[u8]) {
    let Ok(key) = serde_json::from_slice::<WrappedKey>(bytes) else { return };
    let is_cheap = match &key {
        WrappedKey::Passphrase { memory_kib, passes, .. } => *memory_kib <= 64 && *passes <= 2,
        WrappedKey::Age { .. } => true,
    };
    if is_cheap {
        let phrase = Unlock::Passphrase("correct horse".to_owned().into());
        let file = Unlock::AgeIdentity(IDENTITY.to_owned().into());
        for unlock in [phrase, file] {
            let opened = keys::unlock(std::slice::from_ref(&key), &unlock);
            assert!(opened.is_err(), "a key of nobody's opened");
        }
    }
}

/// What prune decides about what it finds: a line each for manifests, pins, records of the journal, names of
/// WAL, and histories (`#2 1<tab>0/3000000`).
///
/// # Panics
/// When the newest restore point goes, or something goes that a kept one needs.
pub fn prune(bytes: &[u8]) {
    let mut facts = Facts::default();
    let (mut records, mut wal, mut histories) = (Vec::new(), Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(bytes).lines() {
        if let Some((timeline, history)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) {
            let timeline = timeline.parse().map_or(Timeline(2), Timeline);
            histories.extend(TimelineHistory::parse(timeline, history.as_bytes()));
        } else if let Ok(point) = serde_json::from_str::<RestorePoint>(line) {
            facts.layers.extend(point.layers.iter().map(|layer| (layer.clone(), LayerFacts::default())));
            facts.points.push(point);
        } else if let Ok(pin) = serde_json::from_str(line) {
            facts.pins.push(pin);
        } else if let Ok(record) = journal::parse(records.len() as u64 + 1, line.as_bytes()) {
            records.push(record);
        } else {
            wal.push(line.to_owned());
        }
    }
    let systems: BTreeSet<SystemId> = facts.points.iter().map(|point| point.system_id).collect();
    for system in systems {
        let objects = wal.iter().map(|name| (name.as_str(), 1));
        let mut timelines = timelines("wal", objects, SEGMENT);
        for history in &histories {
            timelines.entry(history.timeline()).or_default().history = Some(history.clone());
        }
        facts
            .wal
            .insert(system, WalFacts { major: 18, segment: SEGMENT, timelines, catalogues: vec![Lsn(1)] });
    }
    facts.begun = Tombs::of(records.iter()).gone;
    let window = Some(Duration::from_secs(86_400));
    for policy in [Policy::everything(), Policy { last: Some(1), daily: 1, window, ..Policy::everything() }] {
        for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            hold(&facts, &decide(&facts, &policy, now));
        }
    }
}

fn hold(facts: &Facts, verdicts: &Verdicts) {
    let newest = facts.points.iter().max_by(|a, b| a.finished.cmp(&b.finished).then(a.id.cmp(&b.id)));
    let is_kept = |point: &RestorePoint| verdicts.keep.iter().any(|kept| kept.id == point.id);
    assert!(newest.is_none_or(is_kept), "the newest restore point goes");
    for burial in &verdicts.bury {
        _ = burial.item.to_string();
        for point in facts.points.iter().filter(|point| is_kept(point)) {
            let is_needed = match &burial.item {
                Item::Point { id, .. } => *id == point.id,
                Item::Layer { id } => point.layers.contains(id),
                Item::Wal { system, timeline, range } => {
                    let history = facts.wal[system].timelines[timeline].history.as_ref();
                    let begins = history.and_then(TimelineHistory::begins_at).unwrap_or_default();
                    let is_sane = begins <= point.start && point.start <= point.stop;
                    let holds = |at: &Lsn| range.start <= *at && *at < range.end;
                    let is_its = (*system, *timeline) == (point.system_id, point.timeline);
                    is_sane && is_its && [point.start, point.stop].iter().any(holds)
                }
                Item::Pieces { .. } | Item::Catalogues { .. } => false,
            };
            assert!(!is_needed, "{} goes, which {} needs", burial.item, point.id);
        }
    }
}
