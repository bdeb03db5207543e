//! One connection's worth of streaming: from the socket to the vault, and back to the server how far.
//!
//! # Invariants
//! - **T1** What is reported as flushed is durable in the vault without a gap, and no more.
//! - **T2** It is reported at once when it grows: commits may wait for it.
//! - **T3 bounded.** When the vault is slow or away, nothing more is read from the socket; the server is
//!   still told that we live.
//! - **T4** WAL that arrived is sealed before a session ends, however it ends, unless its process dies.
//! - **T5** Where the vault's last bytes come again, they must be the same, or it is a fork.
//! - **T6** A vault that is away does not hold up production's shutdown, which waits for its receivers.
//!
//! Deliberately absent: where to begin, and what to do after an error (`connect`, `run`).

use super::alarm::{Alarm, AlarmKind, StreamEvent};
use super::copy_watch::CopyWatch;
use super::exposure::Exposure;
use super::piecer::{Pace, Piece, Piecer};
use super::shared::Shared;
use super::uploads::{Uploaded, Uploads};
use super::{StopSignal, StreamError};
use crate::client::{Connection, Event, Replication, Status};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_vault::wal::WalArchive;
use std::collections::VecDeque;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Between two status messages when nothing else gives reason for one.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_secs(2);
/// A vault that has failed, or said nothing, for so long is away; what passes sooner wakes nobody.
pub(super) const VAULT_PATIENCE: Duration = Duration::from_secs(5);
/// The server has more, and nothing came for so long.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at the socket when no commit waits. The server sends each commit by itself; waking for
/// each of thousands a second would take processor time that is production's where both share a machine.
const READ_PAUSE: Duration = Duration::from_millis(25);
/// With so much at once the server has more: there is something to catch up with, and no pause.
const READ_ON_BYTES: u64 = 64 << 10;
/// How long a stop waits for the vault. What it does not take by then, the server keeps.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How a session ended that did not fail.
#[derive(Debug)]
pub(super) enum Ended {
    /// As asked.
    Stopped,
    /// The timeline ended; the server's next one, if it tells.
    Timeline { next: Option<(Timeline, Lsn)>, connection: Box<Connection> },
}

/// What the vault has of the last bytes before its end, to be held against the server's (T5).
#[derive(Debug, Clone, Default)]
pub(super) struct Overlap {
    pub(super) start: Lsn,
    pub(super) bytes: Vec<u8>,
}

/// The vault does not take what it is given.
#[derive(Debug)]
struct Trouble {
    /// By our clock.
    since: Timestamp,
    /// The same, on the monotonic clock.
    begun: Duration,
    /// What was said last.
    reason: String,
}

/// What a session works with.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    timeline: Timeline,
    piecer: Piecer,
    /// Full pieces for which there was no room.
    queue: VecDeque<Piece>,
    uploads: Uploads,
    overlap: Overlap,
    /// How much of the overlap has come.
    compared: usize,
    server_end: Lsn,
    last_data: Duration,
    last_data_at: Timestamp,
    /// The vault's trouble, if it has any.
    trouble: Option<Trouble>,
    copies: CopyWatch,
    status_interval: Duration,
    /// When the socket is looked at again, on the monotonic clock.
    next_read: Duration,
}

impl<'a> Session<'a> {
    /// A session that goes on at `durable`, the vault's end on `timeline`.
    pub(super) fn new(
        shared: &'a Shared,
        archive: &WalArchive,
        timeline: Timeline,
        durable: Lsn,
        overlap: Overlap,
        status_interval: Duration,
    ) -> Self {
        let clock = shared.clock.clone();
        Self {
            timeline,
            piecer: Piecer::new(durable, archive.segment_size().bytes()),
            queue: VecDeque::new(),
            uploads: Uploads::new(archive.clone(), timeline, durable, shared.recent.clone(), clock.clone()),
            overlap,
            compared: 0,
            server_end: durable,
            last_data: clock.monotonic(),
            last_data_at: clock.now(),
            trouble: None,
            copies: CopyWatch::new(archive.vault().copies()),
            status_interval,
            next_read: Duration::ZERO,
            shared,
        }
    }

    /// What is durable, and what arrived and is not yet.
    pub(super) fn reached(&self) -> (Timeline, Lsn, u64) {
        (self.timeline, self.uploads.durable(), self.piecer.end().bytes_since(self.uploads.durable()))
    }

