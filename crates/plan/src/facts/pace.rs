//! How long steps take, as people note it: `(10 minutes)` behind a step's words, `Time: 5 min` below them, a column of a
//! table.
//!
//! Deliberately absent: times that are no length of work: `(0-30 min)` of a level of escalation, `(every 5 min)`,
//! `(after 10 min)`.

use super::durations::{self, Span};

/// Words in front of a time that change nothing of it.
const ABOUT: [&str; 25] = [
    "~",
    "≈",
    "<",
    "≤",
    "ca.",
    "ca ",
    "c.",
    "about ",
    "approx.",
    "approx ",
    "approximately ",
    "around ",
    "est.",
    "estimated ",
    "estimate:",
    "takes ",
    "time:",
    "duration:",
    "max.",
    "max ",
    "up to ",
    "etwa ",
    "约",
    "約",
    "unos ",
];
/// What a time is called that a step takes.
const KEYS: [&str; 24] = [
    "time",
    "duration",
    "takes",
    "estimated time",
    "estimated duration",
    "expected duration",
    "expected time",
    "estimate",
    "est. time",
    "time estimate",
    "time required",
    "eta",
    "dauer",
    "zeit",
    "zeitbedarf",
    "duración",
    "tiempo",
    "tiempo estimado",
    "durée",
    "temps",
    "耗时",
    "耗時",
    "时间",
    "預計時間",
];

/// A time that a text is, but for words in front that change nothing.
#[must_use]
pub fn whole(text: &str) -> Option<Span> {
    let mut rest = text.trim();
    while let Some(shorter) = ABOUT.iter().find_map(|word| {
        let start = rest.get(..word.len()).filter(|start| start.eq_ignore_ascii_case(word))?;
        rest.strip_prefix(start)
    }) {
        rest = shorter.trim_start();
    }
    if let Some((key, value)) = rest.split_once([':', '：'])
        && is_key(key)
    {
        return whole(value);
    }
    let span = durations::first(rest).filter(|span| !span.open && span.high_s > 0)?;
    let behind = rest[span.end..].trim_matches([' ', '.', '+']);
    (span.start == 0 && matches!(behind, "" | "max" | "total" | "approx" | "estimated")).then_some(span)
}

/// A time in brackets, or behind a dash at the end, with the bytes that it and its brackets take.
#[must_use]
pub fn noted(text: &str) -> Option<(usize, usize, Span)> {
    let closes = [('(', ')'), ('[', ']'), ('（', '）'), ('【', '】')];
    for (at, open) in text.char_indices() {
        let Some((_, close)) = closes.iter().find(|(opens, _)| *opens == open) else { continue };
        let from = at + open.len_utf8();
        let Some(length) = text[from..].find(*close) else { continue };
        // `(0-30 min)` is when, not how long.
        if let Some(span) = whole(&text[from..from + length]).filter(|span| span.low_s > 0) {
            return Some((at, from + length + close.len_utf8(), span));
        }
    }
    let trimmed = text.trim_end().trim_end_matches([':', '：']);
    let dash = [" – ", " — ", " - "]
        .iter()
        .filter_map(|dash| trimmed.rfind(dash).map(|at| (at, dash.len())))
        .max()?;
    let span = whole(&trimmed[dash.0 + dash.1..]).filter(|span| span.low_s > 0)?;
    Some((dash.0, trimmed.len(), span))
}

/// Whether a key, or the heading of a column, says how long something takes.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let key = key.trim().trim_matches('*').trim_end_matches([':', '：']).to_lowercase();
    let bare = key.split(['(', '（']).next().unwrap_or_default().trim();
    KEYS.contains(&bare)
}

/// A line such as `Time: 5 min`.
#[must_use]
pub fn line(text: &str) -> Option<Span> {
    let (key, value) = text.split_once([':', '：'])?;
    if is_key(key.trim_start_matches(['-', '*', ' '])) { whole(value.trim_matches(['*', ' '])) } else { None }
}
