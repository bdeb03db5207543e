//! What would be lost if the primary were lost now.

use jiff::Timestamp;
use lifeboat_base::Lsn;
use std::time::Duration;

/// Data at risk, as the stream sees it; published whenever it changes.
///
/// While connected, `since` is when the server sent the oldest WAL that is not durable, by the *server's*
/// clock, so the two clocks should agree. While disconnected it is when the vault was last known to have
/// all: what the server has written since is unknown, so the gauge tells the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exposure {
    /// End of the WAL that is flushed on the server, as far as known.
    pub flushed_on_server: Lsn,
    /// End of the WAL that is durable in the vault without a gap.
    pub durable: Lsn,
    /// Since when there is something to lose; `None` if the vault has all.
    pub since: Option<Timestamp>,
    /// Whether WAL flows.
    pub connected: bool,
}

impl Exposure {
    /// Bytes of WAL that would be lost, as far as known.
    #[must_use]
    pub fn behind_bytes(&self) -> u64 {
        self.flushed_on_server.bytes_since(self.durable)
    }

    /// How long there has been something to lose, at `now`.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        let age = self.since.map(|since| now.duration_since(since));
        age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
    }
}
