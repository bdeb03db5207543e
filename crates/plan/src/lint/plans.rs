//! Plans: what can be loaded and would still go wrong.

use super::gaps::values::open_value;
use super::{Context, Finding, Found, Options, Rule, finish, from_plan, rule_of, rules};
use crate::document::Place;
use crate::facts::Facts;
use crate::facts::durations::say;
use crate::facts::objectives::{Metric, Objective, Scope};
use crate::model::{Runbook, Scenario};
use crate::yaml::{self, Node, Value};
use crate::{Plan, Severity, load};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

pub(super) const RULES: &[Rule] = &[rule_of!(
    "LB0700",
    "not-a-plan",
    Error,
    nothing,
    "nothing that reads the plan can use it until it loads"
)];

/// Looks at a plan; a text that is no plan has the findings of the check as errors of its own.
pub(super) fn look(source: &str, options: &Options<'_>) -> Vec<Finding> {
    let (Ok(loaded), Ok(root)) = (load(source), yaml::parse(source)) else { return broken(source) };
    let plan = &loaded.plan;
    let mut findings = runbooks(source, plan, &root, options);
    let mut add = |code: &str, words: &[&str], message: String, help: &str| {
        if let Some(rule) = super::rule(code) {
            findings.push(rule.finding(Found::new(place(source, words), message).help(help)));
        }
    };
    for service in &plan.services {
        let objectives = plan.objectives_of(service);
        let Some(postgres) = &service.postgres else { continue };
        let name = service.name.as_str();
        if !postgres.stream.enabled
            && let Some(rpo) = objectives.rpo
            && let Some(apart) = apart(postgres, options)
            && apart > rpo.0.as_secs()
        {
            let message = format!(
                "{name} has copies up to {} apart and no stream, and no more than {rpo} may be lost",
                say(apart)
            );
            add(
                "LB0201",
                &[name, "schedule:"],
                message,
                "let it stream (`stream: {enabled: true}`), or back up as often as the objective says",
            );
        }
        if postgres.checks.is_empty() {
            let message = format!("{name} has no checks: a recovered database is asked nothing");
            add(
                "LB0502",
                &[name, "postgres:"],
                message,
                "add a query under `checks` that is true only of a database that is whole and recent",
            );
        }
    }
    for scenario in &plan.scenarios {
        for (metric, own, of_plan) in [
            ("RTO", scenario.objectives.rto, plan.objectives.rto),
            ("RPO", scenario.objectives.rpo, plan.objectives.rpo),
        ] {
            if let (Some(own), Some(of_plan)) = (own, of_plan)
                && own.0 > of_plan.0
            {
                let message =
                    format!("this scenario may take {own} ({metric}), and the plan allows {of_plan}");
                add(
                    "LB0204",
                    &[scenario.name.as_str(), "objectives:"],
                    message,
                    "tighten the scenario, or loosen the plan",
                );
            }
        }
        if scenario.runbook.is_none() {
            let message = format!("the scenario {} has no runbook", scenario.name.as_str());
            add("LB0515", &[scenario.name.as_str()], message, "name the runbook that is followed then");
        }
    }
    review(plan, options, &mut add);
    people(plan, &mut add);
    times(plan, &mut add);
    let copies = &plan.vault.copies;
    let domains: Vec<&str> = copies.iter().filter_map(|copy| copy.domain.as_deref()).collect();
    let one_domain = !copies.is_empty()
        && domains.len() == copies.len()
        && domains.windows(2).all(|pair| pair[0] == pair[1]);
    if copies.len() == 1 || one_domain {
        let message = if copies.len() == 1 {
            "the vault has one copy"
        } else {
            "all copies of the vault fail together"
        };
        add(
            "LB0414",
            &["copies:"],
            message.to_owned(),
            "add a copy in another region or with another provider",
        );
    }
    if let Some(rule) = super::rule("LB0501") {
        let open = ["people", "communication", "metadata"].into_iter().filter_map(|key| root.get(key));
        open.for_each(|node| placeholders(node, None, &mut |found| findings.push(rule.finding(found))));
    }
    finish(findings, source)
}

/// What the rules of documents find in runbooks. Those left out speak of what a plan says in fields of its own, or of one
/// terminal for several steps, where a plan's have one each.
fn runbooks(source: &str, plan: &Plan, root: &Node, options: &Options<'_>) -> Vec<Finding> {
    const OWN: [&str; 12] = [
        "LB0201", "LB0202", "LB0203", "LB0204", "LB0205", "LB0207", "LB0209", "LB0310", "LB0514", "LB0515",
        "LB0526", "LB0601",
    ];
    let (document, sections) = from_plan::document(source, root);
    let mut facts = Facts::of(&document);
    facts.objectives = objectives(plan, source, &sections);
    let context = Context::of(&facts, options);
    let mut findings = Vec::new();
    for rule in rules().filter(|rule| !OWN.contains(&rule.code)) {
        let mut found = Vec::new();
        (rule.check)(&context, &mut found);
        found.truncate(super::MAX_FINDINGS);
        findings.extend(found.into_iter().map(|found| rule.finding(found)));
    }
    findings
}

