//! Names that lead from one part of the plan to another, and times that follow each other.

use super::{Place, keys, label, unknown};
use crate::finding::{Code, Finding};
use crate::values::Interval;
use std::collections::BTreeSet;

pub(super) fn look(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let named = |key: &str| -> BTreeSet<&str> {
        plan.list(key).iter().filter_map(|item| item.text("name")).collect()
    };
    let (tiers, scenarios, runbooks) = (named("tiers"), named("scenarios"), keys(plan, "runbooks"));
    let mut lead = |from: &Place<'_>, key: &str, what: &str, known: &BTreeSet<&str>| {
        if let Some(place) = from.get(key)
            && let Some(name) = label(place.node)
            && !known.contains(name)
        {
            findings.push(unknown(&place, what, name, known));
        }
    };
    for service in plan.list("services") {
        lead(&service, "tier", "tier", &tiers);
        for backup in service.list("backups") {
            lead(&backup, "runbook", "runbook", &runbooks);
        }
    }
    for scenario in plan.list("scenarios") {
        lead(&scenario, "runbook", "runbook", &runbooks);
    }
    if let Some(calendar) = plan.get("calendar") {
        for drill in calendar.list("drills") {
            lead(&drill, "scenario", "scenario", &scenarios);
        }
    }
    protected(plan, findings);
    times(plan, findings);
}

/// What Lifeboat protects is kept somewhere.
fn protected(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    if plan.get("vault").is_some() {
        return;
    }
    if let Some(postgres) = plan.list("services").iter().find_map(|service| service.get("postgres")) {
        let message =
            "`vault` is missing in the plan: Lifeboat is to protect this and has no place to keep it";
        let help = "vault: {copies: [an address, best two at different providers]}";
        findings.push(postgres.error(Code::MissingKey, message).with_help(help));
    }
}

/// What begins ends later.
fn times(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let below = |key: &str, list: &str| plan.get(key).map(|place| place.list(list)).unwrap_or_default();
    let spans = [
        below("people", "escalation"),
        plan.list("checklists"),
        below("calendar", "success"),
        below("duties", "afterIncident"),
        below("duties", "compliance"),
    ];
    for span in spans.iter().flatten() {
        let (Some(from), Some(until)) = (span.read::<Interval>("from"), span.read::<Interval>("until"))
        else {
            continue;
        };
        if let Some(place) = span.get("until").filter(|_| until <= from) {
            let message = format!("it ends (`until: {until}`) before it begins (`from: {from}`)");
            findings.push(place.error(Code::Contradiction, message).with_help("turn the two about"));
        }
    }
}
