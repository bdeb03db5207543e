//! A plan as the pieces of a page, in their order: what Markdown and HTML are both printed from.
//!
//! # Invariants
//! - **B1 said once.** What is read back stands in one place; what is drawn from the rest is a piece of its own kind.
//!
//! Deliberately absent: any notation.

use super::fields::{CONTENTS, DEPENDENCIES, Field, KEY, METADATA, OBJECTIVES, PARTS, Record, Shape};
use super::{objectives, picture, times};
use crate::model::Plan;
use crate::tree;
use serde_json::{Map, Value};

/// The most columns of a table; what has more stands under headings.
const MAX_COLUMNS: usize = 6;
/// The longest text in a table, in characters.
const MAX_CELL_CHARS: usize = 90;

/// A value on one line, or in the cell of a table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Nothing,
    Text(String),
    Mark(String),
    /// The name of something else, and of what.
    Ref(&'static str, String),
    Marks(Option<&'static str>, Vec<String>),
    Texts(Vec<String>),
    Name(Option<String>, Option<String>),
    /// An objective: a time, words, and whether it is stated elsewhere and holds here too.
    Objective(Option<String>, Option<String>, bool),
}

/// How texts below each other stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bullets {
    Plain,
    Numbers,
    Ticks,
}

/// A piece of a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Heading {
        level: u8,
        lead: String,
        title: Option<String>,
        label: Option<String>,
        anchor: Option<String>,
    },
    Prose(String),
    Words {
        kind: &'static str,
        text: String,
    },
    Fact {
        title: &'static str,
        value: Said,
    },
    Long {
        title: &'static str,
        text: String,
    },
    List {
        title: Option<&'static str>,
        items: Vec<String>,
        bullets: Bullets,
    },
    Fence {
        title: &'static str,
        kind: &'static str,
        text: String,
    },
    Action {
        title: &'static str,
        name: String,
        arguments: String,
    },
    Table {
        title: Option<&'static str>,
        columns: Vec<&'static str>,
        rows: Vec<Vec<Said>>,
    },
    /// Drawn from the rest: a sentence about what follows.
    Hint(&'static str),
    Contents(Vec<Entry>),
    Picture(picture::Picture),
    Times(times::Times),
}

/// A line of the contents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The heading that it leads to.
    pub heading: usize,
    /// How deep it stands: 0 for a part.
    pub depth: u8,
}

/// The pieces of a plan.
pub(crate) fn of(plan: &Plan) -> Vec<Block> {
    let mut tree = tree::of(plan);
    whole_steps(&mut tree);
    let Value::Object(tree) = &tree else { return Vec::new() };
    let mut page = Page { plan, blocks: Vec::new() };
    page.begin(tree);
    page.heading(2, OBJECTIVES);
    page.blocks.push(Block::Hint(
        "In italics: what holds because the tier or the plan says so. In quotes: what is said in words.",
    ));
    page.blocks.push(objectives::table(plan));
    if let Some(picture) = picture::Picture::of(plan) {
        page.heading(2, DEPENDENCIES);
        page.blocks.push(Block::Hint(
            "Drawn from what the services need; each comes back after those that it needs.",
        ));
        page.blocks.push(Block::Picture(picture));
    }
    for part in PARTS {
        let Some(value) = tree.get(part.key) else { continue };
        page.heading(2, part.title);
        match (part.shape, value) {
            (Shape::Items(record), Value::Array(items)) => page.list(record, items, 2),
            (Shape::Keyed(record), Value::Object(map)) => page.list(record, &keyed(map), 2),
            (Shape::Part(record), Value::Object(map)) => page.record(record, map, 2),
            _ => {}
        }
    }
    page.contents();
    page.blocks
}

/// Commands of a step stand under `run`, also where they are all that there is.
fn whole_steps(tree: &mut Value) {
    let Some(Value::Object(runbooks)) = tree.get_mut("runbooks") else { return };
    for runbook in runbooks.values_mut() {
        let Some(Value::Array(steps)) = runbook.get_mut("steps") else { continue };
        for step in steps {
            let Value::Object(step) = step else { continue };
            for key in ["shell", "check", "probe"] {
                if let Some(text @ Value::String(_)) = step.get(key) {
                    let run = serde_json::json!({"run": text});
                    step.insert(key.to_owned(), run);
                }
            }
            if let Some(name) = step.keys().find(|key| key.contains('.')).cloned()
                && let Some(arguments) = step.remove(&name)
            {
                step.insert("action".to_owned(), serde_json::json!({"name": name, "arguments": arguments}));
            }
        }
    }
}

/// Things by their key as things that have a key.
fn keyed(map: &Map<String, Value>) -> Vec<Value> {
    let with_key = |(key, value): (&String, &Value)| {
        let mut item = value.as_object().cloned().unwrap_or_default();
        item.insert(KEY.to_owned(), key.as_str().into());
        Value::Object(item)
    };
    map.iter().map(with_key).collect()
}

