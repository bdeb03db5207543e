//! A document imported again into a plan that people have worked on.
//!
//! What came from the document and was left alone follows it; what people changed, added or took out stays as they left
//! it. Where both changed the same, people's word stands and it is told. The plan's `origin` says what had been imported.
//!
//! # Invariants
//! - **G1 people's word stands.** No value that people wrote is changed or lost.
//! - **G2 the rest follows.** What nobody touched is afterwards what the document says.
//!
//! Deliberately absent: looking into a runbook's steps, which are followed or kept as a whole.

use super::{Imported, hash};
use crate::model::Plan;
use crate::tree;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a merge did at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    /// The document says something new.
    Added,
    /// The value follows the document.
    Followed,
    /// The document says it no more.
    Removed,
    /// The document and people both changed it: what people wrote stands.
    Conflict,
}

/// One place of a plan that a merge looked at and did something about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What was done.
    pub did: Did,
    /// The way to the place.
    pub path: String,
    /// The line of the document, if it says anything of it.
    pub line: Option<u32>,
}

/// A plan that people have worked on with what its document says now.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// The plan.
    pub plan: Plan,
    /// What has changed, and where the two did not agree.
    pub changes: Vec<Change>,
}

/// Why two plans cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Nothing says what was imported before.
    #[error("the plan was not imported from a document: it has no `origin`")]
    NoOrigin,
    /// Another document.
    #[error("the plan was imported from another document, {0}")]
    OtherDocument(String),
    /// What would come of it is no plan.
    #[error("the document and what people changed do not make a plan together: {0}")]
    NoPlan(String),
}

/// Merges what a document says now into a plan that was imported from it before.
///
/// # Errors
/// As [`MergeError`] says.
pub fn merge(old: &Plan, new: &Imported) -> Result<Merged, MergeError> {
    let origin = old.origin.as_ref().ok_or(MergeError::NoOrigin)?;
    let Some(now) = &new.plan.origin else { return Err(MergeError::NoOrigin) };
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if name(&origin.document) != name(&now.document) {
        return Err(MergeError::OtherDocument(origin.document.clone()));
    }
    let base: BTreeMap<&str, &str> =
        origin.fields.iter().map(|(way, of)| (way.as_str(), of.hash.as_str())).collect();
    let lines = now.fields.iter().map(|(way, of)| (way.as_str(), of.line)).collect();
    let (ours, theirs) = (without_origin(old), without_origin(&new.plan));
    let mut merge = Merge { base, lines, changes: Vec::new() };
    let mut merged = merge.value("", Some(&ours), Some(&theirs)).unwrap_or(Value::Null);
    for (key, list) in [("runbook", "runbooks"), ("tier", "tiers"), ("scenario", "scenarios")] {
        keep_what_is_named(&mut merged, &ours, key, list);
    }
    if let (Value::Object(map), Ok(origin)) = (&mut merged, serde_json::to_value(now)) {
        map.insert("origin".to_owned(), origin);
    }
    let plan = serde_json::from_value(merged).map_err(|error| MergeError::NoPlan(error.to_string()))?;
    let mut changes = merge.changes;
    changes.sort();
    changes.dedup();
    Ok(Merged { plan, changes })
}

