//! Writes a plan as YAML that people like to read and to change.
//!
//! Keys stand in the order in which a person reads, short mappings and lists on one line, commands as blocks.
//!
//! # Invariants
//! - **R1 the same plan.** What is written loads as the plan that was given.
//!
//! Deliberately absent: any choice by the caller.

use crate::model::Plan;
use crate::tree;
use crate::yaml::{Scalar, resolve};
use serde_json::{Map, Value};

/// The widest line that prose and short lists are put on.
const WIDTH_CHARS: usize = 110;
/// The widest mapping or list that stands on one line.
const FLOW_CHARS: usize = 90;

/// Keys in the order in which they are written; any other stands behind, by its letters.
const ORDER: &[&str] = &[
    // what something is
    "apiVersion",
    "id",
    "name",
    "title",
    "kind",
    "metadata",
    "type",
    "version",
    "description",
    "owner",
    "approvedBy",
    "reviewed",
    "nextReview",
    "reviewEvery",
    "severity",
    "tier",
    "needs",
    "domain",
    "detect",
    "symptoms",
    "impact",
    "examples",
    "response",
    // the parts of a plan
    "objectives",
    "rto",
    "rpo",
    "mtd",
    "mttr",
    "words",
    "tiers",
    "vault",
    "url",
    "copies",
    "durable",
    "home",
    "endpoint",
    "region",
    "services",
    "postgres",
    "backups",
    "scenarios",
    "runbooks",
    "people",
    "communication",
    "checklists",
    "calendar",
    "duties",
    // protection
    "connection",
    "passwordFile",
    "dataDirectory",
    "slot",
    "standbys",
    "base",
    "advance",
    "method",
    "schedule",
    "timeZone",
    "rate",
    "every",
    "when",
    "wal",
    "continuous",
    "keep",
    "kept",
    "stream",
    "checks",
    "tablespaces",
    "location",
    "encryption",
    "last",
    "daily",
    "weekly",
    "monthly",
    "yearly",
    "window",
    "enabled",
    "synchronous",
    "query",
    // what is done
    "runbook",
    "variables",
    "format",
    "default",
    "environment",
    "onlyIf",
    "question",
    "options",
    "class",
    "timeout",
    "tries",
    "approvals",
    "onFailure",
    "probe",
    "shell",
    "check",
    "sql",
    "manual",
    "choose",
    "approval",
    "wait",
    "run",
    "outputs",
    "expect",
    "verify",
    "undo",
    "duration",
    "step",
    "steps",
    // people and words
    "approvers",
    "keys",
    "roles",
    "contacts",
    "escalation",
    "person",
    "deputy",
    "phone",
    "email",
    "contact",
    "account",
    "from",
    "until",
    "who",
    "respondWithin",
    "notify",
    "then",
    "channels",
    "updates",
    "statusPage",
    "templates",
    "address",
    "audience",
    "within",
    "states",
    "subject",
    "text",
    // what remains
    "drills",
    "reviews",
    "success",
    "procedure",
    "criteria",
    "scenario",
    "afterIncident",
    "forms",
    "compliance",
    "kpis",
    "target",
    "items",
    "notes",
    "origin",
    "document",
    "sha256",
    "fields",
];

/// A line, and the place that it is the first line of.
pub(crate) struct Line {
    pub way: Option<String>,
    pub text: String,
}

/// A plan as YAML.
#[must_use]
pub fn write(plan: &Plan) -> String {
    let mut out = String::new();
    for line in lines(&tree::of(plan)) {
        out.push_str(&line.text);
        out.push('\n');
    }
    out
}

/// The lines of a tree.
pub(crate) fn lines(tree: &Value) -> Vec<Line> {
    let mut writer = Writer { lines: Vec::new(), item: None };
    if let Value::Object(map) = tree {
        writer.map(map, "", 0, None);
    }
    // A blank line between the parts of a plan.
    let mut spaced = Vec::new();
    for line in writer.lines {
        let begins_part = line.way.is_some() && !line.text.starts_with([' ', '-']);
        let one_line = ["apiVersion", "kind"].iter().any(|key| line.text.starts_with(key));
        if begins_part && !one_line && !spaced.is_empty() && !line.text.starts_with("metadata") {
            spaced.push(Line { way: None, text: String::new() });
        }
        spaced.push(line);
    }
    spaced
}

struct Writer {
    lines: Vec<Line>,
    /// The item of a list that the next line begins.
    item: Option<String>,
}

fn rank(key: &str) -> (usize, &str) {
    (ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len()), key)
}

impl Writer {
    fn push(&mut self, way: Option<String>, text: String) {
        let way = self.item.take().or(way);
        self.lines.push(Line { way, text });
    }

    /// The entries of a mapping; the first stands behind `lead`, if there is one: `- `.
    fn map(&mut self, map: &Map<String, Value>, way: &str, indent: usize, mut lead: Option<String>) {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_cached_key(|(key, _)| rank(key));
        for (key, value) in entries {
            let below = tree::join(way, key);
            let start = lead.take().unwrap_or_else(|| " ".repeat(indent));
            let start = format!("{start}{}:", scalar(key, false));
            self.value(value, &below, indent, start, is_exact(key));
        }
    }

