//! What the stream tells: events, and alarms that stand until they are cleared.
//!
//! # Invariants
//! - **A1** The names of [`AlarmKind`] never change: plans, dashboards and people's notes refer to them.
//! - **A2** An alarm says what happened, why it matters and what to do.
//! - **A3** An alarm that stands is told once, not at every look.
//!
//! Deliberately absent: whom to wake (`core`).

use jiff::Timestamp;
use lifeboat_base::{ByteCount, Lsn, LsnRange, SystemId, Timeline};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(test)]
mod tests;

/// Takes what the stream tells. Called from several tasks; must not block.
pub type EventSink = Arc<dyn Fn(StreamEvent) + Send + Sync>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// WAL flows.
    Connected {
        /// From which server.
        endpoint: String,
        /// Its cluster.
        system: SystemId,
        /// The timeline that is streamed.
        timeline: Timeline,
        /// From where on.
        start: Lsn,
    },
    /// WAL no longer flows; it is tried again. An alarm only if that takes long.
    Interrupted {
        /// Why.
        reason: String,
    },
    /// A slot was made.
    SlotCreated {
        /// Where.
        endpoint: String,
        /// Its name.
        slot: String,
        /// From where on it keeps WAL.
        restart: Option<Lsn>,
    },
    /// A timeline ended and another goes on: a promotion.
    TimelineEnded {
        /// The one that ended.
        timeline: Timeline,
        /// The one that follows.
        next: Timeline,
        /// Where.
        at: Lsn,
    },
    /// All pieces of a segment are one object now.
    Joined {
        /// The segment's file name.
        segment: String,
    },
    /// Something is wrong.
    Raised(Alarm),
    /// It is well again.
    Cleared(AlarmKind),
}

/// What kind of alarm it is, by a name that never changes (A1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// [`Alarm::SlotLost`].
    SlotLost,
    /// [`Alarm::Hole`].
    Hole,
    /// [`Alarm::Fork`].
    Fork,
    /// [`Alarm::Stalled`].
    Stalled,
    /// [`Alarm::SlotPressure`].
    SlotPressure,
    /// [`Alarm::SlotUnwatched`].
    SlotUnwatched,
    /// [`Alarm::StandbySlot`].
    StandbySlot,
    /// [`Alarm::VaultUnavailable`].
    VaultUnavailable,
    /// [`Alarm::CopyAway`].
    CopyAway,
    /// [`Alarm::Disconnected`].
    Disconnected,
    /// [`Alarm::UnfitServer`].
    UnfitServer,
}

