//! WAL in the vault: pieces as they arrive, whole segments when they are complete, and what is provable
//! from their names.
//!
//! # Invariants
//! - **W1 contiguity by position.** What is covered is computed from the LSN ranges in the names under one
//!   system identifier and timeline, never from a counter of files.
//! - **W2 one history.** A timeline's history file is immutable: other contents under the same number are
//!   another cluster's or a reused number, and refused.
//! - **W3 pieces go last.** A segment's pieces are deleted only once the whole segment is in as many copies
//!   as the plan asks, and in a copy only if the whole is known to be in that copy.
//! - **W4 joining hides nothing.** The whole is written before its pieces go, so that whoever misses pieces
//!   and then looks for the whole sees one or the other.
//! - **W5 no mixture.** Pieces that overlap are equal where they do, and equal to the whole segment where one is
//!   there, in every copy, or nothing is made of them and none is deleted: a timeline written twice, each time
//!   seen by another copy, must not become one segment, and neither of the two is thrown away.
//!
//! Deliberately absent: reading what the WAL says (`pgformat`), and when to write (`postgres::stream`).

mod join;
mod pieces;

pub use join::Remembered;

use crate::{CopyFailure, Found, Listing, Reach, ReadError, Vault, WriteError, names, refusals, seal};
use bytes::Bytes;
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{HistoryError, SegmentSize, TimelineHistory, WalFileName};
use pieces::{Segment, Versions, reach};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the vault knows of one cluster; written once, when it is first protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its identifier.
    pub system_id: SystemId,
    /// PostgreSQL major version.
    pub major: u32,
    /// Bytes in a WAL segment.
    pub segment_bytes: u32,
}

/// Why WAL could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The vault did not take it.
    #[error("WAL of {service} could not be written")]
    Write {
        /// The service.
        service: ServiceName,
        /// Why.
        source: WriteError,
    },
    /// The vault did not give it.
    #[error("WAL of {service} could not be read")]
    Read {
        /// The service.
        service: ServiceName,
        /// Why.
        source: ReadError,
    },
    /// The copies that answered do not prove anything.
    #[error("the vault's copies do not answer: {0}")]
    Silent(String),
    /// W2.
    #[error(
        "timeline {timeline} of cluster {system} is in the vault with another history: two servers promoted apart, or a number used again. Nothing was overwritten. Decide which server goes on, and promote it again to get a new timeline"
    )]
    HistoryConflict {
        /// The cluster.
        system: SystemId,
        /// The timeline.
        timeline: Timeline,
    },
    /// W5.
    #[error(
        "pieces of WAL overlap and differ in {range} of timeline {timeline}: two servers wrote the same timeline, after a machine was set back to an older state for instance. Nothing was joined, and nothing is recovered across it. Decide which copy of the vault has the right one, restore with that one alone (--vault), and promote to get a new timeline"
    )]
    Contradiction {
        /// The timeline.
        timeline: Timeline,
        /// The piece that differs from those before it.
        range: LsnRange,
    },
    /// The server is another cluster than the service's so far.
    #[error(
        "this is cluster {found}, but the vault protects cluster {known} as {service}; nothing was written"
    )]
    OtherCluster {
        /// The service.
        service: ServiceName,
        /// The server's cluster.
        found: SystemId,
        /// What the vault knows.
        known: String,
    },
    /// A history file that does not parse.
    #[error("the history of timeline {timeline} does not parse")]
    History {
        /// The timeline.
        timeline: Timeline,
        /// Why.
        source: HistoryError,
    },
    /// Not what Lifeboat writes.
    #[error("{0}")]
    Malformed(String),
    /// Something between two stretches is not in the vault.
    #[error("a hole in the WAL: {hole} of timeline {timeline} is not in the vault")]
    Hole {
        /// The timeline.
        timeline: Timeline,
        /// What is missing.
        hole: LsnRange,
    },
}

impl WalError {
    /// What is said when `listing` proves nothing.
    #[must_use]
    pub fn silent(listing: &Listing) -> Self {
        Self::Silent(refusals(&listing.failures))
    }
}

