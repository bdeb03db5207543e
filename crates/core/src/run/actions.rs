//! What a run asks of whoever carries its steps out.

use super::event::{Found, Outcome, Side};
use super::rules::Rules;
use crate::port::Work;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A step, with its arguments: pinned when the run begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundStep {
    /// By which people call it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What a person would type or do.
    pub shown: String,
    /// What is said about it beside: why it is done, how to see that it worked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How long it takes as a rule, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// The hash of all that a person is shown before they agree: plan, step, bound arguments.
    pub hash: String,
    /// For the adapter that carries it out.
    pub does: serde_json::Value,
    /// What is fixed about its order and its repetition.
    pub rules: Rules,
}

/// Values that steps observed, by their names: outputs of commands, what was there before a change.
pub type Observed = BTreeMap<String, String>;

/// Under which circumstances a step is probed, done or verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circumstances {
    /// The run.
    pub run: String,
    /// Of the lease: greater than that of any machine that carried the run before. For targets that can check one.
    pub fence: u64,
    /// What this step observed before, the later over the earlier.
    pub before: Observed,
    /// What all steps observed, the later over the earlier.
    pub known: Observed,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// The answer.
    pub result: T,
    /// What was observed; it is kept, and given to what follows.
    pub observed: Observed,
    /// What was printed, with secrets taken out.
    pub output: String,
}

impl<T> From<T> for Told<T> {
    /// Nothing was printed, or observed beside.
    fn from(result: T) -> Self {
        Self { result, observed: Observed::new(), output: String::new() }
    }
}

/// What carries steps out.
pub trait Actions: Send + Sync + 'static {
    /// Whether the step is done already. An error is [`Found::Unknown`] to the run, and told.
    fn probe(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Found>>;

    /// Does the step, or undoes it, and ends within the step's own limit. An error counts as
    /// [`Outcome::Unknown`]: adapters say [`Outcome::Failed`] only when it is certain.
    fn act(&self, step: &BoundStep, side: Side, under: Circumstances) -> Work<Told<Outcome>>;

    /// Why the world is not as the step wants it, or none if it is.
    fn verify(&self, step: &BoundStep, under: Circumstances) -> Work<Told<Option<String>>>;
}
