//! What a person will miss on the day: values, people, steps, files.

use super::look::{any, each, either, heading, is_for, is_reference, line, lines_after, procedures, verb};
use super::{Context, Found, Rule, rule_of};
use crate::document::{Kind, ROOT};
use crate::facts::backups::{frequency, is_about_backups};
use crate::facts::durations::{self, say};
use crate::facts::procedures::{Peril, owner, perils};
use crate::facts::statements::{Form, Statement};
use crate::shell::{Command, Direction};
use crate::tools;
use std::collections::BTreeMap;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0501",
        "placeholder",
        Warning,
        placeholder,
        "whoever needs it will look for it with the service down"
    ),
    rule_of!(
        "LB0502",
        "no-verification",
        Warning,
        no_verification,
        "nobody can tell whether it worked, and the incident is closed on a guess"
    ),
    rule_of!(
        "LB0503",
        "never-pointed-at",
        Error,
        never_pointed_at,
        "the new database runs, and the application still talks to the old one"
    ),
    rule_of!(
        "LB0504",
        "no-way-back",
        Warning,
        no_way_back,
        "the way back is a second migration, with less redundancy than before and nobody's plan"
    ),
    rule_of!(
        "LB0505",
        "step-without-how",
        Warning,
        step_without_how,
        "it says what, not how: the one who knows may be asleep"
    ),
    rule_of!(
        "LB0506",
        "step-that-depends",
        Warning,
        step_that_depends,
        "whether it exists is known today and will have to be found out then"
    ),
    rule_of!(
        "LB0507",
        "schedule-without-zone",
        Warning,
        schedule_without_zone,
        "nobody can say how old the last backup is without knowing whose clock is meant"
    ),
    rule_of!(
        "LB0508",
        "role-without-person",
        Warning,
        role_without_person,
        "nobody is called by their role: who it is and how they are reached must be in the plan"
    ),
    rule_of!(
        "LB0509",
        "escalation-does-not-join",
        Warning,
        escalation_does_not_join,
        "in the gap nobody is responsible, in the overlap two are"
    ),
    rule_of!(
        "LB0510",
        "drill-without-criteria",
        Warning,
        drill_without_criteria,
        "a drill that cannot fail proves nothing, and the objectives are never measured"
    ),
    rule_of!("LB0511", "file-missing", Error, file_missing, "the step needs a file that is not there"),
    rule_of!(
        "LB0512",
        "variable-never-set",
        Warning,
        variable_never_set,
        "in a fresh terminal it is empty, and the next word takes its place"
    ),
    rule_of!(
        "LB0513",
        "backup-without-schedule",
        Warning,
        backup_without_schedule,
        "a backup that nothing runs is as old as the last time that somebody thought of it"
    ),
    rule_of!(
        "LB0514",
        "never-reviewed",
        Note,
        never_reviewed,
        "nobody can tell whether it describes what runs today, or whom to ask"
    ),
    rule_of!(
        "LB0515",
        "scenario-not-written",
        Warning,
        scenario_not_written,
        "it is named, so everybody believes that it is planned for"
    ),
];

/// Sections that are filled in during the incident, not before.
fn is_template(titles: &str) -> bool {
    any(
        titles,
        &[
            "template",
            "post-mortem",
            "postmortem",
            "vorlage",
            "example",
            "模板",
            "communication",
            "notification",
            "announcement",
        ],
    )
}

