//! Physical replication: WAL as the server writes it, and how far we have it.
//!
//! ```text
//! Copying ──server's CopyDone──▶ Ending ──ready──▶ Ended   (the timeline ended)
//!    └─────our CopyDone (stop)──▶ Ending ──ready──▶ the connection again
//! ```
//!
//! # Invariants
//! - **P1 cancel safety.** A dropped [`Replication::recv`] loses no WAL and no message half sent, so it
//!   may stand in a `select!` beside whatever moves the flush position; [`Replication::send_status`] is
//!   then called in the branch that won.
//! - **P2 nothing is claimed for the caller.** What is reported as written, flushed or applied is what
//!   the caller last reported, zero before; questions that the server or the silence limit make us
//!   answer repeat it.
//! - **P3 silence ends.** If nothing is heard for half the limit, the server is asked; if nothing is
//!   heard for the other half, the stream fails.
//!
//! Deliberately absent: the meaning of WAL, and whether it is contiguous; the archiver proves that.
//!
//! Source: PostgreSQL manual, "Streaming Replication Protocol", START_REPLICATION.

use super::connection::Connection;
use super::error::ClientError;
use super::quote::quote_replication_identifier;
use super::row::{Columns, Row, RowError, read_columns};
use super::server_error::ServerError;
use super::wire::Incoming;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::FutureExt;
use jiff::Timestamp;
use lifeboat_base::{Clock, Lsn, Timeline};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend::{self, CopyData};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// PostgreSQL's epoch, 2000-01-01, in microseconds of Unix time.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// Longest wait for the server to end replication after we asked.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What to stream.
#[derive(Debug, Clone)]
pub struct StartReplication {
    /// The slot that keeps the WAL for us.
    pub slot: Option<String>,
    /// First byte wanted. The server begins exactly here.
    pub start: Lsn,
    /// On which timeline; the server's own if none is named.
    pub timeline: Option<Timeline>,
    /// Longest silence before the server counts as lost (P3). Keep it below nothing the server needs:
    /// its own `wal_sender_timeout` (60 s) is about our silence, not its.
    pub silence_limit: Duration,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// WAL.
    WalData {
        /// Position of its first byte.
        start: Lsn,
        /// End of the server's WAL when it was sent.
        end: Lsn,
        /// When it was sent, by the server's clock.
        sent_at: Timestamp,
        /// The bytes. They share memory with their neighbours: keep them for long as a copy only.
        data: Bytes,
    },
    /// A sign of life.
    Keepalive {
        /// End of the server's WAL.
        wal_end: Lsn,
        /// When it was sent, by the server's clock.
        sent_at: Timestamp,
        /// The server asked how far we are; it was told what was last reported.
        reply_requested: bool,
    },
    /// The timeline ended here; the connection can be had back. Repeated if asked again.
    EndOfTimeline {
        /// The timeline that follows, and the position where it forks off.
        next: Option<(Timeline, Lsn)>,
    },
}

/// How far we have the WAL; each position is the first byte that is *not* covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// Received.
    pub write: Lsn,
    /// Durable: the server may drop WAL before it, and commits that wait for us may return.
    pub flush: Lsn,
    /// Applied; for an archive, the same as durable.
    pub apply: Lsn,
}

#[derive(Debug)]
enum Phase {
    Copying,
    Ending { columns: Option<Columns>, next: Option<(Timeline, Lsn)> },
    Ended { next: Option<(Timeline, Lsn)> },
}

/// A connection that streams WAL.
pub struct Replication {
    connection: Connection,
    clock: Arc<dyn Clock>,
    phase: Phase,
    /// We have said that we are done.
    stopping: bool,
    status: Status,
    silence_limit: Duration,
    /// When the server was last asked whether it lives, if it has not answered.
    asked: Option<Instant>,
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, phase, status, .. } = self;
        f.debug_struct("Replication")
            .field("connection", connection)
            .field("phase", phase)
            .field("status", status)
            .finish()
    }
}