    /// Streams until it is stopped, the timeline ends or something fails.
    ///
    /// On a stop, what arrived is made durable and reported before the connection is closed.
    pub(super) async fn run(
        &mut self,
        mut replication: Replication,
        stop: &mut StopSignal,
    ) -> Result<Ended, StreamError> {
        self.publish(true);
        if self.is_compared() {
            self.report(&mut replication).await?;
        }
        let clock = self.shared.clock.clone();
        let mut next_status = clock.monotonic() + self.status_interval;
        loop {
            self.begin_due();
            let now = clock.monotonic();
            let due = self.piecer.due_at(self.pace()).filter(|_| self.uploads.has_room());
            let read = Some(self.next_read).filter(|read| self.can_read() && *read > now);
            let wake = [due, read].into_iter().flatten().fold(next_status, Duration::min).saturating_sub(now);
            tokio::select! {
                biased;
                () = stop.asked() => break,
                uploaded = self.uploads.next() => {
                    if self.take_uploaded(uploaded)? {
                        self.report(&mut replication).await?;
                        next_status = clock.monotonic() + self.status_interval;
                    }
                }
                () = tokio::time::sleep(wake) => {
                    if clock.monotonic() >= next_status {
                        if self.is_compared() {
                            self.report(&mut replication).await?;
                        }
                        self.look(true);
                        if self.trouble.is_some() && self.shared.is_stopping() {
                            return Err(StreamError::LetGo);
                        }
                        next_status = clock.monotonic() + self.status_interval;
                    }
                }
                event = replication.recv(), if self.can_read() && self.next_read <= now => {
                    let mut next_event = Some(event);
                    let mut answers = false;
                    let received = self.piecer.end();
                    while let Some(event) = next_event.take() {
                        let event = event.map_err(StreamError::Server)?;
                        if let Event::EndOfTimeline { next } = event {
                            let connection = replication.stop().await.map_err(StreamError::Server)?;
                            return Ok(Ended::Timeline { next, connection: Box::new(connection) });
                        }
                        answers |= self.take_event(event)?;
                        if self.can_read() {
                            next_event = replication.recv_now();
                        }
                    }
                    if answers {
                        self.report(&mut replication).await?;
                    }
                    let is_little = self.piecer.end().bytes_since(received) < READ_ON_BYTES;
                    if is_little && self.pace() == Pace::Gather {
                        self.next_read = clock.monotonic() + READ_PAUSE;
                    }
                }
            }
        }
        self.drain(Some(&mut replication), stop).await?;
        // The server may be gone by now; all that could be saved is saved.
        if let Ok(connection) = replication.stop().await {
            connection.close().await;
        }
        Ok(Ended::Stopped)
    }

    /// Makes durable what arrived (T4); when a stop is asked for, only within [`STOP_LIMIT`].
    pub(super) async fn drain(
        &mut self,
        mut replication: Option<&mut Replication>,
        stop: &mut StopSignal,
    ) -> Result<(), StreamError> {
        let clock = self.shared.clock.clone();
        self.queue.extend(self.piecer.take(clock.monotonic()));
        let mut deadline = None;
        while !(self.queue.is_empty() && self.uploads.is_idle()) {
            self.begin_due();
            let now = clock.monotonic();
            if deadline.is_some_and(|deadline| now >= deadline) {
                break;
            }
            let grew = tokio::select! {
                biased;
                () = stop.asked(), if deadline.is_none() => { deadline = Some(now + STOP_LIMIT); false }
                uploaded = self.uploads.next() => self.take_uploaded(uploaded)?,
                () = tokio::time::sleep(STATUS_INTERVAL) => { self.look(replication.is_some()); false }
            };
            if grew && let Some(stream) = replication.as_deref_mut() {
                // A server that is gone does not keep us from saving the rest.
                let _ = self.report(stream).await;
            }
        }
        Ok(())
    }

    /// Hands over what is due, as far as there is room.
    fn begin_due(&mut self) {
        while self.uploads.has_room()
            && let Some(piece) = self.queue.pop_front()
        {
            self.uploads.begin(piece);
        }
        let now = self.shared.clock.monotonic();
        let is_due = self.piecer.due_at(self.pace()).is_some_and(|due| due <= now);
        if is_due && self.queue.is_empty() && self.uploads.has_room() {
            self.piecer.take(now).into_iter().for_each(|piece| self.uploads.begin(piece));
        }
    }

    /// Whether there is room for more (T3).
    fn can_read(&self) -> bool {
        self.queue.is_empty() && !self.piecer.is_full()
    }

    /// Until somebody has looked, commits may wait.
    fn pace(&self) -> Pace {
        match self.shared.observed_wait() {
            Some(false) => Pace::Gather,
            Some(true) | None => Pace::Hurry { idle: self.uploads.is_idle() },
        }
    }

    /// Whether all of the overlap has come, and is the same.
    fn is_compared(&self) -> bool {
        self.compared == self.overlap.bytes.len()
    }

    /// Takes what the server sent; whether it should be answered now.
    fn take_event(&mut self, event: Event) -> Result<bool, StreamError> {
        let was_compared = self.is_compared();
        match event {
            Event::WalData { start, end, sent_at, data } => {
                self.server_end = self.server_end.max(end);
                self.last_data = self.shared.clock.monotonic();
                self.last_data_at = self.shared.clock.now();
                self.shared.board.clear(AlarmKind::Stalled);
                let (start, data) = self.compare(start, &data)?;
                if !data.is_empty() {
                    let now = self.last_data;
                    let full = self.piecer.push(start, data, now, sent_at);
                    let full = full.map_err(|error| StreamError::Unexpected(error.to_string()))?;
                    self.queue.extend(full);
                }
            }
            Event::Keepalive { wal_end, .. } => self.server_end = self.server_end.max(wal_end),
            Event::EndOfTimeline { .. } => {}
        }
        self.publish(true);
        Ok(self.is_compared() && !was_compared)
    }

