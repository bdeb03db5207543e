//! `lifeboat plan show`: a plan as a person reads it, its commands exact.

use super::read;
use crate::output::{Exit, Style, Table, Tone};
use crate::settings::Settings;
use anyhow::anyhow;
use lifeboat_plan::{
    Carry, Checklist, Does, Objectives, Plan, Runbook, Severity, Step, StepClass, Verify, WhenFailed, Wording,
};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::PathBuf;

/// A plan that can be used, and the name of its file.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) file: String,
    pub(super) plan: Plan,
}

/// Runs it.
///
/// # Errors
/// If the plan cannot be read, or is none.
pub fn run(settings: &Settings, file: Option<PathBuf>) -> anyhow::Result<Exit> {
    let shown = load(settings, file)?;
    settings
        .output
        .result("plan.show", &shown, |style| Page { style, out: String::new() }.plan(&shown.plan))?;
    Ok(Exit::Good)
}

/// The plan of that file, else the one that is used.
///
/// # Errors
/// If it cannot be read, or is none.
pub(super) fn load(settings: &Settings, file: Option<PathBuf>) -> anyhow::Result<Shown> {
    let (path, text) = read(settings, file)?;
    let file = path.display().to_string();
    match lifeboat_plan::load(&text) {
        Ok(loaded) => Ok(Shown { file, plan: loaded.plan }),
        Err(findings) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
            Err(crate::failure::guided(
                anyhow!(
                    "{file} is no plan that can be used: {errors} error{}",
                    if errors == 1 { "" } else { "s" }
                ),
                format!("`lifeboat plan check {file}` shows what is wrong"),
            ))
        }
    }
}

struct Page<'a> {
    style: &'a Style,
    out: String,
}

