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
use super::recent::Recent;
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
    /// A piece became durable; whether the durable prefix grew. Its buffer may be used again.
    Durable { grew: bool, buffer: Vec<u8> },
    /// A try failed; it goes on.
    Trouble(String),
    /// U3.
    Conflict(LsnRange),
}

/// The uploads of one timeline, and how far they are durable.
pub(super) struct Uploads {
    archive: WalArchive,
    timeline: Timeline,
    recent: Arc<Recent>,
    clock: Arc<dyn Clock>,
    tasks: JoinSet<(Piece, bool)>,
    prefix: DurablePrefix,
    /// When the uploads under way began, on the monotonic clock, by their start.
    begun: BTreeMap<Lsn, Duration>,
    trouble: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Uploads {
    pub(super) fn new(
        archive: WalArchive,
        timeline: Timeline,
        durable: Lsn,
        recent: Arc<Recent>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (tasks, prefix) = (JoinSet::new(), DurablePrefix::new(durable));
        let (begun, trouble) = (BTreeMap::new(), mpsc::channel(TROUBLE_LIMIT));
        Self { archive, timeline, recent, clock, tasks, prefix, begun, trouble }
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
        let (recent, trouble) = (self.recent.clone(), self.trouble.0.clone());
        self.tasks.spawn(async move {
            let agreed = match upload(&archive, timeline, &piece, clock.as_ref(), &trouble).await {
                Put::Taken => {
                    recent.keep(timeline, piece.start, &piece.bytes, archive.segment_size());
                    true
                }
                Put::There { agrees } => agrees,
            };
            (piece, agreed)
        });
    }

    /// What happens next to the uploads; waits for ever when there are none. Cancel safe.
    pub(super) async fn next(&mut self) -> Uploaded {
        tokio::select! {
            biased;
            Some(done) = self.tasks.join_next() => {
                // A task is never aborted while its set lives, and has nothing that panics.
                let (piece, agreed) = done.expect("an upload does not panic");
                let range = piece.range();
                if !agreed {
                    return Uploaded::Conflict(range);
                }
                self.begun.remove(&range.start);
                Uploaded::Durable { grew: self.prefix.finish(range), buffer: piece.bytes }
            }
            Some(reason) = self.trouble.1.recv() => Uploaded::Trouble(reason),
        }
    }
}

/// How the vault came to have a piece, or something in its place.
enum Put {
    /// From us.
    Taken,
    /// It was there already, in some form; or other bytes are there (U3).
    There { agrees: bool },
}

/// Tries until the vault has the piece, or something in its place (U1).
async fn upload(
    archive: &WalArchive,
    timeline: Timeline,
    piece: &Piece,
    clock: &dyn Clock,
    trouble: &mpsc::Sender<String>,
) -> Put {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        let error = match archive.put_piece(timeline, piece.start, &piece.bytes).await {
            Ok(()) => return Put::Taken,
            Err(error) => error,
        };
        if let WalError::Write { source: WriteError::Conflict { .. }, .. } = &error
            && let Some(agrees) = compare(archive, timeline, piece.start, &piece.bytes).await
        {
            return Put::There { agrees };
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
