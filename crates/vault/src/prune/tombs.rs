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

impl Item {
    /// Whether the object `name` of `service` is part of it. Segments are told by the range in the name.
    #[must_use]
    pub fn covers(&self, service: &ServiceName, name: &str, segment_bytes: impl Fn(SystemId) -> u64) -> bool {
        match self {
            Self::Point { id, .. } => *name == names::point(service, id),
            Self::Layer { id } => {
                name.strip_prefix(&names::layer(service, id)).is_some_and(|rest| rest.starts_with('/'))
            }
            Self::Wal { system, timeline, range } => {
                let inside = name.strip_prefix(&names::wal_timeline(service, *system, *timeline));
                inside.and_then(|rest| rest.strip_prefix('/')).is_some()
                    && super::facts::wal_range(name, segment_bytes(*system))
                        .is_some_and(|(r, _)| within(r, *range))
            }
            Self::Pieces { system, timeline, range } => {
                let inside = name.strip_prefix(&names::wal_timeline(service, *system, *timeline));
                inside.and_then(|rest| rest.strip_prefix('/')).is_some()
                    && names::piece_range(name).is_some_and(|r| within(r, *range))
            }
            Self::Catalogues { system, before } => {
                let inside = name.strip_prefix(&names::catalogues(service, *system));
                let at = inside.and_then(|rest| rest.strip_prefix('/')).and_then(Lsn::from_sortable);
                at.is_some_and(|at| at < *before)
            }
        }
    }
}

fn within(inner: LsnRange, outer: LsnRange) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
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
                tombs.gone.extend(tombs.open.values().flat_map(Tomb::going).cloned().collect::<Vec<_>>());
                return Ok((tombs, page.is_proven));
            }
        }
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

    /// Whether the object `name` of `service` must not come back.
    #[must_use]
    pub fn buries(&self, service: &ServiceName, name: &str, segment_bytes: impl Fn(SystemId) -> u64) -> bool {
        self.gone.iter().any(|item| item.covers(service, name, &segment_bytes))
    }

    /// All that lies in tombstones that are not carried out yet.
    pub(super) fn open_items(&self) -> impl Iterator<Item = &Item> {
        self.open.values().flat_map(|tomb| &tomb.burials).map(|burial| &burial.item)
    }
}