fn placeholder(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut seen: Vec<(u32, String)> = Vec::new();
    for statement in &context.facts.statements {
        let in_communication = is_template(&context.document.titles(statement.section))
            && !matches!(statement.form, Form::Cell { .. });
        let text = statement.value.plain();
        let Some((from, to, what)) = open_value(text) else { continue };
        if in_communication && !text.contains("TBD") {
            continue;
        }
        let place = statement.value.place(from, to);
        if seen.iter().any(|(line, _)| *line == place.line) {
            continue;
        }
        seen.push((place.line, what.clone()));
        let of = statement.key.as_ref().map_or(String::new(), |key| format!(" for {}", key.plain().trim()));
        found.push(
            Found::new(place, format!("`{what}` is no value{of}"))
                .help("fill it in, and look at it again at each review"),
        );
    }
    // In commands: once for each, with the number of lines that have it.
    let mut in_commands: BTreeMap<String, (crate::document::Place, Vec<u32>)> = BTreeMap::new();
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let words = command.words.iter().chain(command.redirects.iter().map(|redirect| &redirect.target));
        for word in words.filter(|word| word.line > 0) {
            for open in open_words(&word.text) {
                let place = snippet.place(word);
                let entry = in_commands.entry(open).or_insert_with(|| (place, Vec::new()));
                if !entry.1.contains(&place.line) {
                    entry.1.push(place.line);
                }
            }
        }
    }
    let mut in_commands: Vec<_> = in_commands.into_iter().collect();
    in_commands.sort_by_key(|(_, (place, _))| *place);
    for (open, (place, lines)) in in_commands {
        let others = match lines.len() {
            0 | 1 => String::new(),
            2 => format!(" (also in line {})", lines[1]),
            count => format!(" (also in {} more lines)", count - 1),
        };
        let help = if open.starts_with('<') {
            "put the value in if it is known today; else say which command shows it. Pasted as it is, a shell reads `<` and `>` as redirections"
        } else {
            "put the value in if it is known today; else say which command shows it"
        };
        found.push(
            Found::new(place, format!("`{open}` must be filled in before this can run{others}")).help(help),
        );
    }
}

/// A value in prose that is none yet: where it stands and what it is.
fn open_value(text: &str) -> Option<(usize, usize, String)> {
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    let whole = |what: &str| Some((start, start + trimmed.len(), what.to_owned()));
    let upper = trimmed.to_uppercase();
    if ["TBD", "TBA", "TBC", "TODO", "N.N.", "TO BE DETERMINED", "TO BE DEFINED", "待定", "待补充", "待補充"]
        .contains(&upper.as_str())
    {
        return whole(trimmed);
    }
    // `[phone]`, and not a link or a box.
    if let Some(inner) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && inner.chars().count() > 1
        && !inner.contains(['[', ']', '('])
        && inner.chars().all(|c| c.is_alphanumeric() || " /-_".contains(c))
    {
        return whole(trimmed);
    }
    // A number that nobody can dial: +886-XXX-XXXX, 1-800-xxx-xxxx, +1-555-DEVOPS-1.
    for word in text.split([' ', ',', ';']) {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let small = word.to_lowercase();
        let parts: Vec<&str> = small.split(['-', '.', ')']).collect();
        let crossed = parts.iter().any(|part| part.len() >= 3 && part.bytes().all(|byte| byte == b'x'))
            && word.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit() || c == 'X' || c == 'x');
        let spelled = word.starts_with('+')
            && parts.contains(&"555")
            && parts
                .iter()
                .any(|part| part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_alphabetic()));
        let mail = word.contains('@')
            && [
                "@provider.com",
                "@company.com",
                "@example.com",
                "@yourcompany.com",
                "@yourdomain.com",
                "@example.org",
            ]
            .iter()
            .any(|end| small.trim_end_matches(['.', ')']).ends_with(end));
        if crossed || spelled || mail {
            return Some((at, at + word.len(), word.to_owned()));
        }
    }
    for mark in ["TBD", "TODO", "FIXME"].map(str::to_owned) {
        let is_word = |at: usize| {
            let before = text[..at].chars().next_back();
            let behind = text[at + mark.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !behind.is_some_and(char::is_alphanumeric)
        };
        if let Some((at, _)) = text.match_indices(&mark).find(|(at, _)| is_word(*at)) {
            return Some((at, at + mark.len(), mark));
        }
    }
    None
}

/// Values in a word of a command that must be filled in.
fn open_words(text: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        match crate::shell::placeholder(rest) {
            Some(length) => {
                open.push(rest[..length].to_owned());
                rest = &rest[length..];
            }
            None => rest = &rest[1..],
        }
    }
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':' || c == '_'));
    for part in parts {
        let crossed = part.len() >= 4
            && part.trim_start_matches('Z').len() >= 3
            && part.trim_start_matches('Z').bytes().all(|byte| byte == b'X')
            || matches!(part, "xxx" | "xxxx");
        let dated = part.contains("YYYY") || part.contains("yyyy-mm");
        let zone = part
            .strip_prefix('Z')
            .is_some_and(|digits| digits.len() >= 3 && "1234567890".starts_with(digits));
        let sample = part.starts_with("your-") || part.starts_with("YOUR_") || part == "changeme";
        if crossed || dated || zone || sample {
            open.push(part.to_owned());
        }
    }
    open.dedup();
    open
}

