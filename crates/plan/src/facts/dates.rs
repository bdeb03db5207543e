//! Days, and when a document was and is to be reviewed.

use super::statements::Statement;
use crate::document::Place;
use jiff::civil::Date;

/// What a date of the document's own keeping says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// When it was last looked at.
    Last,
    /// When it is to be looked at next.
    Next,
}

/// A date of the document's own keeping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewDate {
    /// What it says.
    pub review: Review,
    /// The day.
    pub date: Date,
    /// Where it stands.
    pub place: Place,
}

const LAST: [&str; 19] = [
    "last updated",
    "last reviewed",
    "last review",
    "last tested",
    "updated",
    "reviewed",
    "zuletzt aktualisiert",
    "zuletzt geprüft",
    "stand",
    "最后更新",
    "最後更新",
    "更新日期",
    "上次审核",
    "上次審核",
    "letzte prüfung",
    "letzte überprüfung",
    "última revisión",
    "última actualización",
    "dernière révision",
];
const NEXT: [&str; 11] = [
    "next review",
    "review due",
    "next update",
    "review by",
    "nächste überprüfung",
    "nächste prüfung",
    "下次审核",
    "下次審核",
    "下次审查",
    "próxima revisión",
    "prochaine révision",
];

/// All of them.
#[must_use]
pub fn reviews(statements: &[Statement]) -> Vec<ReviewDate> {
    let mut reviews = Vec::new();
    for statement in statements {
        let key = statement.key_text();
        let key = key.trim();
        let review = if NEXT.iter().any(|word| key.contains(word)) {
            Review::Next
        } else if LAST.iter().any(|word| key == *word || key.contains("last") && key.contains(word))
            || LAST[9..].iter().any(|word| key.contains(word))
        {
            Review::Last
        } else {
            continue;
        };
        if let Some((date, start, end)) = find(statement.value.plain()) {
            reviews.push(ReviewDate { review, date, place: statement.value.place(start, end) });
        }
    }
    reviews
}

/// The first date of a text, and where it stands.
#[must_use]
pub fn find(text: &str) -> Option<(Date, usize, usize)> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(|c: char| c.is_ascii_digit())
            && let Some((date, length)) = numeric(rest).or_else(|| chinese(rest)).or_else(|| spoken(rest))
        {
            return Some((date, at, at + length));
        }
        if rest.starts_with(|c: char| c.is_ascii_alphabetic())
            && let Some((date, length)) = month_first(rest)
        {
            return Some((date, at, at + length));
        }
        // On to the next word.
        let first = rest.chars().next().map_or(1, char::len_utf8);
        at += if rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()).max(first)
        } else {
            first
        };
    }
    None
}

fn digits(text: &str) -> Option<(i16, usize)> {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 || count > 4 { None } else { text[..count].parse().ok().map(|n| (n, count)) }
}

fn day(year: i16, month: i16, day: i16) -> Option<Date> {
    let valid = (1990..=2100).contains(&year);
    valid.then(|| Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()).flatten()
}

/// `2026-02-20`, `2026/02/20`, `20.02.2026`.
fn numeric(text: &str) -> Option<(Date, usize)> {
    let (a, first) = digits(text)?;
    let sign = text[first..].chars().next().filter(|c| matches!(c, '-' | '/' | '.'))?;
    let (b, second) = digits(&text[first + 1..])?;
    let behind = text[first + 1 + second..].strip_prefix(sign)?;
    let (c, third) = digits(behind)?;
    let length = first + second + third + 2;
    let date = if first == 4 {
        day(a, b, c)
    } else if sign == '.' && third == 4 {
        day(c, b, a)
    } else {
        // 03/04/2026 is two days, as people write it.
        None
    };
    date.map(|date| (date, length))
}

/// `2026年2月20日`.
fn chinese(text: &str) -> Option<(Date, usize)> {
    let (year, a) = digits(text)?;
    let rest = text[a..].strip_prefix('年')?;
    let (month, b) = digits(rest)?;
    let rest = rest[b..].strip_prefix('月')?;
    let (of_month, c) = digits(rest)?;
    rest[c..].strip_prefix('日')?;
    day(year, month, of_month).map(|date| (date, a + b + c + 9))
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn month(text: &str) -> Option<(i16, usize)> {
    let length = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let name = text.get(..3)?.to_ascii_lowercase();
    let at = MONTHS.iter().position(|month| *month == name)?;
    (3..=9).contains(&length).then(|| (i16::try_from(at + 1).unwrap_or(1), length))
}

/// `20 February 2026`.
fn spoken(text: &str) -> Option<(Date, usize)> {
    let (of_month, a) = digits(text)?;
    let rest = text[a..]
        .strip_prefix("th")
        .or(text[a..].strip_prefix("st"))
        .unwrap_or(&text[a..])
        .strip_prefix(' ')?;
    let (month, b) = month(rest)?;
    let rest = rest[b..].trim_start_matches(['.', ',']).strip_prefix(' ')?;
    let (year, c) = digits(rest)?;
    day(year, month, of_month).map(|date| (date, text.len() - rest.len() + c))
}

/// `February 20, 2026`.
fn month_first(text: &str) -> Option<(Date, usize)> {
    let (month, a) = month(text)?;
    let rest = text[a..].trim_start_matches('.').strip_prefix(' ')?;
    let (of_month, b) = digits(rest)?;
    let rest = rest[b..]
        .trim_start_matches(|c: char| c.is_ascii_alphabetic())
        .trim_start_matches(',')
        .strip_prefix(' ')?;
    let (year, c) = digits(rest)?;
    day(year, month, of_month).map(|date| (date, text.len() - rest.len() + c))
}
