//! Streams a server's WAL into the vault, for as long as it is let.
//!
//! ```text
//! connect (which server, fit?, slot, start) ─▶ session (socket ─▶ piecer ─▶ uploads ─▶ durable ─▶ status)
//!      ▲                                            │
//!      └── backoff ◀── lost, restarted, promoted ◀──┘        beside: join (segments), watcher (slots)
//! ```
//!
//! # Invariants
//! - **M1 no hole without a name.** Killed, restarted, disconnected or promoted: it goes on where the vault
//!   ends, or raises [`Alarm::Hole`] with the range.
//! - **M2 flushed means durable.** The server may forget what the vault has, and nothing else.
//! - **M3** What cannot be right is refused: another cluster, an old primary, a timeline number used
//!   again, other bytes in the same place.
//! - **M4 bounded.** However fast WAL comes and however slow the vault is, all that is held is within
//!   [`MEMORY_LIMIT_BYTES`]: pieces under way, two segments that are not joined yet, and what becomes of them.
//!
//! Deliberately absent: the lease that makes this the only stream of a service (the caller holds it), and
//! what an alarm sets in motion.

mod alarm;
mod backoff;
mod connect;
mod copy_watch;
mod durable;
mod error;
mod exposure;
mod join;
mod memory;
mod piecer;
mod recent;
mod session;
mod shared;
mod start;
#[cfg(test)]
mod testing;
mod uploads;
mod watcher;

pub use alarm::{Alarm, AlarmKind, EventSink, StreamEvent};
pub use error::StreamError;
pub use exposure::Exposure;

use crate::client::{Advice, Conninfo, Refusal, StartReplication};
use crate::slot::SlotLimits;
use alarm::Board;
use backoff::Backoff;
use connect::{Experience, Prepared};
use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange, ServiceName, Timeline, error_chain};
use lifeboat_vault::Vault;
use lifeboat_vault::wal::WalArchive;
use memory::Memory;
use session::{Ended, Session};
use shared::Shared;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The name by which `synchronous_standby_names` may wait for the vault, unless the connection string
/// gives another.
pub const APPLICATION_NAME: &str = "lifeboat";
/// What a stream takes of memory at most, its program's text and a passphrase's derivation aside (M4). Of it 18 MiB
/// are pieces and as much once sealed, 32 MiB segments that are not joined yet, 16 MiB one that is sealed; about as
/// much again is what the allocator has not given back yet.
pub const MEMORY_LIMIT_BYTES: u64 = 160 << 20;
/// A server that says nothing for so long is lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Waits between connections.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// An interruption that lasts so long is an alarm: a restart takes seconds and wakes nobody.
const INTERRUPTION_LIMIT: Duration = Duration::from_secs(10);

/// What to stream, and how.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// The vault.
    pub vault: Vault,
    /// The service.
    pub service: ServiceName,
    /// The server, or several of which one is the primary.
    pub conninfo: Conninfo,
    /// The replication slot.
    pub slot: String,
    /// Whether to make the slot when it is missing, and anew when it is lost.
    pub create_slot: bool,
    /// Servers that may be promoted, on which a slot of the same name is kept.
    pub standbys: Vec<Conninfo>,
    /// From when on the slot's size is an alarm.
    pub slot_limits: SlotLimits,
    /// Production's data directory, if it is on this machine: what is free there is watched too.
    pub data_directory: Option<PathBuf>,
    /// Whether a cluster other than the service's so far is taken on, as after an upgrade.
    pub accept_new_cluster: bool,
    /// Where it tells what is at risk.
    pub exposure: watch::Sender<Exposure>,
}

/// How a stream ended that was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamEnd {
    /// The timeline and the end of what is durable; none if nothing was streamed.
    pub durable: Option<(Timeline, Lsn)>,
    /// Bytes that arrived and that the vault did not take in time; the server keeps them.
    pub left_bytes: u64,
}

/// Waits for the word to stop.
#[derive(Debug)]
struct StopSignal(watch::Receiver<bool>);

