//! Leases: who acts. One scope, one holder; whoever waits takes over when the holder is silent.
//!
//! A lease is a row of numbered objects at the home copy, `leases/<scope>/<epoch>`, each created only if it
//! is not there. The highest is in force. Renewing, taking and releasing all mean creating the next one, so
//! the store decides every race.
//!
//! # Invariants
//! - **E1 stop before start.** A holder counts from *before* it asked for its epoch and stops after
//!   `ttl - margin`; a waiter counts from *after* it first saw that epoch and takes after `ttl + margin`.
//!   As the epoch was made in between, and `ttl - margin < ttl + margin`, the holder has stopped two margins
//!   before anyone may take, be the two clocks' rates apart by up to a fifth.
//! - **E2 no wall clock decides.** Only time passed on one's own monotonic clock is compared; clocks that
//!   jump harm nobody. (A jump of one's own is a reason to look once more, never to act.)
//! - **E3 the highest epoch is never deleted.** Old epochs go; so whoever slept and then made an epoch that
//!   was long gone finds a higher one by looking once more, and has nothing.
//! - **E4 a lost reply takes nothing twice.** An epoch carries the ID of the try that made it; the same try
//!   is repeated until it is known who made it, and its time runs from the first.
//!
//! Not proven by time alone: a machine that is suspended between its check and its act. What it writes
//! then fails in the journal ([`Fenced`]); what it deletes was buried before.
//!
//! Deliberately absent: moving the home (`vault rehome`), and waiting in a queue: whoever asks first wins.

pub mod decide;
mod fenced;
mod hold;
mod wait;

pub use crate::scope::Scope;
pub use decide::Timing;
pub use fenced::{FenceError, Fenced};
pub use hold::{KeepAlive, Lease};
pub use wait::{Acquired, Busy, Waiter};

use crate::{Copies, Created, Vault, WriteError, names, seal};
use jiff::Timestamp;
use lifeboat_base::RandomId;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Epochs below the highest that are kept, for people to look at.
const EPOCHS_KEPT: u64 = 16;
/// One request to the home may take this long: two of them fit between a renewal that is due and the end.
const REQUEST_LIMIT: Duration = Duration::from_millis(2_500);

/// A number of a lease: whoever acts under a higher one came later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An epoch, as it is stored: sealed JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EpochRecord {
    epoch: Epoch,
    /// The try that made it (E4).
    id: RandomId,
    /// `user@host, pid`.
    actor: String,
    /// The epoch at which this holder took the lease: the one that its journal records name.
    taken: Epoch,
    /// When, by the holder's clock: for people, no one decides by it (E2).
    time: Timestamp,
    /// Whether the holder has let go: the next may take at once.
    released: bool,
}

impl EpochRecord {
    /// Reads what is behind the seal; `None` for what no Lifeboat wrote.
    pub(crate) fn parse(raw: &[u8]) -> Option<Self> {
        serde_json::from_slice(raw).ok()
    }
}

/// Why a lease could not be taken or kept.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The home did not answer: nothing is known, nobody can take it either.
    #[error("the lease of {scope} is not known: the vault's home copy does not answer ({why})")]
    Silent {
        /// The scope.
        scope: Scope,
        /// What it said.
        why: String,
    },
    /// The home did not say whether it took the epoch.
    #[error("whether epoch {epoch} of the lease of {scope} was written is unknown; it is tried again")]
    Unknown {
        /// The scope.
        scope: Scope,
        /// The epoch.
        epoch: Epoch,
        /// What the home said.
        source: WriteError,
    },
    /// Another acts now.
    #[error("the lease of {scope} was taken over by {by}; nothing more is done under it")]
    Lost {
        /// The scope.
        scope: Scope,
        /// Who has it.
        by: String,
    },
    /// It was let go by ourselves.
    #[error("the lease of {0} was released already")]
    Released(Scope),
}

/// The home copy's view of one lease.
#[derive(Debug, Clone)]
struct Home {
    vault: Vault,
    home: Copies,
    scope: Scope,
}

