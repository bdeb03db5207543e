//! What stands in a section, piece by piece: prose, entries, tables, commands, other code.
//!
//! The items of a list and the lines of a fence that holds data become the same thing, an [`Entry`] with what stands
//! below it, so that a fact is found however it is written.

use crate::document::{Block, Code, Document, Kind, ROOT, Table, Text};
use crate::facts::Facts;
use crate::facts::commands::Snippet;
use crate::facts::statements::split;

/// The deepest nesting of entries.
const MAX_DEPTH: usize = 12;

/// A piece of a section.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub line: u32,
    pub last_line: u32,
    pub what: What<'a>,
}

#[derive(Debug)]
pub(super) enum What<'a> {
    /// Running text.
    Prose(&'a Text),
    /// A list, or a fence of data.
    Entries(Vec<Entry<'a>>),
    /// A table.
    Table(&'a Table),
    /// Shell text.
    Shell(&'a Snippet),
    /// Any other fence.
    Code(&'a Code),
}

/// Something that is said in a line of its own, and what stands below it.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry<'a> {
    pub line: u32,
    pub last_line: u32,
    pub key: Option<Text>,
    pub value: Text,
    pub number: Option<u64>,
    /// A comment above it, in a fence.
    pub comment: Option<(String, u32)>,
    pub below: Vec<Entry<'a>>,
    /// Fences and prose inside it, in order.
    pub inside: Vec<(usize, &'a Block)>,
    /// The block, with whose commands in running text it may be joined.
    pub block: usize,
    pub is_data: bool,
}

impl Entry<'_> {
    /// The key in small letters.
    pub fn key_text(&self) -> String {
        self.key.as_ref().map_or(String::new(), |key| key.plain().trim().to_lowercase())
    }

    /// Key and value on one line.
    pub fn whole(&self) -> String {
        let value = flat(&self.value);
        match &self.key {
            Some(key) if value.is_empty() => flat(key),
            Some(key) => format!("{}: {value}", flat(key)),
            None => value,
        }
    }

    /// Whether there is a fence in it, or in what stands below.
    pub fn has_code(&self) -> bool {
        self.inside.iter().any(|(_, block)| matches!(block.kind, Kind::Code(_)))
            || self.below.iter().any(Entry::has_code)
    }

    /// All that it says, with what stands below as a list.
    pub fn text(&self) -> String {
        let mut out = self.whole();
        for entry in &self.below {
            for line in entry.text().lines() {
                let dash = if line.starts_with("- ") || line.starts_with("  ") { "  " } else { "- " };
                out.push_str(&format!("\n{dash}{line}"));
            }
        }
        out
    }
}

/// A text on one line.
pub(super) fn flat(text: &Text) -> String {
    let words: Vec<&str> = text.plain().split_whitespace().collect();
    words.join(" ")
}

/// The pieces of a section itself, without its subsections.
pub(super) fn pieces<'a>(facts: &'a Facts<'_>, section: usize) -> Vec<Piece<'a>> {
    let document = facts.document;
    let blocks: Vec<(usize, &Block)> = own_blocks(document, section).collect();
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut last_list = None;
    for (number, block) in &blocks {
        if block.item.is_some() {
            continue;
        }
        let what = match &block.kind {
            Kind::Item(item) => {
                let entry = entry(&blocks, *number, block, 0);
                let last_line = entry.last_line;
                if last_list == Some(item.list)
                    && let Some(Piece { what: What::Entries(entries), last_line: end, .. }) =
                        pieces.last_mut()
                {
                    entries.push(entry);
                    *end = last_line;
                    continue;
                }
                last_list = Some(item.list);
                pieces.push(Piece { line: block.place.line, last_line, what: What::Entries(vec![entry]) });
                continue;
            }
            Kind::Paragraph(text) => What::Prose(text),
            Kind::Table(table) => What::Table(table),
            Kind::Code(code) => code_of(facts, *number, code),
            Kind::Html(_) => continue,
        };
        last_list = None;
        pieces.push(Piece { line: block.place.line, last_line: block.last_line, what });
    }
    pieces
}

fn own_blocks(document: &Document, section: usize) -> impl Iterator<Item = (usize, &Block)> {
    let from = document.blocks.partition_point(|block| block.section < section);
    let to = document.blocks.partition_point(|block| block.section <= section);
    let to =
        if section == ROOT { document.blocks.partition_point(|block| block.section == ROOT) } else { to };
    document.blocks.iter().enumerate().take(to).skip(from)
}

/// What a fence is: shell text, data, or something else.
pub(super) fn code_of<'a>(facts: &'a Facts<'_>, number: usize, code: &'a Code) -> What<'a> {
    if let Some(snippet) = snippet(facts, number) {
        return What::Shell(snippet);
    }
    let is_data = match code.language.as_str() {
        "yaml" | "yml" | "text" | "txt" | "plaintext" => is_mostly_data(code, 2),
        "" => is_mostly_data(code, 3),
        _ => false,
    };
    if is_data { What::Entries(data(code)) } else { What::Code(code) }
}

/// The commands in the running text of a block.
pub(super) fn inline<'a>(facts: &'a Facts<'_>, block: usize) -> Vec<&'a Snippet> {
    let at = facts.snippets.partition_point(|snippet| snippet.block < block);
    let of_block = facts.snippets[at..].iter().take_while(|snippet| snippet.block == block);
    of_block.filter(|snippet| snippet.inline).collect()
}

pub(super) fn snippet<'a>(facts: &'a Facts<'_>, block: usize) -> Option<&'a Snippet> {
    let at = facts.snippets.partition_point(|snippet| snippet.block < block);
    facts.snippets[at..].iter().take_while(|snippet| snippet.block == block).find(|snippet| !snippet.inline)
}

/// Whether lines say `key: value` or are items of a list: more than one in `share` of them, and no manifest.
fn is_mostly_data(code: &Code, share: usize) -> bool {
    let lines = code
        .lines
        .iter()
        .map(|line| line.text.trim())
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut all, mut keyed, mut odd) = (0, 0, false);
    for line in lines {
        all += 1;
        odd |= line.starts_with("apiVersion:") || line.starts_with("Subject:") || line.starts_with('{');
        let entry = unmarked(line).0;
        let starts = entry.starts_with(char::is_alphanumeric);
        let colon = entry.find(": ").or_else(|| entry.strip_suffix(':').map(str::len));
        if starts && (colon.is_some_and(|at| at < 60) || entry.len() < line.len()) {
            keyed += 1;
        }
    }
    !odd && all > 0 && (if share == 2 { keyed * 2 >= all } else { keyed * 4 >= all * 3 })
}

