//! What prune needs to know of a service, gathered from listings, manifests, pins and the journal.
//!
//! # Invariants
//! - **G1 all or nothing.** If what is not listed is not proven absent, there are no facts, and nothing goes.
//!
//! Memory grows with restore points, layers and WAL segments, never with the database.

use super::tombs::{Item, Tombs};
use crate::journal::JournalError;
use crate::pins::{self, Pin, PinError};
use crate::point::{self, PointError, RestorePoint};
use crate::wal::{self, WalArchive, WalError};
use crate::{Listing, Vault, names, refusals};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{SegmentSize, TimelineHistory, WalFileName};
use std::collections::{BTreeMap, BTreeSet};

/// What became of a restore point when it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// Not tried, or it could not be: never green.
    Written,
    /// A server started from it and answered.
    Verified,
    /// It does not recover.
    Failed,
}

/// A layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerFacts {
    /// Objects of it that are there.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A segment or a piece of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalObject {
    /// What it holds.
    pub range: LsnRange,
    /// Whether it is a piece.
    pub is_piece: bool,
    /// Bytes stored.
    pub bytes: u64,
}

/// One timeline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TimelineFacts {
    /// Its history; timeline 1 has an empty one. `None` if the vault has none, or one that does not parse.
    pub history: Option<TimelineHistory>,
    /// What is there of it, ascending.
    pub objects: Vec<WalObject>,
}

/// The WAL of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalFacts {
    /// PostgreSQL major version.
    pub major: u32,
    /// Bytes in a segment.
    pub segment: SegmentSize,
    /// Each timeline that has WAL or a history.
    pub timelines: BTreeMap<Timeline, TimelineFacts>,
    /// Where catalogue snapshots were taken, ascending.
    pub catalogues: Vec<Lsn>,
}

/// All that [`super::decide`] looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Manifests.
    pub points: Vec<RestorePoint>,
    /// What became of them, by name; absent means [`Verification::Written`].
    pub verification: BTreeMap<String, Verification>,
    /// Who needs what.
    pub pins: Vec<Pin>,
    /// Pins that looked forgotten to an earlier run: name and refresh.
    pub forgotten: BTreeSet<(String, u64)>,
    /// Layers, whole or not.
    pub layers: BTreeMap<String, LayerFacts>,
    /// Clusters.
    pub wal: BTreeMap<SystemId, WalFacts>,
    /// What earlier runs began to delete, or deleted.
    pub begun: BTreeSet<Item>,
}

impl Facts {
    /// What became of a point.
    #[must_use]
    pub fn verification(&self, point: &str) -> Verification {
        self.verification.get(point).copied().unwrap_or(Verification::Written)
    }
}