impl Connection {
    /// Begins to stream WAL. Needs [`super::Purpose::Replication`] (or `ReplicationDatabase`).
    ///
    /// # Errors
    /// [`ClientError`], among them [`super::Refusal::SlotMissing`], [`super::Refusal::SlotInUse`],
    /// [`super::Refusal::SlotLost`] and [`super::Refusal::WalRemoved`]. The last may also come from
    /// [`Replication::recv`].
    pub async fn start_replication(
        mut self,
        start: &StartReplication,
        clock: Arc<dyn Clock>,
    ) -> Result<Replication, ClientError> {
        let slot = start.slot.as_deref().map(quote_replication_identifier).transpose()?;
        let slot = slot.map(|slot| format!(" SLOT {slot}"));
        let timeline = start.timeline.map(|timeline| format!(" TIMELINE {timeline}"));
        let command = format!(
            "START_REPLICATION{} PHYSICAL {}{}",
            slot.unwrap_or_default(),
            start.start,
            timeline.unwrap_or_default()
        );
        self.send(&command, start.slot.as_deref()).await?;
        let phase = loop {
            match self.receive().await? {
                Incoming::CopyBoth => break Phase::Copying,
                // Nothing to stream: the timeline ends where we wanted to begin.
                Incoming::Other(Message::RowDescription(body)) => {
                    let columns = read_columns(&body).ok_or_else(|| self.unexpected("malformed columns"))?;
                    break Phase::Ending { columns: Some(columns), next: None };
                }
                Incoming::Other(Message::ErrorResponse(body)) => {
                    self.note_error(ServerError::read(body.fields()))?;
                }
                Incoming::Other(Message::ReadyForQuery(_)) => {
                    self.set_ready()?;
                    return Err(self.unexpected("replication ended before it began"));
                }
                _ => return Err(self.unexpected("a message that does not begin replication")),
            }
        };
        Ok(Replication {
            connection: self,
            clock,
            phase,
            stopping: false,
            status: Status::default(),
            silence_limit: start.silence_limit,
            asked: None,
        })
    }
}

