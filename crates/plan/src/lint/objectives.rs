//! Objectives that the plan itself cannot meet.

use super::look::{any, each, loads, verb};
use super::{Context, Found, Rule, rule_of};
use crate::document::{Kind, ROOT, Text};
use crate::facts::backups::{self, Schedule};
use crate::facts::durations::{self, say};
use crate::facts::objectives::{Metric, Objective, Scope};
use crate::facts::pace;
use crate::facts::procedures::{Peril, is_step, owner, perils};
use crate::facts::statements::Form;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0201",
        "rpo-beyond-backups",
        Error,
        rpo_beyond_backups,
        "what was written since the last backup is lost, and that is more than the plan promises"
    ),
    rule_of!(
        "LB0202",
        "restore-ignores-log",
        Warning,
        restore_ignores_log,
        "the log that would bring back the last hours is there, and nobody knows how to use it"
    ),
    rule_of!(
        "LB0203",
        "log-without-base",
        Error,
        log_without_base,
        "a dump is no base for a log: recovery to a moment does not work at all"
    ),
    rule_of!(
        "LB0204",
        "scenario-looser-than-service",
        Warning,
        scenario_looser_than_service,
        "the scenario can go exactly as planned and still miss what was promised for the service"
    ),
    rule_of!(
        "LB0205",
        "mtd-below-rto",
        Error,
        mtd_below_rto,
        "a recovery that meets its objective comes too late for the business"
    ),
    rule_of!(
        "LB0206",
        "control-plane-slower-than-rto",
        Warning,
        control_plane_slower_than_rto,
        "the step waits for a control plane that is itself in the disaster"
    ),
    rule_of!(
        "LB0207",
        "retention-too-short",
        Warning,
        retention_too_short,
        "when the damage is noticed, every copy that is left has it too"
    ),
    rule_of!(
        "LB0208",
        "restore-slower-than-rto",
        Error,
        restore_slower_than_rto,
        "the data cannot be moved in the time that is allowed"
    ),
    rule_of!(
        "LB0209",
        "steps-exceed-rto",
        Warning,
        steps_exceed_rto,
        "even if nothing goes wrong, the objective is missed"
    ),
];

/// So many of a kind are held against each other; a document with more is no plan.
const MOST: usize = 300;

/// An objective for how much may be lost, and backups that are further apart, with no log between them.
fn rpo_beyond_backups(context: &Context<'_>, found: &mut Vec<Found>) {
    let facts = context.facts;
    for schedule in facts.schedules.iter().filter(|schedule| !schedule.is_log).take(MOST) {
        let Some(every_s) = schedule.every_s else { continue };
        let Some(objective) = rpo_for(&facts.objectives, schedule) else { continue };
        if every_s <= objective.high_s || carried_on(context, schedule, objective) {
            continue;
        }
        let message = format!(
            "copies are {} apart, but no more than {} may be lost (line {})",
            say(every_s),
            say(objective.high_s),
            objective.place.line
        );
        let help = "back up as often as the objective says, ship the write-ahead log continuously, or agree on a longer RPO";
        found.push(Found::new(schedule.place, message).help(help));
    }
}

/// The objective that a schedule must meet: the one for its kind of data, else the plan's own.
fn rpo_for<'a>(objectives: &'a [Objective], schedule: &Schedule) -> Option<&'a Objective> {
    let rpos = || objectives.iter().filter(|objective| objective.metric == Metric::Rpo);
    let is_meant = |name: &str| {
        let name = name.to_lowercase();
        let mut words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3);
        words.any(|word| {
            word != "data" && word != "storage" && schedule.about.contains(word.trim_end_matches('s'))
        })
    };
    let named = rpos().find(|objective| matches!(&objective.scope, Scope::Named(name) if is_meant(name)));
    // Data that people would miss; what lies in a repository can be made again.
    let is_data = ["database", "datenbank", "volume", "数据库", "資料庫", "postgres", "mysql", "mongo"];
    let of_everything = rpos()
        .filter(|objective| objective.scope == Scope::Everything)
        .min_by_key(|objective| objective.high_s);
    let strictest = || {
        rpos()
            .filter(|objective| matches!(&objective.scope, Scope::Named(name) if !is_environment(name)))
            .min_by_key(|objective| objective.high_s)
    };
    let production = || {
        rpos().find(|objective| matches!(&objective.scope, Scope::Named(name) if name.to_lowercase().contains("prod")))
    };
    let general = || is_data.iter().any(|word| schedule.about.contains(word));
    named.or_else(|| general().then(|| of_everything.or_else(production).or_else(strictest)).flatten())
}

