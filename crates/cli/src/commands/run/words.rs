//! What happens in a run, in words.

use crate::output::{Tone, clean};
use crate::show;
use lifeboat_core::run::{
    Answer, Ask, Class, Doing, Ending, Event, Found, Outcome, Side, Standing, StepNumber,
};
use lifeboat_engine::run::Known;

/// What repeating a step does, in a word.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Read => "reads",
        Class::Idempotent => "repeatable",
        Class::Destructive => "destructive",
    }
}

/// A step's number and title.
pub(super) fn step(known: &Known, step: StepNumber) -> String {
    let title = known.steps.get(step.0 as usize).map_or("", |step| step.title.as_str());
    format!("{} {}", step.0 + 1, clean(title))
}

/// How a run stands, in a word, and how that is to be taken.
pub(super) fn state(known: &Known) -> (String, Tone) {
    match known.state.ending() {
        Some(end) => ending(end),
        None if known.state.asked().next().is_some() => ("waits for people".to_owned(), Tone::Doubtful),
        None => ("under way".to_owned(), Tone::Strong),
    }
}

/// How it ended.
pub(super) fn ending(ending: &Ending) -> (String, Tone) {
    match ending {
        Ending::Completed => ("completed".to_owned(), Tone::Good),
        Ending::Incomplete { failed } => (format!("went on without {}", steps(failed)), Tone::Bad),
        Ending::Led { runbook } => (format!("goes on in the runbook {runbook}"), Tone::Doubtful),
        Ending::Aborted { left, undone } => {
            let mut text = "aborted".to_owned();
            if !undone.is_empty() {
                text.push_str(&format!(", undone: {}", steps(undone)));
            }
            if !left.is_empty() {
                text.push_str(&format!(", NOT undone: {}", steps(left)));
            }
            (text, Tone::Bad)
        }
    }
}

fn steps(steps: &[StepNumber]) -> String {
    let numbers: Vec<String> = steps.iter().map(|step| (step.0 + 1).to_string()).collect();
    format!("{} {}", if numbers.len() == 1 { "step" } else { "steps" }, numbers.join(", "))
}

/// Where a step stands: a mark, words, and how they are to be taken.
pub(super) fn standing(standing: &Standing) -> (&'static str, String, Tone) {
    match standing {
        Standing::Waits => ("·", "waits".to_owned(), Tone::Faint),
        Standing::Probe => ("▸", "is it done already?".to_owned(), Tone::Strong),
        Standing::Ask(ask) => ("?", asked(ask), Tone::Doubtful),
        Standing::Act(Side::Act, 1) => ("▸", "next".to_owned(), Tone::Strong),
        Standing::Act(Side::Act, attempt) => ("▸", format!("next, for the {attempt}. time"), Tone::Doubtful),
        Standing::Act(Side::Undo, _) => ("▸", "to be undone".to_owned(), Tone::Doubtful),
        Standing::UnderWay(Side::Act) => ("▸", "under way".to_owned(), Tone::Strong),
        Standing::UnderWay(Side::Undo) => ("▸", "is being undone".to_owned(), Tone::Doubtful),
        Standing::Pauses(until) => {
            ("…", format!("looked at again at {}", show::time(*until)), Tone::Doubtful)
        }
        Standing::Verify => ("▸", "being verified".to_owned(), Tone::Strong),
        Standing::Abandons => ("✗", "failed: all is undone".to_owned(), Tone::Bad),
        Standing::Done => ("✓", "done".to_owned(), Tone::Good),
        Standing::Skipped => ("–", "passed over".to_owned(), Tone::Faint),
        Standing::GivenUp => ("✗", "failed, gone on without it".to_owned(), Tone::Bad),
        Standing::Undone => ("↶", "undone".to_owned(), Tone::Doubtful),
        Standing::Stays => ("!", "done, and stays".to_owned(), Tone::Doubtful),
    }
}

/// What people are asked.
pub(super) fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Condition => "is it to be done at all?".to_owned(),
        Ask::Approval => "waits for approval".to_owned(),
        Ask::Work => "do it, and say so".to_owned(),
        Ask::Choice => "how does it go on?".to_owned(),
        Ask::Doubt { side: Side::Act } => "IN DOUBT: was it done?".to_owned(),
        Ask::Doubt { side: Side::Undo } => "IN DOUBT: was it undone?".to_owned(),
        Ask::Failure { side: Side::Act } => "FAILED: what now?".to_owned(),
        Ask::Failure { side: Side::Undo } => "UNDOING FAILED: what now?".to_owned(),
    }
}

