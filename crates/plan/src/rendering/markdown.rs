//! A plan's pieces as Markdown, which [`crate::import`] reads back.
//!
//! # Invariants
//! - **M1 exact.** Each value is written so that the reader gives it back; a quotation that would not becomes a fence,
//!   a fence with what cannot be shown a JSON string.

use super::blocks::{Block, Bullets, Said};
use super::fields::{DRAWN, OBJECTIVES};
use super::{FORMAT, inline};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The pieces of a plan as Markdown.
pub(crate) fn print(blocks: &[Block]) -> String {
    let mut out = String::new();
    let mut was_bullet = false;
    for (at, block) in blocks.iter().enumerate() {
        let is_bullet = matches!(block, Block::Fact { .. })
            || matches!(block, Block::List { bullets, .. } if *bullets != Bullets::Ticks);
        if at > 0 && !(is_bullet && was_bullet) {
            out.push('\n');
        }
        was_bullet = is_bullet;
        piece(&mut out, block, blocks);
        if at == 0 {
            _ = write!(
                out,
                "\n<!-- lifeboat-plan {FORMAT}: written by `lifeboat plan render`; `lifeboat plan import` reads it back, with what is \
                 changed in it. The contents and what is drawn are not read. -->\n"
            );
        }
    }
    out
}

fn piece(out: &mut String, block: &Block, blocks: &[Block]) {
    match block {
        Block::Heading { level, .. } => {
            _ = writeln!(out, "{} {}", "#".repeat(usize::from(*level)), heading(block));
        }
        Block::Prose(text) => prose(out, text),
        Block::Words { kind, text } => fence(out, kind, text),
        Block::Fact { title, value } => _ = writeln!(out, "- **{title}:** {}", said(value)),
        Block::Long { title, text } => {
            _ = write!(out, "**{title}:**\n\n");
            quotation(out, text);
        }
        Block::List { title, items, bullets } => list(out, *title, items, *bullets),
        Block::Fence { title, kind, text } => {
            _ = write!(out, "**{title}:**\n\n");
            fence(out, kind, text);
        }
        Block::Action { title, name, arguments } => {
            _ = write!(out, "**{title}:** {}\n\n", inline::mark(name));
            fence(out, "json", arguments);
        }
        Block::Table { title, columns, rows } => {
            if let Some(title) = title {
                _ = write!(out, "**{title}:**\n\n");
            }
            let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
            table(out, &columns, rows.iter().map(|row| row.iter().map(said).collect()));
        }
        Block::Hint(text) => _ = writeln!(out, "<sub>{text}</sub>"),
        Block::Contents(entries) => {
            let mut anchors = Anchors::default();
            let anchors: Vec<String> = blocks
                .iter()
                .map(|block| match block {
                    Block::Heading { .. } => anchors.of(&heading(block)),
                    _ => String::new(),
                })
                .collect();
            for entry in entries {
                let indent = "  ".repeat(usize::from(entry.depth));
                let text = heading(&blocks[entry.heading]);
                _ = writeln!(out, "{indent}- [{}](#{})", text.replace(']', "\\]"), anchors[entry.heading]);
            }
        }
        Block::Picture(picture) => {
            fence(out, DRAWN[0], &picture.mermaid());
            out.push('\n');
            let mut rows = Vec::new();
            for (wave, places) in picture.waves().iter().enumerate() {
                for at in places {
                    let names =
                        |names: Vec<&str>| names.into_iter().map(inline::mark).collect::<Vec<_>>().join(", ");
                    let name = names(vec![&picture.nodes[*at].name]);
                    rows.push(vec![(wave + 1).to_string(), name, names(picture.needs(*at))]);
                }
            }
            let columns = ["Comes back", "Service", "After"].map(str::to_owned);
            table(out, &columns, rows.into_iter());
        }
        Block::Times(times) => fence(out, DRAWN[1], &times.lines().join("\n")),
    }
}

