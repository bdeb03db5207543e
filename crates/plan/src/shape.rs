//! Checks a document against the schema, and makes of it the value that serde reads.
//!
//! Every departure is a [`Finding`] at its own place; the walk goes on after each. The schema is the
//! one made from the plan's types, so there is no second list of keys to keep.
//!
//! # Invariants
//! - **W1 whole.** Each keyword in the schema that restricts a document is obeyed here. A test fails
//!   when the schema begins to use another one.
//!
//! Deliberately absent: JSON Schema at large. `pattern` is for editors: here the `format`'s own
//! parser decides, and says what is wrong.

use crate::finding::{Code, Finding, Mark, nearest};
use crate::values::problem;
use crate::yaml::{Node, Scalar, Value};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// The keywords that this walk knows; the second half says nothing about validity.
#[cfg(test)]
pub(crate) const KEYWORDS: &[&str] = &[
    "$ref",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "items",
    "minItems",
    "minLength",
    "format",
    "minimum",
    "maximum",
    "oneOf",
    "anyOf",
    "const",
    "pattern",
    "description",
    "examples",
    "default",
    "$schema",
    "$defs",
    "title",
    "x-lifeboat-one-beside",
];

/// Checks `root` against `schema`. The value is complete only if there are no findings.
pub(crate) fn check(schema: &Json, root: &Node) -> (Json, Vec<Finding>) {
    let mut walk = Walk { root: schema, findings: Vec::new() };
    let value = walk.value(schema, root, "");
    (value, walk.findings)
}

struct Walk<'a> {
    root: &'a Json,
    findings: Vec<Finding>,
}

impl<'a> Walk<'a> {
    fn report(&mut self, code: Code, mark: Mark, path: &str, message: String, help: Option<String>) {
        self.findings.push(Finding { help, ..Finding::error(code, mark, message).at(path) });
    }

