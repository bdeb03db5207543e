//! The steps of a runbook lead to each other, and name what a run binds.

use super::{Place, keys, label, unknown, words};
use crate::finding::{Code, Finding};
use crate::yaml::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn look(plan: &Place<'_>, findings: &mut Vec<Finding>) {
    let runbooks = keys(plan, "runbooks");
    let Some(place) = plan.get("runbooks") else { return };
    let Value::Map(entries) = &place.node.value else { return };
    for (key, _) in entries {
        let Some(runbook) = key.text().and_then(|name| place.get(name)) else { continue };
        let steps = runbook.list("steps");
        let ids = ids(&steps, findings);
        let mut before = BTreeSet::new();
        for step in &steps {
            for needed in step.list("needs") {
                needs(&needed, &before, &ids, findings);
            }
            before.extend(step.get("id").and_then(|id| label(id.node)));
            for option in step.get("choose").map(|choose| choose.list("options")).unwrap_or_default() {
                leads(&option, &ids, &runbooks, findings);
            }
            bound(step, &keys(&runbook, "variables"), findings);
        }
    }
}

fn ids<'a>(steps: &[Place<'a>], findings: &mut Vec<Finding>) -> BTreeSet<&'a str> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for id in steps.iter().filter_map(|step| step.get("id")) {
        let Some(text) = label(id.node) else { continue };
        match seen.get(text) {
            None => _ = seen.insert(text, id.node.mark.line),
            Some(line) => findings.push(
                id.error(Code::DuplicateName, format!("a second step `{text}`; the first is on line {line}"))
                    .with_help("give one of the two another id"),
            ),
        }
    }
    seen.into_keys().collect()
}

/// A step waits for steps before it, so that none waits for itself.
fn needs(needed: &Place<'_>, before: &BTreeSet<&str>, ids: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let Some(name) = label(needed.node).filter(|name| !before.contains(name)) else { return };
    if ids.contains(name) {
        let message = format!("step `{name}` does not come before this one");
        let help = "a step needs only steps that stand above it; change their order";
        findings.push(needed.error(Code::Contradiction, message).with_help(help));
    } else {
        findings.push(unknown(needed, "step", name, ids));
    }
}

/// A choice leads to a step of this runbook, or to another runbook.
fn leads(option: &Place<'_>, ids: &BTreeSet<&str>, runbooks: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let (step, runbook) = (option.get("step"), option.get("runbook"));
    if let (Some(_), Some(runbook)) = (&step, &runbook) {
        let message = "a choice leads to a step or to a runbook, not to both";
        findings.push(runbook.error(Code::Contradiction, message).with_help("take one of the two out"));
    }
    for (place, what, known) in [(step, "step", ids), (runbook, "runbook", runbooks)] {
        let Some(place) = place else { continue };
        if let Some(name) = label(place.node).filter(|name| !known.contains(name)) {
            findings.push(unknown(&place, what, name, known));
        }
    }
}

/// What stands in braces is bound by a run: each `{{ name }}` is one of the runbook's variables.
fn bound(step: &Place<'_>, variables: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    for key in ["shell", "check", "sql", "manual", "approval", "probe", "verify", "undo"] {
        let Some(place) = step.get(key) else { continue };
        let Some(text) = words(place.node).or_else(|| place.text("run")) else { continue };
        let mut told = BTreeSet::new();
        for name in names(text) {
            if !variables.contains(name) && told.insert(name) {
                let message = format!("no variable of this runbook is called `{name}`");
                let help = format!("add it, so that a run binds it: `variables: {{{name}: {{}}}}`");
                findings.push(place.warning(Code::UnknownName, message).with_help(help));
            }
        }
    }
}

/// The names in `{{ name }}`, as they stand in a text. `{{.Name}}` and `{{range}}` are templates of other tools.
pub(crate) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("{{ ").filter_map(|(at, lead)| {
        let (name, _) = text[at + lead.len()..].split_once(" }}")?;
        name.parse::<crate::values::Label>().is_ok().then_some(name)
    })
}
