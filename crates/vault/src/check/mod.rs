//! Check: is what the vault says it holds there, whole, in every copy? And repair from a copy that has it.
//!
//! # Invariants
//! - **H1 said only when seen.** What is not looked at is not called sound: a copy that does not answer is a
//!   finding, and restore points are whole only in copies that were asked.
//! - **H2 healed from what opens.** Bytes go to another copy only after their seal has opened here; they are
//!   read back before it is called repaired.
//! - **H3 the dead stay dead.** What prune has begun to delete is never brought back; repair holds prune's
//!   lease, so that none begins meanwhile.
//! - **H4 nothing is deleted.** Strays and leftovers are told of; prune and people delete.
//! - **H5 who is right is a person's to say.** Objects that are opened are compared between the copies; where two
//!   open and say different things, both stay as they are, and neither is brought to a third.
//!
//! Memory grows with the largest layer's or timeline's *names* and with [`FINDINGS_LIMIT`], not with bytes:
//! a few objects are in memory at once.
//!
//! Deliberately absent: whether a restore point recovers; that is shown by starting a server from it.

mod copies;
mod examine;
mod kind;
mod service;

use crate::lease::FenceError;
use crate::prune::FactsError;
use crate::{Vault, journal};
use examine::Examiner;
use lifeboat_base::ServiceName;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Findings that are told one by one; the others are counted.
pub const FINDINGS_LIMIT: usize = 10_000;

/// Called after every object.
pub type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How to check.
#[derive(Clone, Default)]
pub struct CheckOptions {
    /// Read every object and open every frame. Else: what is read anyway, names and sizes.
    pub deep: bool,
    /// Heal what another copy has.
    pub repair: Option<Repair>,
    /// Told how far it is.
    pub progress: Option<OnProgress>,
}

impl std::fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckOptions").field("deep", &self.deep).field("repair", &self.repair).finish()
    }
}

/// Who repairs.
#[derive(Debug, Clone)]
pub struct Repair {
    /// `user@host, pid`.
    pub actor: String,
    /// How long to wait for a running prune (H3).
    pub wait: Duration,
}

/// How far a check is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is looked at.
    pub at: String,
    /// Objects looked at, in all copies together.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Findings so far.
    pub findings: u64,
}

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingKind {
    /// A copy does not answer: nothing is known of it.
    CopyAway,
    /// A copy lacks an object that another has.
    Missing,
    /// An object that something refers to is in no copy.
    Lost,
    /// An object does not open, or has not the size that it should.
    Damaged,
    /// An object opens in two copies, and says different things there.
    Differs,
    /// One object could not be read.
    Unreadable,
    /// WAL that should be there is not.
    WalHole,
    /// A record of the journal was edited, lost or moved.
    Journal,
    /// A restore point cannot be restored from the vault.
    NotRestorable,
    /// It was pruned, and is still in a copy. No harm.
    Leftover,
    /// No restore point names the layer: a backup runs or was killed. No harm.
    Unnamed,
    /// Not something that Lifeboat writes. No harm.
    Stray,
}

impl FindingKind {
    /// Whether it needs doing something about.
    #[must_use]
    pub fn is_problem(self) -> bool {
        !matches!(self, Self::Leftover | Self::Unnamed | Self::Stray)
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// In which copy; none: in the vault as a whole.
    pub copy: Option<String>,
    /// The object, or what is meant.
    pub object: String,
    /// For people.
    pub what: String,
    /// Whether it is well again.
    pub repaired: bool,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyReport {
    /// Its name.
    pub name: String,
    /// What it said instead of answering.
    pub away: Option<String>,
    /// Objects listed.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One restore point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PointReport {
    /// The service.
    pub service: ServiceName,
    /// The point.
    pub id: String,
    /// Copies that have by themselves all that it needs, after repair. Names and sizes, or, when deep, every byte.
    pub whole_in: Vec<String>,
    /// Whether all copies together have it.
    pub is_restorable: bool,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Each copy.
    pub copies: Vec<CopyReport>,
    /// Each restore point.
    pub points: Vec<PointReport>,
    /// What is not as it should be, and what is worth knowing.
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_LIMIT`].
    pub more_findings: u64,
    /// Objects looked at, in all copies together.
    pub objects: u64,
    /// Bytes read.
    pub bytes_read: u64,
}

impl Report {
    /// Whether everything was looked at and nothing is wrong (any more).
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.more_findings == 0 && !self.findings.iter().any(|f| f.kind.is_problem() && !f.repaired)
    }
}

/// Why a check stopped.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No copy answers.
    #[error("the vault cannot be checked: no copy answers ({0})")]
    Silent(String),
    /// Prune runs, or the lease was lost.
    #[error("{service} is not repaired while prune may run")]
    Fence {
        /// The service.
        service: ServiceName,
        /// Why.
        source: FenceError,
    },
    /// What was pruned is not known: nothing may be brought back (H3).
    #[error("what was pruned of {service} is not known, so nothing can be said about what is missing")]
    Pruned {
        /// The service.
        service: ServiceName,
        /// Why.
        source: FactsError,
    },
}

/// Checks the vault.
///
/// # Errors
/// [`CheckError`]; whatever is wrong with the vault is a finding, not an error.
pub async fn check(vault: &Vault, options: &CheckOptions) -> Result<Report, CheckError> {
    let mut examiner = Examiner::begin(vault, options).await?;
    copies::top(&mut examiner).await?;
    check_journal(&mut examiner).await;
    for service in copies::services(&mut examiner).await {
        service::check(&mut examiner, &service).await?;
    }
    Ok(examiner.finish())
}

async fn check_journal(examiner: &mut Examiner<'_>) {
    let found = match journal::verify(examiner.vault()).await {
        Ok(report) => report,
        Err(error) => {
            return examiner.find(
                FindingKind::Journal,
                None,
                "journal",
                format!("cannot be verified: {error}"),
            );
        }
    };
    for scope in found.scopes {
        if let Some(fault) = scope.first_fault {
            examiner.find(FindingKind::Journal, None, &format!("journal/{}", scope.scope), fault.to_string());
        }
    }
}
