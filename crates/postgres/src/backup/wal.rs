//! Makes sure that the WAL from a backup's start to its stop is durable in the vault (B2).

use super::{BackupError, LOOK_PAUSE, LOOKS};
use crate::client::{Connection, Event, Replication, StartReplication, Status};
use bytes::Bytes;
use lifeboat_base::{Clock, Lsn, LsnRange, Timeline};
use lifeboat_pgformat::TimelineHistory;
use lifeboat_vault::wal::{WalArchive, WalError};
use std::sync::Arc;
use std::time::Duration;

/// A piece is sealed when it holds this much.
const PIECE_BYTES: usize = 4 << 20;
/// The timeline that has no history.
const FIRST: Timeline = Timeline(1);
/// A server that says nothing for so long is lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// One that lives and sends none of the WAL that it wrote is no better.
const STANDSTILL_LIMIT: Duration = Duration::from_secs(120);

/// Streams what the vault lacks of the WAL from `start`, which is on timeline `first`, to `stop`, over the
/// connection that holds `slot`; from the beginning of the segment on, for recovery asks for whole segments.
///
/// The timeline of `stop`: another than `first` if a standby followed a promotion meanwhile.
pub(super) async fn ensure(
    archive: &WalArchive,
    mut keeper: Connection,
    slot: &str,
    first: Timeline,
    (start, stop): (Lsn, Lsn),
    from_standby: bool,
    clock: &Arc<dyn Clock>,
) -> Result<Timeline, BackupError> {
    let segment_bytes = archive.segment_size().bytes();
    // To the end of its segment, to which the server switched when the backup stopped: what follows the stop
    // is then there, too. A standby cannot switch.
    let segment_end = match stop.0 % segment_bytes {
        0 => stop,
        _ => stop.segment_start(segment_bytes).advance(segment_bytes),
    };
    let end = if from_standby { stop } else { segment_end };
    let history = history(archive, &mut keeper, first, stop).await?;
    let last = history.timeline();
    let parts = parts(&history, first, LsnRange { start, end }, segment_bytes);
    let mut keeper = Ok(keeper);
    for (timeline, wanted) in &parts {
        let coverage = archive.coverage(*timeline).await.map_err(BackupError::Wal)?;
        let position = coverage.end_from(wanted.start).unwrap_or(wanted.start);
        if position < wanted.end {
            let part = Part { timeline: *timeline, position, end: wanted.end };
            keeper =
                stream(archive, keeper.map_err(BackupError::Server)?, slot, part, clock).await?.stop().await;
        }
    }
    // The slot is temporary: it goes with the connection. What was not said goodbye to stands in production's
    // log as a failure; what cannot be said goodbye to does no harm here.
    if let Ok(keeper) = keeper {
        keeper.close().await;
    }
    for (timeline, wanted) in parts {
        look_again(archive, timeline, wanted).await?;
    }
    Ok(last)
}

/// The history of the timeline of `stop`, which goes into the vault: recovery refuses a timeline of which it
/// finds none.
async fn history(
    archive: &WalArchive,
    keeper: &mut Connection,
    first: Timeline,
    stop: Lsn,
) -> Result<TimelineHistory, BackupError> {
    let now = keeper.identify_system().await.map_err(BackupError::Server)?.timeline;
    let last_byte = Lsn(stop.0.saturating_sub(1));
    let owner = fetch_history(keeper, now).await?.0.owner_of(last_byte);
    let (history, content) = fetch_history(keeper, owner).await?;
    if history.range_of(first).is_none() {
        return Err(BackupError::Unexpected(format!(
            "the backup began on timeline {first}, which is on no way to timeline {owner}"
        )));
    }
    if owner != FIRST {
        archive.put_history(owner, &content).await.map_err(BackupError::Wal)?;
    }
    Ok(history)
}

async fn fetch_history(
    keeper: &mut Connection,
    timeline: Timeline,
) -> Result<(TimelineHistory, Bytes), BackupError> {
    if timeline == FIRST {
        return Ok((TimelineHistory::root(FIRST), Bytes::new()));
    }
    let content = keeper.timeline_history(timeline).await.map_err(BackupError::Server)?.content;
    let history = TimelineHistory::parse(timeline, &content);
    Ok((history.map_err(|error| BackupError::Unexpected(error.to_string()))?, content))
}

