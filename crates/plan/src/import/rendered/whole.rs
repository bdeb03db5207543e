//! What was read of a rendered plan as a plan that loads, with the line of each field.

use super::lines::What;
use super::{Entries, Reader};
use crate::import::{Coverage, Imported, Missed, empty, origin};
use crate::model::Plan;
use crate::schema::SCHEMA;
use crate::shell::Script;
use crate::yaml::{Node, Value};
use crate::{Severity, sense, shape, tree};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// How often what a plan cannot have is taken out: each time it may uncover something else.
const MAX_ROUNDS: usize = 16;

/// The plan of what was read.
pub(super) fn finish(mut reader: Reader<'_>, mut root: Entries, source: &str, name: &str) -> Imported {
    for (key, text) in [("apiVersion", "lifeboat/v1"), ("kind", "RecoveryPlan")] {
        let text = reader.text(text, 1);
        reader.put(&mut root, key, text);
    }
    let coverage = coverage(&reader);
    let root = reader.node(1, Value::Map(root.0));
    let mut missed = reader.missed;
    let (mut plan, root) = match plan(root, &mut missed) {
        Some((plan, root)) => (plan, Some(root)),
        None => (empty(), None),
    };
    let mut lines = BTreeMap::new();
    if let Some(root) = root {
        let (value, _) = shape::check(&SCHEMA, &root);
        gather("", &root, &value, &mut lines);
    }
    plan.origin = Some(origin(&plan, &lines, source, name));
    missed.sort();
    missed.dedup();
    Imported { plan, missed, coverage }
}

/// I3: what is no plan's is taken out and told, until the rest is one.
pub(super) fn plan(mut root: Node, missed: &mut Vec<Missed>) -> Option<(Plan, Node)> {
    for _ in 0..MAX_ROUNDS {
        let (value, mut findings) = shape::check(&SCHEMA, &root);
        findings.extend(sense::check(&root));
        findings.retain(|finding| finding.severity == Severity::Error);
        if findings.is_empty() {
            return match serde_json::from_value(value) {
                Ok(plan) => Some((plan, root)),
                Err(error) => {
                    missed.push(Missed { line: 1, reason: format!("nothing could be imported: {error}") });
                    None
                }
            };
        }
        let mut out = BTreeSet::new();
        for finding in findings {
            missed
                .push(Missed { line: finding.line, reason: format!("{}; it was left out", finding.message) });
            out.insert(finding.column);
        }
        if !prune(&mut root, &out) {
            break;
        }
    }
    missed.push(Missed { line: 1, reason: "nothing could be imported: what is left is no plan".to_owned() });
    None
}

/// Takes out the nodes of those columns; whether the node itself stays.
fn prune(node: &mut Node, out: &BTreeSet<u32>) -> bool {
    if out.contains(&node.mark.column) {
        return false;
    }
    match &mut node.value {
        Value::Map(entries) => {
            entries.retain_mut(|(key, value)| !out.contains(&key.mark.column) && prune(value, out));
        }
        Value::List(items) => items.retain_mut(|item| prune(item, out)),
        Value::Scalar { .. } => {}
    }
    true
}

/// The line of each place, by the way to it.
fn gather(way: &str, node: &Node, value: &Json, lines: &mut BTreeMap<String, u32>) {
    lines.insert(way.to_owned(), node.mark.line);
    match (&node.value, value) {
        (Value::Map(entries), Json::Object(map)) => {
            for (key, node) in entries {
                if let Some((key, value)) = key.text().and_then(|key| Some((key, map.get(key)?))) {
                    gather(&tree::join(way, key), node, value, lines);
                }
            }
        }
        (Value::List(nodes), Json::Array(values)) => {
            let ways = tree::items(way, values).unwrap_or_default();
            for ((way, value), node) in ways.iter().zip(nodes) {
                gather(way, node, value, lines);
            }
        }
        _ => {}
    }
}

/// How much of each section was read.
fn coverage(reader: &Reader<'_>) -> Vec<Coverage> {
    let mut all: Vec<Coverage> = Vec::new();
    for (piece, used) in reader.pieces.iter().zip(&reader.used) {
        if let What::Heading(_, title) = &piece.what {
            all.push(Coverage {
                title: title.clone(),
                line: piece.line,
                lines: 0,
                captured: 0,
                noted: 0,
                commands: 0,
                commands_captured: 0,
            });
            continue;
        }
        let Some(of) = all.last_mut() else { continue };
        let lines = (piece.last_line - piece.line + 1) as usize;
        let commands = match &piece.what {
            What::Fence(kind, text) if kind == "sh" => {
                Script::parse(text).commands.iter().filter(|command| command.inside.is_none()).count()
            }
            _ => 0,
        };
        of.lines += lines;
        of.commands += commands;
        if *used {
            of.captured += lines;
            of.commands_captured += commands;
        }
    }
    all.retain(|of| of.lines > 0);
    all
}
