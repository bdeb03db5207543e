//! What is known of a run: its events, folded.

use super::decide::{Effect, next};
use super::event::{Answer, Ask, Ending, Event, Found, Outcome, Side};
use super::rules::{Class, Doing, Leads, OnFailure, Rules, RunRules, StepNumber};
use super::standing::{Standing, standing};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub(super) steps: Vec<StepState>,
    /// Those that may begin, or have begun: the ones to look at.
    pub(super) open: BTreeSet<StepNumber>,
    /// Of each step, how many of those that it needs are not over.
    waits_for: Vec<usize>,
    pub(super) aborted: Option<Aborted>,
    pub(super) led: Option<String>,
    ending: Option<Ending>,
}

/// That a person ended the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aborted {
    pub(super) undo: bool,
}

/// What is known of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StepState {
    pub(super) phase: Phase,
    /// What people were asked last, with the hash of what they were shown; none once they have answered.
    pub(super) asked: Option<(Ask, String)>,
    pub(super) is_wanted: bool,
    pub(super) approvers: BTreeSet<String>,
    pub(super) is_overridden: bool,
    /// Acts that were intended, of both sides.
    pub(super) attempts: u32,
    /// Those that failed since a person last had a say.
    pub(super) failures: u32,
    /// Whether this run changed the world by it, as far as is known.
    pub(super) has_acted: bool,
}

/// How far a step is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing was begun, or all that was has come to nothing.
    #[default]
    Fresh,
    /// The world does not say that it is done.
    Looked,
    /// Intended, and no outcome.
    UnderWay { side: Side, attempt: u32, doubt: Option<Doubt> },
    /// Done, and to be verified.
    Acted,
    /// It failed.
    Failed { side: Side, at: Timestamp, may_repeat: bool },
    /// Done, by this run or before it.
    Done,
    /// Not done, and need not be.
    Skipped,
    /// Failed, and the run goes on.
    GivenUp,
    /// To be undone.
    Undone,
    /// Its undoing was given up.
    Stays,
}

/// Why an act's outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Since when it is not known; from then on it is under way at most as long as the step takes to settle.
    pub(super) since: Timestamp,
    /// What the world said last.
    pub(super) probe: Option<(Found, Timestamp)>,
}

/// An event that cannot have happened: the run's records were changed, or were written by a newer Lifeboat.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The run is over.
    #[error("the run is over")]
    Over,
    /// Steps are still to be done, or it ended otherwise.
    #[error("the run does not end so")]
    NotOver,
    /// No such step.
    #[error("the run has no step {}", .0.0 + 1)]
    NoStep(StepNumber),
    /// Not in this state of the step.
    #[error("step {} is not where that can happen: {what}", step.0 + 1)]
    NotNow {
        /// The step.
        step: StepNumber,
        /// What is missing.
        what: &'static str,
    },
}

