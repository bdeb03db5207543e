//! What a person will miss on the day: values, people, steps, files.

mod people;
pub(super) mod values;

use super::look::{any, either, heading, is_for, is_reference, line, lines_after, procedures, verb};
use super::{Context, Found, Rule, rule_of};
use crate::document::{Kind, ROOT};
use crate::facts::backups::{frequency, is_about_backups};
use crate::facts::procedures::{Peril, owner, perils};
use crate::facts::statements::Form;
use crate::shell::{Command, Direction};
use crate::tools;
use people::{
    contact_without_address, drill_without_criteria, escalation_does_not_join, no_deputy, no_escalation,
    role_without_person,
};
use std::collections::BTreeMap;
use values::{file_missing, placeholder, variable_never_set};

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
    rule_of!(
        "LB0516",
        "no-deputy",
        Warning,
        no_deputy,
        "the one who is named is on leave, asleep or without power, and nobody else may decide"
    ),
    rule_of!(
        "LB0518",
        "contact-without-address",
        Warning,
        contact_without_address,
        "the contract is there, and nobody finds the number"
    ),
    rule_of!(
        "LB0526",
        "no-escalation",
        Note,
        no_escalation,
        "the first person does not answer, and the next one waits to be told"
    ),
];

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
        let is_other = is_about_backups(titles)
            || is_reference(context, procedure)
            || any(
                titles,
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
        for (snippet, command) in commands {
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
    let is_test =
        |section: &usize| any(document.titles(*section), &["test", "drill", "monitor", "backup", "redundan"]);
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
        if any(titles, &["communication", "template", "compliance", "improvement", "contact"])
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

fn backup_without_schedule(context: &Context<'_>, found: &mut Vec<Found>) {
    for snippet in context.facts.snippets.iter().filter(|snippet| !snippet.inline) {
        let document = context.document;
        let titles = document.titles(snippet.section);
        let section = snippet.section;
        let is_recovery = any(
            titles,
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
        if !is_about_backups(titles) || is_recovery {
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
                .contains(&verb)
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
