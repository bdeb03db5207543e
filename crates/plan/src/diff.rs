//! What has changed from one plan to another, in words for whoever reviews it.
//!
//! Places are called as people call them ("backup nightly of service orders-db"), a time says whether it became shorter
//! or longer, and a runbook tells its steps one by one.
//!
//! Deliberately absent: the way in which a plan is written, and where it was imported from; neither changes what it says.

use crate::model::Plan;
use crate::tree;
use crate::values::Cadence;
use serde::Serialize;
use serde_json::{Map, Value};

/// The longest list of steps that is compared step by step.
const MAX_STEPS: usize = 1_000;
/// The longest value that is shown.
const MAX_SHOWN_CHARS: usize = 120;

/// One thing that has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What happened: `added`, `removed` or `changed`.
    pub what: What,
    /// The way to it: `services[orders-db].objectives.rto`.
    pub path: String,
    /// In words.
    pub words: String,
}

/// What happened to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Removed,
    /// It is another.
    Changed,
}

/// What has changed from `old` to `new`, in the order in which a plan is written.
#[must_use]
pub fn diff(old: &Plan, new: &Plan) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (mut old, mut new) = (tree::of(old), tree::of(new));
    for tree in [&mut old, &mut new] {
        if let Value::Object(map) = tree {
            map.remove("origin");
        }
    }
    let at = At { way: String::new(), name: Vec::new() };
    compare(&at, Some(&old), Some(&new), &mut differences);
    differences.sort_by_key(|difference| {
        let part = difference.path.split(['.', '[']).next().unwrap_or_default();
        PARTS.iter().position(|known| *known == part).unwrap_or(PARTS.len())
    });
    differences
}

/// The parts of a plan in their order.
const PARTS: [&str; 13] = [
    "metadata",
    "objectives",
    "tiers",
    "vault",
    "services",
    "scenarios",
    "runbooks",
    "people",
    "communication",
    "checklists",
    "calendar",
    "duties",
    "notes",
];

/// A place, and what people call it, innermost last.
#[derive(Clone)]
struct At {
    way: String,
    name: Vec<String>,
}

impl At {
    fn key(&self, key: &str) -> Self {
        let mut name = self.name.clone();
        match self.way.as_str() {
            "runbooks" => {
                name.pop();
                name.push(format!("runbook {key}"));
            }
            _ => name.push(spoken(key)),
        }
        Self { way: tree::join(&self.way, key), name }
    }

    /// An item of the list that stands here.
    fn item(&self, way: &str, item: &Value) -> Self {
        let mut name = self.name.clone();
        let list = name.pop().unwrap_or_default();
        let of = ["name", "title", "when", "url"]
            .iter()
            .find_map(|key| item.get(key)?.as_str())
            .unwrap_or_default();
        name.push(format!("{} {of}", singular(&list)));
        Self { way: way.to_owned(), name }
    }

    /// `keep of backup nightly of service orders-db`
    fn words(&self) -> String {
        let silent = ["people", "communication", "calendar", "duties", "metadata"];
        let names = self.name.iter().rev().filter(|name| !silent.contains(&name.as_str()));
        names.map(String::as_str).collect::<Vec<_>>().join(" of ")
    }
}

/// A key as people say it: `reviewEvery` is `review every`.
fn spoken(key: &str) -> String {
    let acronym = match key {
        "rto" | "rpo" | "mtd" | "mttr" => Some(key.to_uppercase()),
        "kpis" => Some("figures".to_owned()),
        _ => None,
    };
    acronym.unwrap_or_else(|| {
        key.chars().fold(String::new(), |mut out, c| {
            if c.is_ascii_uppercase() {
                out.push(' ');
            }
            out.extend(c.to_lowercase());
            out
        })
    })
}

fn singular(list: &str) -> &str {
    match list {
        "copies" => "copy",
        "success" => "criteria",
        "escalation" | "after incident" | "compliance" => list,
        other => other.strip_suffix('s').unwrap_or(other),
    }
}

fn compare(at: &At, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => maps(at, a, b, out),
        (Some(Value::Array(a)), Some(Value::Array(b))) if at.way.ends_with(".steps") && is_steps(a, b) => {
            steps(at, a, b, out);
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => lists(at, a, b, out),
        (Some(old), Some(new)) => {
            let words = match (shown(old), shown(new)) {
                (Some(a), Some(b)) => format!("{}: {a} → {b}{}", at.words(), direction(old, new)),
                _ => format!("{}: changed", at.words()),
            };
            out.push(Difference { what: What::Changed, path: at.way.clone(), words });
        }
        (None, Some(new)) => whole(at, What::Added, new, out),
        (Some(old), None) => whole(at, What::Removed, old, out),
        (None, None) => {}
    }
}