impl StopSignal {
    /// Returns when a stop is asked for, or nobody is left who could ask. Cancel safe.
    async fn asked(&mut self) {
        // An error means that the sender is gone.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// Streams until `stop` becomes true (or its sender is gone).
///
/// On a stop, what has arrived is made durable and reported first, as far as the vault takes it. If the
/// future is dropped instead, nothing is lost either: the next run asks for it again.
///
/// # Errors
/// [`StreamError`] for what waiting does not mend, by its advice; at first, wrong settings too.
pub async fn run(
    options: StreamOptions,
    stop: watch::Receiver<bool>,
    events: EventSink,
) -> Result<StreamEnd, StreamError> {
    // On one of the runtime's threads, wherever the caller is: who looks at the socket is then who is woken for it.
    let mut alone = JoinSet::new();
    alone.spawn(follow(options, stop, events));
    match alone.join_next().await {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and with it the caller.
        _ => std::future::pending().await,
    }
}

async fn follow(
    options: StreamOptions,
    stop: watch::Receiver<bool>,
    events: EventSink,
) -> Result<StreamEnd, StreamError> {
    let mut options = options;
    options.conninfo = options.conninfo.with_default_application_name(APPLICATION_NAME);
    let options = Arc::new(options);
    let clock = options.vault.clock().clone();
    let shared = Arc::new(Shared::new(clock, Board::new(events), options.exposure.clone()));
    // Dropped with this future, and with them the tasks.
    let mut beside = JoinSet::new();
    beside.spawn(watcher::run(options.clone(), shared.clone()));
    let follower = Follower {
        options: &options,
        shared: &shared,
        stop: StopSignal(stop),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
        memory: Memory::default(),
        experience: Experience::default(),
        joined: None,
        interrupted: None,
        end: StreamEnd { durable: None, left_bytes: 0 },
    };
    follower.run(&mut beside).await
}

/// Goes from session to session.
struct Follower<'a> {
    options: &'a Arc<StreamOptions>,
    shared: &'a Arc<Shared>,
    stop: StopSignal,
    backoff: Backoff,
    memory: Memory,
    experience: Experience,
    /// The cluster whose segments are joined beside.
    joined: Option<lifeboat_base::SystemId>,
    /// Since when no WAL flows: on the monotonic clock, and for people.
    interrupted: Option<(Duration, Timestamp)>,
    end: StreamEnd,
}

impl Follower<'_> {
    async fn run(mut self, beside: &mut JoinSet<()>) -> Result<StreamEnd, StreamError> {
        loop {
            let prepared = tokio::select! {
                biased;
                () = self.stop.asked() => return Ok(self.end),
                prepared = connect::prepare(
                    self.options, self.shared, &mut self.memory, self.experience
                ) => prepared,
            };
            let outcome = match prepared {
                Ok(prepared) => {
                    // It has been acted on; if it is still so, the server will say it again.
                    self.experience = Experience::default();
                    self.join_beside(beside, &prepared.archive);
                    self.stream(prepared).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(true) => return Ok(self.end),
                Ok(false) => continue,
                Err(error) => self.bear(error)?,
            }
            let wait = self.backoff.next(self.shared.clock.as_ref());
            tokio::select! {
                biased;
                () = self.stop.asked() => return Ok(self.end),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn join_beside(&mut self, beside: &mut JoinSet<()>, archive: &WalArchive) {
        let system = archive.cluster().system_id;
        if self.joined.replace(system) != Some(system) {
            let (vault, service) = (self.options.vault.clone(), self.options.service.clone());
            beside.spawn(join::run(vault, service, archive.clone(), self.shared.clone()));
        }
    }

    /// One session; true when it ended because a stop was asked for.
    async fn stream(&mut self, prepared: Prepared) -> Result<bool, StreamError> {
        let Prepared { connection, archive, endpoint, identity, at, overlap, status_interval } = prepared;
        let request = StartReplication {
            slot: Some(self.options.slot.clone()),
            start: overlap.start,
            timeline: Some(at.timeline),
            silence_limit: SILENCE_LIMIT,
        };
        self.shared.look_at(connection.endpoint().clone());
        let replication = connection.start_replication(&request, self.shared.clock.clone()).await;
        let replication = replication.map_err(StreamError::Server)?;
        let mut session = Session::new(self.shared, &archive, at.timeline, at.lsn, overlap, status_interval);
        self.interrupted = None;
        session.announce(&endpoint, identity.system, request.start);
        let outcome = session.run(replication, &mut self.stop).await;
        // What arrived is kept, whatever ended the session.
        let drained = match outcome {
            Ok(Ended::Stopped) | Err(StreamError::Fork { .. }) => Ok(()),
            _ => session.drain(None, &mut self.stop).await,
        };
        let (timeline, durable, left_bytes) = session.reached();
        self.memory.add(timeline, LsnRange { start: at.lsn, end: durable });
        if durable > at.lsn {
            self.backoff.reset();
        }
        self.end = StreamEnd { durable: Some((timeline, durable)), left_bytes };
        let ended = outcome?;
        drained?;
        match ended {
            Ended::Stopped => Ok(true),
            Ended::Timeline { next, connection } => {
                connection.close().await;
                let Some((next, at)) = next else {
                    return Err(StreamError::Unexpected(format!("timeline {timeline} ended without a next")));
                };
                self.shared.board.tell(StreamEvent::TimelineEnded { timeline, next, at });
                Ok(false)
            }
        }
    }

    /// Tells what is wrong and remembers what it means for the next try; what no try mends is returned.
    fn bear(&mut self, error: StreamError) -> Result<(), StreamError> {
        let refusal = if let StreamError::Server(error) = &error { error.refusal() } else { None };
        match refusal {
            Some(Refusal::WalRemoved { .. }) => self.experience.wal_removed = true,
            Some(Refusal::SlotLost { .. }) => self.experience.slot_refused = true,
            Some(Refusal::SlotMissing { .. }) => {}
            // A setting that is wrong after it was right may be put right while production waits for us.
            _ if error.advice() == Advice::FixConfiguration && self.end.durable.is_some() => {}
            _ if error.advice() != Advice::Retry => return Err(error),
            _ => {}
        }
        let (clock, reason) = (&self.shared.clock, error_chain(&error));
        self.shared.exposure.send_modify(|exposure| {
            exposure.connected = false;
            exposure.since.get_or_insert_with(|| clock.now());
        });
        if self.interrupted.is_none() {
            self.shared.board.tell(StreamEvent::Interrupted { reason: reason.clone() });
        }
        let (begun, since) = *self.interrupted.get_or_insert_with(|| (clock.monotonic(), clock.now()));
        if clock.monotonic().saturating_sub(begun) >= INTERRUPTION_LIMIT {
            if matches!(error, StreamError::Vault(_)) {
                self.shared.board.raise(Alarm::VaultUnavailable { since, reason: reason.clone() });
            }
            self.shared.board.raise(Alarm::Disconnected { since, reason });
        }
        Ok(())
    }
}