/// What a person types to answer, each way on a line.
pub(super) fn ways(known: &Known, of: StepNumber, ask: &Ask) -> Vec<String> {
    let (id, step) = (&known.id, of.0 + 1);
    let answer = |what: &str| format!("lifeboat run answer {id} {step} {what}");
    match ask {
        Ask::Condition => vec![answer("yes"), answer("no")],
        Ask::Approval => vec![format!("lifeboat run approve {id} {step}")],
        Ask::Work => vec![answer("done --saw TEXT"), answer("failed --why TEXT")],
        Ask::Choice => {
            let options = known.rules.step(of).map(|rules| match &rules.doing {
                Doing::Choice(leads) => leads.len(),
                _ => 0,
            });
            (1..=options.unwrap_or_default()).map(|option| answer(&option.to_string())).collect()
        }
        Ask::Doubt { .. } => vec![answer("done --saw TEXT"), answer("again"), answer("skip --why TEXT")],
        Ask::Failure { .. } => {
            vec![
                answer("again"),
                answer("done --saw TEXT"),
                answer("skip --why TEXT"),
                format!("lifeboat run abort {id} --reason TEXT [--undo]"),
            ]
        }
    }
}

/// An event in a line, and how it is to be taken; none for what only the record needs.
pub(super) fn event(known: &Known, event: &Event) -> Option<(String, Tone)> {
    let name = |of: &StepNumber| step(known, *of);
    Some(match event {
        Event::Carried { by } => (format!("carried by {}", clean(by)), Tone::Faint),
        Event::Probed { step, found: Found::Done } => {
            (format!("{}: is done already", name(step)), Tone::Good)
        }
        Event::Probed { found: Found::NotDone, .. } => return None,
        Event::Probed { step, found: Found::Unknown } => {
            (format!("{}: whether it is done cannot be told", name(step)), Tone::Doubtful)
        }
        Event::Asked { step, ask, .. } => (format!("{}: {}", name(step), asked(ask)), Tone::Doubtful),
        Event::Approved { step, by, .. } => (format!("{}: {} agreed", name(step), clean(by)), Tone::Good),
        Event::BrokeGlass { step, by, reason } => {
            (format!("{}: {} BROKE THE GLASS: {}", name(step), clean(by), clean(reason)), Tone::Bad)
        }
        Event::Answered { step, by, answer } => {
            (format!("{}: {} says {}", name(step), clean(by), said(answer)), Tone::Strong)
        }
        Event::Intended { step, side: Side::Act, attempt: 1 } => (format!("{} …", name(step)), Tone::Strong),
        Event::Intended { step, side: Side::Act, attempt } => {
            (format!("{} … for the {attempt}. time", name(step)), Tone::Doubtful)
        }
        Event::Intended { step, side: Side::Undo, .. } => {
            (format!("{}: undoing it …", name(step)), Tone::Doubtful)
        }
        Event::Came { step, side, outcome: Outcome::Done, .. } => {
            let what = if *side == Side::Act { "done" } else { "undone" };
            (format!("{}: {what}", name(step)), Tone::Good)
        }
        Event::Came { step, outcome: Outcome::Failed { why }, .. } => {
            (format!("{}: failed: {}", name(step), clean(why)), Tone::Bad)
        }
        Event::Came { step, outcome: Outcome::Unknown { why }, .. } => {
            (format!("{}: no answer: {}", name(step), clean(why)), Tone::Bad)
        }
        Event::Verified { step, wrong: None } => (format!("{}: verified", name(step)), Tone::Good),
        Event::Verified { step, wrong: Some(why) } => {
            (format!("{}: it is not as wanted: {}", name(step), clean(why)), Tone::Bad)
        }
        Event::Aborted { by, undo, reason } => {
            let undo = if *undo { ", what was done is undone" } else { "" };
            (format!("aborted by {}{undo}: {}", clean(by), clean(reason)), Tone::Bad)
        }
        Event::Ended(end) => ending(end),
    })
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Yes => "yes".to_owned(),
        Answer::No => "no".to_owned(),
        Answer::Done { saw } if saw.is_empty() => "it is done".to_owned(),
        Answer::Done { saw } => format!("it is done: {}", clean(saw)),
        Answer::Failed { why } => format!("it could not be done: {}", clean(why)),
        Answer::Chose { option } => format!("answer {}", option + 1),
        Answer::Again => "do it again".to_owned(),
        Answer::Skip { why } => format!("go on without it: {}", clean(why)),
    }
}