/// What the vault holds of one timeline, by names alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Disjoint, ascending stretches; more than one means holes.
    pub stretches: Vec<LsnRange>,
    /// Bytes stored, sealed.
    pub stored_bytes: u64,
}

impl Coverage {
    /// The stretches between the first and the last byte that are not there.
    #[must_use]
    pub fn holes(&self) -> Vec<LsnRange> {
        self.stretches.windows(2).map(|w| LsnRange { start: w[0].end, end: w[1].start }).collect()
    }

    /// The end of the stretch that holds `start`, or begins there.
    #[must_use]
    pub fn end_from(&self, start: Lsn) -> Option<Lsn> {
        self.stretches.iter().find(|s| s.start <= start && start <= s.end).map(|s| s.end)
    }

    /// Whether all of `range` is there.
    #[must_use]
    pub fn covers(&self, range: LsnRange) -> bool {
        self.end_from(range.start).is_some_and(|end| end >= range.end)
    }

    /// The end of all.
    #[must_use]
    pub fn end(&self) -> Option<Lsn> {
        self.stretches.last().map(|s| s.end)
    }
}

/// The WAL of one cluster of one service.
#[derive(Debug, Clone)]
pub struct WalArchive {
    vault: Vault,
    service: ServiceName,
    cluster: Cluster,
    segment_size: SegmentSize,
}

/// What the vault has for one segment file that PostgreSQL asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole segment.
    Whole(Vec<u8>),
    /// Its beginning, to the durable end; the rest of the buffer is zero.
    Beginning {
        /// Segment-sized.
        bytes: Vec<u8>,
        /// Where what is there ends.
        end: Lsn,
    },
    /// The vault proves that it holds none of it.
    Absent,
}

/// The clusters that a service has been, oldest identifier first.
///
/// # Errors
/// [`WalError::Silent`], [`WalError::Read`].
pub async fn clusters(vault: &Vault, service: &ServiceName) -> Result<Vec<Cluster>, WalError> {
    let listing = answered(vault.copies().list(&names::clusters(service)).await)?;
    let mut clusters = Vec::new();
    for name in listing.objects.keys() {
        let read = |source| WalError::Read { service: service.clone(), source };
        let bytes = vault.read(name).await.map_err(read)?;
        let cluster = serde_json::from_slice(&bytes);
        clusters.push(cluster.map_err(|error| WalError::Malformed(format!("{name}: {error}")))?);
    }
    Ok(clusters)
}

/// The archive of a server's cluster, for whoever writes what comes from it. A service that has no cluster yet gets
/// this one; another one than it has is taken in only where a person says so (`accept_new`), as after an upgrade:
/// else a connection that leads elsewhere would end up in the service's window.
///
/// # Errors
/// [`WalError::OtherCluster`], and those of [`WalArchive::establish`].
pub async fn admit(
    vault: &Vault,
    service: &ServiceName,
    cluster: Cluster,
    accept_new: bool,
) -> Result<WalArchive, WalError> {
    let known = clusters(vault, service).await?;
    if known.contains(&cluster) {
        return WalArchive::of(vault, service, cluster);
    }
    let is_other = !known.is_empty() && known.iter().all(|known| known.system_id != cluster.system_id);
    if is_other && !accept_new {
        let known: Vec<String> = known.iter().map(|known| known.system_id.to_string()).collect();
        let (service, found) = (service.clone(), cluster.system_id);
        return Err(WalError::OtherCluster { service, found, known: known.join(", ") });
    }
    WalArchive::establish(vault, service, cluster).await
}

impl WalArchive {
    /// The vault that it is in.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The archive of a cluster that the vault knows.
    ///
    /// # Errors
    /// [`WalError::Malformed`] for an impossible segment size.
    pub fn of(vault: &Vault, service: &ServiceName, cluster: Cluster) -> Result<Self, WalError> {
        let size = SegmentSize::new(u64::from(cluster.segment_bytes));
        let segment_size = size.map_err(|error| WalError::Malformed(error.to_string()))?;
        Ok(Self { vault: vault.clone(), service: service.clone(), cluster, segment_size })
    }