/// The plan's recovery times, and those of scenarios, for rules that hold steps against them.
fn objectives(plan: &Plan, source: &str, sections: &[(String, usize)]) -> Vec<Objective> {
    let of = |rto: Option<crate::values::Interval>, scope: Scope, words: &[&str]| {
        let seconds = rto?.0.as_secs();
        let place = place(source, words);
        let words = rto?.to_string();
        Some(Objective {
            metric: Metric::Rto,
            scope,
            low_s: seconds,
            high_s: seconds,
            place,
            words,
            statement: 0,
        })
    };
    let all = of(plan.objectives.rto, Scope::Everything, &["objectives:"]);
    let scenarios = plan.scenarios.iter().take(MOST).filter_map(|scenario| {
        let runbook = scenario.runbook.as_ref()?;
        let (_, section) = sections.iter().find(|(name, _)| name == runbook.as_str())?;
        of(
            scenario.objectives.rto,
            Scope::Scenario(*section),
            &["scenarios:", scenario.name.as_str(), "objectives:"],
        )
    });
    all.into_iter().chain(scenarios).collect()
}

/// So many scenarios have their times looked at; a plan with more is none.
const MOST: usize = 300;

/// Who is called, who stands in, how they are reached, what a drill must show.
fn people(plan: &Plan, add: &mut Add<'_>) {
    let roles = &plan.people.roles;
    let reached = |role: &crate::model::Role| {
        role.person.is_some() || role.phone.is_some() || role.email.is_some() || role.contact.is_some()
    };
    let count = roles.len();
    if count > 1 && !roles.iter().any(reached) {
        let message = format!("{count} roles, and no person for any of them");
        add(
            "LB0508",
            &["people:", "roles:"],
            message,
            "add `person`, `deputy` and a `phone` that reaches them at night",
        );
    } else if count > 1 && roles.iter().all(|role| role.deputy.is_none()) {
        let message = format!("{count} roles, and nobody stands in for any of them");
        add("LB0516", &["people:", "roles:"], message, "add a `deputy` to each");
    }
    if count > 0 && plan.people.escalation.is_empty() {
        let message = "nothing says who is called when nobody answers, and after how long".to_owned();
        add("LB0526", &["people:"], message, "add `escalation`: levels with `from`, `until` and `who`");
    }
    for contact in &plan.people.contacts {
        let ways = [&contact.phone, &contact.email, &contact.url, &contact.contact];
        if ways.iter().all(|way| way.is_none()) {
            let message = format!("nothing says how {} is reached", contact.name);
            let words = ["people:", "contacts:", contact.name.as_str()];
            add(
                "LB0518",
                &words,
                message,
                "add `phone`, `email` or `url`, and the `account` that they ask for",
            );
        }
    }
    for pair in plan.people.escalation.windows(2).filter(|pair| pair[0].severity == pair[1].severity) {
        let (Some(until), Some(from)) = (pair[0].until, pair[1].from) else { continue };
        if until != from {
            let message = if from > until {
                format!("nobody is responsible from {until} to {from}")
            } else {
                format!("from {from} to {until} two levels are responsible")
            };
            let words = ["escalation:", pair[1].name.as_str()];
            add("LB0509", &words, message, "let each level begin where the one before ends");
        }
    }
    let calendar = &plan.calendar;
    let measured = |text: &String| super::look::any(&text.to_lowercase(), &["rto", "rpo", "criteri"]);
    let judged = !calendar.success.is_empty()
        || calendar.drills.iter().any(|drill| !drill.criteria.is_empty() || drill.steps.iter().any(measured))
        || calendar.procedure.iter().chain(&calendar.notes).any(measured);
    if !calendar.drills.is_empty() && !judged {
        let message = "no drill says when it has passed".to_owned();
        add(
            "LB0510",
            &["calendar:", "drills:"],
            message,
            "add `criteria`: what must be back, how fast and with how little lost",
        );
    }
}

/// Scenarios whose steps together take longer than they may.
fn times(plan: &Plan, add: &mut Add<'_>) {
    for scenario in plan.scenarios.iter().take(MOST) {
        let runbook = scenario.runbook.as_ref().and_then(|name| plan.runbooks.get(name));
        let rto = scenario.objectives.or(&plan.objectives).rto;
        let (Some(runbook), Some(rto), Some(name)) = (runbook, rto, &scenario.runbook) else { continue };
        let takes = longest_way(runbook);
        if takes > rto.0 {
            let message = format!(
                "its steps take {} one behind the other, and {rto} is allowed for {}",
                say(takes.as_secs()),
                title_of(scenario)
            );
            let words = ["runbooks:", name.as_str()];
            add(
                "LB0209",
                &words,
                message,
                "let steps that need not wait for each other run side by side (`needs`), shorten the longest, or agree on a longer RTO",
            );
        }
    }
}

fn title_of(scenario: &Scenario) -> &str {
    scenario.title.as_deref().unwrap_or(scenario.name.as_str())
}