impl State {
    /// A run that has just been asked for.
    #[must_use]
    pub fn new(rules: &RunRules) -> Self {
        let steps = vec![StepState::default(); rules.len()];
        let needs = |of: &Rules| of.needs.iter().collect::<BTreeSet<_>>().len();
        let waits_for: Vec<usize> = rules.steps().map(|(_, of)| needs(of)).collect();
        let free = rules.steps().filter(|(step, _)| waits_for[step.index()] == 0);
        let open = free.map(|(step, _)| step).collect();
        Self { steps, open, waits_for, aborted: None, led: None, ending: None }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// What people have been asked and have not answered, with the hash of what they were shown.
    pub fn asked(&self) -> impl Iterator<Item = (StepNumber, &Ask, &str)> {
        self.open.iter().filter_map(|step| {
            let (ask, shown) = self.steps[step.index()].asked.as_ref()?;
            Some((*step, ask, shown.as_str()))
        })
    }

    /// Takes one event in, as of the time of the machine that carries the run. Nothing is changed by one that
    /// does not fit.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn apply(&mut self, rules: &RunRules, event: &Event, at: Timestamp) -> Result<(), Misfit> {
        if self.ending.is_some() {
            return Err(Misfit::Over);
        }
        match event {
            Event::Carried { .. } => {
                for state in &mut self.steps {
                    if let Phase::UnderWay { doubt: doubt @ None, .. } = &mut state.phase {
                        *doubt = Some(Doubt { since: at, probe: None });
                    }
                }
                if self.aborted.is_some() {
                    self.repeat_nothing(rules, at);
                }
            }
            Event::Aborted { undo, .. } => {
                let undo = *undo || self.aborted.as_ref().is_some_and(|aborted| aborted.undo);
                self.aborted = Some(Aborted { undo });
                for state in &mut self.steps {
                    // Questions about what is no longer to be done.
                    if !matches!(state.phase, Phase::UnderWay { .. }) {
                        state.asked = None;
                    }
                }
                // What is done may have to be undone.
                self.open = rules.steps().map(|(step, _)| step).collect();
                self.repeat_nothing(rules, at);
            }
            Event::Ended(ending) => {
                if next(rules, self, &BTreeSet::new(), at).effects != [Effect::End(ending.clone())] {
                    return Err(Misfit::NotOver);
                }
                self.ending = Some(ending.clone());
            }
            Event::Probed { step, .. }
            | Event::Asked { step, .. }
            | Event::Approved { step, .. }
            | Event::BrokeGlass { step, .. }
            | Event::Answered { step, .. }
            | Event::Intended { step, .. }
            | Event::Came { step, .. }
            | Event::Verified { step, .. } => self.apply_to(rules, *step, event, at)?,
        }
        Ok(())
    }

    /// It is over: the steps that waited for it alone may begin.
    fn close(&mut self, rules: &RunRules, step: StepNumber) {
        if self.aborted.is_some() {
            return;
        }
        self.open.remove(&step);
        for waiting in rules.needed_by(step) {
            let left = &mut self.waits_for[waiting.index()];
            *left = left.saturating_sub(1);
            if *left == 0 && !self.steps[waiting.index()].is_over() {
                self.open.insert(*waiting);
            }
        }
    }

    /// R6: of what might be repeated, an outcome that is not known is taken as having changed the world.
    fn repeat_nothing(&mut self, rules: &RunRules, at: Timestamp) {
        for ((_, of), state) in rules.steps().zip(&mut self.steps) {
            let is_doubtful = matches!(&state.phase, Phase::UnderWay { side: Side::Act, doubt: Some(_), .. });
            if is_doubtful && of.class != Class::Destructive {
                state.has_acted |= of.class == Class::Idempotent;
                state.phase = Phase::Failed { side: Side::Act, at, may_repeat: false };
            }
        }
    }

    fn apply_to(
        &mut self,
        rules: &RunRules,
        step: StepNumber,
        event: &Event,
        at: Timestamp,
    ) -> Result<(), Misfit> {
        let now = standing(rules, self, step, at);
        let (Some(of), Some(state)) = (rules.step(step), self.steps.get_mut(step.index())) else {
            return Err(Misfit::NoStep(step));
        };
        // Only what was decided happens: the same decision is made here once more.
        let is_decided = match event {
            Event::Probed { .. } => now == Standing::Probe,
            Event::Asked { ask, .. } => now == Standing::Ask(ask.clone()),
            Event::Intended { side, attempt, .. } => now == Standing::Act(*side, *attempt),
            Event::Verified { .. } => now == Standing::Verify,
            _ => true,
        };
        if !is_decided {
            return Err(Misfit::NotNow { step, what: "it is not due" });
        }
        let mut next = state.clone();
        next.apply(of, event, at).map_err(|what| Misfit::NotNow { step, what })?;
        *state = next;
        if state.is_over() {
            self.close(rules, step);
        }
        if let (Event::Answered { answer: Answer::Chose { option }, .. }, Doing::Choice(answers)) =
            (event, &of.doing)
        {
            let to = match answers.get(*option as usize) {
                Some(Leads::To(to)) => to.index(),
                Some(Leads::Away(runbook)) => {
                    self.led = Some(runbook.clone());
                    self.steps.len()
                }
                Some(Leads::On) | None => step.index() + 1,
            };
            for between in rules.steps().map(|(step, _)| step).take(to).skip(step.index() + 1) {
                let state = &mut self.steps[between.index()];
                // What runs side by side with the choice goes on.
                if matches!(state.phase, Phase::Fresh | Phase::Looked) {
                    *state = StepState { phase: Phase::Skipped, ..StepState::default() };
                    self.close(rules, between);
                }
            }
        }
        Ok(())
    }
}

