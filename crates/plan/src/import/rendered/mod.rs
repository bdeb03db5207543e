//! The Markdown of `plan render`, read back.
//!
//! What a person sees is what is read: the same table of shapes that wrote the page ([`crate::rendering`]) says what
//! stands where, so a changed cell, command or sentence is a changed plan. A section that no plan has becomes a note.
//!
//! # Invariants
//! - **I1 the same plan.** What was rendered and left alone reads as the plan that it was rendered from.
//! - **I2 no line is lost.** What is not read is told, with its line.
//! - **I3 it loads.** A value that no plan can have is left out and told.
//!
//! Deliberately absent: the contents, pictures and bars, which are drawn from the rest.

mod lines;
mod objectives;
mod whole;

#[cfg(test)]
mod tests;

use super::{Imported, Missed, words};
use crate::document::MAX_DOCUMENT_BYTES;
use crate::finding::Mark;
use crate::rendering::fields::{DRAWN, Field, KEY, METADATA, OBJECTIVES, PARTS, Record, Shape};
use crate::rendering::markdown::{is_drawn, read_name, read_quotation};
use crate::rendering::{FORMAT, MARK, QUOTED, inline, label_column};
use crate::yaml::{Node, Value};
use lines::{Piece, What};

/// How many lines are looked at for the mark of a rendered plan.
const MARK_LINES: usize = 20;

/// The version of the Markdown, if a plan was rendered to it.
fn format(source: &str) -> Option<u32> {
    let marked = source.lines().take(MARK_LINES).find_map(|line| line.trim().strip_prefix(MARK))?;
    let digits = marked.bytes().take_while(u8::is_ascii_digit).count();
    marked[..digits].parse().ok()
}

/// Whether a text was rendered from a plan, and can be read back.
pub(super) fn is_rendered(source: &str) -> bool {
    format(source).is_some_and(|format| (1..=FORMAT).contains(&format)) && source.len() <= MAX_DOCUMENT_BYTES
}

/// Why a rendered plan is read as any other document.
pub(super) fn why_not(source: &str) -> Option<String> {
    let format = format(source).filter(|_| !is_rendered(source))?;
    Some(if format > FORMAT {
        format!(
            "this was rendered in format {format}, by a newer Lifeboat; read as any document, as only format {FORMAT} is known"
        )
    } else {
        format!(
            "this was rendered from a plan and is longer than {MAX_DOCUMENT_BYTES} bytes; read as any document"
        )
    })
}

/// Reads a rendered plan; `name` is the name of its file.
pub(super) fn read(source: &str, name: &str) -> Imported {
    let pieces = lines::pieces(source);
    let mut reader = Reader {
        source,
        used: vec![false; pieces.len()],
        pieces: &pieces,
        at: 0,
        nodes: 0,
        missed: Vec::new(),
    };
    let mut root = Entries::default();
    reader.plan(&mut root);
    whole::finish(reader, root, source, name)
}

/// The entries of a mapping that is being put together.
#[derive(Debug, Default)]
struct Entries(Vec<(Node, Node)>);

struct Reader<'a> {
    source: &'a str,
    pieces: &'a [Piece],
    /// Which pieces are in the plan, or are drawn from it.
    used: Vec<bool>,
    at: usize,
    nodes: u32,
    missed: Vec<Missed>,
}

impl<'a> Reader<'a> {
    /// Every node has a column of its own, by which a finding names it.
    fn node(&mut self, line: u32, value: Value) -> Node {
        self.nodes = self.nodes.saturating_add(1);
        Node { mark: Mark { line, column: self.nodes, length: 1 }, value }
    }

    fn text(&mut self, text: impl Into<String>, line: u32) -> Node {
        self.node(line, Value::Scalar { text: text.into(), plain: false })
    }

    fn plain(&mut self, text: impl Into<String>, line: u32) -> Node {
        self.node(line, Value::Scalar { text: text.into(), plain: true })
    }

    fn list(&mut self, texts: impl IntoIterator<Item = String>, line: u32) -> Node {
        let nodes = texts.into_iter().map(|text| self.text(text, line)).collect();
        self.node(line, Value::List(nodes))
    }