/// A line without its dash or number, and the number.
fn unmarked(line: &str) -> (&str, Option<u64>, bool) {
    if let Some(rest) = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")) {
        return (rest.trim_start_matches("[ ] ").trim_start_matches("[x] "), None, true);
    }
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest =
        line.get(digits..).and_then(|rest| rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")));
    match rest.filter(|_| (1..=3).contains(&digits)) {
        Some(rest) => (rest.trim_start(), line[..digits].parse().ok(), true),
        None => (line, None, false),
    }
}

/// The lines of a fence of data, by their indentation.
fn data(code: &Code) -> Vec<Entry<'_>> {
    // Each open entry with its indentation and whether it was marked as an item.
    let mut open: Vec<(usize, bool, Entry<'_>)> = Vec::new();
    let mut done: Vec<Entry<'_>> = Vec::new();
    let mut comment: Option<(String, u32)> = None;
    for line in &code.lines {
        let trimmed = line.text.trim();
        let indent = line.text.len() - line.text.trim_start().len();
        if trimmed.is_empty() {
            comment = None;
            continue;
        }
        if let Some(words) = trimmed.strip_prefix('#') {
            comment = Some((words.trim_start_matches('#').trim().to_owned(), line.line));
            continue;
        }
        let (words, number, marked) = unmarked(trimmed);
        let skipped = line.text.chars().count() - line.text.trim_start().chars().count()
            + (trimmed.chars().count() - words.chars().count());
        let mut text = Text::default();
        text.push_plain(words, line.line, line.column + u32::try_from(skipped).unwrap_or(0));
        let (key, value) = split(&text);
        let entry = Entry {
            line: line.line,
            last_line: line.line,
            key,
            value,
            number,
            comment: comment.clone(),
            is_data: true,
            ..Entry::default()
        };
        // An item at the depth of its key stands below it, as YAML has it.
        let closes = |(depth, was_marked, _): &(usize, bool, Entry<'_>)| {
            *depth > indent || *depth == indent && (*was_marked || !marked)
        };
        while open.last().is_some_and(closes) || open.len() >= MAX_DEPTH {
            close(&mut open, &mut done);
        }
        // Only what says nothing itself has something below at its own depth.
        if open.last().is_some_and(|(depth, _, parent)| *depth == indent && !parent.value.is_empty()) {
            close(&mut open, &mut done);
        }
        open.push((indent, marked, entry));
    }
    while !open.is_empty() {
        close(&mut open, &mut done);
    }
    done
}

