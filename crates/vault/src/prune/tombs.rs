//! Tombstones: what was buried, what of it has begun to go, and what is gone, as the journal tells it.
//!
//! Three kinds of record in the scope `services/<service>/prune`: `prune.buried`, `prune.deleting` (with what
//! is spared) and `prune.deleted`.

use crate::journal::{self, JournalError};
use crate::{Scope, Vault, names};
use jiff::{SignedDuration, Timestamp};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Burials in one tombstone: it fits a record however long the names are.
pub(super) const BURIALS_LIMIT: usize = 256;
pub(super) const BURIED: &str = "prune.buried";
pub(super) const DELETING: &str = "prune.deleting";
pub(super) const DELETED: &str = "prune.deleted";

/// Where prune of a service is journalled, and its lease.
#[must_use]
pub fn scope(service: &ServiceName) -> Scope {
    Scope::service(service, "prune")
}

/// Something that goes as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "camelCase")]
pub enum Item {
    /// A manifest.
    Point {
        /// Its name.
        id: String,
        /// The cluster that it was a copy of.
        system: SystemId,
    },
    /// A layer: its index and packs.
    Layer {
        /// Its name.
        id: String,
    },
    /// The segments that lie in `range`, whole or in pieces.
    Wal {
        /// The cluster.
        system: SystemId,
        /// The timeline.
        timeline: Timeline,
        /// From the start of a segment to the end of one.
        range: LsnRange,
    },
    /// Pieces in `range`, whose segments are there whole.
    Pieces {
        /// The cluster.
        system: SystemId,
        /// The timeline.
        timeline: Timeline,
        /// From the start of a segment to the end of one.
        range: LsnRange,
    },
    /// Catalogue snapshots before `before`.
    Catalogues {
        /// The cluster.
        system: SystemId,
        /// The first that stays is here or later.
        before: Lsn,
    },
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Point { id, .. } => write!(f, "restore point {id}"),
            Self::Layer { id } => write!(f, "layer {id}"),
            Self::Wal { system, timeline, range } => {
                write!(f, "WAL {range} of timeline {timeline}, cluster {system}")
            }
            Self::Pieces { system, timeline, range } => {
                write!(f, "pieces of WAL {range} of timeline {timeline}, cluster {system}")
            }
            Self::Catalogues { system, before } => {
                write!(f, "catalogue snapshots before {before} of cluster {system}")
            }
        }
    }
}

/// An item that goes, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burial {
    /// What.
    #[serde(flatten)]
    pub item: Item,
    /// Bytes stored, as far as known.
    pub bytes: u64,
    /// Why, for people.
    pub reason: String,
}

/// What `prune.buried` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuriedData {
    pub burials: Vec<Burial>,
    /// Seconds from this record until it may be carried out.
    pub grace_s: u64,
    /// Pins that looked forgotten: name and refresh.
    pub forgotten: Vec<(String, u64)>,
}

/// What `prune.deleting` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeletingData {
    /// The number of the tombstone's record.
    pub tombstone: u64,
    /// Wanted again.
    pub spared: Vec<Item>,
}

/// What `prune.deleted` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeletedData {
    pub tombstone: u64,
    pub objects: u64,
    pub bytes: u64,
}

/// One tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tomb {
    /// The number of its record.
    pub number: u64,
    /// When it was written.
    pub time: Timestamp,
    /// How long it waits.
    pub grace: SignedDuration,
    /// What lies in it.
    pub burials: Vec<Burial>,
    /// Whether deleting has begun, and what was spared by then.
    pub begun: Option<BTreeSet<Item>>,
}

impl Tomb {
    /// Whether its grace is over at `now`.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.grace.is_zero() || now.duration_since(self.time) >= self.grace
    }

    fn going(&self) -> impl Iterator<Item = &Item> {
        let spared = self.begun.as_ref();
        self.burials.iter().map(|burial| &burial.item).filter(move |item| match spared {
            Some(spared) => !spared.contains(item),
            None => false,
        })
    }
}