impl Replication {
    /// What the server sends next. Cancel safe (P1).
    ///
    /// # Errors
    /// [`ClientError`]; the stream is over then.
    pub async fn recv(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Phase::Ended { next } = self.phase {
                return Ok(Event::EndOfTimeline { next });
            }
            let Some(incoming) = self.receive_in_time().await? else { continue };
            if let Some(event) = self.take(incoming)? {
                return Ok(event);
            }
        }
    }

    /// What has come by now, without waiting for more: until [`Replication::recv`] is called nothing wakes up for
    /// what comes.
    ///
    /// # Errors
    /// As [`Replication::recv`].
    pub fn recv_now(&mut self) -> Option<Result<Event, ClientError>> {
        self.connection.wire.rest(true);
        let event = self.recv().now_or_never();
        self.connection.wire.rest(false);
        event
    }

    /// Reports how far we have the WAL.
    ///
    /// # Errors
    /// [`ClientError`] if the connection is gone. Cancel safe: what was not sent goes with the next call
    /// of this or of [`Replication::recv`].
    pub async fn send_status(&mut self, status: Status, reply_requested: bool) -> Result<(), ClientError> {
        self.status = status;
        if !matches!(self.phase, Phase::Copying) || self.stopping {
            return Ok(());
        }
        self.queue_status(reply_requested)?;
        let limit = self.silence_limit;
        let late = |_| ClientError::Silent { endpoint: self.connection.session.endpoint.clone(), limit };
        timeout(limit, self.connection.wire.flush())
            .await
            .map_err(late)?
            .map_err(|error| self.connection.lost(error))
    }

    /// What was last reported.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Ends streaming and gives the connection back; WAL still under way is dropped.
    ///
    /// # Errors
    /// [`ClientError`], [`ClientError::Silent`] if the server does not end it in time.
    pub async fn stop(mut self) -> Result<Connection, ClientError> {
        if matches!(self.phase, Phase::Copying) && !self.stopping {
            self.queue_copy_done()?;
            self.stopping = true;
        }
        let ended = async {
            while !matches!(self.recv().await?, Event::EndOfTimeline { .. }) {}
            Ok::<(), ClientError>(())
        };
        let outcome = timeout(STOP_LIMIT, ended).await;
        let late =
            ClientError::Silent { endpoint: self.connection.session.endpoint.clone(), limit: STOP_LIMIT };
        outcome.map_err(|_| late)??;
        Ok(self.connection)
    }

    /// Sends what is queued and waits for a message; `None` when the server was asked for a sign of
    /// life instead.
    async fn receive_in_time(&mut self) -> Result<Option<Incoming>, ClientError> {
        let heard = self.connection.wire.heard();
        let half = self.silence_limit / 2;
        if self.asked.is_some_and(|asked| heard > asked) {
            self.asked = None;
        }
        let deadline = self.asked.unwrap_or(heard) + half;
        let connection = &mut self.connection;
        let next = async {
            connection.wire.flush().await.map_err(|error| connection.lost(error))?;
            connection.receive().await
        };
        match timeout_at(deadline, next).await {
            Ok(incoming) => incoming.map(Some),
            Err(_) if self.asked.is_none() && matches!(self.phase, Phase::Copying) && !self.stopping => {
                self.asked = Some(Instant::now());
                self.queue_status(true)?;
                Ok(None)
            }
            Err(_) if self.asked.is_none() => {
                self.asked = Some(Instant::now());
                Ok(None)
            }
            Err(_) => Err(ClientError::Silent {
                endpoint: self.connection.session.endpoint.clone(),
                limit: self.silence_limit,
            }),
        }
    }

    /// Acts on one message. Never waits: a caller that drops `recv` cannot come between.
    fn take(&mut self, incoming: Incoming) -> Result<Option<Event>, ClientError> {
        let message = match incoming {
            Incoming::CopyData(_) if self.stopping => return Ok(None),
            Incoming::CopyData(bytes) => {
                let event = decode(bytes).map_err(|what| self.connection.unexpected(what))?;
                if let Event::Keepalive { reply_requested: true, .. } = event {
                    self.queue_status(false)?;
                }
                return Ok(Some(event));
            }
            Incoming::CopyBoth | Incoming::Negotiate => {
                return Err(self.connection.unexpected("a second start of replication"));
            }
            Incoming::Other(message) => message,
        };
        match (message, &mut self.phase) {
            (Message::CopyDone, Phase::Copying) => {
                if !self.stopping {
                    self.queue_copy_done()?;
                }
                self.phase = Phase::Ending { columns: None, next: None };
            }
            // A server that shuts down says so with the end of the command, not of the copy.
            (Message::CommandComplete(_), Phase::Copying) => {
                let endpoint = self.connection.session.endpoint.clone();
                return Err(ClientError::ReplicationEnded { endpoint });
            }
            (Message::RowDescription(body), Phase::Ending { columns, .. }) => *columns = read_columns(&body),
            (Message::DataRow(body), Phase::Ending { columns: Some(columns), next }) => {
                let row = Row::read(columns, &body);
                let row =
                    row.ok_or_else(|| self.connection.unexpected("a row that does not fit its columns"))?;
                *next = Some(read_next(&row).map_err(|error| self.connection.bad_row(error))?);
            }
            (Message::CommandComplete(_), Phase::Ending { .. }) => {}
            (Message::ReadyForQuery(_), Phase::Ending { next, .. }) => {
                let next = *next;
                self.phase = Phase::Ended { next };
                self.connection.set_ready()?;
            }
            (Message::ErrorResponse(body), _) => {
                return Err(self.connection.explain(ServerError::read(body.fields())));
            }
            _ => return Err(self.connection.unexpected("a message that does not belong into replication")),
        }
        Ok(None)
    }

    fn queue_status(&mut self, reply_requested: bool) -> Result<(), ClientError> {
        let now_us = self.clock.now().as_microsecond().saturating_sub(POSTGRES_EPOCH_US);
        let message = encode(self.status, now_us, reply_requested);
        Ok(self.connection.wire.queue(|buffer| {
            CopyData::new(message)?.write(buffer);
            Ok(())
        })?)
    }

    fn queue_copy_done(&mut self) -> Result<(), ClientError> {
        Ok(self.connection.wire.queue(|buffer| {
            frontend::copy_done(buffer);
            Ok(())
        })?)
    }
}

