//! Why streaming ended, or cannot go on for now.

use crate::client::{Advice, ClientError};
use lifeboat_base::{Lsn, LsnRange, ServiceName, SystemId, Timeline};
use lifeboat_pgformat::HistoryError;
use lifeboat_vault::wal::WalError;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The server.
    #[error("the server does not stream")]
    Server(#[source] ClientError),
    /// The vault.
    #[error("the vault does not take part")]
    Vault(#[source] WalError),
    /// The connection leads to another cluster.
    #[error(
        "the server is cluster {found}, but the vault protects cluster {known} as {service}: nothing was streamed. If the connection is wrong, correct it; if {service} was made anew or upgraded, accept the new cluster explicitly"
    )]
    OtherCluster {
        /// The service.
        service: ServiceName,
        /// The server's cluster.
        found: SystemId,
        /// What the vault knows.
        known: String,
    },
    /// A primary that the vault has left behind.
    #[error(
        "{endpoint} is on timeline {found}, but the vault is on timeline {newest} already: an old primary came back. Nothing was streamed from it. Stop it before it takes writes, and make it a standby of the new primary with pg_rewind or a restore"
    )]
    OldPrimary {
        /// Which server.
        endpoint: String,
        /// Its timeline.
        found: Timeline,
        /// The vault's.
        newest: Timeline,
    },
    /// A timeline number that stands for something else in the vault.
    #[error(
        "{endpoint} means another history by timeline {timeline} than the vault does: two servers were promoted apart, or a number was used again. Nothing was overwritten. Decide which server goes on, and promote it again so that it gets a new timeline"
    )]
    ReusedTimeline {
        /// Which server.
        endpoint: String,
        /// The number.
        timeline: Timeline,
    },
    /// The server lacks WAL that the vault has, or has other WAL in its place.
    #[error(
        "a fork: the server's WAL differs from the vault's on timeline {timeline} at {range}: it was started from an older copy, or lost what it had acknowledged. Nothing was overwritten. If this server is to go on, promote it to a new timeline (restart it with standby.signal, then pg_promote()); its commits since then and the vault's are different"
    )]
    Fork {
        /// The timeline.
        timeline: Timeline,
        /// Where they differ.
        range: LsnRange,
    },
    /// A server that is not as far as where streaming begins, for a moment.
    #[error(
        "the server has flushed WAL up to {server}, and {start} is where streaming begins; it is waited for"
    )]
    Behind {
        /// The server's end.
        server: Lsn,
        /// Where to begin.
        start: Lsn,
    },
    /// The server waits for us before it stops, and we for the vault.
    #[error(
        "the server is shutting down while the vault is away; the connection was let go, so that the shutdown is not held up. The slot keeps the WAL"
    )]
    LetGo,
    /// No slot, and none may be made.
    #[error(
        "there is no usable replication slot {slot} at {endpoint}; make it with: select pg_create_physical_replication_slot('{slot}', true)"
    )]
    NoSlot {
        /// Its name.
        slot: String,
        /// Where.
        endpoint: String,
    },
    /// A history that does not parse.
    #[error("the server's history of timeline {timeline} does not read")]
    History {
        /// The timeline.
        timeline: Timeline,
        /// Why.
        source: HistoryError,
    },
    /// What the server said makes no sense.
    #[error("the server said what Lifeboat does not understand: {0}")]
    Unexpected(String),
}

impl StreamError {
    /// What the caller should do; [`Advice::Retry`] is acted on by the stream itself.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Server(error) => error.advice(),
            Self::Vault(WalError::Malformed(_) | WalError::History { .. }) => Advice::GiveUp,
            Self::Vault(_) | Self::Behind { .. } | Self::LetGo | Self::Unexpected(_) => Advice::Retry,
            Self::OtherCluster { .. } | Self::NoSlot { .. } => Advice::FixConfiguration,
            Self::OldPrimary { .. }
            | Self::ReusedTimeline { .. }
            | Self::Fork { .. }
            | Self::History { .. } => Advice::GiveUp,
        }
    }

    /// Whether another server of the connection string may be the right one.
    pub(super) fn is_about_this_server(&self) -> bool {
        matches!(self, Self::OldPrimary { .. } | Self::ReusedTimeline { .. } | Self::Fork { .. })
    }
}
