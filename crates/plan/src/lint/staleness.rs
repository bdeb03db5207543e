//! What was true once.

use super::look::{any, each};
use super::{Context, Found, Rule, rule_of};
use crate::facts::dates::{self, Review};
use jiff::civil::Date;

pub(super) const RULES: &[Rule] = &[
    rule_of!(
        "LB0601",
        "review-overdue",
        Warning,
        review_overdue,
        "what runs has changed since, and nobody has compared"
    ),
    rule_of!(
        "LB0602",
        "latest",
        Warning,
        latest,
        "the newest is what the disaster may have written: the file may be broken, the image may be the one that failed"
    ),
    rule_of!(
        "LB0603",
        "value-of-the-past",
        Warning,
        value_of_the_past,
        "pasted as it stands it restores what was then, or fails because that is no longer kept"
    ),
    rule_of!(
        "LB0604",
        "out-of-support",
        Warning,
        out_of_support,
        "no fixes come for it, and a new machine may not get it any more"
    ),
];

/// A review without a day for the next one is overdue after so many days.
const REVIEW_DAYS: i32 = 365;
/// A date in a command that is younger is that of an incident at hand.
const RECENT_DAYS: i32 = 30;

fn days(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

fn review_overdue(context: &Context<'_>, found: &mut Vec<Found>) {
    let reviews = &context.facts.reviews;
    let next = reviews.iter().filter(|date| date.review == Review::Next);
    let mut has_next = false;
    for date in next {
        has_next = true;
        if date.date < context.today {
            let late = days(date.date, context.today);
            let message = format!("the review was due on {}, {late} days ago", date.date);
            found.push(Found::new(date.place, message).help("review it, and set both dates"));
        }
    }
    let last = reviews.iter().filter(|date| date.review == Review::Last).max_by_key(|date| date.date);
    if let Some(last) = last.filter(|last| !has_next && days(last.date, context.today) > REVIEW_DAYS) {
        let message = format!(
            "the last review is {} days old, and no next one is named",
            days(last.date, context.today)
        );
        found.push(Found::new(last.place, message).help("review it, and name the next day"));
    }
}

fn latest(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut seen: Vec<(usize, String)> = Vec::new();
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        for word in &command.words {
            let text = word.text.as_str();
            let image =
                text.strip_prefix("--image=").filter(|_| matches!(command.name(), "kubectl" | "docker"));
            let what = if let Some(image) = image {
                let name = image.rsplit('/').next().unwrap_or_default();
                let open = image.contains(['$', '<', '@', '{']);
                (image.ends_with(":latest") || !name.contains(':') && !open).then_some(image)
            } else if text.ends_with(":latest") {
                Some(text)
            } else {
                let name = text.rsplit('/').next().unwrap_or_default();
                let small = name.to_lowercase();
                let marked = small.split(['-', '_', '.']).any(|part| part == "latest") && name.contains('.');
                let is_file = marked
                    && !text.starts_with("http")
                    && !text.starts_with('-')
                    && !snippet.section.eq(&usize::MAX);
                is_file.then_some(name)
            };
            let Some(what) = what
                .filter(|what| !seen.iter().any(|(block, other)| *block == snippet.block && other == what))
            else {
                continue;
            };
            // `gunzip backup-latest.sql.gz`, then `< backup-latest.sql`: said once.
            let stem = what.split('.').next().unwrap_or_default();
            if seen
                .iter()
                .any(|(block, other)| *block == snippet.block && other.split('.').next() == Some(stem))
            {
                continue;
            }
            seen.push((snippet.block, what.to_owned()));
            let message = match image {
                Some(_) => format!("the image `{what}` is whatever was pushed last"),
                None => format!("`{what}` is whatever was written last"),
            };
            let help = if image.is_some() {
                "name a version, or better a digest"
            } else {
                "name the backup by its time, and say how to choose one from before the damage"
            };
            found.push(Found::new(snippet.place(word), message).help(help));
        }
    }
}

fn value_of_the_past(context: &Context<'_>, found: &mut Vec<Found>) {
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.name() != "echo")
    {
        for word in command.words.iter().chain(command.assignments.iter().map(|(_, word)| word)) {
            if let Some(revision) = word
                .text
                .strip_prefix("--to-revision=")
                .filter(|revision| revision.parse::<u32>().is_ok_and(|n| n > 0))
            {
                let message = format!("revision {revision} is the one of the day when this was written");
                found.push(
                    Found::new(snippet.place(word), message)
                        .help("say how to choose it: `kubectl rollout history` shows which there are"),
                );
                continue;
            }
            let in_sql = word.text.contains(' ') && !is_moment(&word.text);
            if let Some((date, from, to)) = dates::find(&word.text).filter(|_| !in_sql)
                && days(date, context.today) > RECENT_DAYS
                && !word.text.contains("apiVersion")
            {
                let message = format!("`{}` is {} days ago", &word.text[from..to], days(date, context.today));
                found.push(Found::new(snippet.place(word), message).help("let a person choose: a variable with a comment that says how, as `MOMENT=…  # just before the damage`"));
            }
        }
    }
}

/// Whether a word is a date with its time: `MOMENT=2026-08-01 12:00:00+02`.
fn is_moment(word: &str) -> bool {
    let value = word.rsplit('=').next().unwrap_or_default();
    value.chars().all(|c| c.is_ascii_digit() || " -:+.TZ".contains(c)) || value.ends_with(" UTC")
}

