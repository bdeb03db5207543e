//! Mends what is safe to mend.

use super::{Finding, Fix};

/// The source with the findings' own changes made, and how many were made; of two that overlap, the first.
#[must_use]
pub fn apply(source: &str, findings: &[Finding]) -> (String, usize) {
    if let Some(rest) = source.strip_prefix('\u{feff}') {
        let (mended, made) = apply(rest, findings);
        return (format!("\u{feff}{mended}"), made);
    }
    let mut fixes: Vec<&Fix> = findings.iter().filter_map(|finding| finding.fix.as_ref()).collect();
    fixes.sort_by_key(|fix| (fix.place.line, fix.place.column));
    fixes.dedup();
    let mut out = String::with_capacity(source.len());
    let mut made = 0;
    let mut fixes = fixes.into_iter().peekable();
    for (number, line) in (1_u32..).zip(source.split_inclusive('\n')) {
        let mut column = 1_u32;
        let mut rest = line;
        while let Some(fix) = fixes.next_if(|fix| fix.place.line == number) {
            let Some(skip) = fix.place.column.checked_sub(column) else { continue };
            let (before, behind) = split_chars(rest, skip);
            let (_, after) = split_chars(behind, fix.place.length);
            out.push_str(before);
            out.push_str(&fix.replacement);
            rest = after;
            column = fix.place.column + fix.place.length;
            made += 1;
        }
        out.push_str(rest);
    }
    (out, made)
}

fn split_chars(text: &str, count: u32) -> (&str, &str) {
    let at = text.char_indices().nth(count as usize).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}
