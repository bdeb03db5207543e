//! Where a step stands: what it waits for, in one word that people and [`next`](super::next) share.

use super::event::{Ask, Found, Side};
use super::rules::{Class, Doing, OnFailure, Rules, RunRules, StepNumber};
use super::state::{Phase, State, StepState, settled_at};
use jiff::Timestamp;

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// For steps before it.
    Waits,
    /// The world is to be asked if it is done.
    Probe,
    /// People are to be asked, or have been and are still to answer.
    Ask(Ask),
    /// It is to be done, or undone, for the so-manieth time.
    Act(Side, u32),
    /// It is being done, or undone.
    UnderWay(Side),
    /// Until it is tried, or the world asked, again.
    Pauses(Timestamp),
    /// The world is to be asked if it is as wanted.
    Verify,
    /// It has failed, and all that was done is to be undone.
    Abandons,
    /// It was done, by this run or before it.
    Done,
    /// It need not be done.
    Skipped,
    /// It failed, and the run went on.
    GivenUp,
    /// It was done, and undone.
    Undone,
    /// It was done, and is not undone although the run was aborted.
    Stays,
}

impl Standing {
    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Skipped | Self::GivenUp | Self::Undone | Self::Stays)
    }
}

/// Where a step stands now; a step that there is not has been passed over.
#[must_use]
pub fn standing(run: &RunRules, state: &State, step: StepNumber, now: Timestamp) -> Standing {
    let (Some(rules), Some(of)) = (run.step(step), state.steps.get(step.index())) else {
        return Standing::Skipped;
    };
    match &state.aborted {
        None => going(run, rules, state, of, step, now),
        Some(aborted) => ending(run, rules, state, of, step, aborted.undo, now),
    }
}

fn going(
    run: &RunRules,
    rules: &Rules,
    state: &State,
    of: &StepState,
    step: StepNumber,
    now: Timestamp,
) -> Standing {
    match &of.phase {
        Phase::Fresh | Phase::Looked if !state.open.contains(&step) => Standing::Waits,
        Phase::Fresh if rules.is_conditional && !of.is_wanted => Standing::Ask(Ask::Condition),
        Phase::Fresh if rules.has_probe => Standing::Probe,
        Phase::Fresh | Phase::Looked => {
            if !of.is_approved(rules, run.requester()) {
                return Standing::Ask(Ask::Approval);
            }
            match rules.doing {
                Doing::Machine | Doing::Nobody => Standing::Act(Side::Act, of.attempts + 1),
                Doing::Person => Standing::Ask(Ask::Work),
                Doing::Choice(_) => Standing::Ask(Ask::Choice),
            }
        }
        Phase::UnderWay { side, .. } => under_way(rules, of, *side, now),
        Phase::Acted => Standing::Verify,
        Phase::Failed { side: Side::Act, at, may_repeat } => {
            if *may_repeat && of.failures < rules.tries {
                let until = at.checked_add(rules.pause_after(of.failures)).unwrap_or(Timestamp::MAX);
                return match until > now {
                    true => Standing::Pauses(until),
                    false => Standing::Act(Side::Act, of.attempts + 1),
                };
            }
            match rules.on_failure {
                OnFailure::Undo => Standing::Abandons,
                OnFailure::Stop | OnFailure::GoOn => Standing::Ask(Ask::Failure { side: Side::Act }),
            }
        }
        Phase::Failed { side: Side::Undo, .. } => Standing::Ask(Ask::Failure { side: Side::Undo }),
        Phase::Done => Standing::Done,
        Phase::Skipped => Standing::Skipped,
        Phase::GivenUp => Standing::GivenUp,
        Phase::Undone => Standing::Undone,
        Phase::Stays => Standing::Stays,
    }
}

/// What was intended and has no outcome.
fn under_way(rules: &Rules, of: &StepState, side: Side, now: Timestamp) -> Standing {
    let Phase::UnderWay { doubt: Some(doubt), .. } = &of.phase else { return Standing::UnderWay(side) };
    if rules.class != Class::Destructive {
        return Standing::Act(side, of.attempts + 1);
    }
    if !rules.has_probe {
        return Standing::Ask(Ask::Doubt { side });
    }
    let settled = settled_at(rules, doubt.since);
    match &doubt.probe {
        None => Standing::Probe,
        Some((_, at)) if *at < settled && now >= settled => Standing::Probe,
        Some((Found::Unknown, _)) => Standing::Ask(Ask::Doubt { side }),
        // Not there, and may yet come.
        Some(_) => Standing::Pauses(settled),
    }
}

/// In a run that was aborted (R6).
fn ending(
    run: &RunRules,
    rules: &Rules,
    state: &State,
    of: &StepState,
    step: StepNumber,
    undo: bool,
    now: Timestamp,
) -> Standing {
    let is_later_settled = || {
        run.steps().zip(&state.steps).skip(step.index() + 1).all(|((_, rules), later)| match later.phase {
            Phase::UnderWay { .. } => false,
            Phase::Undone | Phase::Stays => true,
            _ => !(later.has_acted && rules.has_undo),
        })
    };
    match &of.phase {
        Phase::UnderWay { side, .. } => under_way(rules, of, *side, now),
        Phase::Failed { side: Side::Undo, at, may_repeat } => {
            if *may_repeat && of.failures < rules.tries && rules.class != Class::Destructive {
                let until = at.checked_add(rules.pause_after(of.failures)).unwrap_or(Timestamp::MAX);
                return match until > now {
                    true => Standing::Pauses(until),
                    false => Standing::Act(Side::Undo, of.attempts + 1),
                };
            }
            Standing::Ask(Ask::Failure { side: Side::Undo })
        }
        Phase::Undone => Standing::Undone,
        Phase::Stays => Standing::Stays,
        _ if !of.has_acted => match of.phase {
            Phase::Done | Phase::Acted => Standing::Done,
            Phase::GivenUp | Phase::Failed { .. } => Standing::GivenUp,
            _ => Standing::Skipped,
        },
        _ if !undo || !rules.has_undo => Standing::Stays,
        // The newest first.
        _ if !is_later_settled() => Standing::Waits,
        _ => Standing::Act(Side::Undo, of.attempts + 1),
    }
}
