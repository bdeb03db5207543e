//! What is to be done now.

use super::event::{Ask, Ending, Side};
use super::rules::{RunRules, StepNumber};
use super::standing::{Standing, standing};
use super::state::State;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The most that is done side by side.
const SIDE_BY_SIDE_LIMIT: usize = 16;

/// Something for the engine to do; each is answered by an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Ask the world if it is done.
    Probe(StepNumber),
    /// Ask people.
    Ask(StepNumber, Ask),
    /// Record the intent, then do or undo it.
    Act {
        /// Which step.
        step: StepNumber,
        /// Doing or undoing.
        side: Side,
        /// The attempt, to be recorded.
        attempt: u32,
    },
    /// Ask the world if it is as wanted.
    Verify(StepNumber),
    /// Abort the run, and undo what was done: this step failed, and its rule says so.
    Abandon(StepNumber),
    /// Record that it is over.
    End(Ending),
}

/// What is to be done now, and when to look again if nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Next {
    /// Side by side.
    pub effects: Vec<Effect>,
    /// When something will be due by itself.
    pub wake: Option<Timestamp>,
    /// The steps for which people have been asked.
    pub asked: Vec<StepNumber>,
}

/// What is to be done now, where `busy` are the steps with which the engine is at it.
#[must_use]
pub fn next(run: &RunRules, state: &State, busy: &BTreeSet<StepNumber>, now: Timestamp) -> Next {
    let mut next = Next::default();
    if state.ending().is_some() {
        return next;
    }
    let mut is_over = busy.is_empty();
    for step in state.open.iter().copied() {
        if busy.contains(&step) {
            continue;
        }
        let standing = standing(run, state, step, now);
        is_over &= standing.is_over();
        let effect = match standing {
            Standing::Probe => Effect::Probe(step),
            Standing::Ask(ask) => {
                let asked = state.steps[step.index()].asked.as_ref();
                if asked.is_some_and(|(asked, _)| *asked == ask) {
                    next.asked.push(step);
                    continue;
                }
                Effect::Ask(step, ask)
            }
            Standing::Act(side, attempt) => Effect::Act { step, side, attempt },
            Standing::Verify => Effect::Verify(step),
            Standing::Abandons => Effect::Abandon(step),
            Standing::Pauses(until) => {
                next.wake = Some(next.wake.map_or(until, |wake| wake.min(until)));
                continue;
            }
            _ => continue,
        };
        if busy.len() + next.effects.len() < SIDE_BY_SIDE_LIMIT {
            next.effects.push(effect);
        }
    }
    if is_over {
        next.effects = vec![Effect::End(how(run, state, now))];
    }
    next
}

/// How a run ends of which all steps are over (R5).
fn how(run: &RunRules, state: &State, now: Timestamp) -> Ending {
    let those = |wanted: &[Standing]| {
        let all = run.steps().map(|(step, _)| step);
        all.filter(|step| wanted.contains(&standing(run, state, *step, now))).collect::<Vec<_>>()
    };
    if state.aborted.is_some() {
        let mut left = those(&[Standing::Stays]);
        // Done in part, perhaps.
        left.extend(those(&[Standing::GivenUp]));
        left.sort_unstable();
        return Ending::Aborted { left, undone: those(&[Standing::Undone]) };
    }
    let failed = those(&[Standing::GivenUp]);
    match &state.led {
        Some(runbook) => Ending::Led { runbook: runbook.clone() },
        None if failed.is_empty() => Ending::Completed,
        None => Ending::Incomplete { failed },
    }
}
