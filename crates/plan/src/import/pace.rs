//! How long a step takes, taken out of its words.
//!
//! A range becomes its longer end, and its words stay; a single time leaves the words, as the plan says it.

use super::draft::{Draft, Map, Shape};
use super::words::interval;
use crate::document::Text;
use crate::facts::pace;

/// Makes a step's duration of what its name, description or instructions note.
pub(super) fn settle(step: &mut Map, line: u32) {
    let mut found = None;
    for key in ["name", "manual", "description"] {
        let Some(text) = step.text_of(key) else { continue };
        let mut kept: Vec<String> = Vec::new();
        for (at, words) in text.lines().enumerate() {
            if found.is_none()
                && let Some(span) = pace::line(words)
            {
                found = Some(span.high_s);
                if span.high_s == span.low_s {
                    continue;
                }
            }
            // Only what a step is called may carry its time in brackets.
            let is_title = at == 0 && (key == "name" || key == "manual" && step.get("name").is_none());
            match pace::noted(words).filter(|_| is_title && found.is_none()) {
                Some((from, to, span)) => {
                    found = Some(span.high_s);
                    let bare = format!("{}{}", words[..from].trim_end(), &words[to..]);
                    let bare = bare.trim().to_owned();
                    let takes_out = span.high_s == span.low_s && !bare.is_empty();
                    kept.push(if takes_out { bare } else { words.to_owned() });
                }
                None => kept.push(words.to_owned()),
            }
        }
        let kept = kept.join("\n");
        // A step of which nothing is left but its time keeps its words.
        if kept != text && !(kept.trim().is_empty() && key == "manual") {
            let entry = step.entries.iter_mut().find(|(of, _)| of == key);
            if let Some((_, Draft { value: Shape::Text(text), .. })) = entry {
                *text = kept;
            }
        }
    }
    step.entries.retain(|(key, draft)| {
        !matches!((key.as_str(), &draft.value), ("description", Shape::Text(text)) if text.trim().is_empty())
    });
    if let Some(seconds) = found {
        step.put("duration", Draft::text(interval(seconds), line));
    }
}

/// Takes the time out of an item's words; a range leaves its words besides.
pub(super) fn take(name: &mut String) -> Option<(u64, Option<String>)> {
    let (from, to, span) = pace::noted(name)?;
    let words = name[from..to]
        .trim_matches(['(', ')', '[', ']', '（', '）', '【', '】', ' ', '-', '–', '—'])
        .to_owned();
    let bare = format!("{}{}", name[..from].trim_end(), &name[to..]).trim().to_owned();
    if bare.is_empty() {
        return None;
    }
    *name = bare;
    Some((span.high_s, (span.low_s < span.high_s).then_some(words)))
}

/// Makes the first step's duration of what the item that they came from notes, unless they note their own.
pub(super) fn of_item<'a>(
    takes: Option<(u64, Option<String>)>,
    mut steps: impl Iterator<Item = &'a mut Map>,
    line: u32,
) {
    let Some((seconds, _)) = takes else { return };
    let mut first: Option<&mut Map> = None;
    for step in steps.by_ref() {
        settle(step, line);
        if step.get("duration").is_some() {
            return;
        }
        first.get_or_insert(step);
    }
    if let Some(first) = first {
        first.put("duration", Draft::text(interval(seconds), line));
    }
}

/// Makes a step's duration of the heading that it stands under.
pub(super) fn of_title(title: &Text, step: Option<&mut Map>) {
    // `Short-term actions (1-7 days)` says when, not how long.
    let noted = pace::noted(title.plain()).filter(|(.., span)| span.low_s == span.high_s);
    if let (Some(step), Some((.., span))) = (step, noted) {
        step.put("duration", Draft::text(interval(span.high_s), title.whole().line));
    }
}

/// The column that says how long each row takes.
pub(super) fn column(header: &[String]) -> Option<usize> {
    header.iter().position(|head| pace::is_key(head))
}

/// Whether a cell is a time.
pub(super) fn is_time(cell: &Text) -> bool {
    pace::whole(cell.plain()).is_some()
}

/// Makes a step's duration of a cell.
pub(super) fn of_cell(cell: Option<&Text>, step: &mut Map, line: u32) {
    if let Some(span) = cell.and_then(|cell| pace::whole(cell.plain())) {
        step.put("duration", Draft::text(interval(span.high_s), line));
    }
}