fn is_environment(name: &str) -> bool {
    ["staging", "test", "dev", "non-critical"].iter().any(|word| name.to_lowercase().contains(word))
}

/// Whether a log carries on what this schedule copies.
fn carried_on(context: &Context<'_>, schedule: &Schedule, objective: &Objective) -> bool {
    let document = context.document;
    let facts = context.facts;
    let other = facts.schedules.iter().any(|other| {
        let same = document.path(schedule.section).next().zip(document.path(other.section).next());
        let near =
            same.is_some_and(|(a, b)| a == b || document.sections[a].parent == document.sections[b].parent);
        near && other.is_log && other.every_s.is_none_or(|every_s| every_s <= objective.high_s.max(300))
    });
    let is_database = ["database", "datenbank", "postgres", "mysql", "数据库", "資料庫"]
        .iter()
        .any(|word| schedule.about.contains(word));
    let log = |section: usize| facts.lines(section).any(|(_, line)| backups::speaks_of_logs(line));
    let around = document
        .path(schedule.section)
        .find(|at| document.sections[*at].level <= 3)
        .unwrap_or(schedule.section);
    let backup_section = document
        .path(schedule.section)
        .filter(|at| backups::is_about_backups(&document.sections[*at].title.plain().to_lowercase()))
        .last()
        .unwrap_or(around);
    // A snapshot that is copied elsewhere is as old there as here.
    let replicated = !is_database
        && !schedule.about.contains("snapshot")
        && facts.says(schedule.section, &["replication enabled", "cross-region replication", "replicated"]);
    other || replicated || log(schedule.section) || is_database && (log(around) || log(backup_section))
}

/// Whether the document promises that single moments can be recovered.
fn promises_log(context: &Context<'_>) -> Option<(u32, &'static str)> {
    context.facts.statements.iter().find_map(|statement| {
        let titles = context.document.titles(statement.section);
        let says = backups::is_about_backups(titles) && backups::speaks_of_logs(&statement.whole());
        says.then(|| (statement.place().line, "the write-ahead log"))
    })
}

/// Whether a command recovers to a moment.
fn replays(text: &str) -> bool {
    any(
        text,
        &[
            "point-in-time",
            "restore-time",
            "latest-restorable",
            "recovery_target",
            "pgbackrest",
            "wal-g",
            "wal-e",
            "barman",
            "--time=",
            "mysqlbinlog",
            "restore_command",
            "pitr",
        ],
    )
}

fn restore_ignores_log(context: &Context<'_>, found: &mut Vec<Found>) {
    let Some(rpo) = strictest(context, Metric::Rpo) else { return };
    let Some((promised, _)) = promises_log(context) else { return };
    let replayed = each(context).any(|(_, command)| replays(&command.line_text().to_lowercase()));
    let daily = context
        .facts
        .schedules
        .iter()
        .filter(|schedule| !schedule.is_log)
        .filter_map(|schedule| schedule.every_s)
        .max();
    let Some(every_s) = daily.filter(|every_s| *every_s > rpo.high_s) else { return };
    told_restores(context, (promised, every_s, rpo), found);
    if replayed {
        return;
    }
    for at @ (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let database = verb(command) == "gcloud sql backups restore"
            || loads(at).is_some() && matches!(command.name(), "psql" | "pg_restore" | "mysql");
        let titles = context.document.titles(snippet.procedure);
        let partial = loads(at).is_some_and(|file| file.contains("table"));
        if database && !partial && !any(titles, &["test", "drill", "staging", "verification"]) {
            let message = format!(
                "this restores the last backup, up to {} old; the plan promises {} (line {}) from a log (line {promised}) that no step replays",
                say(every_s),
                say(rpo.high_s),
                rpo.place.line
            );
            found.push(Found::new(snippet.whole(command), message).help(
                "write the steps that recover to a moment, and keep the backup alone for when they fail",
            ));
            return;
        }
    }
}

