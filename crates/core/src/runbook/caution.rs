//! What will trouble a run of this runbook, though it can begin.

use crate::run::{BoundStep, Class, Doing};

/// Something that a person should know before the day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caution {
    /// The step, counted from 1.
    pub step: usize,
    /// What.
    pub what: &'static str,
    /// How it is mended.
    pub mend: &'static str,
}

/// The cautions of a runbook's steps, in their order.
#[must_use]
pub fn cautions(steps: &[BoundStep]) -> Vec<Caution> {
    let of_step = |(at, step): (usize, &BoundStep)| {
        let rules = &step.rules;
        let is_acted = rules.doing == Doing::Machine;
        let all = [
            (
                is_acted && rules.class == Class::Destructive && !rules.has_probe,
                "nothing can tell whether it was done: after a crash in the middle of it a person must say",
                "add `probe` with commands that succeed if it is done",
            ),
            (
                is_acted && rules.class != Class::Read && !rules.has_verify,
                "nothing verifies that it worked but its own exit status",
                "add `verify: {run: …}`, with commands that succeed if it worked",
            ),
            (
                is_acted && rules.class == Class::Destructive && !rules.has_undo,
                "it cannot be undone by `abort --undo`",
                "add `undo` with commands that take it back, if there are any",
            ),
            (step.expected.is_none(), "the plan does not say how long it takes", "add `duration`"),
        ];
        let held = all.into_iter().filter(|(holds, ..)| *holds);
        held.map(move |(_, what, mend)| Caution { step: at + 1, what, mend }).collect::<Vec<_>>()
    };
    steps.iter().enumerate().flat_map(of_step).collect()
}
