//! The pieces of a rendered plan's Markdown: headings, facts, tables, fences, quotations.
//!
//! # Invariants
//! - **L1 exact.** What stands in a fence is given as it stands.
//! - **L2 no line is lost.** Each line is in a piece, blank, or a comment.
//!
//! Deliberately absent: Markdown at large; what `plan render` does not write is a paragraph.

use crate::rendering::inline;

/// A piece and its lines, from 1.
#[derive(Debug)]
pub(super) struct Piece {
    pub line: u32,
    pub last_line: u32,
    pub what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Heading(usize, String),
    /// `- **Title:** rest`
    Fact(String, String),
    /// `**Title:** rest`
    Label(String, String),
    Item(String),
    Tick(String),
    Table(Vec<String>, Vec<(u32, Vec<String>)>),
    Fence(String, String),
    Quotation(Vec<String>),
    Paragraph(Vec<String>),
    /// A sentence about what follows.
    Hint,
}

/// The pieces of a text.
pub(super) fn pieces(source: &str) -> Vec<Piece> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    // A file that an editor has written with other ends of lines.
    let carriage = source.split('\n').next().is_some_and(|line| line.ends_with('\r'));
    let plain = |line| if carriage { str::strip_suffix(line, '\r').unwrap_or(line) } else { line };
    let mut lines: Vec<&str> = source.split('\n').map(plain).collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (what, count) = piece(&lines[at..]);
        if let Some(what) = what {
            let number = |at: usize| u32::try_from(at + 1).unwrap_or(u32::MAX);
            pieces.push(Piece { line: number(at), last_line: number(at + count - 1), what });
        }
        at += count;
    }
    // Rows know their place in the table only.
    for piece in &mut pieces {
        if let What::Table(_, rows) = &mut piece.what {
            rows.iter_mut().for_each(|(line, _)| *line += piece.line);
        }
    }
    pieces
}

/// The piece that lines begin with, and how many they are.
fn piece(lines: &[&str]) -> (Option<What>, usize) {
    let line = lines[0];
    let text = line.trim();
    if text.is_empty() || is_rule(text) {
        return (None, 1);
    }
    if let Some((ticks, kind)) = opens(line) {
        let is_end = |line: &&str| {
            let end = line.trim();
            end.len() >= ticks.len() && end.bytes().all(|byte| byte == ticks.as_bytes()[0])
        };
        let end = lines[1..].iter().position(is_end);
        let text = lines[1..].iter().take(end.unwrap_or(usize::MAX)).copied().collect::<Vec<_>>().join("\n");
        return (Some(What::Fence(kind.to_owned(), text)), end.map_or(lines.len(), |end| end + 2));
    }
    if let Some(level) = heading(line) {
        return (Some(What::Heading(level, line[level..].trim().to_owned())), 1);
    }
    if text.starts_with("<!--") {
        let end = lines.iter().position(|line| line.contains("-->"));
        return (None, end.map_or(lines.len(), |end| end + 1));
    }
    if text.starts_with("<sub>") && text.ends_with("</sub>") {
        return (Some(What::Hint), 1);
    }
    if text.starts_with('|') && lines.get(1).is_some_and(|next| is_delimiter(next)) {
        let count = lines.iter().take_while(|line| line.trim().starts_with('|')).count();
        let rows = lines[2..count].iter().enumerate();
        let rows = rows.map(|(at, line)| (u32::try_from(at + 2).unwrap_or(u32::MAX), cells(line)));
        return (Some(What::Table(cells(line), rows.collect())), count);
    }
    if text.starts_with('>') {
        let count = lines.iter().take_while(|line| line.trim_start().starts_with('>')).count();
        let inner = |line: &&str| {
            let rest = line.trim_start().strip_prefix('>').unwrap_or_default();
            rest.strip_prefix(' ').unwrap_or(rest).to_owned()
        };
        return (Some(What::Quotation(lines[..count].iter().map(inner).collect())), count);
    }
    if let Some(item) = item(line) {
        let count = 1 + lines[1..].iter().take_while(|line| goes_on(line)).count();
        let parts = std::iter::once(item).chain(lines[1..count].iter().map(|line| line.trim()));
        let whole = parts.collect::<Vec<_>>().join(" ");
        let what = match (tick(&whole), titled(&whole)) {
            (Some(text), _) => What::Tick(text.to_owned()),
            (None, Some((title, rest))) => What::Fact(title, rest),
            (None, None) => What::Item(whole),
        };
        return (Some(what), count);
    }
    if let Some((title, rest)) = titled(text) {
        return (Some(What::Label(title, rest)), 1);
    }
    let ends = |line: &&&str| !line.trim().is_empty() && !begins(line);
    let count = 1 + lines[1..].iter().take_while(ends).count();
    (Some(What::Paragraph(lines[..count].iter().map(|line| line.trim_start().to_owned()).collect())), count)
}