/// Scenarios in words alone whose way back is the last backup, though the log is there.
fn told_restores(
    context: &Context<'_>,
    (promised, every_s, of_all): (u32, u64, &Objective),
    found: &mut Vec<Found>,
) {
    const OTHER: [&str; 10] =
        ["known-good", "clean", " test", "staging", "config", "secret", "etcd", "file", "table", "manifest"];
    const REPLAYS: [&str; 8] = [
        "wal",
        "point-in-time",
        "point in time",
        "pitr",
        "replay",
        "binlog",
        "transaction log",
        "archived log",
    ];
    let document = context.document;
    let mut told: Vec<usize> = Vec::new();
    for statement in &context.facts.statements {
        let is_step = matches!(statement.form, Form::Item { number: Some(_) } | Form::Fence);
        let text = statement.whole().to_lowercase();
        let restores = any(&text, &["restore", "wiederherstell", "restaur", "恢复", "還原"])
            && any(&text, &["backup", "sicherung", "copia de seguridad", "sauvegarde", "备份", "備份"])
            && !any(&text, &OTHER);
        let Some(section) = owner(document, statement.section).filter(|_| is_step && restores) else {
            continue;
        };
        let titles = document.titles(section);
        let is_scenario = any(
            titles,
            &["scenario", "failure", "outage", "loss", "disaster", "szenario", "ausfall", "场景"],
        ) && !any(titles, &["test", "drill", "checklist", "post-incident", "cluster"]);
        let own =
            context.facts.objectives.iter().find(|objective| {
                objective.metric == Metric::Rpo && objective.scope == Scope::Scenario(section)
            });
        let rpo = own.unwrap_or(of_all);
        if told.contains(&section)
            || !is_scenario
            || rpo.high_s >= every_s
            || context.facts.says(section, &REPLAYS)
            || context.facts.snippets_of(section).next().is_some()
        {
            continue;
        }
        told.push(section);
        let message = format!(
            "the last backup may be {} old; {} may be lost here (line {}), and the log (line {promised}) is not replayed",
            say(every_s),
            say(rpo.high_s),
            rpo.place.line
        );
        let help = "write the step that recovers to the last moment of the log, and keep the backup alone for when it fails";
        found.push(Found::new(statement.place(), message).help(help));
    }
}

fn log_without_base(context: &Context<'_>, found: &mut Vec<Found>) {
    let Some((promised, _)) = promises_log(context) else { return };
    let physical = [
        "basebackup",
        "base backup",
        "pgbackrest",
        "barman",
        "wal-g",
        "wal-e",
        "snapshot",
        "physical backup",
        "xtrabackup",
        "restore-db-instance-to-point-in-time",
        "cloud sql",
        "rds",
        "aurora",
        "azure database",
        "managed",
    ];
    let has_word = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(char::is_alphanumeric)
                && !line[at + word.len()..].starts_with(char::is_alphanumeric)
        })
    };
    if context.facts.lines(ROOT).any(|(_, line)| physical.iter().any(|word| has_word(line, word))) {
        return;
    }
    let dump = context.facts.statements.iter().find(|statement| {
        let text = statement.whole().to_lowercase();
        backups::is_about_backups(context.document.titles(statement.section))
            && any(&text, &["sql dump", "pg_dump", "logical dump", "mysqldump", "dump format"])
    });
    if let Some(dump) = dump {
        let message = format!("a log (line {promised}) cannot be replayed onto a dump");
        found.push(Found::new(dump.value.whole(), message).help("take base backups as well (`pg_basebackup`, pgBackRest, `lifeboat backup run`): they are what a log is replayed onto"));
    }
}

