//! A lease and its journal chain together: whoever lost the one can no longer write the other.
//!
//! # Invariants
//! - **F1 taken in the chain.** Before anything else, the new holder writes `lease.taken`. From then on the
//!   old one's next record meets a taken number and fails, however late it wakes.

use super::{Acquired, Busy, KeepAlive, Lease, LeaseError, Scope};
use crate::Vault;
use crate::journal::{Chain, JournalError, Record};
use std::time::Duration;

/// Why nothing may be done under a lease.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// Another acts.
    #[error("{} acts for {scope} now (epoch {} of the lease); wait for it to end, or stop it", .busy.holder, .busy.epoch)]
    Busy {
        /// The scope.
        scope: Scope,
        /// Who.
        busy: Busy,
    },
    /// The lease is lost or unknown.
    #[error("nothing is done for {scope}: its lease is not ours")]
    Lease {
        /// The scope.
        scope: Scope,
        /// Why.
        source: LeaseError,
    },
    /// The journal did not take a record.
    #[error("nothing is done for {scope}: it cannot be journalled")]
    Journal {
        /// The scope.
        scope: Scope,
        /// Why.
        source: JournalError,
    },
}

impl FenceError {
    /// Whether another acts now: stop, for good.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Lease { source, .. } => matches!(source, LeaseError::Lost { .. }),
            Self::Journal { source, .. } => matches!(source, JournalError::LostChain { .. }),
        }
    }
}

/// The right to act for a scope, and the chain where that is written down.
#[derive(Debug)]
pub struct Fenced {
    lease: Lease,
    chain: Chain,
    /// Renews until we are dropped.
    _keep_alive: KeepAlive,
}

impl Fenced {
    /// Waits up to `limit` for the lease of `scope`, and takes it (F1).
    ///
    /// # Errors
    /// [`FenceError`].
    pub async fn wait(
        vault: &Vault,
        scope: &Scope,
        actor: &str,
        limit: Duration,
    ) -> Result<Self, FenceError> {
        let waited = Lease::wait(vault, scope, actor, limit).await;
        let acquired = waited.map_err(|source| FenceError::Lease { scope: scope.clone(), source })?;
        match acquired {
            Acquired::Held(lease) => Self::begin(vault, lease, actor).await,
            Acquired::Busy(busy) => Err(FenceError::Busy { scope: scope.clone(), busy }),
        }
    }

    /// Begins to act under `lease` (F1), and keeps it renewed.
    ///
    /// # Errors
    /// [`FenceError::Journal`]; the lease is released then.
    pub async fn begin(vault: &Vault, lease: Lease, actor: &str) -> Result<Self, FenceError> {
        let keep_alive = lease.keep_alive();
        let scope = lease.scope().clone();
        let begun = async {
            let mut chain = Chain::open(vault, &scope, actor).await?;
            chain.set_lease(Some(lease.epoch()));
            chain.append_taken("lease.taken", serde_json::json!({ "epoch": lease.epoch() })).await?;
            Ok(chain)
        };
        match begun.await {
            Ok(chain) => Ok(Self { lease, chain, _keep_alive: keep_alive }),
            Err(source) => {
                // Best effort: otherwise it runs out by itself.
                let _ = lease.release().await;
                Err(FenceError::Journal { scope, source })
            }
        }
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The chain, for reading where it ends.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether we may act now; asks no store.
    #[must_use]
    pub fn still_held(&self) -> bool {
        self.lease.still_held()
    }

    /// Asks the home whether we may act: before what cannot be undone.
    ///
    /// # Errors
    /// [`FenceError::Lease`].
    pub async fn confirm(&self) -> Result<(), FenceError> {
        let lease = |source| FenceError::Lease { scope: self.lease.scope().clone(), source };
        self.lease.renew().await.map_err(lease)
    }

    /// Writes down an event; it fails if another has taken over.
    ///
    /// # Errors
    /// [`FenceError`].
    pub async fn append(&mut self, kind: &str, data: serde_json::Value) -> Result<Record, FenceError> {
        if !self.still_held() {
            self.confirm().await?;
        }
        let scope = self.lease.scope().clone();
        self.chain.append(kind, data).await.map_err(|source| FenceError::Journal { scope, source })
    }

    /// Lets go, so that the next may act at once.
    pub async fn end(self) {
        // If the home does not take it, the lease runs out by itself.
        let _ = self.lease.release().await;
    }
}