/// Whether a command changes something.
fn changes(command: &Command) -> bool {
    let verb = verb(command);
    let reads = [
        "kubectl get",
        "kubectl describe",
        "kubectl logs",
        "kubectl top",
        "kubectl exec",
        "kubectl cluster-info",
        "kubectl rollout status",
        "kubectl rollout history",
        "kubectl config",
        "kubectl wait",
        "aws s3 ls",
        "aws s3 cp",
        "aws eks update-kubeconfig",
        "aws rds wait",
        "aws rds describe",
        "gcloud sql backups list",
        "gcloud container clusters get-credentials",
        "gcloud logging",
        "terraform plan",
        "terraform init",
        "helm list",
        "helm status",
    ];
    let tools = [
        "kubectl",
        "aws",
        "gcloud",
        "terraform",
        "helm",
        "eksctl",
        "psql",
        "pg_restore",
        "mysql",
        "az",
        "systemctl",
        "docker",
    ];
    let is_script = command.name().starts_with("./")
        && any(command.name(), &["restore", "failover", "deploy", "recover", "rollback", "patch", "rotate"]);
    let asks = command.name() == "psql"
        && !any(
            &command.line_text().to_lowercase(),
            &["alter ", "drop ", "create ", "update ", "delete ", " -f"],
        )
        && super::look::read_from(command).is_none();
    is_script
        || tools.contains(&command.name())
            && !reads.iter().any(|read| verb.starts_with(read))
            && !verb.contains(" describe")
            && !verb.contains(" list")
            && !asks
            && !matches!(command.name(), "systemctl" if command.has("status"))
}

fn no_verification(context: &Context<'_>, found: &mut Vec<Found>) {
    const LOOKS: [&str; 27] = [
        "verif",
        "validat",
        "check",
        "health",
        "smoke",
        "confirm",
        "test",
        "monitor",
        "prüf",
        "验证",
        "驗證",
        "检查",
        "檢查",
        "curl ",
        "rollout status",
        "select count",
        "kubectl get",
        "kubectl wait",
        "make sure",
        "ensure",
        "sicherstell",
        "look at",
        "describe",
        "status",
        "确认",
        "確認",
        "compare",
    ];
    let document = context.document;
    let mut judged: Vec<(usize, bool)> = Vec::new();
    for (procedure, commands) in procedures(context) {
        let titles = document.titles(procedure);
        let is_other = is_about_backups(&titles)
            || is_reference(context, procedure)
            || any(
                &titles,
                &["preventive", "monitoring", "testing", "validation", "appendix", "configuration backup"],
            );
        let Some(first) = commands.iter().find(|(_, command)| command.inside.is_none() && changes(command))
        else {
            continue;
        };
        if is_other || document.sections[procedure].level < 2 {
            continue;
        }
        let from =
            first.1.words.iter().map(|word| first.0.place(word).line).max().unwrap_or_else(|| line(*first));
        judged.push((procedure, lines_after(context, procedure, from).any(|line| any(line, &LOOKS))));
    }
    let shared = document.sections.iter().any(|section| {
        any(
            &section.title.plain().to_lowercase(),
            &["verification", "validation", "checklist", "smoke test", "überprüfung", "验证", "驗證"],
        )
    });
    let with = judged.iter().filter(|(_, verified)| *verified).count();
    for (procedure, _) in judged.iter().filter(|(_, verified)| !verified) {
        // Where a section for all of them says how, those that say it again are the exception.
        if !shared || with * 2 > judged.len() {
            let message = "nothing at the end of this procedure shows that it worked";
            found.push(Found::new(heading(context, *procedure), message).help("end with a check that can fail: a health check with `curl -f`, a query with a known answer, `kubectl rollout status --timeout=5m`"));
        }
    }
}

