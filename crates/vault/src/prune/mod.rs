//! Prune: what goes, why, and how it goes without ever being missed.
//!
//! ```text
//! gather facts → decide → bury (tombstone in the journal) → grace → gather and decide again
//!   → write down that deleting begins → look at pins again → manifests → layers → WAL → write down the end
//! ```
//!
//! # Invariants
//! - **R1 whole or gone.** A manifest goes first, from every copy, and only then what it alone refers to:
//!   whatever is listed as a restore point has all its objects.
//! - **R2 nothing that is needed.** The newest point, the last verified one, what is pinned, and every layer
//!   and every segment that a kept point needs stay ([`decide`]).
//! - **R3 twice.** What is buried is looked at again, with fresh facts, after the grace; what is wanted again
//!   by then is spared.
//! - **R4 killed anywhere.** The next run finishes: it finds in the journal what has begun.
//! - **R5 a zombie deletes nothing.** Before every batch the home is asked for the lease.
//! - **R6 no clock deletes.** Moments are counted back from the newest restore point, or from now if that is
//!   earlier: a clock that jumps ahead makes nothing go.
//!
//! Deliberately absent: when to prune, and what the plan calls the rules.

mod apply;
mod facts;
mod keep;
#[cfg(test)]
mod tests;
mod tombs;
mod wal;

pub use apply::{Outcome, PruneError, PruneOptions, plan, run};
pub(crate) use facts::timelines;
pub use facts::{Facts, FactsError, LayerFacts, TimelineFacts, Verification, WalFacts, WalObject, gather};
pub use keep::{Kept, Policy, Verdicts, decide};
pub(crate) use tombs::Buried;
pub use tombs::{Burial, Item, Tomb, Tombs, scope};
