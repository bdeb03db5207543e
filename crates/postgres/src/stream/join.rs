//! Joins the pieces of full segments behind the stream, one segment at a time.
//!
//! # Invariants
//! - **J1** A segment is joined only when the vault's own names cover all of it.
//! - **J2** What a killed stream left is joined by the next.
//!
//! Deliberately absent: any hurry. Pieces are as good as segments for recovery, only more of them.

use super::alarm::{Alarm, StreamEvent};
use super::backoff::Backoff;
use super::shared::Shared;
use lifeboat_base::{Lsn, LsnRange, ServiceName, Timeline};
use lifeboat_pgformat::{SegmentSize, WalFileName};
use lifeboat_vault::wal::{WalArchive, WalError};
use lifeboat_vault::{Vault, names};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Waits between tries.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Tries of one segment before the next one has its turn; a later stream looks at it again.
const TRY_LIMIT: usize = 5;

/// Joins for as long as the stream runs.
pub(super) async fn run(vault: Vault, service: ServiceName, archive: WalArchive, shared: Arc<Shared>) {
    let mut progress = shared.progress.subscribe();
    let size = archive.segment_size();
    // The timeline that was looked through, and the first of its segments not joined yet.
    let mut cursor: Option<(Timeline, Lsn)> = None;
    loop {
        let now = *progress.borrow_and_update();
        if let Some((timeline, durable)) = now {
            if cursor.is_none_or(|(seen, _)| seen != timeline) {
                for (timeline, at) in backlog(&vault, &service, &archive, &shared).await {
                    join(&archive, timeline, at, &shared).await;
                }
                cursor = Some((timeline, durable.segment_start(size.bytes())));
            }
            let (_, mut at) = cursor.unwrap_or((timeline, durable));
            while at.advance(size.bytes()) <= durable {
                join(&archive, timeline, at, &shared).await;
                at = at.advance(size.bytes());
            }
            cursor = Some((timeline, at));
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}

async fn join(archive: &WalArchive, timeline: Timeline, at: Lsn, shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    for _ in 0..TRY_LIMIT {
        let outcome = {
            let _listing = shared.listing.lock().await;
            let remembered = shared.recent.take(timeline, at);
            let outcome = archive.join_remembered(timeline, at, remembered.as_ref()).await;
            remembered.into_iter().for_each(|remembered| shared.recent.give_back(remembered));
            outcome
        };
        match outcome {
            Ok(()) => {
                let segment = WalFileName::holding(timeline, at, archive.segment_size()).to_string();
                return shared.board.tell(StreamEvent::Joined { segment });
            }
            Err(WalError::Hole { .. } | WalError::Malformed(_)) => return,
            Err(WalError::Contradiction { timeline, range }) => {
                return shared.board.raise(Alarm::Fork { timeline, range, followed: timeline });
            }
            Err(_) => tokio::time::sleep(backoff.next(shared.clock.as_ref())).await,
        }
    }
}

/// Full segments that are still in pieces (J1, J2).
async fn backlog(
    vault: &Vault,
    service: &ServiceName,
    archive: &WalArchive,
    shared: &Shared,
) -> Vec<(Timeline, Lsn)> {
    let _listing = shared.listing.lock().await;
    let Ok(timelines) = archive.timelines().await else { return Vec::new() };
    let mut all = Vec::new();
    for timeline in timelines {
        let Ok(coverage) = archive.coverage(timeline).await else { continue };
        let prefix = names::wal_timeline(service, archive.cluster().system_id, timeline);
        let listing = vault.copies().list(&prefix).await;
        let pieces = listing.objects.keys().filter_map(|name| names::piece_range(name));
        let segments = segments(pieces, archive.segment_size());
        all.extend(segments.into_iter().filter(|range| coverage.covers(*range)).map(|r| (timeline, r.start)));
    }
    all
}

/// The segments that hold these pieces.
fn segments(pieces: impl Iterator<Item = LsnRange>, size: SegmentSize) -> BTreeSet<LsnRange> {
    pieces.map(|piece| WalFileName::holding(Timeline(1), piece.start, size).range()).collect()
}
