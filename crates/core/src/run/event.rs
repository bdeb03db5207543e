//! What happens to a run: the records of its chain.

use super::rules::StepNumber;
use serde::{Deserialize, Serialize};

/// Doing a step, or undoing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// As the step says.
    Act,
    /// Back.
    Undo,
}

/// What a probe says about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It is done.
    Done,
    /// It is not.
    NotDone,
    /// It could not be told.
    Unknown,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "came")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It failed, and that is all that it did.
    Failed {
        /// Why.
        why: String,
    },
    /// No answer, or one that does not say whether it was done.
    Unknown {
        /// What is known.
        why: String,
    },
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
pub enum Ask {
    /// Whether the step is to be done at all.
    Condition,
    /// To agree.
    Approval,
    /// To do it, and say so.
    Work,
    /// How it goes on.
    Choice,
    /// Whether it, or undoing it, was done: nothing else can tell.
    Doubt {
        /// Which of the two.
        side: Side,
    },
    /// What to do about a failure.
    Failure {
        /// Of which of the two.
        side: Side,
    },
}

/// What a person says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
pub enum Answer {
    /// It is to be done ([`Ask::Condition`]).
    Yes,
    /// It is not to be done.
    No,
    /// It is done, with what was seen.
    Done {
        /// What was seen.
        saw: String,
    },
    /// It could not be done.
    Failed {
        /// Why.
        why: String,
    },
    /// One of the answers, from 0 on.
    Chose {
        /// Which.
        option: u32,
    },
    /// It was not done, or has failed: it is to be done again.
    Again,
    /// The run is to go on without it.
    Skip {
        /// Why.
        why: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ending")]
pub enum Ending {
    /// Each step was done, or rightly passed over.
    Completed,
    /// It went on without steps that failed.
    Incomplete {
        /// Which.
        failed: Vec<StepNumber>,
    },
    /// A choice led to another runbook.
    Led {
        /// Which.
        runbook: String,
    },
    /// It was aborted.
    Aborted {
        /// What was done and stays.
        left: Vec<StepNumber>,
        /// What was undone.
        undone: Vec<StepNumber>,
    },
}

/// One record of a run's chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "event")]
pub enum Event {
    /// A machine carries the run from here on; what was under way on another is so no longer, or is in doubt.
    Carried {
        /// Which.
        by: String,
    },
    /// The world was asked whether a step is done.
    Probed {
        /// Which step.
        step: StepNumber,
        /// The answer.
        found: Found,
    },
    /// People were asked.
    Asked {
        /// About which step.
        step: StepNumber,
        /// What.
        ask: Ask,
        /// The hash of what they were shown.
        shown: String,
    },
    /// A person agreed.
    Approved {
        /// To which step.
        step: StepNumber,
        /// Who.
        by: String,
        /// The hash of what was agreed to.
        shown: String,
    },
    /// One person overrode what needs more.
    BrokeGlass {
        /// For which step.
        step: StepNumber,
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// A person answered.
    Answered {
        /// About which step.
        step: StepNumber,
        /// Who.
        by: String,
        /// What.
        answer: Answer,
    },
    /// It is about to be done, or undone.
    Intended {
        /// Which step.
        step: StepNumber,
        /// Doing or undoing.
        side: Side,
        /// Counted from 1.
        attempt: u32,
    },
    /// What came of it.
    Came {
        /// Which step.
        step: StepNumber,
        /// Doing or undoing.
        side: Side,
        /// The attempt that was intended.
        attempt: u32,
        /// The outcome.
        outcome: Outcome,
    },
    /// The world was asked whether it is as the step wants it.
    Verified {
        /// Which step.
        step: StepNumber,
        /// Why it is not, or none if it is.
        wrong: Option<String>,
    },
    /// A person ends the run.
    Aborted {
        /// Who.
        by: String,
        /// Whether what was done is undone.
        undo: bool,
        /// Why.
        reason: String,
    },
    /// The run is over.
    Ended(Ending),
}