fn whole(at: &At, what: What, value: &Value, out: &mut Vec<Difference>) {
    // What only groups is no thing of its own.
    if let Value::Object(map) = value
        && (PARTS.contains(&at.way.as_str()) || at.way.ends_with("objectives"))
    {
        for (key, value) in map {
            whole(&at.key(key), what, value, out);
        }
        return;
    }
    if let Value::Array(list) = value
        && let Some(items) = tree::items(&at.way, list)
    {
        for (way, item) in items {
            whole(&at.item(&way, item), what, item, out);
        }
        return;
    }
    let sign = if what == What::Added { "new" } else { "gone" };
    let words = match shown(value) {
        Some(value) => format!("{sign}: {} ({value})", at.words()),
        None => format!("{sign}: {}", at.words()),
    };
    out.push(Difference { what, path: at.way.clone(), words });
}

fn maps(at: &At, old: &Map<String, Value>, new: &Map<String, Value>, out: &mut Vec<Difference>) {
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        compare(&at.key(key), old.get(key), new.get(key), out);
    }
}

fn lists(at: &At, old: &[Value], new: &[Value], out: &mut Vec<Difference>) {
    let (Some(a), Some(b)) = (tree::items(&at.way, old), tree::items(&at.way, new)) else {
        // Mere texts: what came and what went.
        for (what, from, other) in [(What::Removed, old, new), (What::Added, new, old)] {
            for value in from.iter().filter(|value| !other.contains(value)) {
                whole(at, what, value, out);
            }
        }
        if old.iter().all(|value| new.contains(value)) && new.iter().all(|value| old.contains(value)) {
            let words = format!("{}: in another order", at.words());
            out.push(Difference { what: What::Changed, path: at.way.clone(), words });
        }
        return;
    };
    let find = |list: &[(String, &Value)], way: &str| list.iter().position(|(of, _)| of == way);
    for (way, item) in &a {
        let other = find(&b, way).map(|at| b[at].1);
        compare(&at.item(way, item), Some(item), other, out);
    }
    for (way, item) in b.iter().filter(|(way, _)| find(&a, way).is_none()) {
        compare(&at.item(way, item), None, Some(item), out);
    }
    let order = |list: &[(String, &Value)], other: &[(String, &Value)]| -> Vec<String> {
        list.iter().filter(|(way, _)| find(other, way).is_some()).map(|(way, _)| way.clone()).collect()
    };
    if order(&a, &b) != order(&b, &a) {
        let words = format!("{}: in another order", at.words());
        out.push(Difference { what: What::Changed, path: at.way.clone(), words });
    }
}

fn is_steps(old: &[Value], new: &[Value]) -> bool {
    old.len() <= MAX_STEPS && new.len() <= MAX_STEPS
}

/// Steps in their order: what stayed is found as the longest part that both have.
fn steps(at: &At, old: &[Value], new: &[Value], out: &mut Vec<Difference>) {
    let mut longest = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            longest[a][b] = if old[a] == new[b] {
                longest[a + 1][b + 1] + 1
            } else {
                longest[a + 1][b].max(longest[a][b + 1])
            };
        }
    }
    let of = at.words().strip_prefix("steps of ").unwrap_or(&at.words()).to_owned();
    let mut tell = |what, path: usize, words: String| {
        out.push(Difference { what, path: format!("{}[{path}]", at.way), words: format!("{of}: {words}") });
    };
    let (mut a, mut b) = (0, 0);
    while a < old.len() || b < new.len() {
        if a < old.len() && b < new.len() && old[a] == new[b] {
            (a, b) = (a + 1, b + 1);
        } else if a < old.len()
            && b < new.len()
            && longest[a + 1][b] == longest[a][b + 1]
            && is_same(&old[a], &new[b])
        {
            tell(
                What::Changed,
                b,
                format!("step {} ({}): {}", b + 1, called(&new[b]), changes(&old[a], &new[b])),
            );
            (a, b) = (a + 1, b + 1);
        } else if b < new.len() && (a == old.len() || longest[a][b + 1] >= longest[a + 1][b]) {
            tell(What::Added, b, format!("new step {} ({})", b + 1, called(&new[b])));
            b += 1;
        } else {
            tell(What::Removed, a, format!("step {} is gone ({})", a + 1, called(&old[a])));
            a += 1;
        }
    }
}

