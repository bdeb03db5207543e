//! Texts on one line of Markdown: written so that they are shown as they are, and read back as they were.
//!
//! # Invariants
//! - **I1 exact.** What is read of what was written is the text that was given. Where the usual way would not do
//!   (blanks at an end, control characters), the text stands as a JSON string in a code span.
//! - **I2 no markup.** A text shows as itself: no emphasis, link, image or HTML comes of it, but code spans stay.

use serde_json::Value;

/// Between the lines of one text, and between the texts of one cell.
pub(crate) const BREAK: &str = "<br>";
/// Before each of several texts of one cell.
pub(crate) const BULLET: &str = "• ";
/// A list of nothing, which says something else than no list.
pub(crate) const NOTHING: &str = "—";

/// A text on one line.
pub(crate) fn text(text: &str) -> String {
    let escaped = escape(text);
    let exact = is_printable(text)
        && !escaped.is_empty()
        && escaped.trim() == escaped
        && !escaped.starts_with(BULLET.trim_end())
        && read(&escaped) == text;
    if exact { escaped } else { quoted(text) }
}

/// A text at the beginning of a line, where some signs would begin a list or a heading.
pub(crate) fn line(of: &str) -> String {
    let text = text(of);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let at = match text.as_bytes().first() {
        Some(b'#' | b'>' | b'-' | b'+' | b'=' | b'|' | b':') => Some(0),
        Some(b'0'..=b'9') if matches!(text.as_bytes().get(digits), Some(b'.' | b')')) => Some(digits),
        _ => None,
    };
    at.map_or_else(|| text.clone(), |at| format!("{}\\{}", &text[..at], &text[at..]))
}

/// What a line of Markdown says.
pub(crate) fn read(source: &str) -> String {
    if let Some(text) = unquoted(source) {
        return text;
    }
    let mut out = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' => match rest[1..].chars().next() {
                Some(next) if next.is_ascii_punctuation() => {
                    out.push(next);
                    2
                }
                _ => {
                    out.push(c);
                    1
                }
            },
            '`' => {
                let length = span(rest).unwrap_or_else(|| ticks(rest));
                out.push_str(&rest[..length]);
                length
            }
            '<' if rest.starts_with(BREAK) => {
                out.push('\n');
                BREAK.len()
            }
            _ => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// A text for a machine, as a code span.
pub(crate) fn mark(text: &str) -> String {
    let mut longest = 0;
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        longest = longest.max(ticks(&rest[at..]));
        rest = &rest[at + ticks(&rest[at..])..];
    }
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    let marked = format!("{fence}{pad}{text}{pad}{fence}");
    if is_printable(text) && !text.contains('\n') && !text.trim().is_empty() && read_mark(&marked) == text {
        marked
    } else {
        quoted(text)
    }
}

/// What a code span says; what is none is a text.
pub(crate) fn read_mark(source: &str) -> String {
    if let Some(text) = unquoted(source) {
        return text;
    }
    if span(source) != Some(source.len()) {
        return read(source);
    }
    let ticks = ticks(source);
    let inner = &source[ticks..source.len() - ticks];
    let padded =
        inner.len() > 2 && inner.starts_with(' ') && inner.ends_with(' ') && !inner.trim().is_empty();
    if padded { inner[1..inner.len() - 1].to_owned() } else { inner.to_owned() }
}

/// The pieces of a line between separators, those inside of code spans and escaped ones left alone.
pub(crate) fn split<'a>(source: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(c) = source[at..].chars().next() {
        if source[at..].starts_with(separator) {
            pieces.push(source[from..at].trim());
            at += separator.len();
            from = at;
            continue;
        }
        at += match c {
            '\\' if source[at + 1..].starts_with(|c: char| c.is_ascii_punctuation()) => 2,
            '`' => span(&source[at..]).unwrap_or_else(|| ticks(&source[at..])),
            c => c.len_utf8(),
        };
    }
    pieces.push(source[from..].trim());
    pieces
}

/// The pieces of a text, and whether each stands in a code span; its backticks are left out.
pub(crate) fn code_spans(text: &str) -> Vec<(bool, &str)> {
    let (mut pieces, mut from, mut at) = (Vec::new(), 0, 0);
    while let Some(found) = text[at..].find('`') {
        let open = at + found;
        let run = ticks(&text[open..]);
        match span(&text[open..]).filter(|length| !text[open..open + length].contains('\n')) {
            Some(length) => {
                pieces.push((false, &text[from..open]));
                pieces.push((true, &text[open + run..open + length - run]));
                (from, at) = (open + length, open + length);
            }
            None => at = open + run,
        }
    }
    pieces.push((false, &text[from..]));
    pieces
}

