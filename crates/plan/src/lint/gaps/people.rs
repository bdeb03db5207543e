//! People: who does it, who is called when, what drills prove.

use crate::document::{Kind, ROOT, Section};
use crate::facts::durations::{self, say};
use crate::facts::statements::{Form, Statement};
use crate::lint::look::{any, heading};
use crate::lint::{Context, Found};
use std::collections::BTreeMap;

const ROLE_WORDS: [&str; 24] = [
    "lead",
    "manager",
    "engineer",
    "developer",
    "admin",
    "administrator",
    "team",
    "cto",
    "ceo",
    "coo",
    "ciso",
    "officer",
    "director",
    "architect",
    "analyst",
    "coordinator",
    "on-call",
    "oncall",
    "support",
    "ops",
    "devops",
    "leiter",
    "负责人",
    "負責人",
];

pub(super) fn role_without_person(context: &Context<'_>, found: &mut Vec<Found>) {
    const PEOPLE: [&str; 22] = [
        "name", "person", "contact", "phone", "email", "e-mail", "who", "member", "owner", "primary",
        "backup", "slack", "pager", "telefon", "kontakt", "assigned", "holder", "姓名", "电话", "電話",
        "联系", "聯絡",
    ];
    let document = context.document;
    for block in &document.blocks {
        let Kind::Table(table) = &block.kind else { continue };
        let headers: Vec<String> = table.header.iter().map(|header| header.plain().to_lowercase()).collect();
        let first = headers.first().map_or("", String::as_str);
        let is_roles =
            matches!(first.trim(), "role" | "roles" | "rolle" | "team role" | "角色" | "職責" | "funktion");
        if is_roles && table.rows.len() > 1 && !headers.iter().skip(1).any(|header| any(header, &PEOPLE)) {
            let place = table.header[0].whole();
            found.push(
                Found::new(place, format!("{} roles, and no person for any of them", table.rows.len()))
                    .help("add who holds each role, who stands in, and a number that reaches them at night"),
            );
        }
    }
    // `Incident Commander: DevOps Lead`: a title for a title.
    let mut groups: BTreeMap<(usize, usize), Vec<&Statement>> = BTreeMap::new();
    for statement in &context.facts.statements {
        let titles = document.titles(statement.section);
        let own = document.sections[statement.section].title.plain().to_lowercase();
        let is_team = any(&own, &["team", "role", "responsib", "rollen", "角色", "团队", "團隊"])
            && !any(&titles, &["escalat", "test", "drill"]);
        if is_team && statement.key.is_some() && !matches!(statement.form, Form::Cell { .. }) {
            let group = if statement.form == Form::Fence { statement.block } else { usize::MAX };
            groups.entry((statement.section, group)).or_default().push(statement);
        }
    }
    for statements in groups.values().filter(|statements| statements.len() > 1) {
        let is_title = |statement: &&Statement| {
            let value = statement.value.plain().to_lowercase();
            let words: Vec<&str> = value
                .split(|c: char| !(c.is_alphanumeric() || c == '-'))
                .filter(|word| !word.is_empty())
                .collect();
            words.len() <= 5
                && words.last().is_some_and(|last| ROLE_WORDS.contains(last))
                && !value.contains(['@', '+'])
                && !value.contains(|c: char| c.is_ascii_digit())
        };
        if statements.iter().all(is_title) {
            let message = format!("{} roles are given to titles, and to no person", statements.len());
            found.push(
                Found::new(statements[0].value.whole(), message)
                    .help("add who holds each role, who stands in, and a number that reaches them at night"),
            );
        }
    }
}

pub(super) fn escalation_does_not_join(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    let mut groups: BTreeMap<usize, Vec<(&Statement, durations::Span, bool)>> = BTreeMap::new();
    for statement in &context.facts.statements {
        let titles = document.titles(statement.section);
        if !any(&titles, &["escalat", "eskalation", "升级", "升級"])
            || matches!(statement.form, Form::Cell { .. })
        {
            continue;
        }
        let whole = statement.whole();
        let small = whole.to_lowercase();
        let is_level = ["level ", "tier ", "stufe ", "l1", "l2", "l3", "l4", "第"]
            .iter()
            .any(|word| small.trim_start_matches(['*', ' ']).starts_with(word));
        // The times may stand with the key or with the value.
        let in_value = durations::first(statement.value.plain());
        let in_key = statement.key.as_ref().and_then(|key| durations::first(key.plain()));
        if let Some(span) = in_value.or(in_key).filter(|_| is_level) {
            groups.entry(statement.section).or_default().push((statement, span, in_value.is_some()));
        }
    }
    for levels in groups.values() {
        for pair in levels.windows(2) {
            let ((_, before, _), (statement, after, in_value)) = (&pair[0], &pair[1]);
            let is_range = before.high_s > before.low_s || before.open;
            if !is_range
                || before.open
                || !(after.open || after.high_s > after.low_s)
                || after.low_s == before.high_s
            {
                continue;
            }
            let text =
                if *in_value { &statement.value } else { statement.key.as_ref().unwrap_or(&statement.value) };
            let place = text.place(after.start, after.end);
            let message = if after.low_s > before.high_s {
                format!("nobody is responsible from {} to {}", say(before.high_s), say(after.low_s))
            } else {
                format!(
                    "from {} to {} two levels are responsible",
                    say(after.low_s),
                    say(before.high_s.min(after.high_s))
                )
            };
            found.push(Found::new(place, message).help("let each level begin where the one before ends"));
        }
    }
}

pub(super) fn drill_without_criteria(context: &Context<'_>, found: &mut Vec<Found>) {
    const CRITERIA: [&str; 19] = [
        "success criteria",
        "acceptance criteria",
        "pass criteria",
        "exit criteria",
        "pass/fail",
        "passes if",
        "passed if",
        "within rto",
        "within rpo",
        "rto objectives met",
        "rto met",
        "rto/rpo achiev",
        "measure rto",
        "erfolgskriter",
        "成功标准",
        "成功標準",
        "验收标准",
        "驗收標準",
        "criteria for success",
    ];
    let document = context.document;
    let is_drill = |section: &Section| {
        let title = section.title.plain().to_lowercase();
        any(
            &title,
            &[
                "drill",
                "exercise",
                "dr test",
                "testing schedule",
                "test schedule",
                "testing procedure",
                "recovery test",
                "übung",
                "演练",
                "演練",
            ],
        ) && section.level >= 2
    };
    let Some(at) = document.sections.iter().position(is_drill) else { return };
    let plan_section = document.path(at).find(|at| document.sections[*at].level == 2).unwrap_or(at);
    if !context.facts.says(ROOT, &CRITERIA)
        && document.sections[plan_section].last_line > heading(context, at).line
    {
        found.push(Found::new(heading(context, at), "no drill says when it has passed").help("for each: what must be back, how fast and with how little lost, who measures, where the result is kept"));
    }
}
