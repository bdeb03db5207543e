//! What people say to a run.

use super::{RunId, speech};
use lifeboat_core::run::{Answer, Event, StepNumber};
use lifeboat_plan::Approver;
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

/// A request as it lies in the inbox.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Word {
    #[serde(flatten)]
    request: Request,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl Request {
    /// Who says it.
    #[must_use]
    pub fn by(&self) -> &str {
        match self {
            Self::Approve { by, .. }
            | Self::BreakGlass { by, .. }
            | Self::Answer { by, .. }
            | Self::Abort { by, .. } => by,
        }
    }

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

/// Leaves a word for whoever carries the run, with the signature of its [`statement`](super::statement). Returns its
/// number, by which it is known when it is heard.
///
/// # Errors
/// [`JournalError`].
pub async fn send(
    vault: &Vault,
    id: &RunId,
    actor: &str,
    request: Request,
    signature: Option<String>,
) -> Result<u64, JournalError> {
    let data = serde_json::to_value(Word { request, signature }).expect("names and texts serialise");
    let mut chain = Chain::open(vault, &id.inbox(), actor).await?;
    chain.append_shared(REQUEST_RECORD, data).await.map(|record| record.number)
}

/// The words after number `after`, each with its number; one that is not understood, or does not count (Y4), by why.
pub(super) async fn since(
    vault: &Vault,
    id: &RunId,
    approvers: &[Approver],
    after: u64,
) -> Result<Vec<(u64, Result<Request, String>)>, JournalError> {
    let page = journal::read(vault, &id.inbox(), after).await?;
    let heard = |data| {
        let Word { request, signature } =
            serde_json::from_value(data).map_err(|error: serde_json::Error| error.to_string())?;
        let statement = speech::statement(id, &request);
        speech::check(approvers, request.by(), &statement, signature.as_deref())?;
        Ok(request)
    };
    Ok(page.records.into_iter().map(|record| (record.number, heard(record.data))).collect())
}