/// What the journal tells of prune.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tombs {
    /// Tombstones not carried out to the end, oldest first, by number.
    pub open: BTreeMap<u64, Tomb>,
    /// All that is gone, or has begun to go.
    pub gone: BTreeSet<Item>,
    /// Pins that looked forgotten to the newest tombstone.
    pub forgotten: BTreeSet<(String, u64)>,
}

impl Tombs {
    /// What these records, in order, tell.
    pub(crate) fn of<'a>(records: impl Iterator<Item = &'a journal::Record>) -> Self {
        let mut tombs = Self::default();
        records.for_each(|record| tombs.apply(record));
        tombs.begin();
        tombs
    }

    /// Reads what prune of `service` has journalled.
    ///
    /// # Errors
    /// [`JournalError`]; also when the end of the chain is not proven, as what may have been buried there
    /// is not known.
    pub async fn read(vault: &Vault, service: &ServiceName) -> Result<Self, JournalError> {
        let (tombs, is_proven) = Self::read_all(vault, service).await?;
        if is_proven {
            return Ok(tombs);
        }
        let why = "it may have records that no other copy has".to_owned();
        Err(JournalError::Silent { scope: scope(service), why })
    }

    /// As [`Tombs::read`], as far as the copies that answer know: to tell of, not to act on.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn read_known(vault: &Vault, service: &ServiceName) -> Result<Self, JournalError> {
        Ok(Self::read_all(vault, service).await?.0)
    }

    async fn read_all(vault: &Vault, service: &ServiceName) -> Result<(Self, bool), JournalError> {
        let scope = scope(service);
        let mut tombs = Self::default();
        let mut after = 0;
        loop {
            let page = journal::read(vault, &scope, after).await?;
            for record in &page.records {
                tombs.apply(record);
                after = record.number;
            }
            if page.is_end {
                tombs.begin();
                return Ok((tombs, page.is_proven));
            }
        }
    }

    /// After the last record: what has begun to go counts as gone. Not so pieces, which stay where their segment turns
    /// out not to be whole, and may then be all that there is of it.
    fn begin(&mut self) {
        let begun = self.open.values().flat_map(Tomb::going);
        let gone = begun.filter(|item| !matches!(item, Item::Pieces { .. }));
        self.gone.extend(gone.cloned().collect::<Vec<_>>());
    }

    /// Projects one record; what is not ours, or of a later version, is passed over.
    fn apply(&mut self, record: &journal::Record) {
        let data = || record.data.clone();
        match record.kind.as_str() {
            BURIED => {
                let Ok(BuriedData { burials, grace_s, forgotten }) = serde_json::from_value(data()) else {
                    return;
                };
                let grace = SignedDuration::from_secs(i64::try_from(grace_s).unwrap_or(i64::MAX));
                let (number, time) = (record.number, record.time);
                self.forgotten = forgotten.into_iter().collect();
                self.open.insert(number, Tomb { number, time, grace, burials, begun: None });
            }
            DELETING => {
                let Ok(DeletingData { tombstone, spared }) = serde_json::from_value(data()) else { return };
                if let Some(tomb) = self.open.get_mut(&tombstone) {
                    tomb.begun = Some(spared.into_iter().collect());
                }
            }
            DELETED => {
                let Ok(DeletedData { tombstone, .. }) = serde_json::from_value(data()) else { return };
                if let Some(tomb) = self.open.remove(&tombstone) {
                    self.gone.extend(tomb.going().cloned().collect::<Vec<_>>());
                }
            }
            _ => {}
        }
    }

    /// Whether the point is being deleted, or gone.
    #[must_use]
    pub fn buries_point(&self, point: &str) -> bool {
        self.gone.iter().any(|item| matches!(item, Item::Point { id, .. } if id == point))
    }

    /// All that lies in tombstones that are not carried out yet.
    pub(super) fn open_items(&self) -> impl Iterator<Item = &Item> {
        self.open.values().flat_map(|tomb| &tomb.burials).map(|burial| &burial.item)
    }
}

/// What must not come back, arranged so that a million names can be asked about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buried {
    prefix: String,
    points: BTreeSet<String>,
    layers: BTreeSet<String>,
    wal: BTreeMap<(SystemId, Timeline), Vec<LsnRange>>,
    pieces: BTreeMap<(SystemId, Timeline), Vec<LsnRange>>,
    catalogues: BTreeMap<SystemId, Lsn>,
    segments: BTreeMap<SystemId, u64>,
}

