//! Makes sure that the WAL from a backup's start to its stop is durable in the vault (B2).

use super::{BackupError, LOOK_PAUSE, LOOKS};
use crate::client::{Connection, Event, StartReplication, Status};
use lifeboat_base::{Clock, Lsn, LsnRange, Timeline};
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

/// Streams what the vault lacks of the WAL from `start` to `stop`, over the connection that holds `slot`.
///
/// From the beginning of the segment on, for recovery asks for whole segments.
pub(super) async fn ensure(
    archive: &WalArchive,
    mut keeper: Connection,
    slot: &str,
    timeline: Timeline,
    (start, stop): (Lsn, Lsn),
    from_standby: bool,
    clock: &Arc<dyn Clock>,
) -> Result<(), BackupError> {
    let segment_bytes = archive.segment_size().bytes();
    // To the end of its segment, to which the server switched when the backup stopped: recovery that is told
    // to end at consistency does so at the first record after it. A standby cannot switch.
    let segment_end = match stop.0 % segment_bytes {
        0 => stop,
        _ => stop.segment_start(segment_bytes).advance(segment_bytes),
    };
    let end = if from_standby { stop } else { segment_end };
    let wanted = LsnRange { start: start.segment_start(segment_bytes), end };
    if timeline != FIRST {
        // Recovery refuses a timeline of which it finds no history.
        let history = keeper.timeline_history(timeline).await.map_err(BackupError::Server)?;
        archive.put_history(timeline, &history.content).await.map_err(BackupError::Wal)?;
    }
    let coverage = archive.coverage(timeline).await.map_err(BackupError::Wal)?;
    let mut position = match coverage.end_from(wanted.start) {
        Some(end) if end >= wanted.end => return Ok(()),
        Some(end) => end,
        None => wanted.start,
    };
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
    while position < wanted.end {
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
                        buffer.len() >= PIECE_BYTES || end.0 % segment_bytes == 0 || end >= wanted.end;
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
                    "the server lives but sends no WAL beyond {position}, though the backup stopped at {stop}"
                )));
            }
            Event::Keepalive { .. } => {}
            Event::EndOfTimeline { .. } => {
                return Err(BackupError::Unexpected(format!(
                    "timeline {timeline} ended at {position}, before the backup's stop at {stop}: the server was promoted; take the backup again"
                )));
            }
        }
    }
    // The slot is temporary: it goes with the connection. What was not said goodbye to stands in production's
    // log as a failure; what cannot be said goodbye to does no harm here.
    if let Ok(keeper) = replication.stop().await {
        keeper.close().await;
    }
    // B5: what was acknowledged must show. Not always at once, for a stream may be joining pieces just now.
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