/// Whether a line begins a piece, also right behind a paragraph.
fn begins(line: &str) -> bool {
    let text = line.trim();
    opens(line).is_some()
        || heading(line).is_some()
        || item(line).is_some()
        || text.starts_with(['>', '|'])
        || text.starts_with("<!--")
        || titled(text).is_some()
}

/// The signs of a fence that a line opens, and its kind.
fn opens(line: &str) -> Option<(&str, &str)> {
    let text = line.trim();
    let sign = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = text.bytes().take_while(|byte| *byte == sign as u8).count();
    (length >= 3 && !text[length..].contains('`')).then(|| (&text[..length], text[length..].trim()))
}

fn heading(line: &str) -> Option<usize> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    ((1..=6).contains(&level) && line[level..].starts_with([' ', '\t'])).then_some(level)
}

fn is_rule(text: &str) -> bool {
    text.len() >= 3
        && ["-", "*", "_"].iter().any(|sign| text.replace([' ', '\t'], "").replace(sign, "").is_empty())
}

fn is_delimiter(line: &str) -> bool {
    let line = line.trim();
    line.starts_with('|')
        && line.contains('-')
        && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' ' | '\t'))
}

/// The cells of a row, a sign that would end one taken for itself.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_prefix('|').unwrap_or(line);
    let mut cells = vec![String::new()];
    let mut before = ' ';
    for c in line.chars() {
        match cells.last_mut() {
            Some(cell) if c == '|' && before == '\\' => {
                cell.pop();
                cell.push(c);
            }
            Some(_) if c == '|' => cells.push(String::new()),
            Some(cell) => cell.push(c),
            None => {}
        }
        before = c;
    }
    // What stands behind the last sign is nothing, where the row ends with one.
    if cells.last().is_some_and(|cell| cell.trim().is_empty()) {
        cells.pop();
    }
    cells.into_iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The text of an item of a list.
fn item(line: &str) -> Option<&str> {
    let text = line.trim_start();
    let rest = text.strip_prefix(['-', '*', '+']).or_else(|| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        if (1..=9).contains(&digits) { text[digits..].strip_prefix(['.', ')']) } else { None }
    })?;
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| rest.trim())
}

/// Whether a line goes on with the item before it.
fn goes_on(line: &str) -> bool {
    line.starts_with("  ") && !line.trim().is_empty() && !begins(line)
}

fn tick(text: &str) -> Option<&str> {
    ["[ ]", "[x]", "[X]"].iter().find_map(|lead| Some(text.strip_prefix(lead)?.strip_prefix(' ')?.trim()))
}

/// A title in bold with a colon, and what stands behind it.
fn titled(text: &str) -> Option<(String, String)> {
    let inner = text.strip_prefix("**")?;
    let (title, rest) = inner.split_once("**")?;
    let (title, rest) = match title.strip_suffix(':') {
        Some(title) => (title, rest),
        None => (title, rest.strip_prefix(':')?),
    };
    (!title.is_empty()).then(|| (title.trim().to_owned(), rest.trim().to_owned()))
}

/// The texts of a cell or a line that has several.
pub(super) fn texts(source: &str) -> Vec<String> {
    let pieces = inline::split(source, inline::BREAK);
    let text = |piece: &str| {
        inline::read(piece.strip_prefix(inline::BULLET.trim_end()).map_or(piece, str::trim_start))
    };
    pieces.into_iter().filter(|piece| !piece.is_empty()).map(text).collect()
}
