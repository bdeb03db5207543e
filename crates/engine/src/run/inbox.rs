//! What people say to a run.

use super::RunId;
use lifeboat_core::run::{Answer, Event, StepNumber};
use lifeboat_vault::Vault;
use lifeboat_vault::journal::{self, Chain, JournalError};
use serde::{Deserialize, Serialize};

/// The kind of a record of an inbox.
const REQUEST_RECORD: &str = "run.request";

/// A word of a person to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "request")]
pub enum Request {
    /// Agrees to a step.
    Approve {
        /// Which.
        step: StepNumber,
        /// Who.
        by: String,
        /// The hash of what was seen.
        shown: String,
    },
    /// Overrides, alone, what needs more people.
    BreakGlass {
        /// For which step.
        step: StepNumber,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Answers what was asked.
    Answer {
        /// About which step.
        step: StepNumber,
        /// Who.
        by: String,
        /// What.
        answer: Answer,
    },
    /// Ends the run.
    Abort {
        /// Who.
        by: String,
        /// Whether what was done is undone.
        undo: bool,
        /// Why.
        reason: String,
    },
}

impl Request {
    /// As an event of the run.
    pub(super) fn event(self) -> Event {
        match self {
            Self::Approve { step, by, shown } => Event::Approved { step, by, shown },
            Self::BreakGlass { step, by, reason } => Event::BrokeGlass { step, by, reason },
            Self::Answer { step, by, answer } => Event::Answered { step, by, answer },
            Self::Abort { by, undo, reason } => Event::Aborted { by, undo, reason },
        }
    }
}

/// Leaves a word for whoever carries the run.
///
/// # Errors
/// [`JournalError`].
pub async fn send(vault: &Vault, id: &RunId, actor: &str, request: &Request) -> Result<(), JournalError> {
    let data = serde_json::to_value(request).expect("names and texts serialise");
    let mut chain = Chain::open(vault, &id.inbox(), actor).await?;
    chain.append_shared(REQUEST_RECORD, data).await.map(drop)
}

/// The words after number `after`, each with its number; one that is not understood is told as it stands.
pub(super) async fn since(
    vault: &Vault,
    id: &RunId,
    after: u64,
) -> Result<Vec<(u64, Result<Request, String>)>, JournalError> {
    let page = journal::read(vault, &id.inbox(), after).await?;
    let records = page.records.into_iter();
    let parsed = records.map(|record| {
        let request = serde_json::from_value(record.data).map_err(|error| error.to_string());
        (record.number, request)
    });
    Ok(parsed.collect())
}
