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
//! - **W5 no mixture.** Pieces that overlap are equal where they do, or nothing is made of them: a timeline
//!   written twice, each time seen by another copy, must not become one segment.
//!
//! Deliberately absent: reading what the WAL says (`pgformat`), and when to write (`postgres::stream`).

use crate::{
    CopyFailure, Created, Found, Listing, Reach, ReadError, Vault, WriteError, names, refusals, seal,
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::{HistoryError, SegmentSize, TimelineHistory, WalFileName};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Pieces that are read side by side when a segment is put together; each may be 2 MiB, twice.
const PIECES_AT_ONCE: usize = 4;

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
    /// A history file that does not parse.
    #[error("the history of timeline {timeline} does not parse")]
    History {
        /// The timeline.
        timeline: Timeline,
        /// Why.
        source: HistoryError,
    },
    /// The service's cluster is another one than before.
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

/// A segment as the one who wrote its pieces remembers it.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Its bytes, from its beginning on.
    pub bytes: Vec<u8>,
    /// The pieces that the vault took; elsewhere the bytes mean nothing.
    pub pieces: BTreeSet<LsnRange>,
}

impl Remembered {
    /// Whether it is all of the segment `range`, of which these pieces are there, and nothing else is.
    fn is_all(&self, range: LsnRange, there: impl Iterator<Item = Option<LsnRange>>) -> bool {
        let there: Option<BTreeSet<LsnRange>> = there.collect();
        let mut end = range.start;
        for piece in &self.pieces {
            if piece.start != end {
                return false;
            }
            end = piece.end;
        }
        end == range.end && self.bytes.len() as u64 == range.len() && there.as_ref() == Some(&self.pieces)
    }
}

/// What each copy holds of a whole segment.
#[derive(Default)]
struct WholeIn {
    /// Copies where it opens.
    holders: Vec<usize>,
    /// Copies that say that they lack it.
    lacking: Vec<usize>,
    /// Its sealed bytes.
    sealed: Option<Bytes>,
    /// Copies that are silent, or hold it damaged.
    failures: Vec<CopyFailure>,
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

    /// Joins the pieces of a segment that is complete into one object and deletes them (W3).
    ///
    /// # Errors
    /// [`WalError::Hole`] if it is not complete, [`WalError::Write`] if too few copies took the whole; nothing
    /// is deleted then.
    pub async fn join(&self, timeline: Timeline, at: Lsn) -> Result<(), WalError> {
        self.join_remembered(timeline, at, None).await
    }

    /// The same, without reading back what is `remembered`, if each piece that is listed was taken by every copy
    /// from the one who remembers it.
    ///
    /// # Errors
    /// As [`WalArchive::join`].
    pub async fn join_remembered(
        &self,
        timeline: Timeline,
        at: Lsn,
        remembered: Option<&Remembered>,
    ) -> Result<(), WalError> {
        let file = self.file_name(timeline, at);
        let segment = file.to_string();
        let copies = self.vault.copies();
        let prefix = names::wal_pieces(&self.service, self.system(), timeline, &segment);
        let listing = answered(copies.list(&prefix).await)?;
        if listing.objects.is_empty() {
            return Ok(());
        }
        let name = names::wal_segment(&self.service, self.system(), timeline, &segment);
        let mut whole = self.look_for_whole(&name).await;
        if !whole.lacking.is_empty() {
            if whole.sealed.is_none() {
                let there = || listing.objects.keys().map(|name| names::piece_range(name));
                // A write was acknowledged by as many copies as must have it; what the others have is not known.
                let all_took_it = copies.all().len() == copies.durable();
                let known = remembered.filter(|known| all_took_it && known.is_all(file.range(), there()));
                let raw = match known {
                    Some(known) => Cow::from(&known.bytes),
                    None => match self.fetch(timeline, at).await? {
                        Fetched::Whole(raw) => Cow::from(raw),
                        Fetched::Beginning { end, .. } => {
                            let hole = LsnRange { start: end, end: file.range().end };
                            return Err(WalError::Hole { timeline, hole });
                        }
                        Fetched::Absent => return Ok(()),
                    },
                };
                let sealed = seal::seal_object(self.vault.key(), &name, self.vault.clock().as_ref(), &raw);
                whole.sealed = Some(sealed.into());
            }
            self.write_whole(&name, &mut whole).await?;
        }
        let (wanted, got) = (copies.durable(), copies.counted(&whole.holders));
        if got < wanted {
            let source = WriteError::NotDurable { name, wanted, got, failures: whole.failures };
            return Err(self.unwritten()(source));
        }
        let pieces: Vec<String> = listing.objects.into_keys().collect();
        for copy in whole.holders {
            // Pieces that are left are found by `vault check`.
            copies.delete_in(copy, &pieces).await;
        }
        Ok(())
    }