/// What of `wanted` is on which timeline, oldest first; each begins with a segment.
fn parts(
    history: &TimelineHistory,
    first: Timeline,
    wanted: LsnRange,
    segment_bytes: u64,
) -> Vec<(Timeline, LsnRange)> {
    let ancestors = history.ancestors().iter().map(|entry| entry.timeline);
    let timelines = ancestors.chain([history.timeline()]).filter(|timeline| *timeline >= first);
    let part = |timeline| {
        let own = history.range_of(timeline)?;
        let start = own.start.max(wanted.start).segment_start(segment_bytes);
        let end = own.end.min(wanted.end);
        (start < end).then_some((timeline, LsnRange { start, end }))
    };
    timelines.filter_map(part).collect()
}

/// B5: what was acknowledged must show. Not always at once, for a stream may be joining pieces just now.
async fn look_again(archive: &WalArchive, timeline: Timeline, wanted: LsnRange) -> Result<(), BackupError> {
    for look in 1.. {
        let coverage = archive.coverage(timeline).await.map_err(BackupError::Wal)?;
        let end = coverage.end_from(wanted.start).unwrap_or(wanted.start);
        if end >= wanted.end {
            break;
        }
        if look == LOOKS {
            let hole = LsnRange { start: end, end: wanted.end };
            return Err(BackupError::Wal(WalError::Hole { timeline, hole }));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Ok(())
}

/// What is to be streamed of one timeline.
struct Part {
    timeline: Timeline,
    position: Lsn,
    end: Lsn,
}

async fn stream(
    archive: &WalArchive,
    keeper: Connection,
    slot: &str,
    Part { timeline, mut position, end: wanted_end }: Part,
    clock: &Arc<dyn Clock>,
) -> Result<Replication, BackupError> {
    let segment_bytes = archive.segment_size().bytes();
    let request = StartReplication {
        slot: Some(slot.to_owned()),
        start: position,
        timeline: Some(timeline),
        silence_limit: SILENCE_LIMIT,
    };
    let mut replication =
        keeper.start_replication(&request, clock.clone()).await.map_err(BackupError::Server)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(PIECE_BYTES);
    let mut deadline = clock.monotonic() + STANDSTILL_LIMIT;
    while position < wanted_end {
        match replication.recv().await.map_err(BackupError::Server)? {
            Event::WalData { start: at, data, .. } => {
                let expected = position.advance(buffer.len() as u64);
                if at != expected {
                    return Err(BackupError::Unexpected(format!("WAL from {at} where {expected} was due")));
                }
                let mut data = &data[..];
                while !data.is_empty() {
                    let at = position.advance(buffer.len() as u64);
                    let to_segment_end = segment_bytes - at.0 % segment_bytes;
                    let (now, rest) = data.split_at(data.len().min(to_segment_end as usize));
                    buffer.extend_from_slice(now);
                    data = rest;
                    let end = position.advance(buffer.len() as u64);
                    let is_due =
                        buffer.len() >= PIECE_BYTES || end.0 % segment_bytes == 0 || end >= wanted_end;
                    if is_due {
                        archive.put_piece(timeline, position, &buffer).await.map_err(BackupError::Wal)?;
                        position = end;
                        deadline = clock.monotonic() + STANDSTILL_LIMIT;
                        buffer.clear();
                        let status = Status { write: end, flush: end, apply: end };
                        replication.send_status(status, false).await.map_err(BackupError::Server)?;
                    }
                }
            }
            Event::Keepalive { .. } if clock.monotonic() > deadline => {
                return Err(BackupError::Unexpected(format!(
                    "the server lives but sends no WAL beyond {position}, though the backup needs it up to {wanted_end}"
                )));
            }
            Event::Keepalive { .. } => {}
            Event::EndOfTimeline { .. } => {
                return Err(BackupError::Unexpected(format!(
                    "timeline {timeline} ended at {position}, but the backup needs it up to {wanted_end}; take the backup again"
                )));
            }
        }
    }
    Ok(replication)
}