/// A product's names, and its versions with the day when support of each ended.
type Product = (&'static [&'static str], &'static [(&'static str, (i16, i8, i8))]);

/// Products, their versions and the day when support ended. Sources: each project's own release policy.
const ENDED: &[Product] = &[
    (
        &["postgresql", "postgres"],
        &[
            ("9.6", (2021, 11, 11)),
            ("10", (2022, 11, 10)),
            ("11", (2023, 11, 9)),
            ("12", (2024, 11, 21)),
            ("13", (2025, 11, 13)),
            ("14", (2026, 11, 12)),
        ],
    ),
    (&["mysql"], &[("5.6", (2021, 2, 5)), ("5.7", (2023, 10, 31)), ("8.0", (2026, 4, 30))]),
    (
        &["ubuntu"],
        &[
            ("14.04", (2019, 4, 25)),
            ("16.04", (2021, 4, 30)),
            ("18.04", (2023, 5, 31)),
            ("20.04", (2025, 5, 31)),
        ],
    ),
    (&["debian"], &[("9", (2022, 6, 30)), ("10", (2024, 6, 30)), ("11", (2026, 8, 31))]),
    (&["centos"], &[("6", (2020, 11, 30)), ("7", (2024, 6, 30)), ("8", (2021, 12, 31))]),
    (
        &["python"],
        &[
            ("2.7", (2020, 1, 1)),
            ("3.6", (2021, 12, 23)),
            ("3.7", (2023, 6, 27)),
            ("3.8", (2024, 10, 7)),
            ("3.9", (2025, 10, 31)),
        ],
    ),
    (
        &["node.js", "nodejs", "node"],
        &[
            ("12", (2022, 4, 30)),
            ("14", (2023, 4, 30)),
            ("16", (2023, 9, 11)),
            ("18", (2025, 4, 30)),
            ("20", (2026, 4, 30)),
        ],
    ),
    (
        &["kubernetes", "k8s"],
        &[
            ("1.24", (2023, 7, 28)),
            ("1.25", (2023, 10, 28)),
            ("1.26", (2024, 2, 28)),
            ("1.27", (2024, 6, 28)),
            ("1.28", (2024, 10, 28)),
            ("1.29", (2025, 2, 28)),
            ("1.30", (2025, 6, 28)),
            ("1.31", (2025, 10, 28)),
            ("1.32", (2026, 2, 28)),
            ("1.33", (2026, 6, 28)),
        ],
    ),
    (&["redis"], &[("5", (2022, 4, 27)), ("6.0", (2023, 8, 31))]),
    (
        &["mongodb"],
        &[
            ("4.0", (2022, 4, 30)),
            ("4.2", (2023, 4, 30)),
            ("4.4", (2024, 2, 29)),
            ("5.0", (2024, 10, 31)),
            ("6.0", (2025, 7, 31)),
        ],
    ),
    (&["elasticsearch"], &[("6", (2022, 2, 10)), ("7", (2026, 1, 15))]),
];

fn out_of_support(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (number, line) in context.facts.lines(crate::document::ROOT) {
        if !line.contains(|c: char| c.is_ascii_digit())
            || any(line, &["http://", "https://", "upgrade from", "migrat"])
        {
            continue;
        }
        for (names, versions) in ENDED {
            let Some((name, at)) = names.iter().find_map(|name| line.find(name).map(|at| (*name, at))) else {
                continue;
            };
            let before = line[..at].chars().next_back();
            let rest = line[at + name.len()..].trim_start_matches([' ', ':', '-', 'v', '=', '*', '|', '`']);
            if before.is_some_and(char::is_alphanumeric) || rest.len() + 8 < line.len() - at - name.len() {
                continue;
            }
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let written = rest[..digits].trim_end_matches('.');
            // `3 replicas`, `12 hours`: a number is a version if nothing countable follows.
            let behind = rest[digits..].trim_start();
            let counts = rest[digits..].starts_with(' ')
                && behind.starts_with(char::is_alphabetic)
                && !written.contains('.')
                && !any(
                    behind.split(' ').next().unwrap_or_default(),
                    &["lts", "on", "cluster", "server", "database", "instance", "with", "in", "for", "and"],
                );
            let matches = |version: &&(&str, (i16, i8, i8))| {
                written == version.0
                    || written.strip_prefix(version.0).is_some_and(|rest| rest.starts_with('.'))
            };
            let Some((version, (year, month, day))) = versions.iter().find(matches).filter(|_| !counts)
            else {
                continue;
            };
            let Some(ended) = Date::new(*year, *month, *day).ok().filter(|ended| *ended < context.today)
            else {
                continue;
            };
            if seen.contains(&(names[0], version)) {
                continue;
            }
            seen.push((names[0], version));
            let source = context.document.lines.get(number as usize - 1).map_or("", String::as_str);
            let column = u32::try_from(line[..at].chars().count() + 1).unwrap_or(1);
            let length = u32::try_from(name.chars().count()).unwrap_or(1);
            if column as usize <= source.chars().count() {
                let message = format!("{name} {version} is out of support since {ended}");
                found.push(
                    Found::new(crate::document::Place::new(number, column, length), message)
                        .help("plan the upgrade, and recover onto the version that production runs"),
                );
            }
        }
    }
}