fn get<'a>(map: &'a Map<String, Value>, field: &Field) -> Option<&'a Value> {
    match field.key.split_once('.') {
        Some((outer, inner)) => map.get(outer)?.get(inner),
        // Where words may stand, or a mapping, the mapping is told by the fields that lead into it.
        None => map.get(field.key).filter(|value| !(matches!(field.shape, Shape::Text) && value.is_object())),
    }
}

fn text_of(map: &Map<String, Value>, key: Option<&str>) -> Option<String> {
    map.get(key?)?.as_str().map(str::to_owned)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A value that stands on one line; none for what does not.
fn said(field: &Field, value: &Value) -> Option<Said> {
    let text = || match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(match field.shape {
        Shape::Text | Shape::Prose | Shape::Number => Said::Text(text()),
        Shape::Flag => Said::Text(if value.as_bool() == Some(true) { "yes" } else { "no" }.to_owned()),
        Shape::Mark => Said::Mark(text()),
        Shape::Ref(of) => Said::Ref(of, text()),
        Shape::Refs(of) => Said::Marks(Some(of), texts(value)),
        Shape::Marks => Said::Marks(None, texts(value)),
        Shape::Texts | Shape::Numbered => Said::Texts(texts(value)),
        _ => return None,
    })
}

/// Where a field stands in what has it: on a line, in a table, or under headings of its own.
fn place(field: &Field, value: &Value) -> u8 {
    let is_table = match (field.shape, value) {
        (Shape::Items(record), Value::Array(items)) => table(record, items, None).is_some(),
        (Shape::Keyed(record), Value::Object(map)) => table(record, &keyed(map), None).is_some(),
        (Shape::Part(_), _) => false,
        (Shape::Pairs(..), _) => true,
        _ => return 0,
    };
    if is_table { 1 } else { 2 }
}

struct Page<'a> {
    plan: &'a Plan,
    blocks: Vec<Block>,
}

impl Page<'_> {
    fn begin(&mut self, tree: &Map<String, Value>) {
        let Some(Value::Object(metadata)) = tree.get("metadata") else { return };
        self.blocks.push(Block::Heading {
            level: 1,
            lead: String::new(),
            title: text_of(metadata, METADATA.title),
            label: text_of(metadata, METADATA.label),
            anchor: None,
        });
        self.record(&METADATA, metadata, 1);
        self.heading(2, CONTENTS);
    }

    fn heading(&mut self, level: u8, title: &str) {
        let (lead, anchor) = (title.to_owned(), Some(tree::slug(title)));
        self.blocks.push(Block::Heading { level, lead, title: None, label: None, anchor });
    }

    /// What one thing has, below a heading of `level`.
    fn record(&mut self, record: &Record, map: &Map<String, Value>, level: u8) {
        // What stands on lines comes first, then tables: a heading ends both. In a part, each list has one.
        let mut fields: Vec<(u8, &Field, &Value)> = record
            .fields
            .iter()
            .filter_map(|field| get(map, field).map(|value| (place(field, value), field, value)))
            .collect();
        fields.sort_by_key(|(place, ..)| if level == 2 { (*place).min(1) } else { *place });
        for (_, field, value) in fields {
            self.field(field, value, level);
        }
    }

    fn field(&mut self, field: &Field, value: &Value, level: u8) {
        let title = field.title;
        match (field.shape, value) {
            (Shape::Prose, Value::String(text)) => self.blocks.push(Block::Prose(text.clone())),
            (Shape::Words(kind), Value::String(text)) => {
                self.blocks.push(Block::Words { kind, text: text.clone() });
            }
            (Shape::Fence(kind), Value::String(text)) => {
                self.blocks.push(Block::Fence { title, kind, text: text.clone() });
            }
            (Shape::Text, Value::String(text)) if text.contains('\n') => {
                self.blocks.push(Block::Long { title, text: text.clone() });
            }
            (Shape::Texts, value) => self.texts(Some(title), value, Bullets::Plain),
            (Shape::Numbered, value) => self.texts(Some(title), value, Bullets::Numbers),
            (Shape::Ticks, value) => self.texts(None, value, Bullets::Ticks),
            (Shape::Items(record), Value::Array(items)) => self.nested(title, record, items, level),
            (Shape::Keyed(record), Value::Object(map)) => self.nested(title, record, &keyed(map), level),
            (Shape::Part(record), Value::Object(map)) => {
                self.heading(level + 1, title);
                if let Some(Block::Heading { anchor, .. }) = self.blocks.last_mut() {
                    *anchor = None;
                }
                self.record(record, map, level + 1);
            }
            (Shape::Pairs(from, to), Value::Object(map)) => {
                let mark = |text: &str| Said::Mark(text.to_owned());
                let rows =
                    map.iter().map(|(key, value)| vec![mark(key), mark(value.as_str().unwrap_or_default())]);
                let rows = rows.collect();
                self.blocks.push(Block::Table { title: Some(title), columns: vec![from, to], rows });
            }
            (Shape::Action, value) => self.blocks.push(Block::Action {
                title,
                name: value["name"].as_str().unwrap_or_default().to_owned(),
                arguments: super::inline::shown(
                    &serde_json::to_string_pretty(&value["arguments"]).unwrap_or_default(),
                ),
            }),
            _ => self.blocks.extend(said(field, value).map(|value| Block::Fact { title, value })),
        }
    }

    fn texts(&mut self, title: Option<&'static str>, value: &Value, bullets: Bullets) {
        self.blocks.push(Block::List { title, items: texts(value), bullets });
    }

    /// Things that stand inside of something else: in a part under a heading, else each with what it is.
    fn nested(&mut self, title: &'static str, record: &Record, items: &[Value], level: u8) {
        if level == 2 {
            self.heading(3, title);
            return self.list(record, items, 3);
        }
        match table(record, items, Some(title)) {
            Some(table) => self.blocks.push(table),
            None => self.cards(record, items, level + 1, record.what),
        }
    }

    /// Things right below the heading that names their kind.
    fn list(&mut self, record: &Record, items: &[Value], level: u8) {
        match table(record, items, None) {
            Some(table) => self.blocks.push(table),
            None => self.cards(record, items, level + 1, if record.counted { record.what } else { "" }),
        }
    }

    fn cards(&mut self, record: &Record, items: &[Value], level: u8, lead: &str) {
        for (at, item) in items.iter().enumerate() {
            let Value::Object(map) = item else { continue };
            let lead = if record.counted { format!("{lead} {}", at + 1) } else { lead.to_owned() };
            let label = text_of(map, record.label);
            let anchor = label.as_ref().filter(|_| level == 3);
            let anchor = anchor.map(|label| format!("{}-{label}", record.what.to_lowercase()));
            self.blocks.push(Block::Heading {
                level,
                lead,
                title: text_of(map, record.title),
                label: label.clone(),
                anchor,
            });
            if record.what == "Scenario"
                && let Some(scenario) = self.plan.scenarios.get(at)
            {
                self.blocks.extend(times::Times::of(self.plan, scenario).map(Block::Times));
            }
            self.record(record, map, level);
        }
    }

    /// Fills in the contents, which stand in front.
    fn contents(&mut self) {
        let depth = |block: &Block| match block {
            Block::Heading { level: 2, lead, .. } if lead != CONTENTS => Some(0),
            Block::Heading { level: 3, anchor: Some(_), .. } => Some(1),
            _ => None,
        };
        let Some(at) = self
            .blocks
            .iter()
            .position(|block| matches!(block, Block::Heading { level: 2, lead, .. } if lead == CONTENTS))
        else {
            return;
        };
        // They are put in behind their own heading, and all that follows moves by one.
        let entries = self.blocks.iter().enumerate();
        let entries = entries.filter_map(|(at, block)| Some(Entry { heading: at + 1, depth: depth(block)? }));
        let contents = Block::Contents(entries.collect());
        self.blocks.insert(at + 1, contents);
    }
}