fn never_pointed_at(context: &Context<'_>, found: &mut Vec<Found>) {
    const POINTS: [&str; 24] = [
        "database_url",
        "database_host",
        "db_host",
        "db_url",
        "connection string",
        "connection-string",
        "secret",
        "set env",
        "configmap",
        "pgbouncer",
        "dsn",
        "values-",
        "connection setting",
        "application config",
        "restored database",
        "new database",
        "switch to",
        "new endpoint",
        "rename",
        "helm upgrade",
        "swap",
        "modify-db-instance",
        "restart-app",
        "umstellen",
    ];
    for (procedure, commands) in procedures(context) {
        for (snippet, command) in &commands {
            let verb = verb(command);
            let made = if verb.starts_with("aws rds restore-db") {
                command
                    .value("--target-db-instance-identifier")
                    .or_else(|| command.value("--db-instance-identifier"))
            } else if verb.starts_with("aws rds promote-read-replica") {
                command.value("--db-instance-identifier").or_else(|| command.value("--db-cluster-identifier"))
            } else if verb == "gcloud sql instances clone" {
                tools::positionals(command).last().map(|word| word.text.as_str())
            } else {
                None
            };
            let Some(name) = made else { continue };
            let last = command.words.last().map_or(0, |word| snippet.place(word).line);
            if !lines_after(context, procedure, last).any(|line| any(line, &POINTS)) {
                let message = format!("nothing in this procedure points the application at `{name}`");
                found.push(Found::new(snippet.whole(command), message).help("say where the address of the database is set, change it, and restart what reads it only at its start"));
            }
        }
    }
}

fn no_way_back(context: &Context<'_>, found: &mut Vec<Found>) {
    const BACK: [&str; 21] = [
        "failback",
        "fail back",
        "fail-back",
        "switch back",
        "switchback",
        "move back",
        "return to primary",
        "return to the primary",
        "back to primary",
        "back to the primary",
        "original region",
        "rebuild the replica",
        "rebuild replica",
        "re-establish",
        "reestablish",
        "rückschwenk",
        "zurück in",
        "回切",
        "切回",
        "restore the primary region",
        "reverse replication",
    ];
    let document = context.document;
    if context.facts.says(ROOT, &BACK) {
        return;
    }
    let regions = || {
        (1..document.sections.len()).filter(|section| {
            let own = document.sections[*section].title.plain().to_lowercase();
            perils(document, *section).contains(&Peril::Region)
                && (3..=7).contains(&document.sections[*section].level)
                && any(
                    &own,
                    &[
                        "region",
                        "site",
                        "data cent",
                        "datacenter",
                        "standort",
                        "rechenzentrum",
                        "区域",
                        "區域",
                        "机房",
                        "機房",
                    ],
                )
        })
    };
    let is_test = |section: &usize| {
        any(&document.titles(*section), &["test", "drill", "monitor", "backup", "redundan"])
    };
    let with_commands = regions().find(|section| {
        context
            .facts
            .snippets
            .iter()
            .any(|snippet| !snippet.inline && document.is_in(snippet.section, *section))
            && !is_test(section)
    });
    if let Some(section) = with_commands.or_else(|| regions().find(|section| !is_test(section))) {
        let message = "the plan says how to move to the other region, and nowhere how to come back";
        found.push(Found::new(heading(context, section), message).help("write the way back: replicate in reverse, choose the moment, switch, verify, rebuild what protected you before"));
    }
}