/// The text of a heading.
pub(crate) fn heading(block: &Block) -> String {
    let Block::Heading { lead, title, label, .. } = block else { return String::new() };
    let name = name(title.as_deref(), label.as_deref());
    match (lead.is_empty(), name.is_empty()) {
        (true, _) => name,
        (false, true) => lead.clone(),
        (false, false) => format!("{lead}: {name}"),
    }
}

/// What people call something, and its label in brackets.
fn name(title: Option<&str>, label: Option<&str>) -> String {
    let whole = |title: &str| match label {
        Some(label) => format!("{title} ({})", inline::mark(label)),
        None => title.to_owned(),
    };
    match (title, label) {
        (None, None) => String::new(),
        (None, Some(label)) => inline::mark(label),
        (Some(title), _) => {
            let written = whole(&inline::text(title));
            // What looks like a label behind a title, or all by itself, is none.
            let read = read_name(&written, true);
            if read == (Some(title.to_owned()), label.map(str::to_owned)) {
                written
            } else {
                whole(&format!("`{}`", inline::json(title)))
            }
        }
    }
}

/// The title and the label that a heading or a cell names.
pub(crate) fn read_name(source: &str, has_label: bool) -> (Option<String>, Option<String>) {
    let is_label = |text: &str| {
        let inner = text.strip_prefix('`')?.strip_suffix('`')?;
        (!inner.is_empty() && !inner.contains(['`', '"'])).then(|| inner.to_owned())
    };
    if !has_label {
        return ((!source.is_empty()).then(|| inline::read(source)), None);
    }
    if let Some(label) = is_label(source) {
        return (None, Some(label));
    }
    let behind = source.strip_suffix(')').and_then(|rest| rest.rsplit_once(" ("));
    match behind.and_then(|(title, label)| Some((title, is_label(label)?))) {
        Some((title, label)) => (Some(inline::read(title.trim())), Some(label)),
        None => ((!source.is_empty()).then(|| inline::read(source)), None),
    }
}

fn prose(out: &mut String, text: &str) {
    if text.contains('\n') { quotation(out, text) } else { _ = writeln!(out, "{}", inline::line(text)) }
}

/// A text of several lines as a quotation; what would not come back from one as a fence.
fn quotation(out: &mut String, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let mut written = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let next = lines.get(at + 1);
        let breaks =
            next.is_some_and(|next| !line.is_empty() && !next.is_empty() && !is_item(line) && !is_item(next));
        let text = if line.is_empty() {
            String::new()
        } else if is_item(line) {
            inline::text(line)
        } else {
            inline::line(line)
        };
        written.push(if breaks { format!("{text}\\") } else { text });
    }
    let exact = lines.iter().all(|line| !line.starts_with(char::is_whitespace))
        && read_quotation(&written.iter().map(String::as_str).collect::<Vec<_>>()) == text;
    if !exact {
        return fence(out, "text", text);
    }
    for line in written {
        _ = writeln!(out, "{}", format!("> {line}").trim_end());
    }
}

/// Whether a line of prose begins an item of a list.
fn is_item(line: &str) -> bool {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    line.starts_with("- ")
        || digits > 0 && digits < 4 && line[digits..].starts_with(". ") && line.len() > digits + 2
}

/// The text of a quotation, whose lines are given without their sign.
pub(crate) fn read_quotation(lines: &[&str]) -> String {
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        let line = line.trim_end_matches('\r');
        let stops = line.ends_with('\\') && (line.len() - line.trim_end_matches('\\').len()) % 2 == 1;
        out.push_str(&inline::read(if stops { &line[..line.len() - 1] } else { line }));
        let Some(next) = lines.get(at + 1) else { break };
        // A line that goes on in the next one was broken by somebody's editor.
        let goes_on = !stops && !line.is_empty() && !next.is_empty() && !is_item(line) && !is_item(next);
        out.push(if goes_on { ' ' } else { '\n' });
    }
    out
}

fn list(out: &mut String, title: Option<&str>, items: &[String], bullets: Bullets) {
    if let Some(title) = title {
        _ = writeln!(out, "- **{title}:**");
    }
    for (at, item) in items.iter().enumerate() {
        let item = inline::line(item);
        _ = match bullets {
            Bullets::Plain => writeln!(out, "  - {item}"),
            Bullets::Numbers => writeln!(out, "  {}. {item}", at + 1),
            Bullets::Ticks => writeln!(out, "- [ ] {item}"),
        };
    }
}

