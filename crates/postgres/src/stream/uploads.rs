//! Pieces on their way to the vault, several at once.
//!
//! # Invariants
//! - **U1** A piece is tried until the vault has it; nothing is left out because the vault was away.
//! - **U2 bounded.** At most [`UNDER_WAY_LIMIT`] pieces are under way; the rest waits in the server.
//! - **U3** Other bytes under a piece's name are a fork, never overwritten and never passed over.
//!
//! Deliberately absent: when a piece is due (`piecer`).

use super::backoff::Backoff;
use super::durable::DurablePrefix;
use super::piecer::Piece;
use jiff::Timestamp;
use lifeboat_base::{Clock, Lsn, LsnRange, Timeline, error_chain};
use lifeboat_vault::WriteError;
use lifeboat_vault::wal::{Fetched, WalArchive, WalError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

#[cfg(test)]
mod tests;

/// Pieces that may be under way at once.
pub(super) const UNDER_WAY_LIMIT: usize = 8;
/// Reports of trouble that wait to be read; more say nothing new.
const TROUBLE_LIMIT: usize = 8;
/// Waits between tries of one piece.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What came of waiting for the uploads.
#[derive(Debug)]
pub(super) enum Uploaded {
    /// A piece became durable; whether the durable prefix grew.
    Durable { grew: bool },
    /// A try failed; it goes on.
    Trouble(String),
    /// U3.
    Conflict(LsnRange),
}

/// The uploads of one timeline, and how far they are durable.
pub(super) struct Uploads {
    archive: WalArchive,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
    tasks: JoinSet<(LsnRange, bool)>,
    prefix: DurablePrefix,
    /// When the uploads under way began, on the monotonic clock, by their start.
    begun: BTreeMap<Lsn, Duration>,
    trouble: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Uploads {
    pub(super) fn new(archive: WalArchive, timeline: Timeline, durable: Lsn, clock: Arc<dyn Clock>) -> Self {
        let begun = BTreeMap::new();
        let (tasks, prefix) = (JoinSet::new(), DurablePrefix::new(durable));
        Self { archive, timeline, clock, tasks, prefix, begun, trouble: mpsc::channel(TROUBLE_LIMIT) }
    }

    /// The end of what is durable.
    pub(super) fn durable(&self) -> Lsn {
        self.prefix.end()
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether another piece may begin (U2).
    pub(super) fn has_room(&self) -> bool {
        self.tasks.len() < UNDER_WAY_LIMIT
    }

    /// When the server sent the oldest byte that is under way.
    pub(super) fn oldest_sent_at(&self) -> Option<Timestamp> {
        self.prefix.oldest_sent_at()
    }

    /// How long the oldest piece has been under way.
    pub(super) fn oldest_age(&self, now: Duration) -> Option<Duration> {
        self.begun.first_key_value().map(|(_, begun)| now.saturating_sub(*begun))
    }

    /// Begins to upload a piece.
    pub(super) fn begin(&mut self, piece: Piece) {
        let range = piece.range();
        self.prefix.begin(range, piece.sent_at);
        self.begun.insert(range.start, self.clock.monotonic());
        let (archive, timeline, clock) = (self.archive.clone(), self.timeline, self.clock.clone());
        let trouble = self.trouble.0.clone();
        self.tasks.spawn(async move {
            let agreed = upload(&archive, timeline, &piece, clock.as_ref(), &trouble).await;
            (range, agreed)
        });
    }

    /// What happens next to the uploads; waits for ever when there are none. Cancel safe.
    pub(super) async fn next(&mut self) -> Uploaded {
        tokio::select! {
            biased;
            Some(done) = self.tasks.join_next() => {
                // A task is never aborted while its set lives, and has nothing that panics.
                let (range, agreed) = done.expect("an upload does not panic");
                if !agreed {
                    return Uploaded::Conflict(range);
                }
                self.begun.remove(&range.start);
                Uploaded::Durable { grew: self.prefix.finish(range) }
            }
            Some(reason) = self.trouble.1.recv() => Uploaded::Trouble(reason),
        }
    }
}

/// Tries until the vault has the piece (U1): true; or other bytes are in its place (U3): false.
async fn upload(
    archive: &WalArchive,
    timeline: Timeline,
    piece: &Piece,
    clock: &dyn Clock,
    trouble: &mpsc::Sender<String>,
) -> bool {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let error = match archive.put_piece(timeline, piece.start, &piece.bytes).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if let WalError::Write { source: WriteError::Conflict { .. }, .. } = &error
            && let Some(agrees) = compare(archive, timeline, piece.start, &piece.bytes).await
        {
            return agrees;
        }
        // Full means that as much has been told already.
        let _ = trouble.try_send(error_chain(&error));
        tokio::time::sleep(backoff.next(clock)).await;
    }
}

/// Whether the vault has exactly `bytes` at `start`; `None` if it cannot say.
pub(super) async fn compare(
    archive: &WalArchive,
    timeline: Timeline,
    start: Lsn,
    bytes: &[u8],
) -> Option<bool> {
    let (segment, end) = match archive.fetch(timeline, start).await.ok()? {
        Fetched::Whole(segment) => (segment, None),
        Fetched::Beginning { bytes, end } => (bytes, Some(end)),
        Fetched::Absent => return None,
    };
    if end.is_some_and(|end| end < start.advance(bytes.len() as u64)) {
        return None;
    }
    let offset = start.bytes_since(start.segment_start(archive.segment_size().bytes())) as usize;
    Some(segment.get(offset..offset + bytes.len())? == bytes)
}
