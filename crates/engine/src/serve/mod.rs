//! Protects services as their plan says, until told to stop.
//!
//! ```text
//! wait for the lease ─▶ term: read the journal ─▶ due? ─▶ record the start ─▶ run ─▶ record the outcome
//!        ▲                                          ▲                                    │
//!        └──────── lease lost, home silent ◀────────┴────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! - **G1 one acts.** A job begins only under the service's lease, and after its start is in the journal, which
//!   takes no record of one who lost the lease. Any number of others wait, and take over.
//! - **G2 WAL flows on.** A home copy that is away stops jobs, not the stream: the replication slot lets in
//!   one only, and the stream writes nothing that another could contradict. It ends when another acts.
//! - **G3 nothing is forgotten.** What ran when a process died is in the journal as begun, and counts as failed
//!   for whoever takes over.
//!
//! Deliberately absent: when a job is due (`core`), and what it does ([`Protection`]).

mod service;
mod term;

use lifeboat_base::ServiceName;
use lifeboat_core::port::Work;
use lifeboat_core::schedule::{Job, ServiceSchedule};
use lifeboat_vault::Vault;
use lifeboat_vault::journal::JournalError;
use lifeboat_vault::lease::{Epoch, Scope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Who serves a service, in the vault: the scope of its lease and of its jobs' journal.
pub const ROLE: &str = "serve";
/// The kind of a journal record that holds a [`lifeboat_core::schedule::JobEvent`].
pub const JOB_RECORD: &str = "job";

/// What the engine asks of whoever knows the services.
pub trait Protection: Send + Sync + 'static {
    /// Streams a service's WAL until `stop` is true; dropped, it stops at once.
    fn stream(&self, service: &ServiceName, stop: watch::Receiver<bool>) -> Work<()>;

    /// Bytes of WAL since the last advance or base backup, as far as known. It asks no store.
    fn grown(&self, service: &ServiceName) -> Option<u64>;

    /// Does a job and says what came of it; dropped, it stops at once.
    fn run(&self, service: &ServiceName, job: Job) -> Work<Done>;
}

/// What came of a job that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// In a sentence.
    pub summary: String,
    /// Whether a person must look at it: done is not well.
    pub doubtful: bool,
}

impl From<String> for Done {
    /// Done, and well.
    fn from(summary: String) -> Self {
        Self { summary, doubtful: false }
    }
}

/// A service to be served.
#[derive(Debug, Clone)]
pub struct ServedService {
    /// Its name.
    pub name: ServiceName,
    /// When its jobs are due.
    pub schedule: ServiceSchedule,
    /// Whether its WAL is streamed.
    pub streams: bool,
}

/// Something worth a line to whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServeEvent {
    /// Another serves it; we take over when that one ends.
    Waiting {
        /// Who.
        holder: String,
    },
    /// We serve it from now on.
    Serving {
        /// The epoch of our lease.
        epoch: Epoch,
    },
    /// The vault's home does not answer, or another took over: no job is begun.
    Suspended {
        /// Why.
        reason: String,
    },
    /// A job has begun.
    Started(Job),
    /// A job has done what it should.
    Succeeded(Job, String),
    /// A job has done what it should, and found what a person must look at.
    Doubtful(Job, String),
    /// A job has not; it is tried again.
    Failed(Job, String),
    /// The stream ended and begins anew.
    StreamFailed {
        /// Why.
        reason: String,
        /// When it is tried again.
        again_in: Duration,
    },
    /// We no longer serve it.
    Stopped,
}

/// Told of events as they happen.
pub type Observer = Arc<dyn Fn(&ServiceName, ServeEvent) + Send + Sync>;

/// What to serve, and with what.
#[derive(Clone)]
pub struct ServeOptions {
    /// The vault.
    pub vault: Vault,
    /// Who we are, for the lease and the journal: `user@host, pid`.
    pub actor: String,
    /// The services.
    pub services: Vec<ServedService>,
    /// What does the work.
    pub protection: Arc<dyn Protection>,
    /// Told what happens.
    pub observer: Observer,
}

/// The scope of a service's lease and jobs.
#[must_use]
pub fn scope(service: &ServiceName) -> Scope {
    Scope::service(service, ROLE)
}

/// Serves until `stop` becomes true, then lets go of everything in order.
///
/// It does not end by itself: whatever goes wrong is told, journalled and tried again.
pub async fn serve(options: ServeOptions, stop: watch::Receiver<bool>) {
    let mut services = JoinSet::new();
    for service in &options.services {
        services.spawn(service::serve(options.clone(), service.clone(), stop.clone()));
    }
    // A panic in one is its own: the others are served on.
    while services.join_next().await.is_some() {}
}

/// Returns when a stop is asked for, or nobody is left who could ask. Cancel safe.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Why the journal of a service cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("what {service} has done so far cannot be read")]
struct Unreadable {
    service: ServiceName,
    source: JournalError,
}