impl StepState {
    /// Whether the steps that need it may begin.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Skipped | Phase::GivenUp | Phase::Undone | Phase::Stays)
    }

    /// Whether as many people have agreed as must.
    pub(super) fn is_approved(&self, rules: &Rules, requester: &str) -> bool {
        let others = self.approvers.iter().any(|by| by != requester);
        let enough = self.approvers.len() >= rules.approvals as usize;
        rules.approvals == 0 || self.is_overridden || (enough && others)
    }

    fn apply(&mut self, rules: &Rules, event: &Event, at: Timestamp) -> Result<(), &'static str> {
        match event {
            Event::Probed { found, .. } => self.probed(rules, *found, at),
            Event::Asked { ask, shown, .. } => {
                self.asked = Some((ask.clone(), shown.clone()));
                Ok(())
            }
            Event::Approved { by, shown, .. } => match &self.asked {
                Some((Ask::Approval, asked)) if asked == shown => {
                    self.approvers.insert(by.clone());
                    Ok(())
                }
                Some((Ask::Approval, _)) => Err("what was agreed to is not what was asked"),
                _ => Err("nobody was asked to agree"),
            },
            Event::BrokeGlass { .. } => match &self.asked {
                Some((Ask::Approval, _)) => {
                    self.is_overridden = true;
                    Ok(())
                }
                _ => Err("nobody was asked to agree"),
            },
            Event::Answered { answer, .. } => self.answered(rules, answer, at),
            Event::Intended { side, attempt, .. } => {
                self.attempts = *attempt;
                self.settle(Phase::UnderWay { side: *side, attempt: *attempt, doubt: None });
                Ok(())
            }
            Event::Came { side, attempt, outcome, .. } => {
                let Phase::UnderWay { side: of, attempt: intended, .. } = &self.phase else {
                    return Err("nothing was intended");
                };
                if of != side || intended != attempt {
                    return Err("something else was intended");
                }
                self.came(rules, *side, *attempt, outcome, at);
                Ok(())
            }
            Event::Verified { wrong: None, .. } => {
                self.settle(Phase::Done);
                Ok(())
            }
            Event::Verified { wrong: Some(_), .. } => {
                // What was done is not done again because the world looks wrong (R2).
                self.fail(rules, Side::Act, at, rules.class != Class::Destructive);
                Ok(())
            }
            Event::Carried { .. } | Event::Aborted { .. } | Event::Ended(_) => Err("it is about the run"),
        }
    }

    fn probed(&mut self, rules: &Rules, found: Found, at: Timestamp) -> Result<(), &'static str> {
        match &mut self.phase {
            Phase::Fresh => {
                // Done before this run began it: nothing of it is this run's to undo.
                self.has_acted |= found == Found::Done && self.attempts > 0;
                self.phase = if found == Found::Done { acted(rules) } else { Phase::Looked };
                Ok(())
            }
            Phase::UnderWay { side, doubt: Some(doubt), .. } => {
                let side = *side;
                doubt.probe = Some((found, at));
                // Before that, it may yet happen (R2).
                let is_settled = at >= settled_at(rules, doubt.since);
                match (side, found) {
                    (Side::Act, Found::Done) => {
                        self.has_acted = true;
                        self.settle(acted(rules));
                    }
                    (Side::Undo, Found::NotDone) => self.settle(Phase::Undone),
                    (Side::Act, Found::NotDone) if is_settled => self.settle(Phase::Looked),
                    (Side::Undo, Found::Done) if is_settled => self.settle(Phase::Done),
                    _ => {}
                }
                Ok(())
            }
            _ => Err("there is nothing to ask the world"),
        }
    }

    fn fail(&mut self, rules: &Rules, side: Side, at: Timestamp, may_repeat: bool) {
        self.failures += 1;
        let is_final = !may_repeat || self.failures >= rules.tries;
        let gives_up = side == Side::Act && is_final && rules.on_failure == OnFailure::GoOn;
        self.settle(if gives_up { Phase::GivenUp } else { Phase::Failed { side, at, may_repeat } });
    }

    fn settle(&mut self, phase: Phase) {
        self.phase = phase;
        self.asked = None;
    }

    fn came(&mut self, rules: &Rules, side: Side, attempt: u32, outcome: &Outcome, at: Timestamp) {
        match outcome {
            Outcome::Done => {
                self.has_acted |= side == Side::Act && rules.class != Class::Read;
                self.settle(if side == Side::Act { acted(rules) } else { Phase::Undone });
            }
            Outcome::Unknown { .. } if rules.class == Class::Destructive => {
                self.phase = Phase::UnderWay { side, attempt, doubt: Some(Doubt { since: at, probe: None }) };
            }
            Outcome::Failed { .. } | Outcome::Unknown { .. } => {
                // Of what can be repeated, an unknown outcome may be some of it.
                self.has_acted |= matches!(outcome, Outcome::Unknown { .. })
                    && side == Side::Act
                    && rules.class != Class::Read;
                self.fail(rules, side, at, true);
            }
        }
    }

    fn answered(&mut self, rules: &Rules, answer: &Answer, at: Timestamp) -> Result<(), &'static str> {
        let Some((ask, _)) = &self.asked else { return Err("nobody was asked") };
        let phase = match (ask, answer) {
            (Ask::Condition, Answer::Yes) => {
                self.is_wanted = true;
                Phase::Fresh
            }
            (Ask::Condition, Answer::No) => Phase::Skipped,
            (Ask::Work, Answer::Done { .. }) => {
                self.has_acted |= rules.class != Class::Read;
                acted(rules)
            }
            (Ask::Work, Answer::Failed { .. }) => {
                self.fail(rules, Side::Act, at, false);
                return Ok(());
            }
            (Ask::Work, Answer::Skip { .. }) => Phase::GivenUp,
            (Ask::Choice, Answer::Chose { option }) => match &rules.doing {
                Doing::Choice(answers) if (*option as usize) < answers.len() => Phase::Done,
                _ => return Err("it has no such answer"),
            },
            (Ask::Doubt { side: Side::Act } | Ask::Failure { side: Side::Act }, Answer::Done { .. }) => {
                self.has_acted |= rules.class != Class::Read;
                // A person saw it; the world is asked all the same.
                acted(rules)
            }
            (Ask::Doubt { side: Side::Undo } | Ask::Failure { side: Side::Undo }, Answer::Done { .. }) => {
                Phase::Undone
            }
            // What was done must be undone again; what is to be done is looked at anew.
            (Ask::Doubt { side: Side::Undo } | Ask::Failure { side: Side::Undo }, Answer::Again) => {
                Phase::Done
            }
            (Ask::Doubt { side: Side::Act } | Ask::Failure { side: Side::Act }, Answer::Again) => {
                Phase::Fresh
            }
            (Ask::Doubt { side: Side::Act } | Ask::Failure { side: Side::Act }, Answer::Skip { .. }) => {
                // Nobody knows if there is something to undo: what must not happen by accident is left as it is.
                self.has_acted |= matches!(ask, Ask::Doubt { .. }) && rules.class == Class::Idempotent;
                Phase::GivenUp
            }
            (Ask::Doubt { side: Side::Undo } | Ask::Failure { side: Side::Undo }, Answer::Skip { .. }) => {
                Phase::Stays
            }
            _ => return Err("that is no answer to what was asked"),
        };
        self.failures = 0;
        self.settle(phase);
        Ok(())
    }
}

/// Where what was done stands next.
fn acted(rules: &Rules) -> Phase {
    if rules.has_verify { Phase::Acted } else { Phase::Done }
}

/// From when on what was begun before `since` is no longer under way.
pub(super) fn settled_at(rules: &Rules, since: Timestamp) -> Timestamp {
    since.checked_add(rules.settles).unwrap_or(Timestamp::MAX)
}