impl AlarmKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SlotLost => "slot-lost",
            Self::Hole => "wal-hole",
            Self::Fork => "wal-fork",
            Self::Stalled => "stream-stalled",
            Self::SlotPressure => "slot-pressure",
            Self::SlotUnwatched => "slot-unwatched",
            Self::StandbySlot => "standby-slot",
            Self::VaultUnavailable => "vault-unavailable",
            Self::CopyAway => "copy-away",
            Self::Disconnected => "stream-disconnected",
            Self::UnfitServer => "unfit-server",
        }
    }

    /// Whether it tells of an event that stays true, so that it is never cleared here.
    #[must_use]
    pub fn is_incident(self) -> bool {
        matches!(self, Self::SlotLost | Self::Hole | Self::Fork)
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a person should know at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The slot that kept WAL for us was dropped or invalidated.
    SlotLost {
        /// Its name.
        slot: String,
        /// Where.
        endpoint: String,
        /// Why, as far as the server tells.
        reason: String,
    },
    /// WAL that the vault will not get from this server.
    Hole {
        /// On which timeline.
        timeline: Timeline,
        /// What is missing.
        range: LsnRange,
    },
    /// Two histories of one cluster.
    Fork {
        /// On which timeline.
        timeline: Timeline,
        /// What the vault has and the server's history leaves out.
        range: LsnRange,
        /// The timeline that is followed now.
        followed: Timeline,
    },
    /// The server has WAL and none arrives.
    Stalled {
        /// End of the server's WAL.
        server: Lsn,
        /// End of what arrived.
        received: Lsn,
        /// When the last of it arrived.
        since: Timestamp,
    },
    /// What production keeps for us grows towards a limit.
    SlotPressure {
        /// The slot.
        slot: String,
        /// What is kept.
        retained: ByteCount,
        /// The limit that comes closer.
        limit: String,
        /// `pg_replication_slots.wal_status`.
        wal_status: String,
    },
    /// Nobody looks at the slot.
    SlotUnwatched {
        /// Why.
        reason: String,
    },
    /// A standby does not keep WAL for us.
    StandbySlot {
        /// The standby.
        standby: String,
        /// Why.
        reason: String,
    },
    /// The vault does not take WAL.
    VaultUnavailable {
        /// Since when.
        since: Timestamp,
        /// What it said.
        reason: String,
    },
    /// A copy of the vault takes no WAL, and enough others do.
    CopyAway {
        /// Which.
        copy: String,
        /// What it said.
        reason: String,
        /// Whether there is no other copy.
        only: bool,
    },
    /// A server of the connection string must not be streamed from, and another is.
    UnfitServer {
        /// Which.
        endpoint: String,
        /// Why, and what to do.
        reason: String,
    },
    /// No connection to the server.
    Disconnected {
        /// Since when.
        since: Timestamp,
        /// Why.
        reason: String,
    },
}

impl Alarm {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> AlarmKind {
        match self {
            Self::SlotLost { .. } => AlarmKind::SlotLost,
            Self::Hole { .. } => AlarmKind::Hole,
            Self::Fork { .. } => AlarmKind::Fork,
            Self::Stalled { .. } => AlarmKind::Stalled,
            Self::SlotPressure { .. } => AlarmKind::SlotPressure,
            Self::SlotUnwatched { .. } => AlarmKind::SlotUnwatched,
            Self::StandbySlot { .. } => AlarmKind::StandbySlot,
            Self::VaultUnavailable { .. } => AlarmKind::VaultUnavailable,
            Self::CopyAway { .. } => AlarmKind::CopyAway,
            Self::Disconnected { .. } => AlarmKind::Disconnected,
            Self::UnfitServer { .. } => AlarmKind::UnfitServer,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SlotLost { slot, endpoint, reason } => write!(
                f,
                "the replication slot {slot} at {endpoint} no longer keeps WAL for the vault: {reason}. What the server removes meanwhile cannot be recovered. The slot is made anew; if a hole follows, take a base backup, and find out who dropped it or raise max_slot_wal_keep_size"
            ),
            Self::Hole { timeline, range } => write!(
                f,
                "a hole in the WAL: {range} of timeline {timeline} ({}) is not in the vault and the server no longer has it. No moment after {} can be reached from an older base backup: take a base backup now. If these segments lie in another archive, push them with `lifeboat wal push`",
                ByteCount(range.len()),
                range.start
            ),
            Self::Fork { timeline, range, followed } => write!(
                f,
                "the vault has WAL of timeline {timeline} ({range}) that timeline {followed}, which is followed now, leaves out. Transactions committed there are not on the new primary: expected after recovery to an earlier moment, lost commits after a failover. Look for them with `lifeboat wal search` before they are pruned, and make sure that no second primary runs"
            ),
            Self::Stalled { server, received, since } => write!(
                f,
                "the server has WAL up to {server}, and nothing after {received} has arrived since {since}. What is committed meanwhile is not in the vault. Look at pg_stat_replication there and at the network between"
            ),
            Self::SlotPressure { slot, retained, limit, wal_status } => write!(
                f,
                "production keeps {retained} of WAL for the slot {slot} ({wal_status}), close to {limit}. Beyond it, production's disk fills or the slot is given up, which leaves a hole. Find out why the stream is behind; if it cannot be helped, raise max_slot_wal_keep_size or make room"
            ),
            Self::SlotUnwatched { reason } => write!(
                f,
                "nobody watches how much WAL production keeps for the vault: {reason}. Let the stream's user connect for SQL too (a line for its database in pg_hba.conf)"
            ),
            Self::StandbySlot { standby, reason } => write!(
                f,
                "the standby {standby} does not keep WAL for the vault: {reason}. If it were promoted now, the WAL could have a hole. Correct the connection or make room for a slot there"
            ),
            Self::VaultUnavailable { since, reason } => write!(
                f,
                "the vault has taken no WAL since {since}: {reason}. Production keeps the WAL meanwhile, its disk fills, and commits that wait for the vault hang. Bring the store back; if that takes long and commits hang, remove lifeboat from synchronous_standby_names"
            ),
            Self::CopyAway { copy, reason, only: true } => write!(
                f,
                "the vault's only copy {copy} does not answer, or takes no WAL: {reason}. Nothing that is committed meanwhile is protected; production keeps the WAL for when the copy is back. Bring it back, and give the plan a second copy, elsewhere"
            ),
            Self::CopyAway { copy, reason, only: false } => write!(
                f,
                "the vault's copy {copy} does not answer, or takes no WAL: {reason}. The others go on; if one of them is lost now, there is less left than the plan wants. What only this copy holds is not seen meanwhile. Once it is back, `lifeboat vault check --repair` brings it what it missed"
            ),
            Self::UnfitServer { endpoint, reason } => write!(
                f,
                "{endpoint} takes connections but is passed over, another server is looked for: {reason}"
            ),
            Self::Disconnected { since, reason } => write!(
                f,
                "no WAL arrives since {since}: {reason}. What is committed meanwhile is not in the vault; production keeps it for when the connection is back. See whether the server runs and can be reached from here"
            ),
        }
    }
}

