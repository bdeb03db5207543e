//! A store that fails on command, around any real one.
//!
//! ```
//! use lifeboat_testkit::faulty::{Fault, FaultPlan, FaultyStore, OperationKind, Select};
//! use object_store::memory::InMemory;
//! use std::sync::Arc;
//!
//! // Every write, in turn, is the one at which the machine dies:
//! let rehearsal = FaultyStore::new(Arc::new(InMemory::new()), FaultPlan::none());
//! // … do the work over `rehearsal`, then, for as many writes as it made:
//! for write in 1..=rehearsal.write_count() {
//!     let store = FaultyStore::new(Arc::new(InMemory::new()), FaultPlan::none().at_write(write, Fault::Crash));
//!     // … do the work, which fails; look at `store.inner()` as the next process would find it.
//! }
//! // One kind of object loses its reply, each time:
//! let plan = FaultPlan::none().on(Select::kind(OperationKind::Create).named("manifest"), Fault::LoseReply);
//! ```
//!
//! # Invariants
//! - The same plan, seed and calls give the same faults. What a seed decides hangs on an operation's
//!   kind, name and how often that came before, not on how tasks happened to interleave.
//! - A fault is only given to operations that it can befall ([`Fault::befalls`]); a test makes sure that
//!   its faults came by asking [`FaultyStore::fired`].
//!
//! Deliberately absent: half-written objects. Object storage has none, and a directory renames into place.

mod plan;
mod store;
mod upload;

pub use plan::{Fault, FaultPlan, OperationKind, Select};
pub use store::{Call, FaultyStore};