fn step_without_how(context: &Context<'_>, found: &mut Vec<Found>) {
    const ACTS: [&str; 16] = [
        "restore",
        "fail over",
        "failover",
        "rebuild",
        "promote",
        "switch",
        "rotate",
        "redeploy",
        "recreate",
        "isolate",
        "revoke",
        "import",
        "re-create",
        "wiederherstell",
        "恢复",
        "還原",
    ];
    let document = context.document;
    // Items of one ordered list, of which others carry commands.
    let items: Vec<(usize, &crate::document::Item)> = document
        .blocks
        .iter()
        .enumerate()
        .filter_map(|(at, block)| match &block.kind {
            Kind::Item(item) if item.number.is_some() && item.depth == 0 => Some((at, item)),
            _ => None,
        })
        .collect();
    let mut with_code: BTreeMap<usize, Vec<(usize, bool, bool)>> = BTreeMap::new();
    for (at, _) in &items {
        let block = &document.blocks[*at];
        let inside = |kind: &dyn Fn(&Kind) -> bool| {
            document
                .blocks
                .iter()
                .skip(at + 1)
                .take_while(|other| other.item.is_some())
                .take(200)
                .any(|other| other.item == Some(*at) && kind(&other.kind))
        };
        let has_code = inside(&|kind| matches!(kind, Kind::Code(_)));
        let has_more = inside(&|_| true);
        with_code.entry(block.section).or_default().push((*at, has_code, has_more));
    }
    for steps in with_code.values() {
        let coded = steps.iter().filter(|(_, has_code, _)| *has_code).count();
        for (at, ..) in steps.iter().filter(|(_, has_code, has_more)| !has_code && !has_more) {
            let Kind::Item(item) = &document.blocks[*at].kind else { continue };
            let text = item.text.plain().to_lowercase();
            if coded >= 2
                && item.text.plain().chars().count() < 90
                && item.text.code().next().is_none()
                && ACTS.iter().any(|word| text.starts_with(word) || !word.is_ascii() && text.contains(word))
            {
                let message =
                    "this step says what is to be done, and not how; the others have their commands";
                found.push(
                    Found::new(item.text.whole(), message)
                        .help("write the command, or name the runbook that has it"),
                );
            }
        }
    }
    // Comments behind the last command of a fence: steps that were never written.
    for snippet in
        context.facts.snippets.iter().filter(|snippet| !snippet.inline && !snippet.script.commands.is_empty())
    {
        let commands = snippet.script.commands.iter().flat_map(|command| {
            command.words.iter().map(|word| word.line + word.raw.matches('\n').count()).chain(
                command
                    .redirects
                    .iter()
                    .map(|redirect| redirect.target.line + redirect.target.text.lines().count()),
            )
        });
        let last = commands.max().unwrap_or(0);
        if snippet.script.refused.is_some() || is_reference(context, snippet.section) {
            continue;
        }
        for (number, line) in snippet.code.lines.iter().enumerate().skip(last) {
            let Some(comment) = line.text.trim().strip_prefix('#') else { continue };
            let words = comment.trim();
            let is_step = words.split_whitespace().count() >= 2
                && words.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit());
            let only_told = any(
                &words.to_lowercase(),
                &["expected", "output", "should", "note", "e.g.", "example", "optional", "lifeboat"],
            );
            if is_step && !only_told {
                let place = snippet.code.place(
                    number + 1,
                    line.text.chars().count() - line.text.trim_start().chars().count() + 1,
                    line.text.trim().chars().count(),
                );
                found.push(
                    Found::new(place, "this step is only a comment: no command follows")
                        .help("write the command, or name the runbook that has it"),
                );
            }
        }
    }
}

fn step_that_depends(context: &Context<'_>, found: &mut Vec<Found>) {
    const DEPENDS: [&str; 12] = [
        "if available",
        "if configured",
        "if applicable",
        "if possible",
        "where available",
        "when available",
        "if using ",
        "if it exists",
        "if one exists",
        "falls verfügbar",
        "falls vorhanden",
        "如果可用",
    ];
    for statement in &context.facts.statements {
        let titles = context.document.titles(statement.section);
        if any(&titles, &["communication", "template", "compliance", "improvement", "contact"])
            || matches!(statement.form, Form::Cell { .. })
        {
            continue;
        }
        // Bold and colons split what stands on one line: look at the whole of it.
        for text in statement.key.iter().chain([&statement.value]) {
            let small = text.plain().to_ascii_lowercase();
            if let Some((words, at)) =
                DEPENDS.iter().find_map(|words| small.find(words).map(|at| (words, at)))
            {
                let end = small[at..].find([')', ',', '.', ':']).map_or(at + words.len(), |n| at + n);
                let message =
                    format!("“{}” leaves open whether this can be done at all", text.plain()[at..end].trim());
                found.push(
                    Found::new(text.place(at, end), message)
                        .help("find out today, and write down what is there"),
                );
            }
        }
    }
}