    /// Looks in each copy for the whole segment, and whether it opens there (W3: a listing does not tell).
    async fn look_for_whole(&self, name: &str) -> WholeIn {
        let copies = self.vault.copies();
        let mut found = WholeIn::default();
        for (index, copy) in copies.all().iter().enumerate() {
            let reason = match copies.read_from(index, name).await {
                Ok(sealed) => match seal::open_object(self.vault.key(), name, &sealed) {
                    Ok(_) => {
                        found.holders.push(index);
                        found.sealed.get_or_insert(sealed);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(object_store::Error::NotFound { .. }) => {
                    found.lacking.push(index);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            found.failures.push(CopyFailure { copy: copy.name().to_owned(), reason });
        }
        found
    }

    /// Writes the whole segment to the copies that lack it, and to no other.
    async fn write_whole(&self, name: &str, whole: &mut WholeIn) -> Result<(), WalError> {
        let copies = self.vault.copies();
        let Some(sealed) = &whole.sealed else { return Ok(()) };
        let writes = whole.lacking.iter().map(|copy| copies.create_in(*copy, name, sealed.clone()));
        let outcomes = futures::future::join_all(writes).await;
        for (index, outcome) in whole.lacking.drain(..).zip(outcomes) {
            let copy = copies.all()[index].name().to_owned();
            match outcome {
                Ok(Created::Mine) => whole.holders.push(index),
                // Another process was quicker: the next join finds its segment.
                Ok(Created::Taken(_)) => {
                    let reason = "another process writes it in this moment".to_owned();
                    whole.failures.push(CopyFailure { copy, reason });
                }
                Err(error) => whole.failures.push(CopyFailure { copy, reason: error.to_string() }),
            }
        }
        Ok(())
    }

    /// Reads the segment that holds `at`.
    ///
    /// # Errors
    /// [`WalError::Hole`] when later WAL of the segment is there but not what comes before it;
    /// [`WalError::Read`] and [`WalError::Silent`] when nothing is proven.
    pub async fn fetch(&self, timeline: Timeline, at: Lsn) -> Result<Fetched, WalError> {
        if let Some(whole) = self.read_whole(timeline, at).await? {
            return Ok(Fetched::Whole(whole));
        }
        let from_pieces = self.fetch_pieces(timeline, at).await;
        if matches!(from_pieces, Ok(Fetched::Whole(_))) {
            return from_pieces;
        }
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
        let segment = self.segment_text(timeline, at);
        let prefix = names::wal_pieces(&self.service, self.system(), timeline, &segment);
        let listing = answered(self.vault.copies().list(&prefix).await)?;
        let pieces: BTreeMap<LsnRange, String> =
            listing.objects.into_keys().filter_map(|name| Some((names::piece_range(&name)?, name))).collect();
        let LsnRange { start, end: end_of_segment } = self.file_name(timeline, at).range();
        let mut end = start;
        let mut needed = Vec::new();
        for (range, name) in pieces {
            if range.start < start || range.end > end_of_segment {
                return Err(WalError::Malformed(format!("{name} lies outside its segment")));
            }
            if range.start > end {
                return Err(WalError::Hole { timeline, hole: LsnRange { start: end, end: range.start } });
            }
            end = end.max(range.end);
            needed.push((range, name));
        }
        if end == start {
            return Ok(Fetched::Absent);
        }
        let mut bytes = vec![0; self.cluster.segment_bytes as usize];
        let reads = needed.into_iter().map(|(range, name)| async move {
            let piece = self.vault.read(&name).await.map_err(self.unread())?;
            if piece.len() as u64 != range.len() {
                return Err(WalError::Malformed(format!("{name} holds {} bytes", piece.len())));
            }
            Ok((range, piece))
        });
        let mut reads = futures::stream::iter(reads).buffered(PIECES_AT_ONCE);
        let mut known = start;
        while let Some((range, piece)) = reads.try_next().await? {
            let offset = range.start.bytes_since(start) as usize;
            // W5.
            let again = (known.bytes_since(range.start) as usize).min(piece.len());
            if bytes[offset..offset + again] != piece[..again] {
                return Err(WalError::Contradiction { timeline, range });
            }
            bytes[offset..offset + piece.len()].copy_from_slice(&piece);
            known = known.max(range.end);
        }
        Ok(if end == end_of_segment { Fetched::Whole(bytes) } else { Fetched::Beginning { bytes, end } })
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

    /// What the vault holds of `timeline` (W1).
    ///
    /// An object counts unless it is known to be in fewer copies than the plan asks: such WAL was never
    /// acknowledged, and is to be written again. Copies that are silent have the benefit of the doubt, since
    /// a hole is only said when it is proven. (What may be *acknowledged* to PostgreSQL is for the stream to
    /// say, without that doubt.)
    ///
    /// # Errors
    /// [`WalError::Silent`].
    pub async fn coverage(&self, timeline: Timeline) -> Result<Coverage, WalError> {
        let prefix = names::wal_timeline(&self.service, self.system(), timeline);
        let mut ranges = Vec::new();
        let mut stored_bytes = 0;
        // Twice (W4): a listing takes time, in which a segment may have been joined behind its back.
        for _ in 0..2 {
            let listing = answered(self.vault.copies().list(&prefix).await)?;
            stored_bytes = listing.objects.values().map(|listed| listed.size).sum();
            for (name, listed) in &listing.objects {
                let copies = self.vault.copies();
                if copies.counted(&listed.copies) + listing.failures.len() < copies.durable() {
                    continue;
                }
                let last = name.rsplit('/').next().unwrap_or_default();
                let whole = WalFileName::parse(last, self.segment_size).map(|file| file.range());
                ranges.extend(whole.or_else(|| names::piece_range(name)));
            }
        }
        Ok(Coverage { stretches: merge(ranges), stored_bytes })
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
