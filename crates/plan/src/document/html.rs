//! Tables that are written as HTML, as wikis export them and as Markdown has no other way for cells of several lines.
//!
//! Deliberately absent: any other HTML, and cells that span rows or columns.

use super::Text;

/// What a piece of HTML holds of a table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Whether a table begins here.
    pub begins: bool,
    /// The rows.
    pub rows: Vec<Vec<Text>>,
}

/// The rows that stand in a piece of HTML; `at` tells line and column of a byte of it.
pub(super) fn rows(html: &str, mut at: impl FnMut(usize) -> (u32, u32)) -> Rows {
    let mut found = Rows::default();
    let mut row: Vec<Text> = Vec::new();
    let mut cell: Option<Text> = None;
    let mut code = false;
    let mut from = 0;
    while let Some(open) = html[from..].find('<').map(|skip| from + skip) {
        if let Some(cell) = &mut cell {
            words(cell, &html[from..open], from, code, &mut at);
        }
        let Some(tag) = tag(&html[open..]) else { break };
        from = open + tag.length;
        match (tag.name.as_str(), tag.closes) {
            ("table", false) => found.begins = true,
            ("tr", _) | ("table", true) => {
                row.extend(cell.take());
                if !row.is_empty() {
                    found.rows.push(std::mem::take(&mut row));
                }
            }
            ("td" | "th", false) => {
                row.extend(cell.take());
                cell = Some(Text::default());
            }
            ("td" | "th", true) => row.extend(cell.take()),
            ("code", closes) => code = !closes,
            ("br" | "li" | "p", _) => {
                if let Some(cell) = cell.as_mut().filter(|cell| !cell.is_empty()) {
                    let (line, column) = at(open);
                    cell.push("\n", line, column, false, false);
                }
            }
            _ => {}
        }
    }
    row.extend(cell);
    if !row.is_empty() {
        found.rows.push(row);
    }
    found
}

/// Whether a piece of HTML says something: more than tags, and more than what folds something away is called.
pub(crate) fn says_something(html: &str) -> bool {
    let mut from = 0;
    let mut folded = false;
    while let Some(open) = html[from..].find('<').map(|skip| from + skip) {
        if !folded && !html[from..open].trim().is_empty() {
            return true;
        }
        let Some(tag) = tag(&html[open..]) else { return true };
        if tag.name == "summary" {
            folded = !tag.closes;
        }
        from = open + tag.length;
    }
    !html[from..].trim().is_empty()
}

struct Tag {
    name: String,
    closes: bool,
    length: usize,
}

/// The tag, or the comment, that a text begins with.
fn tag(text: &str) -> Option<Tag> {
    if text.starts_with("<!--") {
        let length = text.find("-->")? + 3;
        return Some(Tag { name: String::new(), closes: false, length });
    }
    let length = text.find('>')? + 1;
    let inner = &text[1..length - 1];
    let closes = inner.starts_with('/');
    let name = inner.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric);
    Some(Tag { name: name.collect::<String>().to_ascii_lowercase(), closes, length })
}

/// Adds the words of a stretch, a blank where lines end.
fn words(cell: &mut Text, stretch: &str, from: usize, code: bool, at: &mut impl FnMut(usize) -> (u32, u32)) {
    let mut start = from;
    for line in stretch.split_inclusive('\n') {
        let words = line.trim();
        if !words.is_empty() {
            let (number, column) = at(start + (line.len() - line.trim_start().len()));
            let blank = line.starts_with(char::is_whitespace) && !cell.is_empty();
            if blank && !cell.plain().ends_with(char::is_whitespace) {
                cell.push(" ", number, column, false, false);
            }
            cell.push(&decoded(words), number, column, false, code);
            if line.ends_with(' ') {
                cell.push(" ", number, column, false, false);
            }
        }
        start += line.len();
    }
}

fn decoded(words: &str) -> String {
    if !words.contains('&') {
        return words.to_owned();
    }
    let named = [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&ndash;", "–"),
        ("&mdash;", "—"),
        ("&le;", "≤"),
        ("&ge;", "≥"),
        ("&amp;", "&"),
    ];
    named.iter().fold(words.to_owned(), |words, (name, character)| words.replace(name, character))
}