fn schedule_without_zone(context: &Context<'_>, found: &mut Vec<Found>) {
    for schedule in
        context.facts.schedules.iter().filter(|schedule| schedule.at.is_some() && schedule.zone.is_none())
    {
        let message = format!("`{}` names no time zone", schedule.words.trim());
        found.push(
            Found::new(schedule.place, message)
                .help("write the zone by its name, as `02:00 UTC` or `03:00 Asia/Taipei`"),
        );
    }
}

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

fn role_without_person(context: &Context<'_>, found: &mut Vec<Found>) {
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

fn escalation_does_not_join(context: &Context<'_>, found: &mut Vec<Found>) {
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

fn drill_without_criteria(context: &Context<'_>, found: &mut Vec<Found>) {
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
    let is_drill = |section: &crate::document::Section| {
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

/// A path as it is written, if it is one of this repository.
fn own_path(text: &str) -> Option<&str> {
    let path = text.split(['#', '?']).next().unwrap_or_default();
    let is_own = !path.is_empty()
        && !path.contains("://")
        && !path.starts_with(['/', '~', '#', '$', '-', '<'])
        && !path.starts_with("mailto:")
        && !path.starts_with("tel:")
        && !path.contains(['*', '$', '{', '<', '|', '@', ' ']);
    is_own.then_some(path)
}

fn file_missing(context: &Context<'_>, found: &mut Vec<Found>) {
    let Some(exists) = context.files else { return };
    let mut seen: Vec<String> = Vec::new();
    let mut add = |found: &mut Vec<Found>, place, path: &str| {
        if !exists(path) && !seen.iter().any(|other| other == path) {
            seen.push(path.to_owned());
            found.push(
                Found::new(place, format!("`{path}` is not in this repository"))
                    .help("name it as it is, or bring it here"),
            );
        }
    };
    for link in &context.document.links {
        if let Some(path) = own_path(&link.target).filter(|path| path.contains(['.', '/'])) {
            add(found, link.place, path);
        }
    }
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        // What a container or another machine has is not here; what a step makes was not here before.
        let elsewhere = command.inside.is_some()
            || snippet.script.commands.iter().any(|other| matches!(other.name(), "cd" | "git" | "ssh"));
        let first = command.words.first().map_or("", |word| word.text.as_str());
        if elsewhere {
            continue;
        }
        if first.starts_with("./") || first.starts_with("scripts/") {
            if let Some(path) = own_path(first) {
                add(found, snippet.place(&command.words[0]), path);
            }
        }
        for (at, word) in command.words.iter().enumerate().skip(1) {
            let before = command.words[at - 1].text.as_str();
            let reads = matches!(command.name(), "kubectl" | "helm" | "eksctl")
                && matches!(before, "-f" | "--filename" | "--values" | "-k" | "--config-file");
            let script = at == 1
                && matches!(command.name(), "bash" | "sh" | "source" | ".")
                && word.text.ends_with(".sh");
            let change = word.text.strip_prefix("file://").filter(|path| !path.starts_with('/'));
            let path = if reads || script { own_path(&word.text) } else { change.and_then(own_path) };
            if let Some(path) = path.filter(|path| *path != "." && word.variables.is_empty()) {
                add(found, snippet.place(word), path);
            }
        }
    }
}

fn variable_never_set(context: &Context<'_>, found: &mut Vec<Found>) {
    const KNOWN: [&str; 14] = [
        "HOME", "USER", "PATH", "PWD", "OLDPWD", "HOSTNAME", "SHELL", "TMPDIR", "EDITOR", "RANDOM",
        "SECONDS", "LOGNAME", "LANG", "UID",
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.inside.is_none())
    {
        let words = command.words.iter().chain(command.assignments.iter().map(|(_, word)| word));
        for word in words {
            for name in &word.variables {
                let is_setting = name.len() > 2
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
                let environment =
                    KNOWN.contains(&name.as_str()) || name.starts_with("AWS_") || name.starts_with("PG");
                if !is_setting || environment || seen.contains(&name.as_str()) || is_set(context, name) {
                    continue;
                }
                seen.push(name);
                let message = format!("`${name}` is used, and nothing in the plan sets it");
                let help = format!(
                    "set it where it is first needed, or let the shell refuse without it: `${{{name}:?}}`"
                );
                found.push(Found::new(snippet.place(word), message).help(help));
            }
        }
    }
}

/// Whether the document says where a variable comes from: it is assigned, read, looped over or explained.
fn is_set(context: &Context<'_>, name: &str) -> bool {
    context.document.lines.iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = &line[..at];
            let behind = &line[at + name.len()..];
            let whole = !behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            whole && !before.ends_with('$') && !before.ends_with("${")
        })
    })
}