    /// Makes `cluster` known to the vault, once; opens its archive.
    ///
    /// # Errors
    /// [`WalError`]; a cluster known with another version or segment size is kept beside by its own name
    /// only after an upgrade, which changes the system identifier too.
    pub async fn establish(vault: &Vault, service: &ServiceName, cluster: Cluster) -> Result<Self, WalError> {
        let name = names::cluster(service, cluster.system_id);
        let raw = serde_json::to_vec(&cluster).map_err(|error| WalError::Malformed(error.to_string()))?;
        match vault.read(&name).await {
            Ok(known) if known == raw => {}
            Ok(_) => {
                return Err(WalError::Malformed(format!(
                    "cluster {} is known to the vault with another version or segment size",
                    cluster.system_id
                )));
            }
            Err(error) if error.is_missing() => match vault.put(&name, &raw, Reach::All).await {
                // Another process made it known in the same moment, sealed under another salt.
                Ok(_) | Err(WriteError::Conflict { .. }) => {}
                Err(source) => return Err(WalError::Write { service: service.clone(), source }),
            },
            Err(source) => return Err(WalError::Read { service: service.clone(), source }),
        }
        Self::of(vault, service, cluster)
    }

    /// Which cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Bytes in a segment.
    #[must_use]
    pub fn segment_size(&self) -> SegmentSize {
        self.segment_size
    }

    fn file_name(&self, timeline: Timeline, at: Lsn) -> WalFileName {
        WalFileName::holding(timeline, at, self.segment_size)
    }

    fn system(&self) -> SystemId {
        self.cluster.system_id
    }

    fn segment_text(&self, timeline: Timeline, at: Lsn) -> String {
        self.file_name(timeline, at).to_string()
    }

    /// Seals one piece of WAL that begins at `start` and stays within a segment.
    ///
    /// Returns when it is durable.
    ///
    /// # Errors
    /// [`WalError::Write`].
    ///
    /// # Panics
    /// If the piece is empty or crosses the end of its segment: the caller cuts there.
    pub async fn put_piece(&self, timeline: Timeline, start: Lsn, bytes: &[u8]) -> Result<(), WalError> {
        let range = LsnRange { start, end: start.advance(bytes.len() as u64) };
        let segment_end = self.file_name(timeline, start).range().end;
        assert!(!range.is_empty() && range.end <= segment_end, "piece {range} leaves its segment");
        let segment = self.segment_text(timeline, start);
        let name = names::wal_piece(&self.service, self.system(), timeline, &segment, range);
        self.put(&name, bytes, Reach::Durable).await.map_err(self.unwritten())
    }

    /// Writes `raw`, or finds it: what was sealed before a restart is equal once opened, copy by copy.
    async fn put(&self, name: &str, raw: &[u8], reach: Reach) -> Result<(), WriteError> {
        let key = self.vault.key();
        let sealed = seal::seal_object(key, name, self.vault.clock().as_ref(), raw);
        let judge = |there: &Bytes| match seal::open_object(key, name, there) {
            Ok(opened) if opened == raw => Found::Same,
            Ok(_) => Found::Other,
            Err(_) => Found::Damaged,
        };
        self.vault.copies().put_or_find(name, sealed.into(), reach, judge).await.map(drop)
    }

