//! A plan as a tree of texts, and the way to each place of it, by names instead of numbers.
//!
//! `services[orders-db].backups[nightly-dump].keep`: an item of a list is called by its name, so that the way stays the
//! same when something is put in front of it. Import writes these ways into a plan's `origin`, and merging and comparing
//! go by them.
//!
//! # Invariants
//! - **W1 one way each.** No two places of a plan have the same way; items of one name are numbered.
//! - **W2 short.** No part of a way is longer than [`MAX_PART_CHARS`], so that it can be a key of YAML.
//!
//! Deliberately absent: what the places mean.

use crate::model::Plan;
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest part of a way, in characters.
const MAX_PART_CHARS: usize = 60;

/// The plan as a tree, without what is empty.
pub(crate) fn of(plan: &Plan) -> Value {
    // A plan is texts, numbers and lists of them: serde_json cannot fail on it.
    serde_json::to_value(plan).unwrap_or(Value::Null)
}

/// The way to a key.
pub(crate) fn join(way: &str, key: &str) -> String {
    let part = shorten(key);
    let part =
        if part.contains(['.', '[', ']']) { format!("[{}]", part.replace(['[', ']'], "-")) } else { part };
    match (way.is_empty(), part.starts_with('[')) {
        (true, _) => part,
        (false, true) => format!("{way}{part}"),
        (false, false) => format!("{way}.{part}"),
    }
}

/// The items of a list with the way to each, if they have names; a list without is one value.
pub(crate) fn items<'a>(way: &str, list: &'a [Value]) -> Option<Vec<(String, &'a Value)>> {
    if list.is_empty() || way.ends_with("steps") || !list.iter().all(|item| name(item).is_some()) {
        return None;
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let items = list.iter().map(|item| {
        let slug = slug(name(item).unwrap_or_default());
        let count = seen.entry(slug.clone()).or_default();
        *count += 1;
        let numbered = if *count == 1 { slug } else { format!("{slug}#{count}") };
        (format!("{way}[{numbered}]"), item)
    });
    Some(items.collect())
}

fn name(item: &Value) -> Option<&str> {
    ["name", "title", "when", "url"].iter().find_map(|key| item.get(key)?.as_str())
}

/// A name as a part of a way: small letters and digits, the rest hyphens.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    let out: String = shorten(&out);
    let out = out.trim_matches('-');
    if out.is_empty() { "item".to_owned() } else { out.to_owned() }
}

fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_PART_CHARS).collect()
}

/// All values of a tree with the way to each: what has parts that can be called is none, its parts are.
pub(crate) fn leaves(tree: &Value) -> BTreeMap<String, &Value> {
    let mut leaves = BTreeMap::new();
    gather("", tree, &mut leaves);
    leaves
}

pub(crate) fn gather<'a>(way: &str, value: &'a Value, leaves: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                gather(&join(way, key), value, leaves);
            }
        }
        Value::Array(list) => match items(way, list) {
            Some(items) => items.iter().for_each(|(way, item)| gather(way, item, leaves)),
            None => _ = leaves.insert(way.to_owned(), value),
        },
        _ => _ = leaves.insert(way.to_owned(), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w1_w2_items_of_one_name_have_ways_of_their_own_and_none_is_long() {
        let named = |name: &str| serde_json::json!({"name": name});
        let list = [named("A b"), named("a-B"), named(&"x".repeat(500)), named("[.]")];
        let ways: Vec<String> = items("services", &list).unwrap().into_iter().map(|(way, _)| way).collect();
        let long = "x".repeat(MAX_PART_CHARS);
        assert_eq!(
            ways,
            ["services[a-b]", "services[a-b#2]", &format!("services[{long}]"), "services[item]"]
        );
        assert_eq!(join("a", "b.c[d]"), "a[b.c-d-]");
        assert!(items("list", &[named("a"), Value::from(1)]).is_none());
    }
}
