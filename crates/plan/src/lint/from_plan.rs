//! A plan's runbooks as a document, so that the rules that read documents read plans.
//!
//! A runbook is a section, whose title is its name, its own title and those of the scenarios that lead to it; a step is a
//! numbered item, its commands a fence. The lines are those of the plan's text, and so are all places.
//!
//! # Invariants
//! - **F1 in the source.** Every place is one of the plan's text, at the command's own line where it stands as a block.
//!
//! Deliberately absent: what a plan says in fields of its own (objectives, people, calendar); `plans` looks at those.

use crate::document::{Block, Code, CodeLine, Document, Item, Kind, MAX_BLOCKS, ROOT, Section, Text};
use crate::yaml::{Node, Value};

/// A runbook is a heading of this level.
const LEVEL: u8 = 3;

/// The document that a plan's runbooks make, and the section of each by its name.
pub(super) fn document(source: &str, root: &Node) -> (Document, Vec<(String, usize)>) {
    let lines: Vec<String> = source.lines().map(str::to_owned).collect();
    let end = number(lines.len());
    let mut whole = Section::new(Text::default(), 0, None);
    whole.last_line = end;
    let mut document = Document {
        sections: vec![whole],
        blocks: Vec::new(),
        links: Vec::new(),
        comments: Vec::new(),
        cut: None,
        lines,
    };
    let mut named = Vec::new();
    let runbooks = root.get("runbooks").map_or(&[][..], entries);
    // A runbook ends where the next one begins, the last one where the plan's next key does.
    let behind = entries(root)
        .iter()
        .map(|(key, _)| key.mark.line)
        .filter(|line| runbooks.last().is_some_and(|(last, _)| *line > last.mark.line));
    let behind = behind.min().map_or(end, |line| line.saturating_sub(1));
    for (at, (key, runbook)) in runbooks.iter().enumerate() {
        let name = key.text().unwrap_or_default();
        let last_line = runbooks.get(at + 1).map_or(behind, |(next, _)| next.mark.line.saturating_sub(1));
        let section = document.sections.len();
        let mut of_runbook = Section::new(title(root, key, name, runbook), LEVEL, Some(ROOT));
        of_runbook.end = section + 1;
        of_runbook.last_line = last_line.max(key.mark.line);
        document.sections.push(of_runbook);
        named.push((name.to_owned(), section));
        let steps = runbook.get("steps").map_or(&[][..], items);
        for (number, step) in (1..).zip(steps) {
            if document.blocks.len() + 4 > MAX_BLOCKS {
                break;
            }
            add_step(&mut document, section, number, step);
        }
    }
    document.sections[ROOT].end = document.sections.len();
    (document, named)
}

fn entries(node: &Node) -> &[(Node, Node)] {
    match &node.value {
        Value::Map(entries) => entries,
        Value::List(_) | Value::Scalar { .. } => &[],
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Map(_) | Value::Scalar { .. } => &[],
    }
}

/// What a runbook is about, a line each; only the first is shown.
fn title(root: &Node, key: &Node, name: &str, runbook: &Node) -> Text {
    let mut title = Text::default();
    let (line, column) = (key.mark.line, key.mark.column);
    title.push_plain(name, line, column);
    let mut add = |words: &str| {
        if !words.trim().is_empty() {
            title.push_plain(&format!("\n{words}"), line, column);
        }
    };
    add(&name.replace('-', " "));
    add(runbook.get("title").and_then(Node::text).unwrap_or_default());
    let scenarios = root.get("scenarios").map_or(&[][..], items);
    let leading = |scenario: &&Node| scenario.get("runbook").and_then(Node::text) == Some(name);
    for scenario in scenarios.iter().filter(leading) {
        for key in ["title", "name"] {
            add(&scenario.get(key).and_then(Node::text).unwrap_or_default().replace('-', " "));
        }
    }
    title
}

fn add_step(document: &mut Document, section: usize, number: u64, step: &Node) {
    let item = document.blocks.len();
    let told = step.get("manual").or_else(|| step.get("name"));
    let mut text = Text::default();
    for (words, line, column) in told.map_or_else(Vec::new, |told| placed(told, &document.lines)) {
        text.push_plain(&format!("{words}\n"), line, column);
    }
    let kind = Kind::Item(Item { text, depth: 0, list: section, number: Some(number), done: None });
    let add = |document: &mut Document, item, node: &Node, kind| {
        let place = crate::document::Place::new(node.mark.line, node.mark.column, node.mark.length);
        document.blocks.push(Block { section, item, place, last_line: place.line, kind });
    };
    add(document, None, step, kind);
    for (key, language) in [("shell", "sh"), ("check", "sh"), ("sql", "sql")] {
        let Some(node) = step.get(key).map(|node| node.get("run").unwrap_or(node)) else { continue };
        let lines = placed(node, &document.lines).into_iter();
        let lines: Vec<CodeLine> =
            lines.map(|(text, line, column)| CodeLine { line, column, text }).collect();
        if !lines.is_empty() {
            add(document, Some(item), node, Kind::Code(Code { language: language.to_owned(), lines }));
        }
    }
}

/// The lines of a text and where each stands. Of a text whose lines YAML has folded, all stand where it begins.
fn placed(node: &Node, lines: &[String]) -> Vec<(String, u32, u32)> {
    let Some(text) = node.text() else { return Vec::new() };
    let begins = |line: u32| lines.get(line.saturating_sub(1) as usize).map_or("", String::as_str);
    let here = begins(node.mark.line);
    let first = here.chars().nth(node.mark.column.saturating_sub(1) as usize);
    let text = text.trim_end_matches('\n');
    match first {
        Some('|') => {
            let body = (node.mark.line + 1..).take(lines.len()).map(begins);
            let indent = body
                .clone()
                .find(|line| !line.trim().is_empty())
                .map_or(0, |line| line.chars().take_while(|c| *c == ' ').count());
            let column = number(indent + 1);
            (node.mark.line + 1..)
                .zip(text.split('\n'))
                .map(|(line, text)| (text.to_owned(), line, column))
                .collect()
        }
        Some('"' | '\'') => {
            text.split('\n').map(|text| (text.to_owned(), node.mark.line, node.mark.column + 1)).collect()
        }
        _ => text.split('\n').map(|text| (text.to_owned(), node.mark.line, node.mark.column)).collect(),
    }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