/// Whether two steps are one that was changed: they have a name, or what they do, in common.
fn is_same(old: &Value, new: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (old, new) else { return false };
    let named = |map: &Map<String, Value>| map.get("name").cloned();
    named(a).is_some() && named(a) == named(b)
        || a.iter().any(|(key, value)| key != "onlyIf" && b.get(key) == Some(value))
}

/// A step's name, else the beginning of what it does.
fn called(step: &Value) -> String {
    let text = |value: &Value| value.as_str().or_else(|| value.get("run")?.as_str()).map(str::to_owned);
    let name = step.get("name").and_then(text);
    // How long it takes tells nobody which step it is.
    let does =
        || step.as_object()?.iter().filter(|(key, _)| *key != "duration").find_map(|(_, value)| text(value));
    let words = name.or_else(does).unwrap_or_default();
    shorten(words.lines().next().unwrap_or_default())
}

/// What is another in a step: each key with what was and what is.
fn changes(old: &Value, new: &Value) -> String {
    let (Value::Object(a), Value::Object(b)) = (old, new) else { return "changed".to_owned() };
    let keys =
        a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).filter(|key| a.get(*key) != b.get(*key));
    let said = keys.map(|key| {
        let of =
            |map: &Map<String, Value>| map.get(key).and_then(shown).unwrap_or_else(|| "nothing".to_owned());
        format!("{} {} → {}", spoken(key), of(a), of(b))
    });
    said.collect::<Vec<_>>().join("; ")
}

/// A value on one line; none for what has parts.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(shorten(&text.split_whitespace().collect::<Vec<_>>().join(" "))),
        Value::Object(map) => map.get("run").and_then(shown),
        Value::Array(_) => None,
        other => Some(other.to_string()),
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Whether a time became shorter or longer.
fn direction(old: &Value, new: &Value) -> &'static str {
    let read = |value: &Value| value.as_str()?.parse::<Cadence>().ok().map(Cadence::longest);
    match (read(old), read(new)) {
        (Some(a), Some(b)) if b < a => " (shorter)",
        (Some(a), Some(b)) if b > a => " (longer)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "apiVersion: lifeboat/v1\nkind: RecoveryPlan\nmetadata: {name: shop, owner: Ada}\nobjectives: {rto: 4h, rpo: 1h}\n\
        services:\n  - {name: db, backups: [{name: nightly, every: daily, keep: 30d}]}\n  - {name: api, needs: [db]}\nscenarios:\n  - \
        {name: fire, impact: [all], runbook: out}\nrunbooks:\n  out:\n    steps:\n      - {name: Look, check: curl -f a}\n      - \
        {name: Stop, shell: stop}\n      - {manual: Call}\npeople:\n  roles: [{name: Lead, person: Ada}]\n";

    #[test]
    fn what_changed_is_told_in_words() {
        let plan =
            |text: &str| crate::load(text).unwrap_or_else(|findings| panic!("{findings:?}\n{text}")).plan;
        let mut text = OLD.to_owned();
        for (from, to) in [
            ("owner: Ada", "owner: Ada, reviewEvery: 90d"),
            ("rto: 4h, rpo: 1h", "rto: 2h"),
            ("keep: 30d", "keep: 60d"),
            ("- {name: api, needs: [db]}", "- {name: web}"),
            ("impact: [all]", "impact: [half]"),
            ("curl -f a", "curl -f b"),
            ("- {name: Stop, shell: stop}", "- {manual: Wait}\n      - {name: Stop, shell: stop}"),
            ("      - {manual: Call}\n", ""),
            ("person: Ada", "person: Ada, deputy: Grace"),
        ] {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let told: Vec<String> =
            diff(&plan(OLD), &plan(&text)).into_iter().map(|difference| difference.words).collect();
        assert_eq!(
            told,
            [
                "new: review every (90d)",
                "gone: RPO of objectives (1h)",
                "RTO of objectives: 4h → 2h (shorter)",
                "keep of backup nightly of service db: 30d → 60d (longer)",
                "gone: service api",
                "new: service web",
                "gone: impact of scenario fire (all)",
                "new: impact of scenario fire (half)",
                "runbook out: step 1 (Look): check curl -f a → curl -f b",
                "runbook out: new step 2 (Wait)",
                "runbook out: step 3 is gone (Call)",
                "new: deputy of role Lead (Grace)",
            ]
        );
        assert_eq!(diff(&plan(OLD), &plan(OLD)), []);
    }
}