/// The longest way through a runbook by the times that its steps state: each begins when those that it needs have ended,
/// by default the one before it. A step that is only done in some cases takes no time.
fn longest_way(runbook: &Runbook) -> Duration {
    let mut ends: BTreeMap<&str, Duration> = BTreeMap::new();
    let mut before = Duration::ZERO;
    let mut longest = Duration::ZERO;
    for step in &runbook.steps {
        let begins = match &step.carry.needs {
            Some(needs) => {
                let ended = needs.iter().filter_map(|need| ends.get(need.as_str()));
                ended.max().copied().unwrap_or_default()
            }
            None => before,
        };
        let takes = step.duration.filter(|_| step.only_if.is_none()).map_or(Duration::ZERO, |takes| takes.0);
        before = begins.saturating_add(takes);
        longest = longest.max(before);
        if let Some(id) = &step.id {
            ends.insert(id.as_str(), before);
        }
    }
    longest
}

/// Values that are still to be filled in, wherever they stand in a part of the plan.
fn placeholders(node: &Node, key: Option<&str>, tell: &mut dyn FnMut(Found)) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| placeholders(item, key, tell)),
        Value::Map(entries) => {
            for (key, value) in entries {
                let name = key.text().unwrap_or_default();
                // Templates are filled in during the incident.
                if !matches!(name, "templates" | "template" | "text" | "body" | "notes") {
                    placeholders(value, Some(name), tell);
                }
            }
        }
        Value::Scalar { text, .. } => {
            if let Some((_, _, what)) = open_value(text) {
                let of = key.map_or(String::new(), |key| format!(" for `{key}`"));
                let place = Place::new(node.mark.line, node.mark.column, node.mark.length);
                tell(
                    Found::new(place, format!("`{what}` is no value{of}"))
                        .help("fill it in, and look at it again at each review"),
                );
            }
        }
    }
}

/// Takes a rule's code, words that stand at the place, what is wrong and how to mend it.
type Add<'a> = dyn FnMut(&str, &[&str], String, &str) + 'a;

fn review(plan: &Plan, options: &Options<'_>, add: &mut Add<'_>) {
    let (Some(reviewed), Some(every)) = (plan.metadata.reviewed, plan.metadata.review_every) else {
        if plan.metadata.reviewed.is_none() {
            add(
                "LB0514",
                &["metadata:"],
                "the plan does not say when it was last reviewed".to_owned(),
                "add `reviewed` and `reviewEvery`",
            );
        }
        return;
    };
    let days = i64::try_from(every.longest().as_secs() / 86_400).unwrap_or(i64::MAX).min(36_500);
    let due = reviewed.0.checked_add(jiff::Span::new().days(days));
    if let Some(due) = due.ok().filter(|due| *due < options.today) {
        add(
            "LB0601",
            &["reviewed:"],
            format!("the review was due on {due}"),
            "review it, and set `reviewed`",
        );
    }
}

/// The longest time between two base backups in the weeks ahead, in seconds.
fn apart(postgres: &crate::Postgres, options: &Options<'_>) -> Option<u64> {
    let zone = &postgres.base.time_zone;
    let mut at = options.today.to_zoned(zone.time_zone().clone()).ok()?.timestamp();
    let mut longest = 0;
    let mut before = None;
    for _ in 0..100 {
        at = postgres.base.schedule.next_after(zone, at)?;
        if let Some(before) = before {
            longest = longest.max(at.duration_since(before).as_secs().unsigned_abs());
        }
        before = Some(at);
    }
    (longest > 0).then_some(longest)
}

/// Where the words stand one behind the other, each in the first line from the one before on that has it.
fn place(source: &str, words: &[&str]) -> Place {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Place::new(1, 1, 1);
    let mut at = 0;
    for word in words {
        let Some((number, line)) = lines.iter().enumerate().skip(at).find(|(_, line)| line.contains(word))
        else {
            break;
        };
        let column = line.find(word).map_or(0, |at| line[..at].chars().count()) + 1;
        let number_of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        found = Place::new(number_of(number + 1), number_of(column), number_of(word.chars().count()));
        at = number;
    }
    found
}

fn broken(source: &str) -> Vec<Finding> {
    let Err(problems) = load(source) else { return Vec::new() };
    let Some(rule) = super::rule("LB0700") else { return Vec::new() };
    let problems = problems.into_iter().filter(|problem| problem.severity == Severity::Error);
    let last = u32::try_from(source.lines().count().max(1)).unwrap_or(u32::MAX);
    let mut findings: Vec<Finding> = problems
        .map(|problem| {
            // YAML has more ways to end a line than a text has, and its end may lie behind the last.
            let place = Place::new(problem.line.min(last), problem.column, problem.length);
            let mut help = problem.help.unwrap_or_default();
            _ = write!(
                help,
                "{}see `lifeboat plan check` ({})",
                if help.is_empty() { "" } else { "; " },
                problem.code
            );
            rule.finding(Found::new(place, problem.message).help(help))
        })
        .collect();
    findings.truncate(super::MAX_FINDINGS);
    findings
}

/// It is about plans alone.
fn nothing(_: &Context<'_>, _: &mut Vec<Found>) {}
