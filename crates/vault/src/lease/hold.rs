//! The holder's side: renew in time, know when not to act, let go.

use super::decide::{HolderMove, Timing, holder};
use super::{Epoch, EpochRecord, Home, LeaseError, Scope};
use crate::Vault;
use jiff::Timestamp;
use lifeboat_base::RandomId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long to pause when the home did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Epochs between two clearings of old ones.
const FORGET_EVERY: u64 = 16;

/// A lease that we took. Clones are the same lease. It ends for good when another takes over or it is
/// released; while it cannot be renewed it is not held, and may come back if nobody took it.
#[derive(Debug, Clone)]
pub struct Lease {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    actor: String,
    taken: Epoch,
    timing: Timing,
    state: Mutex<State>,
    /// One renewal at a time; the epoch whose making is unknown (E4).
    pending: tokio::sync::Mutex<Option<Attempt>>,
}

#[derive(Debug, Clone)]
struct State {
    epoch: Epoch,
    /// When we asked for that epoch.
    asked: Duration,
    /// The same by the wall clock (E2: only a reason to look once more).
    asked_wall: Timestamp,
    end: Option<End>,
}

#[derive(Debug, Clone)]
enum End {
    Lost(String),
    Released,
}

/// A try to create an epoch.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) record: EpochRecord,
    pub(super) asked: Duration,
    pub(super) asked_wall: Timestamp,
}

impl Attempt {
    pub(super) fn new(vault: &Vault, actor: &str, epoch: Epoch, taken: Epoch, released: bool) -> Self {
        let clock = vault.clock();
        let (asked, time, id) = (clock.monotonic(), clock.now(), RandomId::new(clock.as_ref()));
        let record = EpochRecord { epoch, id, actor: actor.to_owned(), taken, time, released };
        Self { record, asked, asked_wall: time }
    }
}

impl Lease {
    pub(super) fn taken(home: Home, timing: Timing, attempt: Attempt) -> Self {
        let Attempt { record, asked, asked_wall } = attempt;
        let state = State { epoch: record.epoch, asked, asked_wall, end: None };
        let inner = Inner {
            home,
            actor: record.actor,
            taken: record.taken,
            timing,
            state: Mutex::new(state),
            pending: tokio::sync::Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What it is for.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.inner.home.scope
    }

    /// The epoch at which we took it: what journal records name.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.inner.taken
    }

    fn state(&self) -> State {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.inner.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn next_move(&self) -> HolderMove {
        let now = self.inner.home.vault.clock().monotonic();
        holder(self.state().asked, now, &self.inner.timing)
    }

    /// Whether we may act now (E1). Ask before every step; asks no store.
    #[must_use]
    pub fn still_held(&self) -> bool {
        self.state().end.is_none() && self.next_move() != HolderMove::Stop
    }

    /// Whether it is over for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state().end.is_some()
    }

    fn ended(&self) -> Option<LeaseError> {
        let scope = self.scope().clone();
        match self.state().end? {
            End::Lost(by) => Some(LeaseError::Lost { scope, by }),
            End::Released => Some(LeaseError::Released(scope)),
        }
    }

    /// Asks the home whether we still are the one who acts, and extends the lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] for good; [`LeaseError::Unknown`] and [`LeaseError::Silent`] while the home is
    /// away, upon which [`Lease::still_held`] soon says no.
    pub async fn renew(&self) -> Result<(), LeaseError> {
        let inner = &self.inner;
        let mut pending = inner.pending.lock().await;
        if let Some(error) = self.ended() {
            return Err(error);
        }
        let before = self.state();
        let attempt = pending.get_or_insert_with(|| {
            Attempt::new(&inner.home.vault, &inner.actor, before.epoch.next(), inner.taken, false)
        });
        let attempt = attempt.clone();
        let theirs = inner.home.create(&attempt.record).await?;
        if let Some(by) = theirs {
            self.set(|state| state.end = Some(End::Lost(by)));
            return Err(self.ended().expect("it was just ended"));
        }
        if self.is_late(&before) {
            // E3: our epoch may be one that others made, left behind and deleted while we slept.
            let highest = inner.home.highest().await?;
            if highest > attempt.record.epoch {
                let by = inner.home.read(highest).await.ok().flatten();
                let by = by.map_or_else(|| "another".to_owned(), |record| record.actor);
                self.set(|state| state.end = Some(End::Lost(by)));
                return Err(self.ended().expect("it was just ended"));
            }
        }
        *pending = None;
        let Attempt { record, asked, asked_wall } = attempt;
        let epoch = record.epoch;
        self.set(|state| (state.epoch, state.asked, state.asked_wall) = (epoch, asked, asked_wall));
        if epoch.0 % FORGET_EVERY == 0 {
            // The lease is renewed already; a home that is slow here costs nothing.
            if let Ok(epochs) = inner.home.epochs().await {
                inner.home.forget_below(epoch, &epochs).await;
            }
        }
        Ok(())
    }

    /// Whether by any of our clocks others may have had time to take over since the last renewal.
    fn is_late(&self, before: &State) -> bool {
        let clock = self.inner.home.vault.clock();
        let hold = self.inner.timing.hold();
        let wall = clock.now().duration_since(before.asked_wall).unsigned_abs();
        clock.monotonic().saturating_sub(before.asked) >= hold || wall >= hold
    }

    /// Lets go: whoever waits may take at once. We stop acting first.
    ///
    /// # Errors
    /// [`LeaseError`] if the home did not take the message; others then wait until the lease runs out.
    pub async fn release(&self) -> Result<(), LeaseError> {
        let inner = &self.inner;
        let mut pending = inner.pending.lock().await;
        if let Some(error) = self.ended() {
            return Err(error);
        }
        self.set(|state| state.end = Some(End::Released));
        let mut epoch = self.state().epoch.next();
        if let Some(unknown) = pending.take() {
            // Whether we made it or another: only the number after our own may say that we let go.
            if inner.home.create(&unknown.record).await?.is_some() {
                return Ok(());
            }
            epoch = unknown.record.epoch.next();
        }
        let attempt = Attempt::new(&inner.home.vault, &inner.actor, epoch, inner.taken, true);
        inner.home.create(&attempt.record).await.map(drop)
    }

    /// Renews it in the background until it ends or the returned handle is dropped.
    #[must_use]
    pub fn keep_alive(&self) -> KeepAlive {
        let lease = self.clone();
        let task = tokio::spawn(async move {
            while !lease.has_ended() {
                if let HolderMove::Rest(duration) = lease.next_move() {
                    tokio::time::sleep(duration).await;
                } else if lease.renew().await.is_err() {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        });
        KeepAlive { task }
    }
}

/// Renews a lease while it lives.
#[derive(Debug)]
pub struct KeepAlive {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}