fn close<'a>(open: &mut Vec<(usize, bool, Entry<'a>)>, done: &mut Vec<Entry<'a>>) {
    let Some((_, _, entry)) = open.pop() else { return };
    match open.last_mut() {
        Some((_, _, parent)) => {
            parent.last_line = parent.last_line.max(entry.last_line);
            parent.below.push(entry);
        }
        None => done.push(entry),
    }
}

/// `**Incident manager** – Dana Reyes`: bold words, a dash, and what is said of them.
fn dashed(text: &Text) -> Option<(Option<Text>, Text)> {
    let (from, to) = text.strong().next().filter(|(from, _)| *from == 0)?;
    let rest = text.plain().get(to..)?;
    let sign = rest.trim_start().chars().next().filter(|c| matches!(c, '-' | '–' | '—'))?;
    let at = to + rest.find(sign)? + sign.len_utf8();
    let spaced = text.plain()[at..].starts_with(' ');
    spaced.then(|| (Some(text.part(from, to)), text.part(at, text.plain().len())))
}

/// An item of a list with all that is inside it.
fn entry<'a>(blocks: &[(usize, &'a Block)], number: usize, block: &'a Block, depth: usize) -> Entry<'a> {
    let Kind::Item(item) = &block.kind else { return Entry::default() };
    let first = item.text.lines().into_iter().next().unwrap_or_default();
    let (key, mut value) = dashed(&first).unwrap_or_else(|| split(&first));
    if key.is_none() {
        value = item.text.clone();
    } else if item.text.plain().contains('\n') {
        let whole = item.text.plain();
        let from =
            if value.is_empty() { first.plain().len() } else { whole.find(value.plain()).unwrap_or(0) };
        value = item.text.part(from, whole.len());
    }
    let mut entry = Entry {
        line: block.place.line,
        last_line: block.last_line.max(block.place.line),
        key,
        value,
        number: item.number,
        block: number,
        ..Entry::default()
    };
    // Blocks stand in order: those inside follow.
    let at = blocks.partition_point(|(other, _)| *other <= number);
    for (other, inner) in
        blocks[at..].iter().take_while(|(_, inner)| inner.item.is_some_and(|item| item >= number))
    {
        if inner.item != Some(number) {
            continue;
        }
        entry.last_line = entry.last_line.max(inner.last_line);
        match &inner.kind {
            Kind::Item(_) if depth < MAX_DEPTH => {
                let below = self::entry(blocks, *other, inner, depth + 1);
                entry.last_line = entry.last_line.max(below.last_line);
                entry.below.push(below);
            }
            Kind::Item(_) => {}
            _ => entry.inside.push((*other, inner)),
        }
    }
    entry
}