/// The strictest objective of everything, of production or of what is critical.
fn strictest<'a>(context: &'a Context<'_>, metric: Metric) -> Option<&'a Objective> {
    let of = |named: bool| {
        context
            .facts
            .objectives
            .iter()
            .filter(move |objective| {
                objective.metric == metric
                    && match &objective.scope {
                        Scope::Everything => !named,
                        Scope::Named(name) => {
                            named
                                && any(
                                    &name.to_lowercase(),
                                    &[
                                        "critical",
                                        "production",
                                        "prod",
                                        "tier 1",
                                        "tier-1",
                                        "database",
                                        "datenbank",
                                        "核心",
                                        "关键",
                                        "数据库",
                                    ],
                                )
                                && !name.to_lowercase().contains("non-")
                        }
                        Scope::Scenario(_) => false,
                    }
            })
            .min_by_key(|objective| objective.high_s)
    };
    of(false).or_else(|| of(true))
}

fn scenario_looser_than_service(context: &Context<'_>, found: &mut Vec<Found>) {
    for metric in [Metric::Rto, Metric::Rpo] {
        let Some(service) = strictest(context, metric) else { continue };
        for objective in context.facts.objectives.iter().filter(|objective| objective.metric == metric) {
            let Scope::Scenario(section) = objective.scope else { continue };
            if objective.high_s <= service.high_s || section == ROOT {
                continue;
            }
            let message = format!(
                "this scenario may take {} ({}), and the plan allows {} (line {})",
                say(objective.high_s),
                metric.name(),
                say(service.high_s),
                service.place.line
            );
            found.push(
                Found::new(objective.place, message)
                    .help("tighten the scenario, or say at the objective that this one is an exception"),
            );
        }
    }
}

fn mtd_below_rto(context: &Context<'_>, found: &mut Vec<Found>) {
    let objectives = &context.facts.objectives;
    for rto in objectives.iter().filter(|objective| objective.metric == Metric::Rto).take(MOST) {
        let same = |metric: Metric| {
            objectives.iter().find(|other| other.metric == metric && other.scope == rto.scope)
        };
        if let Some(mtd) = same(Metric::Mtd).filter(|mtd| mtd.high_s < rto.high_s) {
            let message = format!(
                "no more than {} is tolerable, and recovery may take {} (line {})",
                say(mtd.high_s),
                say(rto.high_s),
                rto.place.line
            );
            found.push(
                Found::new(mtd.place, message)
                    .help("lower the RTO below the MTD, with time to notice and decide between them"),
            );
        }
        if let Some(mttr) = same(Metric::Mttr).filter(|mttr| mttr.low_s > rto.high_s) {
            let message = format!(
                "recovery takes {} on average, and no more than {} is allowed (line {})",
                say(mttr.low_s),
                say(rto.high_s),
                rto.place.line
            );
            found.push(
                Found::new(mttr.place, message)
                    .help("an objective is met only if the average is well below it"),
            );
        }
    }
}

/// AWS promises changes of Route 53's records within 60 minutes of losing its home region, if that is switched on.
/// Source: Amazon Route 53 Developer Guide, "Accelerated recovery for managing public DNS records".
const DNS_CONTROL_S: u64 = 3600;

fn control_plane_slower_than_rto(context: &Context<'_>, found: &mut Vec<Found>) {
    let changes = each(context).filter(|(snippet, command)| {
        !snippet.inline && verb(command) == "aws route53 change-resource-record-sets"
    });
    let document = context.document;
    for (snippet, command) in changes.take(MOST) {
        let region = || {
            (1..document.sections.len()).filter(|section| perils(document, *section).contains(&Peril::Region))
        };
        let own = region().any(|section| section == snippet.procedure);
        let of_scenario = context.facts.objectives.iter().find(|objective| objective.metric == Metric::Rto && matches!(objective.scope, Scope::Scenario(at) if perils(document, at).contains(&Peril::Region)));
        let rto = match of_scenario {
            Some(rto) => Some(rto),
            None => strictest(context, Metric::Rto).filter(|_| own),
        };
        let Some(rto) = rto.filter(|rto| rto.high_s <= DNS_CONTROL_S) else { continue };
        let message = format!(
            "Route 53 is changed through us-east-1, whose loss may stop changes for 60 minutes; {} is allowed (line {})",
            say(rto.high_s),
            rto.place.line
        );
        let help = "let health checks fail over by themselves, or use routing controls (Application Recovery Controller): both work without the control plane";
        found.push(Found::new(snippet.whole(command), message).help(help));
    }
}