    fn value(&mut self, value: &Value, way: &str, indent: usize, start: String, exact: bool) {
        match value {
            Value::Object(map) => match flow_map(map).filter(|flow| start.len() + flow.len() < FLOW_CHARS) {
                Some(flow) => self.push(Some(way.to_owned()), format!("{start} {flow}")),
                None => {
                    self.push(Some(way.to_owned()), start);
                    self.map(map, way, indent + 2, None);
                }
            },
            Value::Array(list) => self.list(list, way, indent, start),
            Value::String(text) => self.text(text, way, indent, start, exact),
            other => self.push(Some(way.to_owned()), format!("{start} {other}")),
        }
    }

    fn list(&mut self, list: &[Value], way: &str, indent: usize, start: String) {
        if let Some(flow) = flow_list(list).filter(|flow| start.len() + flow.chars().count() < FLOW_CHARS) {
            return self.push(Some(way.to_owned()), format!("{start} {flow}"));
        }
        self.push(Some(way.to_owned()), start);
        let named = tree::items(way, list);
        let indent = indent + 2;
        for (at, item) in list.iter().enumerate() {
            let below = named.as_ref().map_or_else(|| format!("{way}[{at}]"), |items| items[at].0.clone());
            let lead = format!("{}- ", " ".repeat(indent));
            match item {
                Value::Object(map) if !map.is_empty() => {
                    self.item = Some(below.clone());
                    self.map(map, &below, indent + 2, Some(lead));
                }
                Value::Array(inner) => self.list(inner, &below, indent + 2, lead.trim_end().to_owned()),
                item => self.value(item, &below, indent, lead.trim_end().to_owned(), false),
            }
        }
    }

    fn text(&mut self, text: &str, way: &str, indent: usize, start: String, exact: bool) {
        let way = Some(way.to_owned());
        let pad = " ".repeat(indent + 2);
        // Lines that are empty at the end would be the gap before what follows, too.
        if text.contains('\n') && is_printable(text) && !text.ends_with("\n\n") && text != "\n" {
            let chomp = if text.ends_with('\n') { "" } else { "-" };
            let indicator = if text.starts_with([' ', '\n', '\t']) { "2" } else { "" };
            self.push(way, format!("{start} |{indicator}{chomp}"));
            let body = text.strip_suffix('\n').unwrap_or(text);
            for line in body.split('\n') {
                self.push(None, if line.is_empty() { String::new() } else { format!("{pad}{line}") });
            }
            return;
        }
        let whole = scalar(text, false);
        let folds = !exact && start.chars().count() + whole.chars().count() > WIDTH_CHARS;
        match folds.then(|| wrapped(text, WIDTH_CHARS.saturating_sub(pad.len()))).flatten() {
            Some(lines) => {
                self.push(way, format!("{start} >-"));
                for line in lines {
                    self.push(None, format!("{pad}{line}"));
                }
            }
            None => self.push(way, format!("{start} {whole}")),
        }
    }
}

/// Whether a text is for a machine: it is not wrapped.
fn is_exact(key: &str) -> bool {
    ["run", "shell", "check", "sql", "query", "connection", "text", "probe", "undo"].contains(&key)
}

/// A prose text as lines that YAML folds into it again; none if it would not.
fn wrapped(text: &str, width: usize) -> Option<Vec<String>> {
    let plain = is_printable(text) && !text.contains(['\n', '\t']) && !text.contains("  ");
    if !plain || text.starts_with([' ', '#']) || text.ends_with(' ') {
        return None;
    }
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Some(lines)
}

fn is_printable(text: &str) -> bool {
    let odd = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    !text.contains(odd)
}

/// A text as a scalar that reads back as this text.
fn scalar(text: &str, flow: bool) -> String {
    let plain = text.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '$' | '+' | '<' | '('))
        && !text.ends_with([' ', ':', '\t'])
        && is_printable(text)
        && !text.contains(['\n', '\t'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !(flow && text.contains([',', '[', ']', '{', '}']))
        && !text.starts_with("...")
        && resolve(text) == Scalar::Text(text)
        // What older readers take for true or false.
        && !["yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    // A JSON string is a YAML string in double quotes; what a reader might take for a line's end is escaped.
    let quoted = Value::from(text).to_string();
    let odd = |c: char| c as u32 >= 0x7f && !is_printable(c.encode_utf8(&mut [0; 4]));
    quoted.chars().map(|c| if odd(c) { format!("\\u{:04x}", c as u32) } else { c.to_string() }).collect()
}

/// A short mapping of texts and numbers on one line.
fn flow_map(map: &Map<String, Value>) -> Option<String> {
    const MAX_ENTRIES: usize = 6;
    if map.is_empty() || map.len() > MAX_ENTRIES {
        return map.is_empty().then(|| "{}".to_owned());
    }
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)));
    let parts = entries
        .into_iter()
        .map(|(key, value)| Some(format!("{}: {}", scalar(key, true), flow_value(value)?)));
    Some(format!("{{{}}}", parts.collect::<Option<Vec<_>>>()?.join(", ")))
}

/// A list of short words on one line.
fn flow_list(list: &[Value]) -> Option<String> {
    const MAX_ITEM_CHARS: usize = 40;
    if list.iter().any(|item| item.as_str().is_some_and(|text| text.contains(' ') && list.len() > 1)) {
        return None;
    }
    let parts =
        list.iter().map(|item| flow_value(item).filter(|text| text.chars().count() <= MAX_ITEM_CHARS));
    Some(format!("[{}]", parts.collect::<Option<Vec<_>>>()?.join(", ")))
}

fn flow_value(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.contains('\n') => None,
        Value::String(text) => Some(scalar(text, true)),
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}