impl Buried {
    /// What `tombs` says of `service`; `segments` tells the clusters' segment sizes.
    pub(crate) fn new(service: &ServiceName, tombs: &Tombs, segments: BTreeMap<SystemId, u64>) -> Self {
        let mut buried = Self { prefix: names::service(service), segments, ..Self::default() };
        for item in tombs.gone.iter().cloned() {
            match item {
                Item::Point { id, .. } => drop(buried.points.insert(id)),
                Item::Layer { id } => drop(buried.layers.insert(id)),
                Item::Wal { system, timeline, range } => {
                    buried.wal.entry((system, timeline)).or_default().push(range);
                }
                Item::Pieces { system, timeline, range } => {
                    buried.pieces.entry((system, timeline)).or_default().push(range);
                }
                Item::Catalogues { system, before } => {
                    let latest = buried.catalogues.entry(system).or_insert(before);
                    *latest = before.max(*latest);
                }
            }
        }
        for ranges in buried.wal.values_mut().chain(buried.pieces.values_mut()) {
            *ranges = crate::wal::merge(std::mem::take(ranges));
        }
        buried
    }

    /// Whether the object `name` must not come back.
    pub(crate) fn holds(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        let mut parts = rest.split('/');
        match (parts.next(), parts.next()) {
            (Some("points"), Some(id)) => self.points.contains(id),
            (Some("layers"), Some(id)) => self.layers.contains(id),
            (Some("wal"), Some(system)) => self.holds_wal(name, system, parts.next()).unwrap_or(false),
            (Some("catalogues"), Some(system)) => {
                let at = parts.next().and_then(Lsn::from_sortable);
                let before = SystemId::try_from(system.to_owned()).ok().and_then(|s| self.catalogues.get(&s));
                at.zip(before).is_some_and(|(at, before)| at < *before)
            }
            _ => false,
        }
    }

    fn holds_wal(&self, name: &str, system: &str, timeline: Option<&str>) -> Option<bool> {
        let system = SystemId::try_from(system.to_owned()).ok()?;
        let timeline = Timeline::from_sortable(timeline?)?;
        let (range, is_piece) = super::facts::wal_range(name, *self.segments.get(&system)?)?;
        Some(
            self.holds_stretch(system, timeline, range)
                || (is_piece && within_any(&self.pieces, system, timeline, range)),
        )
    }

    /// Whether all WAL of `range` was pruned.
    pub(crate) fn holds_stretch(&self, system: SystemId, timeline: Timeline, range: LsnRange) -> bool {
        within_any(&self.wal, system, timeline, range)
    }
}