fn retention_too_short(context: &Context<'_>, found: &mut Vec<Found>) {
    for retention in context.facts.retentions.iter().take(MOST) {
        let schedule = context
            .facts
            .schedules
            .iter()
            .find(|schedule| schedule.section == retention.section && !schedule.is_log);
        if let Some(schedule) =
            schedule.filter(|schedule| schedule.every_s.is_some_and(|every_s| every_s > retention.low_s))
        {
            let message = format!(
                "copies are kept for {} and made {} apart: at times there is none",
                say(retention.low_s),
                say(schedule.every_s.unwrap_or_default())
            );
            found.push(
                Found::new(retention.place, message)
                    .help("keep them at least twice as long as they are apart"),
            );
        }
    }
    // A time after which damage is noticed that is longer than anything is kept.
    let longest = context.facts.retentions.iter().map(|retention| retention.low_s).max();
    for statement in &context.facts.statements {
        let text = statement.whole().to_lowercase();
        let detects = any(
            &text,
            &[
                "detection time",
                "time to detect",
                "detected after",
                "discovered after",
                "noticed after",
                "mttd",
                "entdeckt nach",
            ],
        );
        let span = durations::first(statement.value.plain()).filter(|_| detects);
        if let (Some(span), Some(longest)) = (span, longest)
            && span.high_s > longest
        {
            let message = format!(
                "damage may be noticed after {}, and nothing is kept longer than {}",
                say(span.high_s),
                say(longest)
            );
            found.push(
                Found::new(statement.value.place(span.start, span.end), message)
                    .help("keep at least one copy that is older than the time to detection"),
            );
        }
    }
}

/// A size or rate in bytes: `500 GB`, `200 MB/s`, `1 TB/h`.
fn sizes(text: &str) -> Vec<(usize, usize, f64, Option<u64>)> {
    const UNITS: [(&str, f64); 9] = [
        ("tib", 1.1e12),
        ("gib", 1.074e9),
        ("mib", 1.049e6),
        ("tb", 1e12),
        ("gb", 1e9),
        ("mb", 1e6),
        ("gbit", 1.25e8),
        ("mbit", 1.25e5),
        ("gbps", 1.25e8),
    ];
    let small = text.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skip) = small[at..].find(|c: char| c.is_ascii_digit()) {
        let start = at + skip;
        let end = small[start..]
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .map_or(small.len(), |n| start + n);
        at = end.max(start + 1);
        let Ok(count) = small[start..end].trim_end_matches('.').parse::<f64>() else { continue };
        let rest = small[end..].trim_start();
        let Some((unit, bytes)) = UNITS.iter().find(|(unit, _)| {
            rest.starts_with(unit) && !rest[unit.len()..].starts_with(|c: char| c.is_ascii_alphabetic())
        }) else {
            continue;
        };
        let behind = rest[unit.len()..].trim_start();
        let per = [
            ("/s", 1),
            ("/min", 60),
            ("/h", 3600),
            ("per second", 1),
            ("per minute", 60),
            ("per hour", 3600),
            ("an hour", 3600),
        ];
        let per_s = per
            .iter()
            .find(|(word, _)| behind.starts_with(word))
            .map(|(_, s)| *s)
            .or((*unit == "gbps").then_some(1));
        let unit_end = small.len() - rest.len() + unit.len();
        found.push((start, unit_end, count * bytes, per_s));
    }
    found
}

