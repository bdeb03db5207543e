//! A finding as a compiler would show it.

use super::Finding;
use crate::finding::{clean, shown_line};
use std::fmt::Write as _;

/// Shows a finding: what, where, the line, a caret under it, why it matters, how to mend it.
///
/// `source` is the text that was looked at; `file_name` is only printed.
#[must_use]
pub fn render(finding: &Finding, file_name: &str, source: &str) -> String {
    let number = finding.line.to_string();
    let gutter = " ".repeat(number.len());
    let mut out = format!("{}[{}]: {}\n", finding.level, finding.code, clean(&finding.message));
    let _ = writeln!(out, "{gutter}--> {}:{}:{}", clean(file_name), finding.line, finding.column);
    if let Some((text, pad, carets)) = shown_line(source, finding.line, finding.column, finding.length) {
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{number} | {text}");
        let _ = writeln!(out, "{gutter} | {}{}", " ".repeat(pad), "^".repeat(carets));
    }
    let _ = writeln!(out, "{gutter} = why: {}", clean(finding.why));
    if let Some(help) = &finding.help {
        let _ = writeln!(out, "{gutter} = help: {}", clean(help));
    }
    out
}