    /// The schema that a `$ref` stands for. References to references do not occur (schemars), and a
    /// loop of them would end here all the same.
    fn follow(&self, schema: &'a Json) -> &'a Json {
        let pointer = schema.get("$ref").and_then(Json::as_str).and_then(|text| text.strip_prefix('#'));
        pointer.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }

    fn value(&mut self, schema: &'a Json, node: &Node, path: &str) -> Json {
        let schema = self.follow(schema);
        if let Some(choices) = schema.get("oneOf").and_then(Json::as_array) {
            return self.choice(choices, node, path);
        }
        if let Some(forms) = schema.get("anyOf").and_then(Json::as_array) {
            return self.form(forms, node, path);
        }
        match schema.get("type").and_then(Json::as_str) {
            Some("object") => self.object(schema, node, path),
            Some("array") => self.array(schema, node, path),
            Some("string") => self.text(schema, node, path),
            Some("integer") => self.integer(schema, node, path),
            Some("boolean") => match node.scalar() {
                Some(Scalar::Bool(value)) => Json::Bool(value),
                _ => self.mismatch("true or false", schema, node, path),
            },
            _ => self.any(node, path),
        }
    }

    /// What stands here is of another type than the schema's.
    fn mismatch(&mut self, expected: &str, schema: &Json, node: &Node, path: &str) -> Json {
        let key = path.rsplit('.').next().unwrap_or(path);
        let help = match node.scalar() {
            Some(Scalar::Null) => {
                let message = format!("`{key}` has no value; {expected} belongs here");
                let help = "give it a value, or take the key out".to_owned();
                self.report(Code::WrongType, node.mark, path, message, Some(help));
                return Json::Null;
            }
            Some(Scalar::Bool(_) | Scalar::Integer(_) | Scalar::Float(_)) if expected == "text" => {
                Some(format!("put it in quotes: \"{}\"", node.text().unwrap_or_default()))
            }
            Some(Scalar::Text(_)) if expected == "a list" => Some("put it in brackets: [a, b]".to_owned()),
            _ => schema.get("description").and_then(Json::as_str).map(str::to_owned),
        };
        let message = format!("{expected} belongs here, not {}", node.kind());
        self.report(Code::WrongType, node.mark, path, message, help);
        Json::Null
    }

    fn text(&mut self, schema: &Json, node: &Node, path: &str) -> Json {
        let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
        let (Some(text), false) = (node.text(), node.is_null()) else {
            return self.mismatch("text", schema, node, path);
        };
        if let Some(problem) = problem(format, text) {
            let examples = schema.get("examples").and_then(Json::as_array);
            let help = problem.help.map(str::to_owned).or_else(|| {
                let example = examples?.first()?.as_str()?;
                (!problem.message.contains(';') && !problem.message.contains(':'))
                    .then(|| format!("one looks like `{example}`"))
            });
            self.report(problem.code, node.mark, path, problem.message, help);
            return Json::Null;
        }
        if !matches!(node.scalar(), Some(Scalar::Text(_))) {
            return self.mismatch("text", schema, node, path);
        }
        if schema.get("minLength").and_then(Json::as_u64) > Some(0) && text.trim().is_empty() {
            self.report(Code::BadValue, node.mark, path, "the text is empty".to_owned(), None);
        }
        Json::String(text.to_owned())
    }

    fn integer(&mut self, schema: &Json, node: &Node, path: &str) -> Json {
        let Some(Scalar::Integer(value)) = node.scalar() else {
            return self.mismatch("a whole number", schema, node, path);
        };
        let bound = |key: &str| schema.get(key).and_then(Json::as_i64);
        let low = bound("minimum").filter(|low| value < *low);
        let high = bound("maximum").filter(|high| value > *high);
        if let Some(low) = low {
            let message = format!("{value} is too small; the least is {low}");
            self.report(Code::BadValue, node.mark, path, message, None);
        }
        if let Some(high) = high {
            let message = format!("{value} is too large; the most is {high}");
            self.report(Code::BadValue, node.mark, path, message, None);
        }
        Json::from(value)
    }

    /// One of a few words.
    fn choice(&mut self, choices: &[Json], node: &Node, path: &str) -> Json {
        let words: Vec<&str> =
            choices.iter().filter_map(|choice| choice.get("const").and_then(Json::as_str)).collect();
        match node.text() {
            Some(text) if words.contains(&text) => Json::String(text.to_owned()),
            Some(text) if !node.is_null() => {
                let list = alternatives(&words);
                let message = match nearest(text, words.iter().copied()) {
                    Some(word) if words.len() > 1 => {
                        format!("`{text}` is not {list}; did you mean `{word}`?")
                    }
                    _ => format!("`{text}` is not {list}"),
                };
                self.report(Code::BadValue, node.mark, path, message, None);
                Json::Null
            }
            _ => self.mismatch(&alternatives(&words), &Json::Null, node, path),
        }
    }

    /// One of several forms, told apart by their type.
    fn form(&mut self, forms: &'a [Json], node: &Node, path: &str) -> Json {
        let wanted = match &node.value {
            Value::Map(_) => "object",
            Value::List(_) => "array",
            Value::Scalar { .. } => "string",
        };
        let of_type = |form: &&Json| self.follow(form).get("type").and_then(Json::as_str) == Some(wanted);
        match forms.iter().find(of_type) {
            Some(form) => self.value(form, node, path),
            None => self.mismatch("text or a mapping", &Json::Null, node, path),
        }
    }

    fn array(&mut self, schema: &'a Json, node: &Node, path: &str) -> Json {
        let Value::List(items) = &node.value else {
            return self.mismatch("a list", schema, node, path);
        };
        if schema.get("minItems").and_then(Json::as_u64).is_some_and(|least| (items.len() as u64) < least) {
            let help = schema.get("description").and_then(Json::as_str).map(str::to_owned);
            self.report(Code::BadValue, node.mark, path, "the list is empty".to_owned(), help);
        }
        let item_schema = schema.get("items").unwrap_or(&Json::Bool(true));
        let values = items
            .iter()
            .enumerate()
            .map(|(at, item)| self.value(item_schema, item, &format!("{path}[{at}]")));
        Json::Array(values.collect())
    }

    fn object(&mut self, schema: &'a Json, node: &Node, path: &str) -> Json {
        let Value::Map(entries) = &node.value else {
            return self.mismatch("a mapping", schema, node, path);
        };
        let entries = self.keys(entries, path);
        self.count(schema, entries.len(), node, path);
        self.one_beside(schema, &entries, node, path);
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        // Keys that are there under a wrong name are not reported as missing besides.
        let mut meant: BTreeSet<&str> = BTreeSet::new();
        let mut object = serde_json::Map::new();
        // Put together for the first unknown key.
        let mut named: Option<(Vec<&str>, Vec<&str>)> = None;
        for (key, key_node, value) in &entries {
            let below = join(path, key);
            let known = properties.and_then(|properties| properties.get(*key));
            match (known, others) {
                (Some(schema), _) => {
                    object.insert((*key).to_owned(), self.value(schema, value, &below));
                }
                (None, Some(Json::Bool(false))) => {
                    let (names, free) = named.get_or_insert_with(|| {
                        let names: Vec<&str> =
                            properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                        // A key that is there already is not what was meant by an unknown one.
                        let present: BTreeSet<&str> = entries.iter().map(|(key, ..)| *key).collect();
                        let free: Vec<&str> =
                            names.iter().copied().filter(|name| !present.contains(name)).collect();
                        (names, free)
                    });
                    meant.extend(self.unknown_key(key, key_node, names, free, &below));
                }
                (None, schema_of_others) => {
                    self.key_format(schema, key, key_node, &below);
                    let value = self.value(schema_of_others.unwrap_or(&Json::Bool(true)), value, &below);
                    object.insert((*key).to_owned(), value);
                }
            }
        }
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required
            .filter_map(Json::as_str)
            .filter(|name| !object.contains_key(*name) && !meant.contains(name))
        {
            let described =
                properties.and_then(|properties| properties.get(name)?.get("description")?.as_str());
            let help = described.map(|text| format!("{name}: {text}"));
            let place = if path.is_empty() { "the plan".to_owned() } else { format!("`{path}`") };
            let message = format!("`{name}` is missing in {place}");
            self.report(Code::MissingKey, node.mark, &join(path, name), message, help);
        }
        Json::Object(object)
    }

    /// A keyword of our own: of the keys that are not among these there is exactly one.
    fn one_beside(&mut self, schema: &Json, entries: &[(&str, &Node, &Node)], node: &Node, path: &str) {
        let Some(beside) = schema.get("x-lifeboat-one-beside").and_then(Json::as_array) else { return };
        let is_beside = |key: &str| beside.iter().any(|name| name.as_str() == Some(key));
        let count = entries.iter().filter(|(key, ..)| !is_beside(key)).count();
        if count != 1 {
            let message = if count == 0 {
                "this step does nothing".to_owned()
            } else {
                format!("a step does one thing, not {count}")
            };
            let help =
                "give it `shell`, `check`, `sql`, `manual`, `choose` or one action, and make a step of each";
            self.report(Code::BadValue, node.mark, path, message, Some(help.to_owned()));
        }
    }

    fn count(&mut self, schema: &Json, count: usize, node: &Node, path: &str) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let within = bound("minProperties").is_none_or(|least| count as u64 >= least)
            && bound("maxProperties").is_none_or(|most| count as u64 <= most);
        if !within {
            let help = schema.get("description").and_then(Json::as_str).map(str::to_owned);
            let message = format!("one key belongs here, not {count}");
            self.report(Code::BadValue, node.mark, path, message, help);
        }
    }

