//! Carries runs: performs what [`lifeboat_core::run`] decides, and writes down what came of it.
//!
//! ```text
//! lease ─▶ read the chain ─▶ next? ─▶ record the intent ─▶ prove the lease ─▶ act ─▶ record the outcome
//!   ▲                          ▲                                                          │
//!   └── lost: nothing more ────┴──────────── answers of people, by the inbox ◀────────────┘
//! ```
//!
//! A run is a chain of the journal, `runs/<id>`: its first records ([`BEGUN_RECORD`], [`STEPS_RECORD`]) pin all that it
//! needs, each later one ([`EVENT_RECORD`]) is an event. People speak through another, `inbox/<id>`, into which anybody may write;
//! whoever carries the run takes their words over into its chain, or says why not.
//!
//! # Invariants
//! - **Y1 the record first.** An act begins after its intent is in the chain, which takes no record of one who lost
//!   the lease, and after the home has confirmed the lease once more.
//! - **Y2 the chain is all.** What a machine decides follows from the chain: another that takes the run over goes on
//!   as the first would have.
//! - **Y3 nobody is overheard.** Each word in the inbox is taken over once, or refused with a reason that the
//!   observer is told and the chain keeps.
//! - **Y4 a word is signed.** Where the plan named approvers when the run began, only theirs count, by their keys.
//!
//! Deliberately absent: what steps do ([`Actions`](lifeboat_core::run::Actions)), and what makes a signature.

mod attend;
mod carry;
mod inbox;
mod output;
mod read;
mod speech;

pub use attend::{AttendOptions, Attended, attend};
pub use carry::{CarryError, CarryOptions, carry};
pub use inbox::{Request, send};
pub use output::{Output, output};
pub use read::{Known, ReadRunError, list, load};
pub use speech::{NAMESPACE, beginning, statement};

use jiff::Timestamp;
use lifeboat_base::Clock;
use lifeboat_core::run::{BoundStep, Event, StepNumber};
use lifeboat_plan::Approver;
use lifeboat_vault::Vault;
use lifeboat_vault::journal::RECORD_LIMIT_BYTES;
use lifeboat_vault::lease::{FenceError, Fenced, Scope};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The kind of a run's first record, a [`Begun`].
pub const BEGUN_RECORD: &str = "run.begun";
/// The kind of the records after it, some steps each: [`BoundStep`]s.
pub const STEPS_RECORD: &str = "run.steps";
/// The kind of a record that holds an [`Event`].
pub const EVENT_RECORD: &str = "run.event";
/// The kind of a record that says why a word of the inbox came to nothing.
pub const REFUSED_RECORD: &str = "run.refused";
/// The kind of a record with what a step observed and printed.
pub const OUTPUT_RECORD: &str = "run.output";
/// Above the chains of all runs.
const RUNS: &str = "runs";
/// Above their inboxes.
const INBOX: &str = "inbox";
/// Above what their steps printed, whole.
const OUTPUT: &str = "output";

/// Names a run: when it was asked for, and chance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new one.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        Self(lifeboat_vault::point::new_id(clock).to_lowercase())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn scope(&self) -> Scope {
        Scope::new(&format!("{RUNS}/{}", self.0)).expect("checked when it was parsed or made")
    }

    fn output(&self) -> Scope {
        Scope::new(&format!("{OUTPUT}/{}", self.0)).expect("checked when it was parsed or made")
    }

    fn inbox(&self) -> Scope {
        Scope::new(&format!("{INBOX}/{}", self.0)).expect("checked when it was parsed or made")
    }
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no ID of a run; they look like `20261122t031500z-1f2e3d4c`")]
pub struct BadRunId(String);

impl std::str::FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        // One word of all three scopes, the longest of which bounds it.
        let is_word = !text.contains('/') && Scope::new(&format!("{OUTPUT}/{text}")).is_ok();
        if is_word { Ok(Self(text.to_owned())) } else { Err(BadRunId(text.to_owned())) }
    }
}

/// What a run pins when it begins; nothing that changes later changes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// The runbook.
    pub runbook: String,
    /// The SHA-256 of the plan, in hexadecimal.
    pub plan_hash: String,
    /// What it is done to: `drill` or `live`.
    pub target: String,
    /// Who asked for it.
    pub requester: String,
    /// That person's signature of [`beginning`], where the plan names approvers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Whose words count, by which keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<Approver>,
    /// What was bound, by the variable's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// What must stand in the environment of whoever carries it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// How many steps it has.
    pub steps: usize,
}

/// Something worth a line to whoever watches.
#[derive(Debug, Clone, PartialEq)]
pub enum RunTold {
    /// An event was written down.
    Event(Event, Timestamp),
    /// A step observed or printed something.
    Output(Output),
    /// A step could not be probed, done or verified.
    Trouble(StepNumber, String),
    /// A word of the inbox came to nothing.
    Refused(String),
}

/// Told of what happens, with the run as it is then.
pub type RunObserver = Arc<dyn Fn(&Known, RunTold) + Send + Sync>;

/// Begins a run: from here on it is in the vault, and whoever holds `Fenced` carries it.
///
/// # Errors
/// [`FenceError`].
pub async fn begin(
    vault: &Vault,
    id: &RunId,
    actor: &str,
    begun: &Begun,
    steps: &[BoundStep],
    limit: Duration,
) -> Result<Fenced, FenceError> {
    let mut fenced = Fenced::wait(vault, &id.scope(), actor, limit).await?;
    let data = serde_json::to_value(begun).expect("names and texts serialise");
    fenced.append(BEGUN_RECORD, data).await?;
    for steps in in_records(steps) {
        let data = serde_json::json!({ "steps": steps });
        fenced.append(STEPS_RECORD, data).await?;
    }
    Ok(fenced)
}

/// Takes over the right to carry a run, once nobody else has it.
///
/// # Errors
/// [`FenceError`].
pub async fn resume(vault: &Vault, id: &RunId, actor: &str, limit: Duration) -> Result<Fenced, FenceError> {
    Fenced::wait(vault, &id.scope(), actor, limit).await
}

/// Cut so that each part fits into a record.
fn in_records(steps: &[BoundStep]) -> Vec<&[BoundStep]> {
    let mut parts = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, step) in steps.iter().enumerate() {
        let size = serde_json::to_vec(step).map_or(0, |json| json.len());
        if at > from && bytes + size > RECORD_LIMIT_BYTES / 2 {
            parts.push(&steps[from..at]);
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    parts.push(&steps[from..]);
    parts
}
