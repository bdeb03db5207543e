//! What is fixed about a run before it begins: the rules of each of its steps.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most steps of one run.
pub const STEPS_LIMIT: usize = 100_000;
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A step's place in its runbook, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepNumber(pub u32);

impl StepNumber {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What repeating an act does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Changes nothing.
    Read,
    /// Twice is as once.
    Idempotent,
    /// Must not happen twice by accident.
    Destructive,
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Doing {
    /// Lifeboat.
    Machine,
    /// A person does it, and says so.
    Person,
    /// A person decides: for each answer the later step that it leads to, and whether it ends the run for another
    /// runbook.
    Choice(Vec<Leads>),
    /// Nobody: it is there for its approval.
    Nobody,
}

/// Where an answer leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leads {
    /// To the step behind.
    On,
    /// To a later step; those between are passed over.
    To(StepNumber),
    /// To another runbook: all later steps are passed over.
    Away(String),
}

/// What is done when a step has failed and is not tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// A person is asked.
    #[default]
    Stop,
    /// What was done is undone.
    Undo,
    /// The run goes on without it.
    GoOn,
}

/// The rules of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// What repeating it does.
    pub class: Class,
    /// Who acts.
    pub doing: Doing,
    /// The steps that come first, all of them earlier ones.
    pub needs: Vec<StepNumber>,
    /// Whether a person says first if it is to be done at all.
    pub is_conditional: bool,
    /// Whether the world can be asked if it was done.
    pub has_probe: bool,
    /// Whether the world can be asked if it is as wanted.
    pub has_verify: bool,
    /// Whether it can be undone.
    pub has_undo: bool,
    /// How many people must agree.
    pub approvals: u32,
    /// How often it is tried, at least once.
    pub tries: u32,
    /// Before the second try; doubled with each further one.
    pub pause: Duration,
    /// After how long an act that was begun is no longer under way, whoever began it.
    pub settles: Duration,
    /// When it has failed for good.
    pub on_failure: OnFailure,
}

impl Rules {
    /// How long to wait after that many tries.
    pub(super) fn pause_after(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        self.pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
    }
}

/// The rules of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Form")]
pub struct RunRules {
    /// Who asked for it.
    requester: String,
    /// Its steps.
    steps: Vec<Rules>,
    /// For each step, those that need it.
    #[serde(skip)]
    needed_by: Vec<Vec<StepNumber>>,
}

#[derive(Deserialize)]
struct Form {
    requester: String,
    steps: Vec<Rules>,
}

impl TryFrom<Form> for RunRules {
    type Error = RulesError;

    fn try_from(Form { requester, steps }: Form) -> Result<Self, RulesError> {
        Self::new(requester, steps)
    }
}

/// Why there can be no such run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Nothing to do.
    #[error("a run has at least one step")]
    Empty,
    /// Too much to do.
    #[error("a run has at most {STEPS_LIMIT} steps, not {0}")]
    TooMany(usize),
    /// Steps can only wait for earlier ones: so nothing waits for itself.
    #[error("step {step} needs step {needs}, which does not come before it")]
    Needs {
        /// Counted from 1.
        step: u32,
        /// Counted from 1.
        needs: u32,
    },
    /// What was done is not done again by going back.
    #[error(
        "an answer to step {step} leads to step {to}, which does not come after it: a run never goes back"
    )]
    Back {
        /// Counted from 1.
        step: u32,
        /// Counted from 1.
        to: u32,
    },
    /// A choice of nothing.
    #[error("step {0} lets a person choose, and has no answers")]
    NoChoice(u32),
    /// Never tried.
    #[error("step {0} is to be tried 0 times: it would never be done")]
    NoTries(u32),
}

impl RunRules {
    /// The rules of a run.
    ///
    /// # Errors
    /// [`RulesError`].
    pub fn new(requester: String, steps: Vec<Rules>) -> Result<Self, RulesError> {
        if steps.is_empty() {
            return Err(RulesError::Empty);
        }
        if steps.len() > STEPS_LIMIT {
            return Err(RulesError::TooMany(steps.len()));
        }
        let count = u32::try_from(steps.len()).map_err(|_| RulesError::TooMany(steps.len()))?;
        for (step, rules) in (1..).zip(&steps) {
            if let Some(needs) = rules.needs.iter().find(|needs| needs.0 + 1 >= step) {
                return Err(RulesError::Needs { step, needs: needs.0.saturating_add(1) });
            }
            if rules.tries == 0 {
                return Err(RulesError::NoTries(step));
            }
            if let Doing::Choice(answers) = &rules.doing {
                if answers.is_empty() {
                    return Err(RulesError::NoChoice(step));
                }
                let backwards = answers.iter().find_map(|answer| match answer {
                    Leads::To(to) if to.0 < step || to.0 >= count => Some(to.0.saturating_add(1)),
                    _ => None,
                });
                if let Some(to) = backwards {
                    return Err(RulesError::Back { step, to });
                }
            }
        }
        let mut needed_by = vec![Vec::new(); steps.len()];
        for (step, rules) in (0..).map(StepNumber).zip(&steps) {
            for needs in rules.needs.iter().collect::<BTreeSet<_>>() {
                needed_by[needs.index()].push(step);
            }
        }
        Ok(Self { requester, steps, needed_by })
    }

    /// Who asked for the run.
    #[must_use]
    pub fn requester(&self) -> &str {
        &self.requester
    }

    /// How many steps there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Never: a run has at least one step.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The rules of a step, if there is that step.
    #[must_use]
    pub fn step(&self, step: StepNumber) -> Option<&Rules> {
        self.steps.get(step.index())
    }

    pub(super) fn needed_by(&self, step: StepNumber) -> &[StepNumber] {
        &self.needed_by[step.index()]
    }

    /// All steps with their rules, in order.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = (StepNumber, &Rules)> + ExactSizeIterator {
        // At most STEPS_LIMIT.
        self.steps.iter().enumerate().map(|(at, rules)| (StepNumber(at as u32), rules))
    }
}
