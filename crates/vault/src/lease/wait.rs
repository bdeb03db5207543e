//! The waiter's side: look, wait, take.

use super::decide::{Seen, Timing, WaiterMove, Watch, waiter};
use super::hold::Attempt;
use super::{Epoch, EpochRecord, Home, Lease, LeaseError, Scope};
use crate::Vault;
use jiff::Timestamp;
use std::time::Duration;

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Held(Lease),
    /// Another has it, or had it not long ago.
    Busy(Busy),
}

/// Who has a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// `user@host, pid`; empty if the epoch does not say.
    pub holder: String,
    /// When the holder renewed it last, by the holder's clock: for people only.
    pub renewed: Option<Timestamp>,
    /// The newest epoch.
    pub epoch: Epoch,
    /// When to look again.
    pub look_again: Duration,
}

/// Waits for a lease. Only its own looks count: whoever starts anew waits anew (E1).
#[derive(Debug)]
pub struct Waiter {
    home: Home,
    actor: String,
    timing: Timing,
    watch: Option<Watch>,
    /// What the watched epoch says.
    record: Option<EpochRecord>,
    /// The epoch whose making is unknown (E4).
    pending: Option<Attempt>,
}

impl Waiter {
    /// Waits for the lease of `scope` as `actor` (`user@host, pid`).
    #[must_use]
    pub fn new(vault: &Vault, scope: &Scope, actor: &str, timing: Timing) -> Self {
        let home = Home::new(vault, scope);
        Self { home, actor: actor.to_owned(), timing, watch: None, record: None, pending: None }
    }

    /// Looks once, and takes the lease if it is free.
    ///
    /// # Errors
    /// [`LeaseError::Silent`], [`LeaseError::Unknown`]: look again.
    pub async fn look(&mut self) -> Result<Acquired, LeaseError> {
        if let Some(attempt) = self.pending.clone()
            && let Some(lease) = self.settle(attempt).await?
        {
            return Ok(Acquired::Held(lease));
        }
        let epochs = self.home.epochs().await?;
        let highest = epochs.last().copied().unwrap_or(Epoch(0));
        if self.watch.is_none_or(|watch| watch.epoch != highest) {
            self.record = if highest == Epoch(0) { None } else { self.home.read(highest).await? };
        }
        // Read after the store has answered (E1).
        let now = self.home.vault.clock().monotonic();
        let released = self.record.as_ref().is_some_and(|record| record.released);
        let (watch, next) = waiter(self.watch, Seen { epoch: highest, released }, now, &self.timing);
        self.watch = Some(watch);
        let epoch = match next {
            WaiterMove::Wait(duration) => return Ok(Acquired::Busy(self.busy(highest, duration))),
            WaiterMove::Take(epoch) => epoch,
        };
        let attempt = Attempt::new(&self.home.vault, &self.actor, epoch, epoch, false);
        match self.settle(attempt).await? {
            Some(lease) => {
                self.home.forget_below(epoch, &epochs).await;
                Ok(Acquired::Held(lease))
            }
            // Another was faster; it is seen by the next look.
            None => Ok(Acquired::Busy(self.busy(epoch, self.timing.poll_every))),
        }
    }

    /// Creates an epoch, or finds out whether an earlier try did.
    async fn settle(&mut self, attempt: Attempt) -> Result<Option<Lease>, LeaseError> {
        self.pending = Some(attempt.clone());
        let theirs = self.home.create(&attempt.record).await?;
        // E3: we may have been so slow that what we made was made, left behind and deleted before.
        if theirs.is_some() || self.home.highest().await? > attempt.record.epoch {
            self.pending = None;
            return Ok(None);
        }
        self.pending = None;
        let lease = Lease::taken(self.home.clone(), self.timing, attempt);
        if !lease.still_held() {
            // The try that succeeded was long ago.
            lease.renew().await?;
        }
        Ok(Some(lease))
    }

    fn busy(&self, epoch: Epoch, look_again: Duration) -> Busy {
        let holder = self.record.as_ref().map_or_else(String::new, |record| record.actor.clone());
        let renewed = self.record.as_ref().map(|record| record.time);
        Busy { holder, renewed, epoch, look_again }
    }
}

impl Lease {
    /// Takes the lease of `scope` if it is free: never held, or released. One that ran out shows only to
    /// whoever watches it for a while: [`Lease::wait`].
    ///
    /// # Errors
    /// [`LeaseError`].
    pub async fn acquire(vault: &Vault, scope: &Scope, actor: &str) -> Result<Acquired, LeaseError> {
        Waiter::new(vault, scope, actor, Timing::DEFAULT).look().await
    }

    /// Waits up to `limit` for the lease. 15 s are enough to take over from a holder that has died.
    ///
    /// # Errors
    /// [`LeaseError`] if the home is still silent at the end.
    pub async fn wait(
        vault: &Vault,
        scope: &Scope,
        actor: &str,
        limit: Duration,
    ) -> Result<Acquired, LeaseError> {
        let timing = Timing::DEFAULT;
        let mut waiter = Waiter::new(vault, scope, actor, timing);
        let start = vault.clock().monotonic();
        loop {
            let looked = waiter.look().await;
            let left = limit.saturating_sub(vault.clock().monotonic().saturating_sub(start));
            let pause = match &looked {
                Ok(Acquired::Held(_)) => return looked,
                Ok(Acquired::Busy(busy)) => busy.look_again,
                Err(_) => timing.poll_every,
            };
            if left.is_zero() {
                return looked;
            }
            tokio::time::sleep(pause.min(left)).await;
        }
    }
}