/// Which alarms stand.
pub(crate) struct Board {
    sink: EventSink,
    /// By kind and what it is about: each standby, and each copy, has an alarm of its own.
    standing: Mutex<BTreeSet<(AlarmKind, String)>>,
}

impl Board {
    pub(crate) fn new(sink: EventSink) -> Self {
        Self { sink, standing: Mutex::new(BTreeSet::new()) }
    }

    pub(crate) fn tell(&self, event: StreamEvent) {
        (self.sink)(event);
    }

    /// Raises an alarm, unless it stands already (A3).
    pub(crate) fn raise(&self, alarm: Alarm) {
        let subject = match &alarm {
            Alarm::StandbySlot { standby: subject, .. } | Alarm::CopyAway { copy: subject, .. } => {
                subject.clone()
            }
            _ => String::new(),
        };
        let kind = alarm.kind();
        if kind.is_incident() || self.standing().insert((kind, subject)) {
            self.tell(StreamEvent::Raised(alarm));
        }
    }

    /// Whether an alarm of this kind stands.
    pub(crate) fn stands(&self, kind: AlarmKind) -> bool {
        self.standing().iter().any(|(other, _)| *other == kind)
    }

    /// Clears an alarm, if it stands.
    pub(crate) fn clear(&self, kind: AlarmKind) {
        self.clear_for(kind, "");
    }

    /// Clears the alarm about `subject`; the kind is told as cleared with the last of them.
    pub(crate) fn clear_for(&self, kind: AlarmKind, subject: &str) {
        let mut standing = self.standing();
        let was = standing.remove(&(kind, subject.to_owned()));
        let is_last = !standing.iter().any(|(other, _)| *other == kind);
        drop(standing);
        if was && is_last {
            self.tell(StreamEvent::Cleared(kind));
        }
    }

    fn standing(&self) -> std::sync::MutexGuard<'_, BTreeSet<(AlarmKind, String)>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("standing", &self.standing()).finish_non_exhaustive()
    }
}