/// What something that was kept leads to is kept too.
fn keep_what_is_named(merged: &mut Value, ours: &Value, key: &str, list: &str) {
    fn named(value: &Value, key: &str, names: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                names.extend(map.get(key).and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| named(value, key, names));
            }
            Value::Array(items) => items.iter().for_each(|value| named(value, key, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    named(merged, key, &mut names);
    let Value::Object(plan) = merged else { return };
    for name in names {
        match ours.get(list) {
            Some(Value::Object(of)) => {
                let to = plan.entry(list).or_insert_with(|| Value::Object(Map::new()));
                if let (Value::Object(to), Some(part)) = (to, of.get(&name)) {
                    to.entry(name).or_insert_with(|| part.clone());
                }
            }
            Some(Value::Array(of)) => {
                let is_it = |item: &&Value| item.get("name").and_then(Value::as_str) == Some(&name);
                let to = plan.entry(list).or_insert_with(|| Value::Array(Vec::new()));
                if let (Value::Array(to), Some(part)) = (to, of.iter().find(is_it))
                    && !to.iter().any(|item| is_it(&item))
                {
                    to.push(part.clone());
                }
            }
            _ => {}
        }
    }
}

fn without_origin(plan: &Plan) -> Value {
    let mut tree = tree::of(plan);
    if let Value::Object(map) = &mut tree {
        map.remove("origin");
    }
    tree
}

struct Merge<'a> {
    /// What was imported before, as hashes.
    base: BTreeMap<&'a str, &'a str>,
    lines: BTreeMap<&'a str, u32>,
    changes: Vec<Change>,
}

impl Merge<'_> {
    fn tell(&mut self, did: Did, way: &str) {
        let below = |of: &&str| of.starts_with(way) && of[way.len()..].starts_with(['.', '[']);
        let line =
            self.lines.get(way).or_else(|| self.lines.iter().find(|(of, _)| below(of)).map(|(_, line)| line));
        self.changes.push(Change { did, path: way.to_owned(), line: line.copied() });
    }

    fn value(&mut self, way: &str, ours: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
        match (ours, theirs) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => Some(self.map(way, a, b)),
            (Some(Value::Array(a)), Some(Value::Array(b))) => self.list(way, a, b),
            _ => self.leaf(way, ours, theirs),
        }
    }

    fn map(&mut self, way: &str, ours: &Map<String, Value>, theirs: &Map<String, Value>) -> Value {
        let mut out = Map::new();
        for key in ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key))) {
            let below = tree::join(way, key);
            let (a, b) = (ours.get(key), theirs.get(key));
            let value = match (a, b) {
                (Some(Value::Object(_)), None) | (None, Some(Value::Object(_))) => self.whole(&below, a, b),
                _ => self.value(&below, a, b),
            };
            if let Some(value) = value {
                out.insert(key.clone(), value);
            }
        }
        Value::Object(out)
    }

    /// A part that only one of the two has.
    fn whole(&mut self, way: &str, ours: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
        let had = self
            .base
            .keys()
            .any(|of| *of == way || of.starts_with(way) && of[way.len()..].starts_with(['.', '[']));
        match (ours, theirs) {
            (Some(part), None) if !had => Some(part.clone()),
            (Some(part), None) => {
                if self.is_untouched(way, part) {
                    self.tell(Did::Removed, way);
                    None
                } else {
                    self.tell(Did::Conflict, way);
                    Some(part.clone())
                }
            }
            (None, Some(part)) if !had => {
                self.tell(Did::Added, way);
                Some(part.clone())
            }
            (None, Some(part)) => {
                // People took it out; they hear of it when the document changes it.
                if !self.is_untouched(way, part) {
                    self.tell(Did::Conflict, way);
                }
                None
            }
            _ => None,
        }
    }

    /// Whether a part is what was imported, all of it and nothing besides.
    fn is_untouched(&self, way: &str, part: &Value) -> bool {
        let mut below = BTreeMap::new();
        tree::gather(way, part, &mut below);
        let same =
            below.iter().all(|(way, value)| self.base.get(way.as_str()) == Some(&hash(value).as_str()));
        let count = self
            .base
            .keys()
            .filter(|of| of.starts_with(way) && of[way.len()..].starts_with(['.', '[']))
            .count();
        same && count <= below.len()
    }

    fn list(&mut self, way: &str, ours: &[Value], theirs: &[Value]) -> Option<Value> {
        let (Some(a), Some(b)) = (tree::items(way, ours), tree::items(way, theirs)) else {
            let (a, b) = (Value::from(ours.to_vec()), Value::from(theirs.to_vec()));
            return self.leaf(way, Some(&a), Some(&b));
        };
        let find = |list: &[(String, &Value)], way: &str| list.iter().position(|(of, _)| of == way);
        let mut out: Vec<(String, Value)> = Vec::new();
        for (way, item) in &b {
            let value = match find(&a, way) {
                Some(at) => self.value(way, Some(a[at].1), Some(item)),
                None => self.whole(way, None, Some(item)),
            };
            out.extend(value.map(|value| (way.clone(), value)));
        }
        // What only people have stays behind what it stood behind.
        for (at, (way, item)) in a.iter().enumerate().filter(|(_, (way, _))| find(&b, way).is_none()) {
            let Some(value) = self.whole(way, Some(item), None) else { continue };
            let before =
                a[..at].iter().rev().find_map(|(of, _)| out.iter().position(|(other, _)| other == of));
            out.insert(before.map_or(0, |before| before + 1), (way.clone(), value));
        }
        (!out.is_empty()).then(|| out.into_iter().map(|(_, value)| value).collect())
    }

    fn leaf(&mut self, way: &str, ours: Option<&Value>, theirs: Option<&Value>) -> Option<Value> {
        if ours == theirs {
            return ours.cloned();
        }
        let base = self.base.get(way).copied();
        let is_base = |value: Option<&Value>| value.map(hash).as_deref() == base;
        if is_base(ours) {
            // G2
            let did = match (ours, theirs) {
                (None, _) => Did::Added,
                (_, None) => Did::Removed,
                _ => Did::Followed,
            };
            self.tell(did, way);
            return theirs.cloned();
        }
        // G1
        if !is_base(theirs) {
            self.tell(Did::Conflict, way);
        }
        ours.cloned()
    }
}