impl Page<'_> {
    fn plan(mut self, plan: &Plan) -> String {
        let about = &plan.metadata;
        let name = about.title.as_deref().unwrap_or(about.name.as_str());
        self.line(0, &self.style.paint(Tone::Strong, name));
        let facts = [
            ("owner", about.owner.clone()),
            ("approved by", about.approved_by.clone()),
            ("version", about.version.clone()),
            ("reviewed", about.reviewed.map(|day| day.to_string())),
            ("next review", about.next_review.map(|day| day.to_string())),
            ("reviewed every", about.review_every.map(|often| often.to_string())),
        ];
        self.facts(0, &facts);
        self.prose(0, about.description.as_deref());
        self.objectives(plan);
        self.services(plan);
        self.scenarios(plan);
        for (name, runbook) in &plan.runbooks {
            self.runbook(name.as_str(), runbook);
        }
        self.people(plan);
        self.communication(plan);
        self.checklists("CHECKLISTS", &plan.checklists);
        self.calendar(plan);
        self.checklists("AFTER AN INCIDENT", &plan.duties.after_incident);
        self.checklists("COMPLIANCE", &plan.duties.compliance);
        if !plan.duties.kpis.is_empty() {
            self.heading("FIGURES");
            for kpi in &plan.duties.kpis {
                let target = kpi.target.as_ref().map_or(String::new(), |target| format!(": {target}"));
                self.line(1, &format!("- {}{target}", kpi.name));
            }
        }
        for form in &plan.duties.forms {
            self.heading(&format!("FORM: {}", form.name));
            self.block(1, &form.text);
        }
        for note in &plan.notes {
            self.heading(&format!("NOTE: {}", note.title));
            self.block(1, &note.text);
        }
        self.out
    }

    fn line(&mut self, depth: usize, text: &str) {
        _ = writeln!(self.out, "{}{text}", "  ".repeat(depth));
    }

    fn heading(&mut self, text: &str) {
        self.out.push('\n');
        let text = self.style.paint(Tone::Strong, text);
        self.line(0, &text);
    }

    fn facts(&mut self, depth: usize, facts: &[(&str, Option<String>)]) {
        let told =
            facts.iter().filter_map(|(key, value)| value.as_ref().map(|value| format!("{key} {value}")));
        let told: Vec<String> = told.collect();
        if !told.is_empty() {
            self.line(depth, &crate::output::clean(&told.join(" · ")));
        }
    }

    fn prose(&mut self, depth: usize, text: Option<&str>) {
        if let Some(text) = text {
            self.block(depth, text);
        }
    }

    fn block(&mut self, depth: usize, text: &str) {
        for line in text.lines() {
            self.line(depth, &crate::output::clean(line));
        }
    }

    fn list(&mut self, depth: usize, title: &str, items: &[String]) {
        if !items.is_empty() {
            self.line(depth, &format!("{title}:"));
            for item in items {
                self.line(depth + 1, &format!("- {}", crate::output::clean(item)));
            }
        }
    }

    fn objectives(&mut self, plan: &Plan) {
        let mut table = Table::new(&["", "RTO", "RPO", "MTD", "MTTR"]);
        let mut count = 0;
        let mut row = |name: String, objectives: &Objectives| {
            if !objectives.is_empty() {
                count += 1;
                table.row([name].into_iter().chain(said(objectives)));
            }
        };
        row("everything".to_owned(), &plan.objectives);
        for tier in &plan.tiers {
            row(tier.title.clone().unwrap_or_else(|| tier.name.to_string()), &tier.objectives);
        }
        for service in &plan.services {
            row(service.title.clone().unwrap_or_else(|| service.name.to_string()), &service.objectives);
        }
        for scenario in &plan.scenarios {
            row(scenario.title.clone().unwrap_or_else(|| scenario.name.to_string()), &scenario.objectives);
        }
        if count > 0 {
            self.heading("OBJECTIVES");
            self.out.push_str(&table.render(self.style));
        }
    }

    fn services(&mut self, plan: &Plan) {
        self.heading("SERVICES");
        for service in &plan.services {
            let name = service.title.as_deref().unwrap_or(service.name.as_str());
            self.line(1, &self.style.paint(Tone::Strong, name));
            let needs: Vec<&str> = service.needs.iter().map(|name| name.as_str()).collect();
            self.facts(
                2,
                &[
                    ("needs", (!needs.is_empty()).then(|| needs.join(", "))),
                    ("fails with", service.domain.clone()),
                    ("tier", service.tier.as_ref().map(ToString::to_string)),
                    (
                        "backed up by Lifeboat:",
                        service.postgres.as_ref().map(|postgres| postgres.base.schedule.to_string()),
                    ),
                ],
            );
            self.prose(2, service.description.as_deref());
            for backup in &service.backups {
                self.line(2, &format!("- {}", crate::output::clean(&backup.name)));
                let often = match (&backup.schedule, &backup.time_zone) {
                    (Some(schedule), Some(zone)) => Some(format!("{schedule} {zone}")),
                    _ => backup.when.clone().or_else(|| backup.every.map(|often| often.to_string())),
                };
                self.facts(
                    3,
                    &[
                        ("by", backup.method.clone()),
                        ("at", often),
                        ("as it happens", backup.continuous.filter(|yes| *yes).map(|_| String::new())),
                        ("kept", backup.kept.clone().or_else(|| backup.keep.map(|keep| keep.to_string()))),
                        ("encrypted:", backup.encryption.clone()),
                        ("runbook", backup.runbook.as_ref().map(ToString::to_string)),
                    ],
                );
                self.list(3, "in", &backup.location);
                self.list(3, "notes", &backup.notes);
            }
        }
    }

    fn scenarios(&mut self, plan: &Plan) {
        if plan.scenarios.is_empty() {
            return;
        }
        self.heading("SCENARIOS");
        for scenario in &plan.scenarios {
            let name = scenario.title.as_deref().unwrap_or(scenario.name.as_str());
            self.line(1, &self.style.paint(Tone::Strong, name));
            self.facts(
                2,
                &[
                    ("severity", scenario.severity.map(|grade| format!("{grade:?}"))),
                    ("runbook", scenario.runbook.as_ref().map(ToString::to_string)),
                ],
            );
            self.prose(2, scenario.description.as_deref());
            self.list(2, "signals", &scenario.detect);
            self.list(2, "noticed by", &scenario.symptoms);
            self.list(2, "impact", &scenario.impact);
            self.list(2, "such as", &scenario.examples);
            self.list(2, "response", &scenario.response);
            self.list(2, "notes", &scenario.notes);
        }
    }

    fn runbook(&mut self, name: &str, runbook: &Runbook) {
        let title = runbook.title.as_ref().map_or(String::new(), |title| format!(" · {title}"));
        self.heading(&format!("RUNBOOK {name}{title}"));
        self.facts(1, &[("when:", runbook.when.clone())]);
        self.prose(1, runbook.description.as_deref());
        for (variable, about) in &runbook.variables {
            let kind =
                serde_json::to_value(about.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
            let mut text = format!("bind {variable}: {}", kind.unwrap_or_default());
            for (lead, value) in [("as ", &about.format), ("", &about.description), ("else ", &about.default)]
            {
                if let Some(value) = value {
                    _ = write!(text, ", {lead}{value}");
                }
            }
            if let Some(environment) = &about.environment {
                _ = write!(text, " (${environment})");
            }
            self.line(1, &crate::output::clean(&text));
        }
        for (at, step) in runbook.steps.iter().enumerate() {
            self.step(at + 1, step);
        }
        self.list(1, "notes", &runbook.notes);
    }

    fn step(&mut self, number: usize, step: &Step) {
        let kind = match &step.does {
            Does::Shell(_) => "run",
            Does::Check(_) => "check",
            Does::Sql(_) => "query",
            Does::Manual(_) => "by hand",
            Does::Choose(_) => "decide",
            Does::Approval(_) => "agree",
            Does::Wait(_) => "wait",
            Does::Action(name, _) => name.as_str(),
        };
        let name = step.name.as_ref().map_or(String::new(), |name| format!(" {name}"));
        let id = step.id.as_ref().map_or(String::new(), |id| format!(" ({id})"));
        let mark = self.style.paint(Tone::Faint, &format!("[{kind}]"));
        self.line(1, &format!("{number}.{} {mark}{id}", crate::output::clean(&name)));
        if let Some(condition) = &step.only_if {
            self.line(3, &crate::output::clean(&format!("only if: {condition}")));
        }
        self.prose(3, step.description.as_deref());
        match &step.does {
            Does::Shell(shell) => {
                self.commands(&shell.run);
                let outputs: Vec<&str> = shell.outputs.iter().map(|name| name.as_str()).collect();
                self.facts(3, &[("gives", (!outputs.is_empty()).then(|| outputs.join(", ")))]);
            }
            Does::Check(check) => {
                self.commands(&check.run);
                self.facts(3, &[("expect", check.expect.clone())]);
            }
            Does::Sql(text) => self.commands(text),
            Does::Manual(text) | Does::Approval(text) => self.block(3, text),
            Does::Wait(interval) => self.line(3, &interval.to_string()),
            Does::Choose(choose) => {
                self.line(3, &crate::output::clean(&choose.question));
                for option in &choose.options {
                    let to = match (&option.step, &option.runbook) {
                        (Some(step), _) => format!(" → {step}"),
                        (_, Some(runbook)) => format!(" → runbook {runbook}"),
                        _ => " → on".to_owned(),
                    };
                    self.line(4, &crate::output::clean(&format!("- {}{to}", option.when)));
                }
            }
            Does::Action(_, arguments) => self.line(3, &crate::output::clean(&arguments.to_string())),
        }
        let (words, verify) = match &step.verify {
            Some(Verify::Words(words)) => (Some(words.clone()), None),
            Some(Verify::Commands(check)) => (None, Some(check)),
            None => (None, None),
        };
        self.facts(3, &[("takes", step.duration.map(|takes| takes.to_string())), ("verify:", words)]);
        self.carry(&step.carry);
        if let Some(check) = verify {
            self.line(3, "verify by:");
            self.commands(&check.run);
            self.facts(3, &[("expect", check.expect.clone())]);
        }
    }

    fn carry(&mut self, carry: &Carry) {
        let needs = carry.needs.as_ref().map(|needs| match needs.is_empty() {
            true => "nothing before it".to_owned(),
            false => needs.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", "),
        });
        let class = carry.class.map(|class| match class {
            StepClass::Read => "changes nothing".to_owned(),
            StepClass::Idempotent => "may be repeated".to_owned(),
            StepClass::Destructive => "must not happen twice".to_owned(),
        });
        let failed = carry.on_failure.map(|failed| match failed {
            WhenFailed::Stop => "ask".to_owned(),
            WhenFailed::Undo => "undo".to_owned(),
            WhenFailed::GoOn => "go on".to_owned(),
        });
        self.facts(
            3,
            &[
                ("needs", needs),
                ("class", class),
                ("broken off after", carry.timeout.map(|timeout| timeout.to_string())),
                ("tries", carry.tries.map(|tries| tries.to_string())),
                ("approvals", carry.approvals.map(|approvals| approvals.to_string())),
                ("if it fails", failed),
            ],
        );
        for (what, commands) in [
            ("done already if:", carry.probe.as_ref().map(|probe| &probe.run)),
            ("undone by:", carry.undo.as_ref()),
        ] {
            if let Some(commands) = commands {
                self.line(3, what);
                self.commands(commands);
            }
        }
    }

    fn commands(&mut self, text: &str) {
        for line in text.lines() {
            self.line(3, &format!("$ {}", crate::output::clean(line)));
        }
    }

    fn people(&mut self, plan: &Plan) {
        let people = &plan.people;
        if !people.roles.is_empty() {
            self.heading("ROLES");
            let mut table = Table::new(&["ROLE", "PERSON", "DEPUTY", "REACHED BY", "DUTIES"]);
            for role in &people.roles {
                let by = [&role.phone, &role.email, &role.contact];
                let by: Vec<&str> = by.into_iter().flatten().map(String::as_str).collect();
                table.row([
                    role.name.clone(),
                    role.person.clone().unwrap_or_else(|| "—".to_owned()),
                    role.deputy.clone().unwrap_or_else(|| "—".to_owned()),
                    by.join(" · "),
                    role.duties.join("; "),
                ]);
            }
            self.out.push_str(&table.render(self.style));
        }
        if !people.contacts.is_empty() {
            self.heading("CONTACTS");
            for contact in &people.contacts {
                self.line(1, &crate::output::clean(&contact.name));
                self.facts(
                    2,
                    &[
                        ("person", contact.person.clone()),
                        ("telephone", contact.phone.clone()),
                        ("mail", contact.email.clone()),
                        ("page", contact.url.clone()),
                        ("by", contact.contact.clone()),
                        ("account", contact.account.clone()),
                    ],
                );
                self.list(2, "notes", &contact.notes);
            }
        }
        if !people.escalation.is_empty() {
            self.heading("ESCALATION");
            for level in &people.escalation {
                let from = level.from.map(|from| format!("after {from}")).unwrap_or_default();
                let until = level.until.map(|until| format!(" until {until}")).unwrap_or_default();
                self.line(1, &crate::output::clean(&format!("{} {from}{until}", level.name)));
                self.facts(
                    2,
                    &[
                        ("call", level.who.clone()),
                        ("answer within", level.respond_within.map(|within| within.to_string())),
                        ("tell", level.notify.clone()),
                        ("then", level.then.clone()),
                    ],
                );
                self.list(2, "notes", &level.notes);
            }
        }
        self.list(0, "people", &people.notes);
    }

    fn communication(&mut self, plan: &Plan) {
        let told = &plan.communication;
        if told.is_empty() {
            return;
        }
        self.heading("COMMUNICATION");
        for channel in &told.channels {
            self.line(1, &crate::output::clean(&format!("- {}", channel.name)));
            self.facts(
                2,
                &[
                    ("at", channel.address.clone()),
                    ("for", channel.audience.clone()),
                    ("when", channel.when.clone()),
                ],
            );
        }
        for update in &told.updates {
            self.line(1, &crate::output::clean(&format!("- {}", update.name)));
            self.facts(
                2,
                &[
                    ("for", update.audience.clone()),
                    ("every", update.every.map(|every| every.to_string())),
                    ("within", update.within.map(|within| within.to_string())),
                ],
            );
        }
        if let Some(page) = &told.status_page {
            self.line(1, &format!("status page {}", page.url.as_deref().unwrap_or_default()));
            self.facts(
                2,
                &[
                    ("within", page.within.map(|within| within.to_string())),
                    ("every", page.every.map(|every| every.to_string())),
                ],
            );
            self.list(2, "says", &page.states);
            self.list(2, "notes", &page.notes);
        }
        for template in &told.templates {
            self.line(1, &crate::output::clean(&format!("template: {}", template.name)));
            self.facts(2, &[("for", template.audience.clone()), ("subject:", template.subject.clone())]);
            self.block(2, &template.text);
        }
        self.list(1, "notes", &told.notes);
    }

    fn checklists(&mut self, title: &str, lists: &[Checklist]) {
        if lists.is_empty() {
            return;
        }
        self.heading(title);
        for list in lists {
            let from = list.from.map(|from| format!(" after {from}")).unwrap_or_default();
            let until = list.until.map(|until| format!(" until {until}")).unwrap_or_default();
            self.list(1, &format!("{}{from}{until}", list.name), &list.items);
        }
    }

    fn calendar(&mut self, plan: &Plan) {
        let calendar = &plan.calendar;
        if calendar.is_empty() {
            return;
        }
        self.heading("TESTS AND REVIEWS");
        for drill in &calendar.drills {
            self.line(1, &crate::output::clean(&format!("- {}", drill.name)));
            self.facts(
                2,
                &[
                    ("every", drill.every.map(|every| every.to_string())),
                    ("when", drill.when.clone()),
                    ("takes", drill.duration.map(|duration| duration.to_string())),
                    ("scenario", drill.scenario.as_ref().map(ToString::to_string)),
                    ("by", drill.owner.clone()),
                ],
            );
            self.list(2, "what is done", &drill.steps);
            self.list(2, "what must come of it", &drill.criteria);
        }
        for review in &calendar.reviews {
            let every = review.every.map(|every| format!(" (every {every})")).unwrap_or_default();
            self.line(1, &crate::output::clean(&format!("- review: {}{every}", review.name)));
        }
        self.list(1, "how a drill goes", &calendar.procedure);
        for list in &calendar.success {
            self.list(1, &format!("has succeeded ({})", list.name), &list.items);
        }
        self.list(1, "notes", &calendar.notes);
    }
}

/// RTO, RPO, MTD and MTTR, each as a duration, in words, or both.
fn said(objectives: &Objectives) -> [String; 4] {
    let Objectives { rto, rpo, mtd, mttr, words } = objectives;
    let Wording { rto: rto_words, rpo: rpo_words, mtd: mtd_words, mttr: mttr_words } = words;
    [(rto, rto_words), (rpo, rpo_words), (mtd, mtd_words), (mttr, mttr_words)].map(|(time, words)| {
        match (time, words) {
            (Some(time), Some(words)) => format!("{time} ({words})"),
            (Some(time), None) => time.to_string(),
            (None, Some(words)) => format!("\"{words}\""),
            (None, None) => String::new(),
        }
    })
}
