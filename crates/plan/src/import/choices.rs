//! Steps that lead elsewhere as choices for a person.
//!
//! Deliberately absent: what leads elsewhere; `parts` reads that.

use super::draft::{Draft, Map};
use super::parts::jump;
use super::runbooks::Step;
use super::words;
use std::collections::{BTreeMap, BTreeSet};

/// Steps that lead elsewhere become choices for a person.
pub(super) fn choices(steps: Vec<Step>) -> Vec<Step> {
    let targets: BTreeSet<u64> = steps.iter().filter_map(|step| step.leads_to).collect();
    let mut ids: BTreeMap<u64, String> = BTreeMap::new();
    let mut out = Vec::new();
    for mut step in steps {
        if let Some(number) =
            step.number.filter(|number| targets.contains(number) && !ids.contains_key(number))
        {
            let id = format!("step-{number}");
            step.map.entries.insert(0, ("id".to_owned(), Draft::text(&id, step.line)));
            ids.insert(number, id);
        }
        out.push(step);
    }
    for step in &mut out {
        let Some(id) = step.leads_to.and_then(|number| ids.get(&number)) else { continue };
        let Some(text) = step.map.text_of("manual").map(str::to_owned) else { continue };
        let when = step.map.text_of("onlyIf").map_or_else(|| "Yes".to_owned(), words::capital);
        let named = step.map.text_of("name").map(str::to_owned);
        let line = step.line;
        let branches: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("- ")).collect();
        let mut options = Vec::new();
        let mut option = |when: &str, to: Option<&String>| {
            let when = when
                .split([',', '→', ':'])
                .next()
                .unwrap_or(when)
                .split(" -> ")
                .next()
                .unwrap_or_default()
                .trim();
            let mut choice = Map::default();
            choice.say("when", if when.is_empty() { "Yes" } else { when }, line);
            if let Some(id) = to {
                choice.say("step", id, line);
            }
            options.push(Draft::map(choice, line));
        };
        let question = match named.filter(|_| branches.len() > 1) {
            Some(name) => {
                branches.iter().for_each(|text| option(text, jump(text).and_then(|number| ids.get(&number))));
                step.map.entries.retain(|(key, _)| key != "name");
                name
            }
            None => {
                option(&when, Some(id));
                option("Otherwise", None);
                text
            }
        };
        step.map.entries.retain(|(key, _)| key != "manual" && key != "onlyIf");
        let choose = step.map.within("choose", line);
        choose.say("question", question, line);
        options.into_iter().for_each(|option| choose.add("options", option));
    }
    out
}
