//! People: who does it, who stands in, who is called when and how, what drills prove.

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
            && !any(titles, &["escalat", "test", "drill"]);
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
        if !any(titles, &["escalat", "eskalation", "升级", "升級"])
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
    const CRITERIA: [&str; 26] = [
        "(pass",
        "pass:",
        "success:",
        "erfolg:",
        "(erfolg",
        "éxito:",
        "criterio",
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

/// Words of a document that has thought of who stands in.
const DEPUTIES: [&str; 27] = [
    "deputy",
    "deputies",
    "stands in",
    "stand-in",
    "stand in",
    "secondary on-call",
    "secondary oncall",
    "backup contact",
    "backup person",
    "alternate",
    "substitute",
    "on-call rotation",
    "on-call rota",
    "pager rotation",
    "on-call schedule",
    "pagerduty",
    "opsgenie",
    "victorops",
    "stellvertret",
    "vertretung",
    "suplente",
    "suppléant",
    "代理",
    "副手",
    "候补",
    "備援",
    "备岗",
];

pub(super) fn no_deputy(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    if context.facts.says(ROOT, &DEPUTIES) {
        return;
    }
    let help = "name a second person for each, with a number: the first one is on leave, asleep, or in the place that burns";
    let tell = |count: usize| format!("{count} roles, and nobody stands in for any of them");
    for block in &document.blocks {
        let Kind::Table(table) = &block.kind else { continue };
        let headers: Vec<String> =
            table.header.iter().map(|header| header.plain().trim().to_lowercase()).collect();
        let is_roles = matches!(
            headers.first().map(String::as_str),
            Some("role" | "roles" | "rolle" | "team role" | "角色" | "職責" | "funktion" | "rol" | "rôle")
        );
        let mut others = headers.iter().skip(1);
        let with_person = others.clone().any(|header| {
            any(
                header,
                &[
                    "name",
                    "person",
                    "contact",
                    "phone",
                    "姓名",
                    "电话",
                    "電話",
                    "kontakt",
                    "telefon",
                    "nombre",
                    "nom",
                    "teléfono",
                ],
            )
        });
        let with_deputy = others.any(|header| any(header, &["backup", "second", "2nd"]));
        if is_roles && with_person && !with_deputy && table.rows.len() > 1 {
            found.push(Found::new(table.header[0].whole(), tell(table.rows.len())).help(help));
            return;
        }
    }
    // `- Incident Commander: +49 30 …`, each with its own line.
    let mut groups: BTreeMap<usize, Vec<&Statement>> = BTreeMap::new();
    for statement in &context.facts.statements {
        let titles = document.titles(statement.section);
        let is_people =
            any(titles, &["contact", "kontakt", "response team", "incident team", "联系", "聯絡"])
                && !any(titles, &["vendor", "external", "support", "provider", "escalat"]);
        let key = statement.key_text();
        let last = key.split_whitespace().next_back().unwrap_or_default();
        let is_role = ROLE_WORDS.contains(&last) || last == "commander" || last == "dba";
        if is_people && is_role && last != "support" && !matches!(statement.form, Form::Cell { .. }) {
            groups.entry(statement.section).or_default().push(statement);
        }
    }
    if let Some(statements) = groups.values().find(|statements| statements.len() > 1) {
        found.push(Found::new(statements[0].place(), tell(statements.len())).help(help));
    }
}

/// Whether a text says how somebody is reached.
fn reaches(text: &str) -> bool {
    let digits = text.split(|c: char| !(c.is_ascii_digit() || " -().+".contains(c)));
    let dials = digits.into_iter().any(|run| run.chars().filter(char::is_ascii_digit).count() >= 3);
    let small = text.to_lowercase();
    let ways = [
        "@",
        "http",
        "www.",
        "#",
        "slack",
        "pagerduty",
        "opsgenie",
        "teams",
        "portal",
        "console",
        "](",
        "ticket",
        ".com",
        ".io",
        ".net",
        ".org",
        "hotline:",
    ];
    dials || any(&small, &ways)
}

pub(super) fn contact_without_address(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    let is_outside = |name: &str| {
        any(
            &name.to_lowercase(),
            &[
                "support",
                "soporte",
                "proveedor",
                "fournisseur",
                "provider",
                "vendor",
                "hosting",
                "hoster",
                "registrar",
                "carrier",
                "anbieter",
                "供应商",
                "供應商",
                "廠商",
            ],
        )
    };
    let is_open = |text: &str| {
        let text = text.trim();
        text.is_empty()
            || text == "-"
            || text.starts_with('[')
            || text.starts_with('<')
            || matches!(text.to_uppercase().as_str(), "TBD" | "N/A" | "TODO")
    };
    let mut tell = |place, name: &str| {
        let message = format!("nothing says how {} is reached", name.trim());
        let help = "write the number or the address of the page, the contract's number, and what they ask for before they help";
        found.push(Found::new(place, message).help(help));
    };
    for block in &document.blocks {
        let Kind::Table(table) = &block.kind else { continue };
        if !any(document.titles(block.section), &["contact", "kontakt", "联系", "聯絡", "vendor"]) {
            continue;
        }
        for row in &table.rows {
            let Some(name) = row.first().filter(|name| is_outside(name.plain())) else { continue };
            let mut said = row.iter().skip(1).filter(|cell| !is_open(cell.plain()));
            let reached = row.iter().any(|cell| reaches(cell.plain()));
            if let Some(cell) = said.next().filter(|_| !reached) {
                tell(cell.whole(), name.plain());
            }
        }
    }
    for statement in &context.facts.statements {
        let titles = document.titles(statement.section);
        let Some(key) = &statement.key else { continue };
        if any(titles, &["contact", "kontakt", "联系", "聯絡", "vendor"])
            && !matches!(statement.form, Form::Cell { .. })
            && is_outside(key.plain())
            && !is_open(statement.value.plain())
            && !reaches(statement.value.plain())
            && document.links.iter().all(|link| link.place.line != statement.value.whole().line)
        {
            tell(statement.value.whole(), key.plain());
        }
    }
}

pub(super) fn no_escalation(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    if document.lines.len() < 80
        || context.facts.says(ROOT, &["escalat", "eskal", "升级", "升級", "escalad", "escalac"])
    {
        return;
    }
    let people = (1..document.sections.len()).find(|section| {
        let own = document.sections[*section].title.plain().to_lowercase();
        any(
            &own,
            &[
                "contact",
                "roles",
                "response team",
                "recovery team",
                "communication plan",
                "kontakt",
                "rollen",
                "联系",
                "聯絡",
            ],
        ) && document.sections[*section].level <= 3
    });
    if let Some(section) = people {
        let message = "nothing says who is called when nobody answers, and after how long";
        let help = "write levels with their times (0–15 min, 15–60 min, …), each with who is called and who may declare a disaster";
        found.push(Found::new(heading(context, section), message).help(help));
    }
}