    /// Holds the overlap against what comes again (T5); returns the rest, which is new.
    fn compare<'d>(&mut self, start: Lsn, data: &'d [u8]) -> Result<(Lsn, &'d [u8]), StreamError> {
        if self.is_compared() {
            return Ok((start, data));
        }
        let due = self.overlap.start.advance(self.compared as u64);
        if start != due {
            return Err(StreamError::Unexpected(format!("WAL from {start} came where {due} was due")));
        }
        let expected = &self.overlap.bytes[self.compared..];
        let length = expected.len().min(data.len());
        if expected[..length] != data[..length] {
            let range = LsnRange { start, end: start.advance(length as u64) };
            return Err(StreamError::Fork { timeline: self.timeline, range });
        }
        self.compared += length;
        Ok((start.advance(length as u64), &data[length..]))
    }

    /// Takes what came of an upload; whether more is durable now.
    fn take_uploaded(&mut self, uploaded: Uploaded) -> Result<bool, StreamError> {
        match uploaded {
            Uploaded::Durable { grew, buffer } => {
                self.piecer.reuse(buffer);
                if grew {
                    self.trouble = None;
                    self.shared.board.clear(AlarmKind::VaultUnavailable);
                    self.shared.progress.send_replace(Some((self.timeline, self.uploads.durable())));
                    let connected = self.shared.exposure.borrow().connected;
                    self.publish(connected);
                }
                Ok(grew)
            }
            Uploaded::Trouble(reason) => {
                self.bear_trouble(reason);
                Ok(false)
            }
            Uploaded::Conflict(range) => Err(StreamError::Fork { timeline: self.timeline, range }),
        }
    }

    /// The vault fails; after a while that is an alarm.
    fn bear_trouble(&mut self, reason: String) {
        let clock = &self.shared.clock;
        let begun = || Trouble { since: clock.now(), begun: clock.monotonic(), reason: String::new() };
        let trouble = self.trouble.get_or_insert_with(begun);
        trouble.reason = reason;
        if clock.monotonic().saturating_sub(trouble.begun) >= VAULT_PATIENCE {
            let (since, reason) = (trouble.since, trouble.reason.clone());
            self.shared.board.raise(Alarm::VaultUnavailable { since, reason });
        }
    }

    /// Looks for what no message tells: a vault that hangs, a server that has more and sends none.
    fn look(&mut self, connected: bool) {
        let now = self.shared.clock.monotonic();
        if let Some(reason) = self.trouble.as_ref().map(|trouble| trouble.reason.clone()) {
            self.bear_trouble(reason);
        } else if self.uploads.oldest_age(now).is_some_and(|age| age > VAULT_PATIENCE) {
            self.bear_trouble("it does not answer".to_owned());
        }
        self.copies.look(&self.shared.board, now);
        let received = self.piecer.end();
        let observed = self.shared.observed_flush();
        self.server_end = self.server_end.max(observed);
        if observed > received && self.can_read() && now.saturating_sub(self.last_data) > STALL_LIMIT {
            let since = self.last_data_at;
            self.shared.board.raise(Alarm::Stalled { server: observed, received, since });
        }
        self.publish(connected);
    }

    /// Reports what is durable, and nothing else as flushed (T1).
    async fn report(&self, replication: &mut Replication) -> Result<(), StreamError> {
        let durable = self.uploads.durable();
        let status = Status { write: self.piecer.end(), flush: durable, apply: durable };
        replication.send_status(status, false).await.map_err(StreamError::Server)
    }

    /// Publishes what is at risk.
    fn publish(&self, connected: bool) {
        let durable = self.uploads.durable();
        let flushed_on_server = self.server_end.max(self.piecer.end());
        let oldest = self.uploads.oldest_sent_at().or_else(|| self.queue.front().map(|piece| piece.sent_at));
        let oldest = oldest.or_else(|| self.piecer.oldest_sent_at());
        let now = self.shared.clock.now();
        self.shared.exposure.send_modify(|exposure| {
            let since = oldest.or(match flushed_on_server > durable {
                // Not here yet: since we first knew of it.
                true => exposure.since.or(Some(now)),
                false => None,
            });
            *exposure = Exposure { flushed_on_server, durable, since, connected };
        });
    }

    /// Tells that WAL flows.
    pub(super) fn announce(&self, endpoint: &str, system: lifeboat_base::SystemId, start: Lsn) {
        self.shared.board.clear(AlarmKind::Disconnected);
        let endpoint = endpoint.to_owned();
        self.shared.board.tell(StreamEvent::Connected { endpoint, system, timeline: self.timeline, start });
    }
}
