//! What is left to whoever reads the plan at night: when a step is due, what is typed into an editor, what an answer
//! should be.
//!
//! Deliberately absent: placeholders and missing steps (`gaps`).

use super::look::{any, each, heading, is_reference, verb};
use super::{Context, Found, Rule, rule_of};
use crate::document::{Kind, Place};
use crate::facts::backups::is_about_backups;
use crate::facts::statements::Form;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0517",
        "decision-without-criterion",
        Warning,
        decision_without_criterion,
        "it loses data or time if it is done too early and the objective if too late, and nobody is told which is the case"
    ),
    rule_of!(
        "LB0523",
        "edited-by-hand",
        Warning,
        edited_by_hand,
        "what is to be typed is nowhere: a value of base64, a wrong line, and the next deployment undoes it"
    ),
    rule_of!(
        "LB0527",
        "answer-not-known",
        Note,
        answer_not_known,
        "a number comes out, and nobody knows whether it is the right one"
    ),
];

/// Words that leave the decision open.
const OPEN: [&str; 15] = [
    "if needed",
    "if necessary",
    "if required",
    "as needed",
    "as necessary",
    "when needed",
    "where necessary",
    "falls nötig",
    "falls erforderlich",
    "bei bedarf",
    "wenn nötig",
    "si es necesario",
    "si nécessaire",
    "如有必要",
    "如果需要",
];
/// What loses data or time if it is done without need.
const GRAVE: [&str; 17] = [
    "restore",
    "fail over",
    "failover",
    "promote",
    "roll back",
    "rollback",
    "rebuild",
    "recreate",
    "replay",
    "switch over",
    "switch to",
    "wiederherstell",
    "restaur",
    "恢复",
    "恢復",
    "还原",
    "還原",
];

fn decision_without_criterion(context: &Context<'_>, found: &mut Vec<Found>) {
    let open = |text: &str| {
        let at = OPEN.iter().find_map(|words| text.find(words).map(|at| (at, at + words.len())))?;
        any(text, &GRAVE).then_some(at)
    };
    let mut tell = |place: Place, words: &str| {
        let message = format!("“{words}” leaves open when this is to be done");
        let help = "say what is looked at, where the line is (“no answer for 10 minutes”, “the data directory does not open”), and who decides";
        found.push(Found::new(place, message).help(help));
    };
    for statement in &context.facts.statements {
        let titles = context.document.titles(statement.section);
        let is_step = matches!(statement.form, Form::Item { .. } | Form::Fence);
        if !is_step
            || any(
                titles,
                &["checklist", "communication", "improvement", "post-incident", "template", "review"],
            )
        {
            continue;
        }
        for text in statement.key.iter().chain([&statement.value]) {
            let small = text.plain().to_ascii_lowercase();
            if let Some((from, to)) = open(&small) {
                tell(text.place(from, to), &text.plain()[from..to]);
            }
        }
    }
    for snippet in context.facts.snippets.iter().filter(|snippet| !snippet.inline) {
        if is_reference(context, snippet.section) {
            continue;
        }
        for (number, line) in snippet.code.lines.iter().enumerate() {
            let small = line.text.to_ascii_lowercase();
            if let Some((from, to)) = open(&small).filter(|_| small.trim_start().starts_with('#')) {
                let column = line.text[..from].chars().count() + 1;
                let length = line.text[from..to].chars().count();
                tell(snippet.code.place(number + 1, column, length), &line.text[from..to]);
            }
        }
    }
}

fn edited_by_hand(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let editor = matches!(command.name(), "vi" | "vim" | "nano" | "emacs") && command.words.len() > 1
            || command.name() == "crontab" && command.has("-e");
        let titles = context.document.titles(snippet.section);
        let edits = editor || verb(command).starts_with("kubectl edit");
        if edits && !is_reference(context, snippet.section) && !any(titles, &["setup", "install", "configur"])
        {
            let message = format!(
                "`{}` opens an editor, and what is to be changed is not written",
                command.line_text()
            );
            let help = "write the change as a command: `kubectl patch … --patch-file`, `kubectl create secret … --dry-run=client -o yaml | kubectl apply -f -`";
            found.push(Found::new(snippet.whole(command), message).help(help));
        }
    }
}

fn answer_not_known(context: &Context<'_>, found: &mut Vec<Found>) {
    const KNOWN: [&str; 16] = [
        "expect",
        "should",
        "at least",
        "compare",
        "more than",
        "less than",
        "greater",
        "must be",
        "erwart",
        "sollte",
        "same as",
        "matches",
        "baseline",
        "within",
        "应",
        "應",
    ];
    let counts = |text: &str| {
        let small = text.to_lowercase();
        let compares = [" > ", " >= ", " = (", " < ", "case when", "having"];
        let head = small.split(" from ").next().unwrap_or_default();
        let asks = small.contains("select count(") || small.contains("select max(");
        asks && !any(head, &compares)
    };
    let known = |first: u32, last: u32| {
        let lines = context.facts.lines_between(first.saturating_sub(3).max(1), last + 2);
        lines.into_iter().any(|(_, line)| any(line, &KNOWN))
    };
    let mut tell = |place: Place| {
        let message = "nothing says what the answer should be";
        let help = "write the expected answer beside it, or let the query compare: `select count(*) > 0 from orders where …`";
        found.push(Found::new(place, message).help(help));
    };
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() == "psql")
    {
        let text = command.line_text();
        let place = snippet.whole(command);
        let titles = context.document.titles(snippet.section);
        let last = command.words.iter().map(|word| snippet.place(word).line).max().unwrap_or(place.line);
        let of_backup = is_about_backups(titles) && !any(titles, &["restor", "recover"]);
        if counts(&text) && !of_backup && !is_reference(context, snippet.section) && !known(place.line, last)
        {
            tell(place);
        }
    }
    for block in &context.document.blocks {
        let Kind::Code(code) = &block.kind else { continue };
        if !matches!(code.language.as_str(), "sql" | "pgsql" | "postgresql" | "plpgsql") {
            continue;
        }
        let first = code.lines.iter().enumerate().find(|(_, line)| counts(&line.text));
        let place = heading(context, block.section);
        if let Some((number, line)) = first
            && place.line > 0
            && !known(line.line, line.line)
        {
            tell(code.place(number + 1, 1, line.text.trim_end().chars().count()));
        }
    }
}