/// Why the facts are not known.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Manifests.
    #[error("what may be pruned of {service} is not known")]
    Points {
        /// The service.
        service: ServiceName,
        /// Why.
        source: PointError,
    },
    /// WAL.
    #[error("what WAL of {service} may be pruned is not known")]
    Wal {
        /// The service.
        service: ServiceName,
        /// Why.
        source: WalError,
    },
    /// Pins.
    #[error("what is pinned is not known")]
    Pins(#[source] PinError),
    /// The journal.
    #[error("what was pruned before is not known")]
    Journal(#[source] JournalError),
    /// G1.
    #[error("what the vault holds of {service} is not known: {why}")]
    Silent {
        /// The service.
        service: ServiceName,
        /// What the copies said.
        why: String,
    },
}

/// Gathers the facts of `service`.
///
/// # Errors
/// [`FactsError`] (G1).
pub async fn gather(
    vault: &Vault,
    service: &ServiceName,
    verification: &BTreeMap<String, Verification>,
    tombs: &Tombs,
) -> Result<Facts, FactsError> {
    let points = point::list(vault, service).await;
    let points = points.map_err(|source| FactsError::Points { service: service.clone(), source })?;
    let pins = pins::list(vault, service).await.map_err(FactsError::Pins)?;
    let layers = layers(vault, service).await?;
    let mut wal = BTreeMap::new();
    let wal_error = |source| FactsError::Wal { service: service.clone(), source };
    for cluster in wal::clusters(vault, service).await.map_err(wal_error)? {
        let archive = WalArchive::of(vault, service, cluster).map_err(wal_error)?;
        wal.insert(archive.cluster().system_id, wal_facts(vault, service, &archive).await?);
    }
    let verification = verification.clone();
    let (begun, forgotten) = (tombs.gone.clone(), tombs.forgotten.clone());
    Ok(Facts { points, verification, pins, forgotten, layers, wal, begun })
}

/// A listing that proves what it does not show (G1).
fn proven(service: &ServiceName, listing: Listing) -> Result<Listing, FactsError> {
    if listing.is_complete {
        return Ok(listing);
    }
    Err(FactsError::Silent { service: service.clone(), why: refusals(&listing.failures) })
}

async fn layers(vault: &Vault, service: &ServiceName) -> Result<BTreeMap<String, LayerFacts>, FactsError> {
    let prefix = names::layers(service);
    let listing = proven(service, vault.copies().list(&prefix).await)?;
    let mut layers: BTreeMap<String, LayerFacts> = BTreeMap::new();
    for (name, listed) in &listing.objects {
        let inside = name.strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
        let Some((id, _)) = inside else { continue };
        let layer = layers.entry(id.to_owned()).or_default();
        layer.objects += 1;
        layer.bytes += listed.size;
    }
    Ok(layers)
}

async fn wal_facts(
    vault: &Vault,
    service: &ServiceName,
    archive: &WalArchive,
) -> Result<WalFacts, FactsError> {
    let system = archive.cluster().system_id;
    let segment = archive.segment_size();
    let prefix = names::wal(service, system);
    let listing = proven(service, vault.copies().list(&prefix).await)?;
    let objects = listing.objects.iter().map(|(name, listed)| (name.as_str(), listed.size));
    let mut timelines = timelines(&prefix, objects, segment);
    for (timeline, facts) in &mut timelines {
        facts.history = match archive.history(*timeline).await {
            Ok(history) => Some(history),
            // Not there, or not to be understood: all WAL of the timeline stays.
            Err(WalError::Malformed(_) | WalError::History { .. }) => None,
            Err(source) => return Err(FactsError::Wal { service: service.clone(), source }),
        };
    }
    let prefix = names::catalogues(service, system);
    let listing = proven(service, vault.copies().list(&prefix).await)?;
    let at = |name: &String| Lsn::from_sortable(name.rsplit('/').next()?);
    let mut catalogues: Vec<Lsn> = listing.objects.keys().filter_map(at).collect();
    catalogues.sort_unstable();
    Ok(WalFacts { major: archive.cluster().major, segment, timelines, catalogues })
}

/// The timelines below `prefix`, by the names and sizes of their objects; their histories are not there yet.
pub(crate) fn timelines<'a>(
    prefix: &str,
    objects: impl Iterator<Item = (&'a str, u64)>,
    segment: SegmentSize,
) -> BTreeMap<Timeline, TimelineFacts> {
    let mut timelines: BTreeMap<Timeline, TimelineFacts> = BTreeMap::new();
    for (name, bytes) in objects {
        let inside = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        let timeline = inside.and_then(|rest| Timeline::from_sortable(rest.get(..8)?));
        let Some(timeline) = timeline else { continue };
        let facts = timelines.entry(timeline).or_default();
        if let Some((range, is_piece)) = wal_range(name, segment.bytes()) {
            facts.objects.push(WalObject { range, is_piece, bytes });
        }
    }
    timelines.values_mut().for_each(|facts| facts.objects.sort_unstable());
    timelines
}

/// What the WAL object `name` holds, and whether it is a piece.
pub(super) fn wal_range(name: &str, segment_bytes: u64) -> Option<(LsnRange, bool)> {
    if let Some(range) = names::piece_range(name) {
        return Some((range, true));
    }
    let size = SegmentSize::new(segment_bytes).ok()?;
    WalFileName::parse(name.rsplit('/').next()?, size).map(|file| (file.range(), false))
}