fn restore_slower_than_rto(context: &Context<'_>, found: &mut Vec<Found>) {
    let Some(rto) = strictest(context, Metric::Rto) else { return };
    let mut size: Option<(f64, crate::document::Place)> = None;
    let mut rate: Option<(f64, u32)> = None;
    for statement in &context.facts.statements {
        let text = statement.whole().to_lowercase();
        for (from, to, bytes, per_s) in sizes(statement.value.plain()) {
            let place = statement.value.place(from, to);
            match per_s {
                Some(per_s)
                    if any(
                        &text,
                        &[
                            "restore",
                            "throughput",
                            "transfer",
                            "download",
                            "recovery rate",
                            "bandwidth",
                            "wiederherstell",
                        ],
                    ) =>
                {
                    let per_second = bytes / per_s as f64;
                    if rate.is_none_or(|(slowest, _)| per_second < slowest) {
                        rate = Some((per_second, place.line));
                    }
                }
                None if size.is_none_or(|(largest, _)| bytes > largest)
                    && any(
                        &text,
                        &[
                            "database size",
                            "data size",
                            "size of the database",
                            "db size",
                            "data volume",
                            "datenbankgröße",
                            "数据库大小",
                        ],
                    ) =>
                {
                    size = Some((bytes, place));
                }
                _ => {}
            }
        }
    }
    if let (Some((bytes, place)), Some((per_second, line))) = (size, rate) {
        let takes_s = bytes / per_second.max(1.0);
        if takes_s > rto.high_s as f64 {
            let minutes = (takes_s / 60.0).ceil() as u64;
            let message = format!(
                "at the rate of line {line} this takes {} to restore, and {} is allowed (line {})",
                say(minutes * 60),
                say(rto.high_s),
                rto.place.line
            );
            found.push(Found::new(place, message).help("restore less (a standby, a view that is filled later), restore faster, or agree on a longer RTO"));
        }
    }
}

fn steps_exceed_rto(context: &Context<'_>, found: &mut Vec<Found>) {
    let document = context.document;
    let mut sums: std::collections::BTreeMap<usize, (u64, usize)> = std::collections::BTreeMap::new();
    let mut add = |section: usize, span: durations::Span| {
        let other = [
            "escalat",
            "checklist",
            "test",
            "drill",
            "schedule",
            "communication",
            "template",
            "post-incident",
        ];
        let Some(section) = owner(document, section).filter(|_| !any(document.titles(section), &other))
        else {
            return;
        };
        let sum = sums.entry(section).or_default();
        sum.0 += span.low_s;
        sum.1 += 1;
    };
    for block in &document.blocks {
        let Kind::Item(item) = &block.kind else { continue };
        let noted =
            pace::noted(item.text.lines().first().map_or("", Text::plain)).filter(|_| item.number.is_some());
        if let Some((.., span)) = noted {
            add(block.section, span);
        }
    }
    for statement in &context.facts.statements {
        let is_time = match (&statement.form, &statement.under) {
            (Form::Cell { .. }, Some(header)) => {
                let table = document.blocks.get(statement.block).map(|block| &block.kind);
                let steps = matches!(table, Some(Kind::Table(table)) if table.header.iter().any(|head| any(&head.plain().to_lowercase(), &["step", "action", "schritt", "aktion", "步骤", "步驟", "paso", "étape"])));
                steps && pace::is_key(header)
            }
            (Form::Cell { .. }, None) => false,
            // Below a step, not the time of the whole.
            _ => {
                let inside = document.blocks.get(statement.block).is_some_and(|block| block.item.is_some());
                inside && statement.key.as_ref().is_some_and(|key| pace::is_key(key.plain()))
            }
        };
        if let Some(span) = pace::whole(statement.value.plain()).filter(|_| is_time) {
            add(statement.section, span);
        }
    }
    for section in document.sections.iter().skip(1).filter(|section| section.level >= 3) {
        let Some(parent) = section.parent else { continue };
        // `Short-term actions (1-7 days)` says when, not how long.
        let noted = pace::noted(section.title.plain()).filter(|_| is_step(section.title.plain()));
        if let Some((.., span)) = noted.filter(|(.., span)| span.low_s == span.high_s) {
            add(parent, span);
        }
    }
    for (section, (sum_s, count)) in sums {
        let own =
            context.facts.objectives.iter().find(|objective| {
                objective.metric == Metric::Rto && objective.scope == Scope::Scenario(section)
            });
        let Some(rto) = own.or_else(|| strictest(context, Metric::Rto)) else { continue };
        if count >= 2 && sum_s > rto.high_s {
            let message = format!(
                "its steps take {} as they are written, and {} is allowed (line {})",
                say(sum_s),
                say(rto.high_s),
                rto.place.line
            );
            found.push(
                Found::new(document.sections[section].title.whole(), message)
                    .help("do side by side what can be, shorten the longest step, or agree on a longer RTO"),
            );
        }
    }
}