    fn unwritten(&self) -> impl Fn(WriteError) -> WalError + '_ {
        |source| WalError::Write { service: self.service.clone(), source }
    }

    fn unread(&self) -> impl Fn(ReadError) -> WalError + '_ {
        |source| WalError::Read { service: self.service.clone(), source }
    }

    /// Writes a whole segment, once.
    ///
    /// # Errors
    /// [`WalError::Write`], a conflict among them: other WAL is there under the same name.
    pub async fn put_segment(&self, file: WalFileName, bytes: &[u8]) -> Result<(), WalError> {
        let segment = file.to_string();
        let name = names::wal_segment(&self.service, self.system(), file.timeline, &segment);
        self.put(&name, bytes, Reach::All).await.map_err(self.unwritten())
    }

    /// Reads the segment that holds `at`.
    ///
    /// # Errors
    /// [`WalError::Hole`] when later WAL of the segment is there but not what comes before it;
    /// [`WalError::Read`] and [`WalError::Silent`] when nothing is proven.
    pub async fn fetch(&self, timeline: Timeline, at: Lsn) -> Result<Fetched, WalError> {
        let whole = self.read_whole(timeline, at).await;
        if let Ok(Some(whole)) = whole {
            return Ok(Fetched::Whole(whole));
        }
        let from_pieces = self.fetch_pieces(timeline, at).await;
        if matches!(from_pieces, Ok(Fetched::Whole(_))) {
            return from_pieces;
        }
        // A whole that is damaged hides nothing that the pieces beside it still give.
        whole?;
        // W4: pieces that were not there may have been joined since the whole was looked for.
        match self.read_whole(timeline, at).await? {
            Some(whole) => Ok(Fetched::Whole(whole)),
            None => from_pieces,
        }
    }

    async fn read_whole(&self, timeline: Timeline, at: Lsn) -> Result<Option<Vec<u8>>, WalError> {
        let segment = self.segment_text(timeline, at);
        let name = names::wal_segment(&self.service, self.system(), timeline, &segment);
        match self.vault.read(&name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing() => Ok(None),
            Err(source) => Err(self.unread()(source)),
        }
    }

    async fn fetch_pieces(&self, timeline: Timeline, at: Lsn) -> Result<Fetched, WalError> {
        let segment = Segment::new(self, timeline, at);
        let pieces = segment.pieces(answered(self.vault.copies().list(&segment.pieces).await)?)?;
        let range = segment.file.range();
        let end = reach(timeline, range.start, &pieces)?;
        if end == range.start {
            return Ok(Fetched::Absent);
        }
        let mut bytes = vec![0; self.cluster.segment_bytes as usize];
        self.lay(timeline, &mut bytes, range.start, pieces, Versions::Any).await?;
        Ok(if end == range.end { Fetched::Whole(bytes) } else { Fetched::Beginning { bytes, end } })
    }

    /// Keeps the history of a timeline.
    ///
    /// # Errors
    /// [`WalError::HistoryConflict`] by W2.
    pub async fn put_history(&self, timeline: Timeline, contents: &[u8]) -> Result<(), WalError> {
        let name = names::wal_history(&self.service, self.system(), timeline);
        match self.put(&name, contents, Reach::All).await {
            Ok(()) => Ok(()),
            Err(WriteError::Conflict { .. }) => {
                Err(WalError::HistoryConflict { system: self.system(), timeline })
            }
            Err(source) => Err(WalError::Write { service: self.service.clone(), source }),
        }
    }

    /// The history file of a timeline, as PostgreSQL wrote it; `None` is proven.
    ///
    /// # Errors
    /// [`WalError::Read`].
    pub async fn history_file(&self, timeline: Timeline) -> Result<Option<Vec<u8>>, WalError> {
        let name = names::wal_history(&self.service, self.system(), timeline);
        match self.vault.read(&name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing() => Ok(None),
            Err(source) => Err(WalError::Read { service: self.service.clone(), source }),
        }
    }

    /// The history of a timeline; timeline 1 has an empty one.
    ///
    /// # Errors
    /// [`WalError::Malformed`] if the vault has no history for a later timeline.
    pub async fn history(&self, timeline: Timeline) -> Result<TimelineHistory, WalError> {
        let file = match self.history_file(timeline).await? {
            Some(file) => file,
            None if timeline == Timeline(1) => return Ok(TimelineHistory::root(timeline)),
            None => {
                return Err(WalError::Malformed(format!("the vault has no history of timeline {timeline}")));
            }
        };
        TimelineHistory::parse(timeline, &file).map_err(|source| WalError::History { timeline, source })
    }

    /// The timelines of which the vault holds WAL or a history.
    ///
    /// # Errors
    /// [`WalError::Silent`].
    pub async fn timelines(&self) -> Result<BTreeSet<Timeline>, WalError> {
        let prefix = names::wal(&self.service, self.system());
        let listing = answered(self.vault.copies().list(&prefix).await)?;
        let below = |name: &String| {
            let rest = name.strip_prefix(&prefix)?.strip_prefix('/')?;
            Timeline::from_sortable(rest.get(..8)?)
        };
        Ok(listing.objects.keys().filter_map(below).collect())
    }

    /// What can be read of `timeline` (W1): all that is in any copy, for recovery. WAL that too few copies have by now,
    /// or that was never acknowledged, recovers as well as any other.
    ///
    /// # Errors
    /// [`WalError::Silent`].
    pub async fn held(&self, timeline: Timeline) -> Result<Coverage, WalError> {
        Ok(self.covered(timeline, |_, _| true).await?.0)
    }

    /// What of `timeline` is known to be in as many copies as the plan asks, and the copies that did not answer, which
    /// may make it more.
    ///
    /// # Errors
    /// [`WalError::Silent`].
    pub async fn durable(&self, timeline: Timeline) -> Result<(Coverage, Vec<CopyFailure>), WalError> {
        let copies = self.vault.copies();
        self.covered(timeline, |holders, _| copies.counted(holders) >= copies.durable()).await
    }

    /// What the vault holds of `timeline` for good (W1).
    ///
    /// An object counts unless it is known to be in fewer copies than the plan asks: such WAL was never
    /// acknowledged, and is to be written again. Copies that are silent have the benefit of the doubt, since
    /// a hole is only said when it is proven. (What may be *acknowledged* to PostgreSQL is for the stream to
    /// say, without that doubt.)
    ///
    /// # Errors
    /// [`WalError::Silent`].
    pub async fn coverage(&self, timeline: Timeline) -> Result<Coverage, WalError> {
        let copies = self.vault.copies();
        let counts = |holders: &[usize], silent| copies.counted(holders) + silent >= copies.durable();
        Ok(self.covered(timeline, counts).await?.0)
    }

    /// What those objects cover of which `counts` says so, by their holders and the number of silent copies.
    async fn covered(
        &self,
        timeline: Timeline,
        counts: impl Fn(&[usize], usize) -> bool,
    ) -> Result<(Coverage, Vec<CopyFailure>), WalError> {
        let prefix = names::wal_timeline(&self.service, self.system(), timeline);
        let mut ranges = Vec::new();
        let mut stored_bytes = 0;
        let mut silent = Vec::new();
        // Twice (W4): a listing takes time, in which a segment may have been joined behind its back.
        for _ in 0..2 {
            let listing = answered(self.vault.copies().list(&prefix).await)?;
            stored_bytes = listing.objects.values().map(|listed| listed.size).sum();
            for (name, listed) in &listing.objects {
                if !counts(&listed.copies, listing.failures.len()) {
                    continue;
                }
                let last = name.rsplit('/').next().unwrap_or_default();
                let whole = WalFileName::parse(last, self.segment_size).map(|file| file.range());
                ranges.extend(whole.or_else(|| names::piece_range(name)));
            }
            silent = listing.failures;
        }
        Ok((Coverage { stretches: merge(ranges), stored_bytes }, silent))
    }
}

/// Joins what touches or overlaps.
pub(crate) fn merge(mut ranges: Vec<LsnRange>) -> Vec<LsnRange> {
    ranges.sort_unstable();
    let mut merged: Vec<LsnRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// A listing that proves what it does not show (C3).
fn answered(listing: Listing) -> Result<Listing, WalError> {
    if listing.is_complete { Ok(listing) } else { Err(WalError::silent(&listing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> LsnRange {
        LsnRange { start: Lsn(start), end: Lsn(end) }
    }

    #[test]
    fn w1_stretches_join_where_they_touch_and_holes_are_named() {
        let stretches = merge(vec![range(20, 30), range(0, 10), range(5, 12), range(12, 15)]);
        let coverage = Coverage { stretches, stored_bytes: 0 };
        assert_eq!(coverage.stretches, [range(0, 15), range(20, 30)]);
        assert_eq!(coverage.holes(), [range(15, 20)]);
        assert_eq!(coverage.end_from(Lsn(3)), Some(Lsn(15)));
        assert_eq!(coverage.end_from(Lsn(17)), None);
        assert!(coverage.covers(range(20, 30)) && !coverage.covers(range(10, 25)));
    }
}
