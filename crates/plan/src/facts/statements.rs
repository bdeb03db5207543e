//! What a document states, line by line: a key and a value, however it is written.
//!
//! `- **RTO**: 4 hours`, a row of a table, `Retention: 30 days` in a fence: all become one kind of thing, so that
//! whoever looks for a fact need not know the styles.

use crate::document::{Block, Code, Document, Kind, Place, Text};

/// The longest key.
const MAX_KEY_CHARS: usize = 80;

/// Something that is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The section that it stands in.
    pub section: usize,
    /// The block that it stands in.
    pub block: usize,
    /// What it is about, if it says so.
    pub key: Option<Text>,
    /// What is said of it, or all that is said.
    pub value: Text,
    /// What it stands under inside its block: the heading of a column, the key of a YAML mapping, a comment above.
    pub under: Option<String>,
    /// How it is written.
    pub form: Form,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line of a paragraph.
    Line,
    /// An item of a list; of an ordered list with its number.
    Item {
        /// The number.
        number: Option<u64>,
    },
    /// A cell of a table.
    Cell {
        /// The row, from 0.
        row: usize,
        /// The column, from 0; never that of the key.
        column: usize,
    },
    /// A line of a fence that is no program.
    Fence,
}

impl Statement {
    /// Key and value as one text.
    #[must_use]
    pub fn whole(&self) -> String {
        match &self.key {
            Some(key) => format!("{}: {}", key.plain(), self.value.plain()),
            None => self.value.plain().to_owned(),
        }
    }

    /// The key in small letters; empty without one.
    #[must_use]
    pub fn key_text(&self) -> String {
        self.key.as_ref().map_or(String::new(), |key| key.plain().to_lowercase())
    }

    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> Place {
        match &self.key {
            Some(key) if !matches!(self.form, Form::Cell { .. }) => key.whole(),
            _ => self.value.whole(),
        }
    }
}

/// All statements of a document, in its order.
#[must_use]
pub fn find(document: &Document) -> Vec<Statement> {
    let mut statements = Vec::new();
    for (number, block) in document.blocks.iter().enumerate() {
        let of = |key, value, under, form| Statement {
            section: block.section,
            block: number,
            key,
            value,
            under,
            form,
        };
        match &block.kind {
            Kind::Paragraph(text) => {
                for line in text.lines() {
                    let (key, value) = split(&line);
                    statements.push(of(key, value, None, Form::Line));
                }
            }
            Kind::Item(item) => {
                for line in item.text.lines() {
                    let (key, value) = split(&line);
                    statements.push(of(key, value, None, Form::Item { number: item.number }));
                }
            }
            Kind::Table(table) => {
                for (row, cells) in table.rows.iter().enumerate() {
                    let key = cells.first().cloned();
                    for (column, cell) in cells.iter().enumerate().skip(1) {
                        let under = table.header.get(column).map(|header| header.plain().trim().to_owned());
                        let cell_form = Form::Cell { row, column };
                        statements.push(of(key.clone(), cell.part(0, cell.plain().len()), under, cell_form));
                    }
                }
            }
            Kind::Code(code) if is_data(block, code) => fence(code, &mut |key, value, under| {
                statements.push(of(key, value, under, Form::Fence));
            }),
            Kind::Code(_) | Kind::Html(_) => {}
        }
    }
    statements
}

/// Whether a fence holds statements, not a program.
fn is_data(_: &Block, code: &Code) -> bool {
    matches!(code.language.as_str(), "yaml" | "yml" | "text" | "txt" | "plaintext")
}

/// Lines like `Retention: 30 days`, with what they stand under by indentation or comment.
fn fence(code: &Code, add: &mut dyn FnMut(Option<Text>, Text, Option<String>)) {
    let mut parents: Vec<(usize, String)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in &code.lines {
        let trimmed = line.text.trim_start();
        let indent = line.text.len() - trimmed.len();
        if trimmed.is_empty() {
            continue;
        }
        if let Some(words) = trimmed.strip_prefix('#') {
            comment = Some(words.trim().to_owned());
            parents.clear();
            continue;
        }
        let entry = trimmed.strip_prefix("- ").unwrap_or(trimmed);
        let entry = unnumbered(entry);
        let skipped = line.text.chars().count() - entry.chars().count();
        let mut text = Text::default();
        text.push_plain(entry, line.line, line.column + u32::try_from(skipped).unwrap_or(0));
        let (key, value) = split(&text);
        parents.retain(|(depth, _)| *depth < indent);
        let under = parents.last().map(|(_, key)| key.clone()).or_else(|| comment.clone());
        if let Some(key) = &key
            && value.is_empty()
        {
            parents.push((indent, key.plain().to_owned()));
            continue;
        }
        add(key, value, under);
    }
}

/// Without the number in front: `3. Replace the node`.
fn unnumbered(text: &str) -> &str {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &text[digits..];
    if digits == 0 || digits > 3 {
        text
    } else {
        rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")).unwrap_or(text)
    }
}

/// Parts `key: value`; a colon inside a time or an address is none.
pub(crate) fn split(text: &Text) -> (Option<Text>, Text) {
    let plain = text.plain();
    let colon = plain.char_indices().take(MAX_KEY_CHARS).find(|(at, c)| {
        let behind = plain[at + c.len_utf8()..].chars().next();
        *c == '：' || (*c == ':' && behind.is_none_or(char::is_whitespace))
    });
    match colon {
        Some((at, c)) if !plain[..at].trim().is_empty() => {
            (Some(text.part(0, at)), text.part(at + c.len_utf8(), plain.len()))
        }
        _ => (None, text.part(0, plain.len())),
    }
}