/// Whether one of the disjoint, ascending stretches holds all of `range`.
fn within_any(
    stretches: &BTreeMap<(SystemId, Timeline), Vec<LsnRange>>,
    system: SystemId,
    timeline: Timeline,
    range: LsnRange,
) -> bool {
    let stretches = stretches.get(&(system, timeline)).map(Vec::as_slice).unwrap_or_default();
    let after = stretches.partition_point(|stretch| stretch.start <= range.start);
    after.checked_sub(1).is_some_and(|last| range.end <= stretches[last].end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Record;
    use lifeboat_base::{ManualClock, RandomId};
    use serde_json::json;

    const SEGMENT: u64 = 1 << 20;

    fn wal(from: u64, to: u64) -> Item {
        let range = LsnRange { start: Lsn(from * SEGMENT), end: Lsn(to * SEGMENT) };
        Item::Wal { system: SystemId(7), timeline: Timeline(1), range }
    }

    fn record(number: u64, kind: &str, data: serde_json::Value) -> Record {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH, number);
        let (id, time, actor) = (RandomId::new(&clock), Timestamp::UNIX_EPOCH, "me".to_owned());
        Record { number, previous: String::new(), id, time, actor, lease: None, kind: kind.to_owned(), data }
    }

    #[test]
    fn the_journal_tells_what_is_open_begun_and_gone() {
        let burial = |item| Burial { item, bytes: 1, reason: "old".to_owned() };
        let point = |id: &str| Item::Point { id: id.to_owned(), system: SystemId(7) };
        let burials = vec![burial(point("a")), burial(point("b")), burial(wal(0, 3))];
        let buried = BuriedData { burials, grace_s: 60, forgotten: vec![("pin".to_owned(), 2)] };
        let mut tombs = Tombs::default();
        tombs.apply(&record(1, "lease.taken", json!({})));
        tombs.apply(&record(2, BURIED, serde_json::to_value(&buried).unwrap()));
        tombs.apply(&record(3, "prune.of a later version", json!([1])));
        tombs.apply(&record(4, BURIED, json!("garbage")));
        assert_eq!((tombs.open.len(), tombs.gone.len()), (1, 0));
        assert!(!tombs.open[&2].is_due(Timestamp::from_second(59).unwrap()));
        assert!(tombs.open[&2].is_due(Timestamp::from_second(60).unwrap()));
        let spared = DeletingData { tombstone: 2, spared: vec![point("b")] };
        tombs.apply(&record(5, DELETING, serde_json::to_value(spared).unwrap()));
        assert_eq!(tombs.open[&2].going().count(), 2);
        let deleted = DeletedData { tombstone: 2, objects: 4, bytes: 9 };
        tombs.apply(&record(6, DELETED, serde_json::to_value(deleted).unwrap()));
        assert!(tombs.open.is_empty() && tombs.buries_point("a") && !tombs.buries_point("b"));
    }

    #[test]
    fn what_is_buried_is_told_by_name() {
        let service: ServiceName = "db".parse().unwrap();
        let range = LsnRange { start: Lsn(9 * SEGMENT), end: Lsn(10 * SEGMENT) };
        let (system, timeline) = (SystemId(7), Timeline(1));
        let gone = [
            Item::Point { id: "p".to_owned(), system },
            Item::Layer { id: "l".to_owned() },
            wal(0, 3),
            wal(3, 5),
            Item::Pieces { system, timeline, range },
            Item::Catalogues { system, before: Lsn(100) },
        ];
        let tombs = Tombs { gone: gone.into(), ..Tombs::default() };
        let buried = Buried::new(&service, &tombs, [(system, SEGMENT)].into());
        let segment = |n: u64| {
            let size = lifeboat_pgformat::SegmentSize::new(SEGMENT).unwrap();
            lifeboat_pgformat::WalFileName::holding(timeline, Lsn(n * SEGMENT), size).to_string()
        };
        let whole = |n| names::wal_segment(&service, system, timeline, &segment(n));
        let piece = |n: u64| {
            let range = LsnRange { start: Lsn(n * SEGMENT + 8), end: Lsn(n * SEGMENT + 16) };
            names::wal_piece(&service, system, timeline, &segment(n), range)
        };
        let yes = [
            names::point(&service, "p"),
            names::pack(&service, "l", 0),
            names::layer_index(&service, "l"),
            whole(0),
            whole(4),
            piece(2),
            piece(9),
            names::catalogue(&service, system, Lsn(99)),
        ];
        let no = [
            names::point(&service, "pp"),
            names::pack(&service, "ll", 0),
            whole(5),
            whole(9),
            piece(5),
            names::wal_segment(&service, system, Timeline(2), &segment(0)),
            names::wal_segment(&service, SystemId(8), timeline, &segment(0)),
            names::wal_history(&service, system, timeline),
            names::catalogue(&service, system, Lsn(100)),
            "services/dbx/points/p".to_owned(),
            "points/p".to_owned(),
            String::new(),
        ];
        assert!(yes.iter().all(|name| buried.holds(name)));
        for name in no {
            assert!(!buried.holds(&name), "{name}");
        }
        let stretch = |from, to| LsnRange { start: Lsn(from * SEGMENT + 5), end: Lsn(to * SEGMENT) };
        assert!(buried.holds_stretch(system, timeline, stretch(1, 5)));
        assert!(!buried.holds_stretch(system, timeline, stretch(1, 6)));
    }
}
