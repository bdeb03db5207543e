//! Plans: what can be loaded and would still go wrong.

use super::{Context, Finding, Found, Options, Rule, finish, rule_of};
use crate::document::Place;
use crate::{Plan, Severity, load};
use std::fmt::Write as _;

pub(super) const RULES: &[Rule] = &[rule_of!(
    "LB0700",
    "not-a-plan",
    Error,
    nothing,
    "nothing that reads the plan can use it until it loads"
)];

/// Looks at a plan; a text that is no plan has the findings of the check as errors of its own.
pub(super) fn look(source: &str, options: &Options<'_>) -> Vec<Finding> {
    let Ok(loaded) = load(source) else { return broken(source) };
    let plan = &loaded.plan;
    let mut findings = Vec::new();
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
                crate::facts::durations::say(apart)
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
    finish(findings, source)
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
    let mut findings: Vec<Finding> = problems
        .map(|problem| {
            let place = Place::new(problem.line, problem.column, problem.length);
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