impl Home {
    fn new(vault: &Vault, scope: &Scope) -> Self {
        Self { vault: vault.clone(), home: vault.copies().home(), scope: scope.clone() }
    }

    fn silent(&self, why: impl Into<String>) -> LeaseError {
        LeaseError::Silent { scope: self.scope.clone(), why: why.into() }
    }

    /// The epochs that are there, ascending.
    async fn epochs(&self) -> Result<Vec<Epoch>, LeaseError> {
        let prefix = names::lease_scope(self.scope.as_str());
        let listing = tokio::time::timeout(REQUEST_LIMIT, self.home.list(&prefix)).await;
        let listing = listing.map_err(|_| self.silent("no answer in time"))?;
        if let Some(failure) = listing.failures.first() {
            return Err(self.silent(&failure.reason));
        }
        // Scopes may lie inside one another.
        let here = |name: &String| {
            names::number(name).filter(|epoch| names::lease_epoch(self.scope.as_str(), *epoch) == *name)
        };
        Ok(listing.objects.keys().filter_map(here).map(Epoch).collect())
    }

    async fn highest(&self) -> Result<Epoch, LeaseError> {
        Ok(self.epochs().await?.last().copied().unwrap_or(Epoch(0)))
    }

    /// What an epoch says; `None` if it is gone or unreadable: then time alone decides.
    async fn read(&self, epoch: Epoch) -> Result<Option<EpochRecord>, LeaseError> {
        let name = names::lease_epoch(self.scope.as_str(), epoch.0);
        let read = tokio::time::timeout(REQUEST_LIMIT, self.home.read_from(0, &name)).await;
        match read.map_err(|_| self.silent("no answer in time"))? {
            Ok(sealed) => Ok(self.open(epoch, &sealed)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.silent(error.to_string())),
        }
    }

    fn open(&self, epoch: Epoch, sealed: &[u8]) -> Option<EpochRecord> {
        let name = names::lease_epoch(self.scope.as_str(), epoch.0);
        let raw = seal::open_object(self.vault.key(), &name, sealed).ok()?;
        EpochRecord::parse(&raw)
    }

    /// Creates an epoch. `Some` is whose it is instead.
    async fn create(&self, record: &EpochRecord) -> Result<Option<String>, LeaseError> {
        let name = names::lease_epoch(self.scope.as_str(), record.epoch.0);
        let raw = serde_json::to_vec(record).expect("texts and numbers serialise");
        let sealed = seal::seal_object(self.vault.key(), &name, self.vault.clock().as_ref(), &raw);
        let unknown = |source| LeaseError::Unknown { scope: self.scope.clone(), epoch: record.epoch, source };
        let created =
            tokio::time::timeout(REQUEST_LIMIT, self.home.create_at_home(&name, sealed.into())).await;
        let created = created.unwrap_or_else(|_| {
            let failures = vec![crate::CopyFailure {
                copy: self.home.all()[0].name().to_owned(),
                reason: "no answer in time".to_owned(),
            }];
            Err(WriteError::NotDurable { name: name.clone(), wanted: 1, got: 0, failures })
        });
        match created.map_err(unknown)? {
            Created::Mine => Ok(None),
            Created::Taken(there) => match self.open(record.epoch, &there) {
                Some(theirs) if theirs.id == record.id => Ok(None),
                Some(theirs) => Ok(Some(theirs.actor)),
                None => Ok(Some("an unreadable epoch".to_owned())),
            },
        }
    }

    /// Deletes epochs far below `highest` (E3), as well as the home lets us.
    async fn forget_below(&self, highest: Epoch, epochs: &[Epoch]) {
        let old = epochs.iter().filter(|epoch| epoch.0 + EPOCHS_KEPT < highest.0);
        let names: Vec<String> = old.map(|e| names::lease_epoch(self.scope.as_str(), e.0)).collect();
        if !names.is_empty() {
            // What stays is deleted by the next one.
            let _ = tokio::time::timeout(REQUEST_LIMIT, self.home.delete(names)).await;
        }
    }
}