/// Whether nothing of a text is lost or hidden when it is shown.
pub(crate) fn is_printable(text: &str) -> bool {
    let odd = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
    };
    !text.contains(odd)
}

/// I1: a text as a JSON string, without a sign that a cell or a code span ends at.
pub(crate) fn json(text: &str) -> String {
    let plain = |c: char| !matches!(c, '`' | '<' | '|') && is_printable(c.encode_utf8(&mut [0; 4]));
    let escaped = |c: char| if plain(c) { c.to_string() } else { format!("\\u{:04x}", c as u32) };
    Value::from(text).to_string().chars().map(escaped).collect()
}

/// JSON in which nothing is lost or hidden when it is shown.
pub(crate) fn shown(json: &str) -> String {
    let plain = |c: char| is_printable(c.encode_utf8(&mut [0; 4]));
    json.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\u{:04x}", c as u32) }).collect()
}

fn quoted(text: &str) -> String {
    format!("`{}`", json(text))
}

fn unquoted(source: &str) -> Option<String> {
    let inner = source.strip_prefix('`')?.strip_suffix('`')?;
    let is_string = inner.starts_with('"') && !inner.contains('`');
    if is_string { serde_json::from_str(inner).ok() } else { None }
}

fn ticks(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b'`').count()
}

/// The length of the code span that a text begins with.
fn span(text: &str) -> Option<usize> {
    let open = ticks(text);
    if open == 0 {
        return None;
    }
    let mut at = open;
    loop {
        at += text[at..].find('`')?;
        let run = ticks(&text[at..]);
        if run == open {
            return Some(at + run);
        }
        at += run;
    }
}

/// I2.
fn escape(text: &str) -> String {
    let many = |sign| text.matches(sign).count() > 1;
    let (dollars, tildes) = (many('$'), many('~'));
    let mut out = String::new();
    let mut before = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let after = text[at + c.len_utf8()..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let mut length = c.len_utf8();
        match c {
            '`' => match span(&text[at..]).filter(|span| !text[at..at + span].contains('\n')) {
                Some(span) => {
                    out.push_str(&text[at..at + span]);
                    length = span;
                }
                None => {
                    length = ticks(&text[at..]);
                    out.push_str(&"\\`".repeat(length));
                }
            },
            '\n' => out.push_str(BREAK),
            '\\' if after.is_none_or(|c| c.is_ascii_punctuation() || c == '\n') => out.push_str("\\\\"),
            '_' if is_word(before) && is_word(after) => out.push('_'),
            '*' | '_' | '[' | '<' => out.extend(['\\', c]),
            '&' if is_word(after) || after == Some('#') => out.push_str("\\&"),
            '$' if dollars => out.push_str("\\$"),
            '~' if tildes => out.push_str("\\~"),
            '#' if before.is_none_or(char::is_whitespace) => out.push_str("\\#"),
            c => out.push(c),
        }
        before = Some(c);
        at += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn i2_a_text_is_no_markup() {
        assert_eq!(
            text("<script>*a* [b](c) &amp; d_e _f_"),
            "\\<script>\\*a\\* \\[b](c) \\&amp; d_e \\_f\\_"
        );
        assert_eq!(text("run `a_b *` now\nand `"), "run `a_b *` now<br>and \\`");
        assert_eq!(line("1. - #"), "1\\. - \\#");
        assert_eq!(text(" "), "`\" \"`");
        assert_eq!(mark("a`b"), "``a`b``");
        assert_eq!(split("`a, b`, c\\, d", ", "), ["`a, b`", "c\\, d"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn i1_any_text_reads_back(of in "[ -~\n\t\u{85}\u{202e}•數\\\\`\"<br>|]{0,40}|[`\\\\ \"a|<]{0,12}|.{0,20}") {
            for written in [text(&of), line(&of)] {
                prop_assert!(!written.contains('\n'));
                prop_assert_eq!(read(written.trim()), &*of, "{}", written);
            }
            let marked = mark(&of);
            prop_assert!(!marked.contains('\n'));
            prop_assert_eq!(read_mark(marked.trim()), &*of, "{}", marked);
            let joined = format!("{},{marked},{0}", text(&of));
            if !of.contains(',') {
                prop_assert_eq!(split(&joined, ","), [&*text(&of), &marked, &*text(&of)]);
            }
        }
    }
}