    fn key_format(&mut self, schema: &'a Json, key: &str, key_node: &Node, path: &str) {
        let names = schema.get("propertyNames").map(|names| self.follow(names));
        let format = names.and_then(|names| names.get("format")).and_then(Json::as_str);
        if let Some(problem) = format.and_then(|format| problem(format, key)) {
            self.report(problem.code, key_node.mark, path, problem.message, problem.help.map(str::to_owned));
        }
    }

    /// Reports a key that is none, and returns the one that was meant, if any is near.
    fn unknown_key<'n>(
        &mut self,
        key: &str,
        key_node: &Node,
        names: &[&str],
        free: &[&'n str],
        path: &str,
    ) -> Option<&'n str> {
        let shown = shorten(key);
        let meant = nearest(key, free.iter().copied());
        let (message, help) = match meant {
            Some(name) => (format!("unknown key `{shown}`; did you mean `{name}`?"), None),
            None if key == "<<" => (
                "merge keys (`<<`) are not part of YAML 1.2".to_owned(),
                Some("an alias for the whole value works: `keep: *usual`".to_owned()),
            ),
            None => {
                (format!("unknown key `{shown}`"), Some(format!("the keys here are {}", names.join(", "))))
            }
        };
        self.report(Code::UnknownKey, key_node.mark, path, message, help);
        meant
    }

    /// The entries of a mapping under text keys, the first of each; duplicates are reported.
    fn keys<'n>(&mut self, entries: &'n [(Node, Node)], path: &str) -> Vec<(&'n str, &'n Node, &'n Node)> {
        let mut seen = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        for (key_node, value) in entries {
            let Some(key) = key_node.text() else {
                let message = format!("a key is text, not {}", key_node.kind());
                self.report(Code::WrongType, key_node.mark, path, message, None);
                continue;
            };
            match seen.get(key) {
                None => {
                    seen.insert(key, key_node.mark.line);
                    kept.push((key, key_node, value));
                }
                Some(line) => {
                    let message =
                        format!("`{}` stands here a second time; the first is on line {line}", shorten(key));
                    let help = Some("keep one of the two".to_owned());
                    self.report(Code::DuplicateKey, key_node.mark, &join(path, key), message, help);
                }
            }
        }
        kept
    }

    /// A value that the plan does not look into.
    fn any(&mut self, node: &Node, path: &str) -> Json {
        match &node.value {
            Value::List(items) => {
                let values =
                    items.iter().enumerate().map(|(at, item)| self.any(item, &format!("{path}[{at}]")));
                Json::Array(values.collect())
            }
            Value::Map(entries) => {
                let entries = self.keys(entries, path);
                let values = entries
                    .iter()
                    .map(|(key, _, value)| ((*key).to_owned(), self.any(value, &join(path, key))));
                Json::Object(values.collect())
            }
            Value::Scalar { .. } => match node.scalar() {
                Some(Scalar::Bool(value)) => Json::Bool(value),
                Some(Scalar::Integer(value)) => Json::from(value),
                Some(Scalar::Float(value)) => Json::from(value),
                Some(Scalar::Text(text)) => Json::String(text.to_owned()),
                Some(Scalar::Null) | None => Json::Null,
            },
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn alternatives(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { shorten(key) } else { format!("{path}.{}", shorten(key)) }
}

/// A key as it is shown: one that is a page long is not.
fn shorten(key: &str) -> String {
    const MAX_CHARS: usize = 60;
    match key.char_indices().nth(MAX_CHARS) {
        Some((at, _)) => format!("{}…", &key[..at]),
        None => key.to_owned(),
    }
}