/// M1: what cannot be shown stands as a JSON string.
fn fence(out: &mut String, kind: &str, text: &str) {
    let (kind, text) = if inline::is_printable(text) {
        (kind, text.to_owned())
    } else {
        (super::QUOTED, inline::json(text))
    };
    let mut longest = 2;
    for run in text.split(|c| c != '`') {
        longest = longest.max(run.len());
    }
    let ticks = "`".repeat(longest + 1);
    _ = write!(out, "{ticks}{kind}\n{text}\n{ticks}\n");
}

fn table(out: &mut String, columns: &[String], rows: impl Iterator<Item = Vec<String>>) {
    _ = writeln!(out, "| {} |", columns.join(" | "));
    _ = writeln!(out, "|{}", "---|".repeat(columns.len()));
    for row in rows {
        for cell in row {
            let cell = cell.replace('|', "\\|");
            out.push_str(if cell.is_empty() { "|" } else { "| " });
            out.push_str(&cell);
            out.push(' ');
        }
        out.push_str("|\n");
    }
}

fn said(value: &Said) -> String {
    match value {
        Said::Nothing => String::new(),
        Said::Text(text) => inline::text(text),
        Said::Mark(text) | Said::Ref(_, text) => inline::mark(text),
        Said::Marks(_, texts) if texts.is_empty() => inline::NOTHING.to_owned(),
        Said::Marks(_, texts) => texts.iter().map(|text| inline::mark(text)).collect::<Vec<_>>().join(", "),
        Said::Texts(texts) => match &texts[..] {
            [text] => inline::text(text),
            texts => {
                let items = texts.iter().map(|text| format!("{}{}", inline::BULLET, inline::text(text)));
                items.collect::<Vec<_>>().join(inline::BREAK)
            }
        },
        Said::Name(title, label) => name(title.as_deref(), label.as_deref()),
        Said::Objective(time, words, inherited) => {
            let words = words.as_ref().map(|words| {
                let text = inline::text(words);
                if text.starts_with('`') { text } else { format!("“{text}”") }
            });
            let both = time.iter().chain(&words).map(String::as_str).collect::<Vec<_>>().join(" ");
            if *inherited { format!("*{both}*") } else { both }
        }
    }
}

/// The time and the words of an objective; nothing of one that is stated elsewhere.
pub(crate) fn read_objective(source: &str) -> (Option<String>, Option<String>) {
    let is_inherited = source.len() > 1 && source.starts_with('*') && source.ends_with('*')
        || source.len() > 1 && source.starts_with('_') && source.ends_with('_');
    if source.is_empty() || is_inherited {
        return (None, None);
    }
    let begins = |text: &str| text.starts_with(['“', '`', '"']);
    let (time, words) = match source.split_once(' ') {
        Some((time, words)) if !begins(source) && begins(words.trim()) => {
            (Some(time.to_owned()), words.trim())
        }
        // Words without quotes, as a person writes them, are words.
        _ if begins(source) => (None, source),
        _ if source.parse::<crate::values::Interval>().is_ok() => return (Some(source.to_owned()), None),
        _ => (None, source),
    };
    let inner = words.strip_prefix(['“', '"']).and_then(|words| words.strip_suffix(['”', '"']));
    (time, Some(inline::read(inner.unwrap_or(words))))
}

/// Anchors as viewers of Markdown make them of headings.
#[derive(Default)]
struct Anchors {
    seen: BTreeMap<String, usize>,
}

impl Anchors {
    fn of(&mut self, heading: &str) -> String {
        let kept = |c: char| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        };
        let anchor: String = heading.to_lowercase().chars().filter_map(kept).collect();
        let count = self.seen.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    }
}

/// Whether a heading of the second level is of something that is drawn from the rest.
pub(crate) fn is_drawn(title: &str) -> bool {
    [super::fields::CONTENTS, super::fields::DEPENDENCIES].contains(&title) && title != OBJECTIVES
}