fn read_next(row: &Row) -> Result<(Timeline, Lsn), RowError> {
    Ok((Timeline(row.parse("next_tli")?), row.parse("next_tli_startpos")?))
}

fn encode(status: Status, now_us: i64, reply_requested: bool) -> BytesMut {
    let mut message = BytesMut::with_capacity(34);
    message.put_u8(b'r');
    for position in [status.write, status.flush, status.apply] {
        message.put_u64(position.0);
    }
    message.put_i64(now_us);
    message.put_u8(reply_requested.into());
    message
}

/// Reads a message of the copy.
pub(super) fn decode(mut bytes: Bytes) -> Result<Event, &'static str> {
    let short = |_| "a replication message that is cut short";
    match bytes.try_get_u8().map_err(short)? {
        b'w' => {
            let start = Lsn(bytes.try_get_u64().map_err(short)?);
            let end = Lsn(bytes.try_get_u64().map_err(short)?);
            let sent_at = timestamp(bytes.try_get_i64().map_err(short)?)?;
            Ok(Event::WalData { start, end, sent_at, data: bytes })
        }
        b'k' => {
            let wal_end = Lsn(bytes.try_get_u64().map_err(short)?);
            let sent_at = timestamp(bytes.try_get_i64().map_err(short)?)?;
            let reply_requested = bytes.try_get_u8().map_err(short)? != 0;
            Ok(Event::Keepalive { wal_end, sent_at, reply_requested })
        }
        _ => Err("a replication message of an unknown kind"),
    }
}

fn timestamp(postgres_us: i64) -> Result<Timestamp, &'static str> {
    let unix_us = postgres_us.checked_add(POSTGRES_EPOCH_US);
    let time = unix_us.and_then(|unix_us| Timestamp::from_microsecond(unix_us).ok());
    time.ok_or("a time that is out of range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wal_and_keepalives() {
        let wal = [&b"w"[..], &[0, 0, 0, 0, 1, 0, 0, 0], &[0, 0, 0, 0, 2, 0, 0, 0], &[0; 8], b"abc"].concat();
        let sent_at = "2000-01-01T00:00:00Z".parse().unwrap();
        let expected = Event::WalData {
            start: Lsn(0x100_0000),
            end: Lsn(0x200_0000),
            sent_at,
            data: Bytes::from_static(b"abc"),
        };
        assert_eq!(decode(wal.into()), Ok(expected));
        let keepalive = [&b"k"[..], &[0, 0, 0, 0, 2, 0, 0, 0], &[0; 8], &[1]].concat();
        let expected = Event::Keepalive { wal_end: Lsn(0x200_0000), sent_at, reply_requested: true };
        assert_eq!(decode(keepalive.into()), Ok(expected));
    }

    #[test]
    fn a_status_has_the_form_of_the_manual() {
        let message = encode(Status { write: Lsn(1), flush: Lsn(2), apply: Lsn(3) }, 4, true);
        let expected = [
            &b"r"[..],
            &1u64.to_be_bytes(),
            &2u64.to_be_bytes(),
            &3u64.to_be_bytes(),
            &4u64.to_be_bytes(),
            &[1],
        ];
        assert_eq!(message, expected.concat());
    }

    proptest! {
        #[test]
        fn never_panics(kind in "[wkx]?", rest in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode([kind.as_bytes(), &rest].concat().into());
        }
    }
}