/// Things as a table, if little enough is said of each.
fn table(record: &Record, items: &[Value], title: Option<&'static str>) -> Option<Block> {
    if record.apart {
        return None;
    }
    let maps: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
    let mut columns = Vec::new();
    let mut rows: Vec<Vec<Said>> = maps.iter().map(|_| Vec::new()).collect();
    let mut column = |name: &'static str, cells: Vec<Said>| {
        if cells.iter().any(|cell| *cell != Said::Nothing) {
            columns.push(name);
            rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
    };
    if record.title.is_some() {
        let cell = |map: &&Map<String, Value>| text_of(map, record.title).map_or(Said::Nothing, Said::Text);
        column(record.what, maps.iter().map(cell).collect());
    }
    if record.label.is_some() {
        let cell = |map: &&Map<String, Value>| text_of(map, record.label).map_or(Said::Nothing, Said::Mark);
        column(label_column(record), maps.iter().map(cell).collect());
    }
    for field in record.fields {
        let cell = |map: &&Map<String, Value>| match get(map, field) {
            Some(value) => said(field, value),
            None => Some(Said::Nothing),
        };
        column(field.title, maps.iter().map(cell).collect::<Option<Vec<_>>>()?);
    }
    let fits = columns.len() <= MAX_COLUMNS && !columns.is_empty() && rows.iter().flatten().all(is_short);
    fits.then_some(Block::Table { title, columns, rows })
}

/// The heading of the column of labels.
pub(crate) fn label_column(record: &Record) -> &'static str {
    if record.title.is_some() { "Name" } else { record.what }
}

fn is_short(cell: &Said) -> bool {
    let short = |text: &String| text.chars().count() <= MAX_CELL_CHARS && !text.contains('\n');
    match cell {
        Said::Text(text) | Said::Mark(text) | Said::Ref(_, text) => short(text),
        Said::Marks(_, texts) | Said::Texts(texts) => {
            texts.iter().all(short)
                && texts.iter().map(|text| text.chars().count()).sum::<usize>() <= 2 * MAX_CELL_CHARS
        }
        Said::Nothing | Said::Name(..) | Said::Objective(..) => true,
    }
}