    /// Puts a value under a key; a dot leads into a mapping.
    fn put(&mut self, map: &mut Entries, key: &str, value: Node) {
        let line = value.mark.line;
        let Some((outer, inner)) = key.split_once('.') else {
            let key = self.text(key, line);
            return map.0.push((key, value));
        };
        let within = map.0.iter().position(|(of, _)| of.text() == Some(outer));
        let at = within.unwrap_or_else(|| {
            let (key, value) = (self.text(outer, line), self.node(line, Value::Map(Vec::new())));
            map.0.push((key, value));
            map.0.len() - 1
        });
        if let Value::Map(entries) = &mut map.0[at].1.value {
            let mut below = Entries(std::mem::take(entries));
            self.put(&mut below, inner, value);
            map.0[at].1.value = Value::Map(below.0);
        }
    }

    /// Adds an item to the list under a key.
    fn add(&mut self, map: &mut Entries, key: &str, item: Node) {
        match map.0.iter_mut().find(|(of, _)| of.text() == Some(key)) {
            Some((_, Node { value: Value::List(items), .. })) => items.push(item),
            Some(_) => {}
            None => {
                let list = self.node(item.mark.line, Value::List(vec![item]));
                self.put(map, key, list);
            }
        }
    }

    fn peek(&self) -> Option<&'a Piece> {
        self.pieces.get(self.at)
    }

    /// The piece is understood.
    fn take(&mut self) {
        if let Some(used) = self.used.get_mut(self.at) {
            *used = true;
        }
        self.at += 1;
    }

    /// The piece is not.
    fn miss(&mut self, reason: impl Into<String>) {
        if let Some(piece) = self.peek() {
            self.tell(piece.line, reason);
        }
        self.at += 1;
    }

    fn tell(&mut self, line: u32, reason: impl Into<String>) {
        self.missed.push(Missed { line, reason: reason.into() });
    }

    fn plan(&mut self, root: &mut Entries) {
        let mut metadata = Entries::default();
        let mut line = 1;
        if let Some(Piece { what: What::Heading(1, text), line: at, .. }) = self.peek() {
            line = *at;
            self.take();
            self.name(&METADATA, text, &mut metadata, line);
        }
        self.record(&METADATA, &mut metadata, 1);
        if !metadata.0.iter().any(|(key, _)| key.text() == Some("name")) {
            let name = self.text("plan", line);
            self.put(&mut metadata, "name", name);
        }
        let metadata = self.node(line, Value::Map(metadata.0));
        self.put(root, "metadata", metadata);
        let mut rows = Vec::new();
        while let Some(piece) = self.peek() {
            let What::Heading(2, title) = &piece.what else {
                self.miss("this stands outside of every part of the plan; it was left out");
                continue;
            };
            if title == OBJECTIVES {
                self.take();
                rows.extend(self.objectives());
            } else if is_drawn(title) {
                self.take();
                while self.peek().is_some_and(|piece| !matches!(piece.what, What::Heading(1 | 2, _))) {
                    self.take();
                }
            } else if let Some(part) = PARTS.iter().find(|part| part.title == title) {
                self.take();
                self.part(part.key, part.shape, root, piece.line);
            } else {
                self.note(root, title, piece.line);
            }
        }
        self.place(rows, root);
    }

    fn part(&mut self, key: &str, shape: Shape, root: &mut Entries, line: u32) {
        let value = match shape {
            Shape::Items(record) => self.items(record, 2, line),
            Shape::Keyed(record) => self.keyed(record, 2, line),
            Shape::Part(record) => {
                let mut map = Entries::default();
                self.record(record, &mut map, 2);
                Some(self.node(line, Value::Map(map.0)))
            }
            _ => None,
        };
        match (value, root.0.iter_mut().find(|(of, _)| of.text() == Some(key)).map(|(_, value)| value)) {
            // A part that stands twice is one.
            (Some(Node { value: Value::List(more), .. }), Some(Node { value: Value::List(items), .. })) => {
                items.extend(more);
            }
            (Some(Node { value: Value::Map(more), .. }), Some(Node { value: Value::Map(entries), .. })) => {
                entries.extend(more);
            }
            (Some(value), _) => self.put(root, key, value),
            (None, _) => {}
        }
    }

    /// A section that no plan has: its text is kept.
    fn note(&mut self, root: &mut Entries, title: &str, line: u32) {
        self.tell(line, format!("no part of a plan is called `{title}`; kept as a note"));
        self.take();
        let first = self.peek().map_or(line + 1, |piece| piece.line);
        let mut last = line;
        while let Some(piece) = self.peek().filter(|piece| !matches!(piece.what, What::Heading(1 | 2, _))) {
            last = piece.last_line;
            self.take();
        }
        let lines = self.source.lines().take(last as usize).skip(first.saturating_sub(1) as usize);
        let text = lines.collect::<Vec<_>>().join("\n");
        let mut note = Entries::default();
        for (key, text) in [("title", inline::read(title)), ("text", text)] {
            let text = self.text(text, line);
            self.put(&mut note, key, text);
        }
        let note = self.node(line, Value::Map(note.0));
        self.add(root, "notes", note);
    }

    /// The title and the label of a heading.
    fn name(&mut self, record: &Record, source: &str, map: &mut Entries, line: u32) {
        let (title, label) = read_name(source, record.label.is_some());
        let derived = || title.as_deref().and_then(words::label).filter(|_| record.what != "Step");
        for (key, text) in [(record.title, title.clone()), (record.label, label.clone().or_else(derived))] {
            if let (Some(key), Some(text)) = (key, text) {
                let text = self.text(text, line);
                self.put(map, key, text);
            }
        }
    }

    /// What one thing has, up to the next heading of its level or above.
    fn record(&mut self, record: &'static Record, map: &mut Entries, level: usize) {
        while let Some(piece) = self.peek() {
            let line = piece.line;
            match &piece.what {
                What::Heading(at, _) if *at <= level || level == 1 => return,
                What::Heading(at, text) if *at == level + 1 => self.inner(record, map, text, level + 1, line),
                What::Heading(..) => self.miss("a heading of this depth has no place here; it was left out"),
                What::Hint => self.take(),
                What::Fact(title, rest) | What::Label(title, rest) => {
                    match record.fields.iter().find(|field| field.title.eq_ignore_ascii_case(title)) {
                        Some(field) => {
                            self.take();
                            self.field(field, rest, map, line);
                        }
                        None => {
                            let what =
                                if record.what.is_empty() { "part" } else { record.what }.to_lowercase();
                            self.miss(format!("a {what} has no `{title}`; it was left out"));
                        }
                    }
                }
                What::Fence(kind, _) if DRAWN.contains(&kind.as_str()) => self.take(),
                What::Tick(_) | What::Item(_) => self.ticks(record, map, line),
                What::Paragraph(_) | What::Quotation(_) | What::Fence(..) => self.prose(record, map, line),
                What::Table(..) => self.miss("nothing says what this table is of; it was left out"),
            }
        }
    }

    /// A heading inside of something: a part of it, a list of things, or one of them.
    fn inner(&mut self, record: &'static Record, map: &mut Entries, text: &str, level: usize, line: u32) {
        for field in record.fields {
            let is_it = text == field.title;
            match field.shape {
                Shape::Part(inner) if is_it => {
                    self.take();
                    let mut below = Entries::default();
                    self.record(inner, &mut below, level);
                    let value = self.node(line, Value::Map(below.0));
                    return self.put(map, field.key, value);
                }
                Shape::Items(inner) if is_it => {
                    self.take();
                    if let Some(value) = self.items(inner, level, line) {
                        self.put(map, field.key, value);
                    }
                    return;
                }
                Shape::Items(inner) | Shape::Keyed(inner) => {
                    let Some(rest) = behind(inner, text) else { continue };
                    self.take();
                    let item = self.card(inner, rest, level, line);
                    if matches!(field.shape, Shape::Items(_)) {
                        self.add_below(map, field.key, item);
                    } else if let Some((key, item)) = self.with_key(item) {
                        self.put_keyed(map, field.key, key, item);
                    }
                    return;
                }
                _ => {}
            }
        }
        let what = record.what.to_lowercase();
        self.miss(format!("`{text}` is no part of a {what}; it was left out"));
    }

    /// Adds an item to a list that may stand in a mapping of its own: `choose.options`.
    fn add_below(&mut self, map: &mut Entries, key: &str, item: Node) {
        let Some((outer, inner)) = key.split_once('.') else { return self.add(map, key, item) };
        match map.0.iter().position(|(of, _)| of.text() == Some(outer)) {
            Some(at) => {
                if let Value::Map(entries) = &mut map.0[at].1.value {
                    let mut below = Entries(std::mem::take(entries));
                    self.add(&mut below, inner, item);
                    map.0[at].1.value = Value::Map(below.0);
                }
            }
            None => {
                let list = self.node(item.mark.line, Value::List(vec![item]));
                self.put(map, key, list);
            }
        }
    }

    fn put_keyed(&mut self, map: &mut Entries, field: &str, key: Node, item: Node) {
        match map.0.iter_mut().find(|(of, _)| of.text() == Some(field)) {
            Some((_, Node { value: Value::Map(entries), .. })) => entries.push((key, item)),
            Some(_) => {}
            None => {
                let value = self.node(item.mark.line, Value::Map(vec![(key, item)]));
                self.put(map, field, value);
            }
        }
    }

    /// One thing under its heading.
    fn card(&mut self, record: &'static Record, name: &str, level: usize, line: u32) -> Node {
        let mut map = Entries::default();
        self.name(record, name, &mut map, line);
        self.record(record, &mut map, level);
        self.node(line, Value::Map(map.0))
    }

    /// Things below the heading that names their kind: rows, or headings.
    fn items(&mut self, record: &'static Record, level: usize, line: u32) -> Option<Node> {
        let mut items = Vec::new();
        while let Some(piece) = self.peek() {
            match &piece.what {
                What::Heading(at, _) if *at <= level => break,
                What::Heading(at, text) if *at == level + 1 => {
                    let name = if record.counted { behind(record, text).unwrap_or(text) } else { text };
                    self.take();
                    items.push(self.card(record, name, level + 1, piece.line));
                }
                What::Table(header, rows) => {
                    self.take();
                    items.extend(self.rows(record, header, rows, piece.line));
                }
                What::Hint => self.take(),
                _ => self.miss("this belongs to nothing that is named above it; it was left out"),
            }
        }
        (!items.is_empty()).then(|| self.node(line, Value::List(items)))
    }

    fn keyed(&mut self, record: &'static Record, level: usize, line: u32) -> Option<Node> {
        let Node { value: Value::List(items), .. } = self.items(record, level, line)? else { return None };
        let entries = items.into_iter().filter_map(|item| self.with_key(item)).collect();
        Some(self.node(line, Value::Map(entries)))
    }

    /// A thing and the key under which it stands.
    fn with_key(&mut self, mut item: Node) -> Option<(Node, Node)> {
        let line = item.mark.line;
        let key = match &mut item.value {
            Value::Map(entries) => {
                let at = entries.iter().position(|(key, _)| key.text() == Some(KEY));
                at.map(|at| entries.remove(at).1)
            }
            _ => None,
        };
        if key.is_none() {
            self.tell(line, "this has no name; it was left out");
        }
        Some((key?, item))
    }

    fn rows(
        &mut self,
        record: &'static Record,
        header: &[String],
        rows: &[(u32, Vec<String>)],
        line: u32,
    ) -> Vec<Node> {
        let is = |title: &str, of: &str| title.eq_ignore_ascii_case(of);
        let field = |title: &String| record.fields.iter().find(|field| is(title, field.title));
        let is_title = |title: &str| record.title.is_some() && is(title, record.what);
        let is_label = |title: &str| record.label.is_some() && is(title, label_column(record));
        for title in
            header.iter().filter(|title| field(title).is_none() && !is_title(title) && !is_label(title))
        {
            self.tell(line, format!("the column `{title}` is not known here; it was left out"));
        }
        let mut items = Vec::new();
        for (line, cells) in rows {
            let mut map = Entries::default();
            for (title, cell) in header.iter().zip(cells).filter(|(_, cell)| !cell.is_empty()) {
                if is_title(title) {
                    let text = self.text(inline::read(cell), *line);
                    self.put(&mut map, record.title.unwrap_or_default(), text);
                } else if is_label(title) {
                    let text = self.text(inline::read_mark(cell), *line);
                    self.put(&mut map, record.label.unwrap_or_default(), text);
                } else if let Some(field) = field(title)
                    && let Some(value) = self.value(field.shape, cell, *line)
                {
                    self.put(&mut map, field.key, value);
                }
            }
            items.push(self.node(*line, Value::Map(map.0)));
        }
        items
    }

    /// What stands behind the title of a field, or below it.
    fn field(&mut self, field: &'static Field, rest: &str, map: &mut Entries, line: u32) {
        let next = self.peek().map(|piece| (&piece.what, piece.line));
        let value = match (field.shape, next) {
            (Shape::Action, Some((What::Fence(kind, text), _))) if kind == "json" => {
                self.take();
                return self.action(rest, text, map, line);
            }
            _ if !rest.is_empty() => self.value(field.shape, rest, line),
            (
                Shape::Fence(_) | Shape::Text | Shape::Words(_) | Shape::Prose,
                Some((What::Fence(kind, text), line)),
            ) => {
                self.take();
                Some(self.fence(kind, text, line))
            }
            (Shape::Text | Shape::Prose, Some((What::Quotation(lines), line))) => {
                self.take();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                Some(self.text(read_quotation(&lines), line))
            }
            (Shape::Items(record) | Shape::Keyed(record), Some((What::Table(header, rows), line))) => {
                self.take();
                let items = self.rows(record, header, rows, line);
                if matches!(field.shape, Shape::Keyed(_)) {
                    let entries = items.into_iter().filter_map(|item| self.with_key(item)).collect();
                    Some(self.node(line, Value::Map(entries)))
                } else {
                    Some(self.node(line, Value::List(items)))
                }
            }
            (Shape::Pairs(..), Some((What::Table(_, rows), line))) => {
                self.take();
                let mut entries = Vec::new();
                for (line, cells) in rows {
                    if let [from, to, ..] = &cells[..] {
                        let from = self.text(inline::read_mark(from), *line);
                        entries.push((from, self.text(inline::read_mark(to), *line)));
                    }
                }
                Some(self.node(line, Value::Map(entries)))
            }
            (
                Shape::Texts | Shape::Numbered | Shape::Marks | Shape::Refs(_) | Shape::Ticks,
                Some((What::Item(_), _)),
            ) => {
                let mut items = Vec::new();
                while let Some(Piece { what: What::Item(text), line, .. }) = self.peek() {
                    self.take();
                    let text = match field.shape {
                        Shape::Marks | Shape::Refs(_) => inline::read_mark(text),
                        _ => inline::read(text),
                    };
                    items.push(self.text(text, *line));
                }
                Some(self.node(line, Value::List(items)))
            }
            _ => None,
        };
        match value {
            Some(value) => self.put(map, field.key, value),
            None => {
                self.tell(line, format!("`{}` says nothing that can be read; it was left out", field.title))
            }
        }
    }

    /// A value that stands on one line.
    fn value(&mut self, shape: Shape, source: &str, line: u32) -> Option<Node> {
        let marks = |source| -> Vec<String> {
            let pieces = inline::split(source, ",");
            let said = pieces.into_iter().filter(|piece| !piece.is_empty() && *piece != inline::NOTHING);
            said.map(inline::read_mark).collect()
        };
        Some(match shape {
            Shape::Text | Shape::Prose | Shape::Words(_) => self.text(inline::read(source), line),
            Shape::Mark | Shape::Ref(_) | Shape::Fence(_) => self.text(inline::read_mark(source), line),
            Shape::Refs(_) | Shape::Marks => self.list(marks(source), line),
            Shape::Texts | Shape::Numbered | Shape::Ticks => self.list(lines::texts(source), line),
            Shape::Number => self.plain(source, line),
            Shape::Flag => match source.to_ascii_lowercase().as_str() {
                "yes" | "true" => self.plain("true", line),
                "no" | "false" => self.plain("false", line),
                _ => self.text(source, line),
            },
            Shape::Items(_) | Shape::Keyed(_) | Shape::Part(_) | Shape::Pairs(..) | Shape::Action => {
                return None;
            }
        })
    }

    /// The text of a fence, or what its JSON string says.
    fn fence(&mut self, kind: &str, text: &str, line: u32) -> Node {
        let quoted = if kind == QUOTED { serde_json::from_str::<String>(text).ok() } else { None };
        self.text(quoted.unwrap_or_else(|| text.to_owned()), line)
    }

    /// An action, and its arguments as JSON.
    fn action(&mut self, name: &str, arguments: &str, map: &mut Entries, line: u32) {
        match serde_json::from_str(arguments) {
            Ok(arguments) => {
                let arguments = self.json(&arguments, line);
                let key = self.text(inline::read_mark(name), line);
                map.0.push((key, arguments));
            }
            Err(error) => self
                .tell(line, format!("the arguments of this action are no JSON ({error}); it was left out")),
        }
    }

    fn json(&mut self, value: &serde_json::Value, line: u32) -> Node {
        use serde_json::Value as Json;
        match value {
            Json::String(text) => self.text(text.as_str(), line),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.json(item, line)).collect();
                self.node(line, Value::List(items))
            }
            Json::Object(map) => {
                let entries = map
                    .iter()
                    .map(|(key, value)| (self.text(key.as_str(), line), self.json(value, line)))
                    .collect();
                self.node(line, Value::Map(entries))
            }
            other => self.plain(other.to_string(), line),
        }
    }

    /// Texts without a title.
    fn ticks(&mut self, record: &'static Record, map: &mut Entries, line: u32) {
        let Some(field) = record.fields.iter().find(|field| matches!(field.shape, Shape::Ticks)) else {
            return self.miss("nothing says what this list is of; it was left out");
        };
        while let Some(Piece { what: What::Tick(text) | What::Item(text), .. }) = self.peek() {
            self.take();
            let text = self.text(inline::read(text), line);
            self.add(map, field.key, text);
        }
    }

    /// Words without a title.
    fn prose(&mut self, record: &'static Record, map: &mut Entries, line: u32) {
        let is_prose = |field: &&Field| matches!(field.shape, Shape::Prose | Shape::Words(_));
        let (Some(field), Some(piece)) = (record.fields.iter().find(is_prose), self.peek()) else {
            return self.miss("nothing says what this text is of; it was left out");
        };
        self.take();
        let value = match &piece.what {
            What::Fence(kind, text) => self.fence(kind, text, line),
            What::Quotation(lines) | What::Paragraph(lines) => {
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                self.text(read_quotation(&lines), line)
            }
            _ => return,
        };
        let known = map
            .0
            .iter_mut()
            .find(|(key, _)| key.text() == Some(field.key))
            .map(|(_, value)| &mut value.value);
        match (known, value) {
            // Another paragraph of the same.
            (Some(Value::Scalar { text, .. }), Node { value: Value::Scalar { text: more, .. }, .. }) => {
                text.push_str("\n\n");
                text.push_str(&more);
            }
            (_, value) => self.put(map, field.key, value),
        }
    }
}

/// What stands behind the name of a kind in a heading: `Step 3: Stop`, `Backup: nightly`.
fn behind<'t>(record: &Record, text: &'t str) -> Option<&'t str> {
    let rest = text.strip_prefix(record.what)?;
    let rest = if record.counted {
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        rest.trim_start_matches(|c: char| c.is_ascii_digit())
    } else {
        rest
    };
    match rest.strip_prefix(':') {
        Some(rest) => Some(rest.trim()),
        None => rest.is_empty().then_some(rest),
    }
}