fn backup_without_schedule(context: &Context<'_>, found: &mut Vec<Found>) {
    for snippet in context.facts.snippets.iter().filter(|snippet| !snippet.inline) {
        let document = context.document;
        let titles = document.titles(snippet.section);
        let section = snippet.section;
        let is_recovery = any(
            &titles,
            &[
                "restor",
                "recover",
                "scenario",
                "reference",
                "verif",
                "wiederherstell",
                "恢复",
                "manual",
                "on-demand",
                "ad hoc",
                "ad-hoc",
                "before ",
            ],
        );
        if !is_about_backups(&titles) || is_recovery {
            continue;
        }
        // Under a heading of its own that is only bold, its neighbours' schedules are not its own.
        let around = if document.sections[section].level >= 8 {
            section
        } else {
            owner(document, section).unwrap_or(section)
        };
        let scheduled = context.facts.lines(section).chain(context.facts.lines(around)).any(|(_, line)| {
            frequency(line).is_some()
                || any(
                    line,
                    &[
                        "cron",
                        "schedul",
                        "manual",
                        "on change",
                        "continuous",
                        "automat",
                        "before maintenance",
                    ],
                )
        });
        let copies = |command: &Command| {
            let verb = verb(command);
            let exports = verb == "kubectl get"
                && command.redirects.iter().any(|redirect| redirect.direction == Direction::Write)
                && either(command, "--output", "-o").is_some();
            exports
                || [
                    "gsutil rsync",
                    "gsutil cp",
                    "aws s3 sync",
                    "gcloud storage rsync",
                    "gcloud sql export sql",
                ]
                .contains(&verb.as_str())
                || matches!(
                    command.name(),
                    "pg_dump" | "pg_dumpall" | "mysqldump" | "mongodump" | "velero" | "rsync" | "etcdctl"
                )
        };
        if let Some(command) =
            snippet.script.commands.iter().find(|command| copies(command)).filter(|_| !scheduled)
        {
            found.push(Found::new(snippet.whole(command), "nothing says when this backup is made, or by what").help("name the job that runs it and how often, how long its copies are kept, and who hears of it when it fails"));
        }
    }
}

fn never_reviewed(context: &Context<'_>, found: &mut Vec<Found>) {
    const SAYS: [&str; 9] = [
        "last updated",
        "last reviewed",
        "next review",
        "reviewed on",
        "review date",
        "zuletzt",
        "stand:",
        "更新",
        "审核",
    ];
    let is_plan = context.document.lines.len() >= 80;
    if is_plan && context.facts.reviews.is_empty() && !context.facts.says(ROOT, &SAYS) {
        let title = context
            .document
            .sections
            .get(1)
            .map_or(crate::document::Place::new(1, 1, 1), |section| section.title.whole());
        found.push(
            Found::new(title, "the document names neither its last review nor its next one")
                .help("add an owner, the day of the last review and that of the next"),
        );
    }
}

fn scenario_not_written(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    for (at, section) in document.sections.iter().enumerate().skip(1) {
        let title = section.title.plain().trim().to_lowercase();
        let is_scenario = ["scenario ", "procedure ", "runbook ", "szenario ", "场景", "情境", "category "]
            .iter()
            .any(|word| title.starts_with(word));
        let is_empty = document.blocks_in(at).next().is_none() && section.end == at + 1;
        if is_scenario && is_empty && !is_for(context, at, Peril::Breach) | is_empty {
            found.push(
                Found::new(section.title.whole(), "nothing is written under this heading")
                    .help("write it, or take the heading out"),
            );
        }
    }
}
