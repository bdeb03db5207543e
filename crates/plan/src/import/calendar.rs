//! Checklists, tests, drills and reviews.

use super::Importer;
use super::draft::{Draft, Map};
use super::outline::{Entry, Piece, What, flat};
use super::words::{self, cadence, interval, is_placeholder, label};
use crate::document::Table;
use crate::facts::statements::split;
use crate::facts::{backups, durations};
use crate::values::Interval;

/// A name without the time in brackets behind it, and the time: `Immediate (0-30 minutes)`.
pub(super) fn phase(map: &mut Map, title: &str, line: u32) {
    let name = words::unnumbered(title);
    let span = durations::first(name);
    let bracket = name.find(['(', '（']);
    let plain = match (span, bracket) {
        (Some(span), Some(open)) if open < span.start => name[..open].trim(),
        _ => name,
    };
    map.say("name", if plain.is_empty() { name } else { plain }, line);
    if let Some(span) = span.filter(|_| plain.len() < name.len()) {
        if span.low_s != span.high_s {
            map.say("from", interval(span.low_s), line);
            map.say("until", interval(span.high_s), line);
        } else if span.open {
            map.say("from", interval(span.low_s), line);
        } else {
            map.say("until", interval(span.high_s), line);
        }
    }
    ordered(map);
}

/// What would end before it begins has no end.
pub(super) fn ordered(map: &mut Map) {
    let read = |key: &str| map.text_of(key).and_then(|text| text.parse::<Interval>().ok());
    if let (Some(from), Some(until)) = (read("from"), read("until"))
        && until <= from
    {
        map.entries.retain(|(key, _)| key != "until");
    }
}

/// The items of a section as one list, those with items below as lists of their own. What is neither is handed back.
pub(super) fn lists<'a>(
    import: &mut Importer<'a>,
    at: usize,
    pieces: Vec<Piece<'a>>,
    add: &mut dyn FnMut(&mut Importer<'a>, Map, u32),
) -> Vec<Piece<'a>> {
    let title = import.document.sections[at].title.clone();
    let mut own = Map::default();
    phase(&mut own, title.plain(), title.whole().line);
    let mut more: Vec<(Map, u32)> = Vec::new();
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Entries(entries) if !entries.iter().any(Entry::has_code) => {
                for entry in entries {
                    if entry.below.is_empty() {
                        own.tell("items", entry.whole(), entry.line);
                        continue;
                    }
                    let mut list = Map::default();
                    phase(&mut list, &entry.whole(), entry.line);
                    entry.below.iter().for_each(|below| list.tell("items", below.text(), below.line));
                    more.push((list, entry.line));
                }
            }
            What::Table(table) => {
                for row in &table.rows {
                    let cells: Vec<String> = row.iter().map(flat).filter(|cell| !cell.is_empty()).collect();
                    let line = row.first().map_or(first, |cell| cell.whole().line);
                    own.tell("items", cells.join(": "), line);
                }
            }
            What::Prose(text) if flat(text).ends_with([':', '：']) => {}
            _ => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    let line = title.whole().line;
    if own.get("items").is_some() {
        add(import, own, line);
    }
    for (list, line) in more.into_iter().filter(|(list, _)| list.get("items").is_some()) {
        add(import, list, line);
    }
    left
}

pub(super) fn checklist<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    lists(import, at, pieces, &mut |import, list, line| import.plan.add("checklists", Draft::map(list, line)))
}

pub(super) fn testing<'a>(
    import: &mut Importer<'a>,
    section: usize,
    pieces: Vec<Piece<'a>>,
) -> Vec<Piece<'a>> {
    let document = import.document;
    let title = document.sections[section].title.plain().to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| title.contains(word));
    let drills = has(&["drill", "monthly", "quarterly", "annual", "schedule", "weekly", "yearly"]);
    if has(&["checklist", "criteria", "validation", "erfolgskriter"]) && !drills {
        return lists(import, section, pieces, &mut |import, list, line| {
            import.plan.within("calendar", line).add("success", Draft::map(list, line));
        });
    }
    let is_procedure = has(&["procedure", "how a drill", "process", "ablauf"]);
    // The nearest heading that says how often.
    let every = document.path(section).find_map(|at| backups::frequency(document.sections[at].title.plain()));
    let every = every.map(|(.., seconds)| seconds);
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Entries(entries) if !entries.iter().any(Entry::has_code) => {
                for entry in entries {
                    if is_procedure {
                        import.plan.within("calendar", entry.line).tell(
                            "procedure",
                            entry.text(),
                            entry.line,
                        );
                    } else {
                        drill(import, entry, every);
                    }
                }
            }
            What::Table(table) => self::table(import, table, every),
            What::Prose(text) => {
                for line in text.lines() {
                    let at = line.whole().line;
                    match split(&line) {
                        (Some(key), value) if !value.is_empty() => {
                            let entry =
                                Entry { line: at, last_line: at, key: Some(key), value, ..Entry::default() };
                            drill(import, &entry, every);
                        }
                        _ if flat(&line).ends_with([':', '：']) => {}
                        _ => match backups::frequency(line.plain()) {
                            Some((.., seconds)) => {
                                let mut drill = Map::default();
                                drill.say(
                                    "name",
                                    words::unnumbered(document.sections[section].title.plain()),
                                    at,
                                );
                                drill.say("every", cadence(seconds), at);
                                drill.tell("steps", flat(&line), at);
                                add(import, drill, at);
                            }
                            None => import.plan.within("calendar", at).tell("notes", flat(&line), at),
                        },
                    }
                }
            }
            _ => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}

/// An entry about a test: what, and how often; or how often, and what.
fn drill(import: &mut Importer<'_>, entry: &Entry<'_>, every: Option<u64>) {
    let line = entry.line;
    let key = entry.key.as_ref().map(flat).unwrap_or_default();
    let value = flat(&entry.value);
    let of_key = backups::frequency(&key)
        .filter(|(from, to, _)| to - from + 4 > key.len())
        .map(|(.., seconds)| seconds);
    // `Monthly:` and what is done then.
    if let Some(seconds) = of_key.filter(|_| value.is_empty() && !entry.below.is_empty()) {
        for below in &entry.below {
            drill(import, below, Some(seconds));
        }
        return;
    }
    let mut drill = Map::default();
    let quarter = ["q1", "q2", "q3", "q4"].iter().find(|quarter| key.to_lowercase().starts_with(**quarter));
    if let Some(quarter) = quarter {
        drill.say("name", &value, line);
        drill.say("every", "yearly", line);
        drill.say("when", quarter.to_uppercase(), line);
    } else if let Some(seconds) = of_key {
        drill.say("name", &value, line);
        drill.say("every", cadence(seconds), line);
    } else {
        // `2026-12-03: Restore`: the day is when, not what.
        let is_day = crate::facts::dates::find(&key).is_some_and(|(_, from, to)| to - from + 4 > key.len());
        let dated = is_day && !value.is_empty();
        let name = if key.is_empty() || dated { value.clone() } else { key.clone() };
        drill.say("name", name, line);
        if dated {
            drill.say("when", &key, line);
        }
        let often = backups::frequency(&value);
        match often {
            Some((from, to, seconds)) => {
                drill.say("every", cadence(seconds), line);
                let more = value.len() > to - from + 3;
                if more && !key.is_empty() && !dated {
                    drill.tell("steps", &value, line);
                }
            }
            None if !key.is_empty() && !dated => drill.tell("steps", &value, line),
            None => {}
        }
        if let Some(seconds) = every {
            drill.say("every", cadence(seconds), line);
        }
    }
    for below in &entry.below {
        let small = below.key_text();
        if ["criteria", "success", "expected"].iter().any(|word| small.contains(word)) {
            drill.tell("criteria", below.text(), below.line);
        } else if small.contains("duration") && durations::first(below.value.plain()).is_some() {
            let span = durations::first(below.value.plain()).map_or(0, |span| span.high_s);
            drill.say("duration", interval(span), below.line);
        } else {
            drill.tell("steps", below.text(), below.line);
        }
    }
    add(import, drill, line);
}

fn add(import: &mut Importer<'_>, mut drill: Map, line: u32) {
    let Some(name) = drill.text_of("name").map(str::to_owned) else { return };
    // A drill that is called as a scenario rehearses it.
    let of_drill = label(&name).unwrap_or_default();
    let scenario = import.scenarios.values().find(|scenario| of_drill.starts_with(scenario.as_str()));
    if let Some(scenario) = scenario.cloned() {
        drill.say("scenario", scenario, line);
    }
    import.plan.within("calendar", line).add("drills", Draft::map(drill, line));
}

fn table(import: &mut Importer<'_>, table: &Table, every: Option<u64>) {
    for row in &table.rows {
        let Some(name) = row.first().map(flat).filter(|name| !name.is_empty()) else { continue };
        let line = row[0].whole().line;
        let mut drill = Map::default();
        drill.say("name", &name, line);
        for (head, cell) in table.header.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let (small, value) = (head.plain().to_lowercase(), flat(cell));
            let has = |words: &[&str]| words.iter().any(|word| small.contains(word));
            if is_placeholder(&value) {
                import.miss(line, format!("{name} has no {small}: `{value}` is a placeholder"));
                continue;
            }
            let span = durations::first(&value);
            let often = backups::frequency(&value);
            if has(&["duration", "takes", "dauer"]) && span.is_some() {
                drill.say("duration", span.map_or(String::new(), |span| interval(span.high_s)), line);
            } else if has(&[
                "frequency",
                "how often",
                "cadence",
                "schedule",
                "interval",
                "häufigkeit",
                "频率",
            ]) {
                match often {
                    Some((.., seconds)) => _ = drill.say("every", cadence(seconds), line),
                    None => _ = drill.say("when", value, line),
                }
            } else if has(&["when", "date", "next", "last", "datum"]) {
                drill.say("when", format!("{}: {value}", flat(head)), line);
            } else if has(&["criteria", "success", "expected", "pass"]) {
                drill.tell("criteria", value, line);
            } else if has(&["owner", "responsible", "who", "team", "verantwortlich"]) {
                drill.say("owner", value, line);
            } else {
                drill.tell("steps", value, line);
            }
        }
        if let Some(seconds) = every {
            drill.say("every", cadence(seconds), line);
        }
        add(import, drill, line);
    }
}

/// Reviews of the plan; owner and dates have been read before.
pub(super) fn maintenance<'a>(import: &mut Importer<'a>, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Entries(entries) if !entries.iter().any(Entry::has_code) => {
                for entry in entries {
                    review(import, &entry.text(), entry.line);
                }
            }
            What::Prose(text) => {
                for line in text.lines() {
                    let words = flat(&line);
                    if !words.ends_with([':', '：']) {
                        review(import, &words, line.whole().line);
                    }
                }
            }
            What::Table(table) => {
                for row in &table.rows {
                    let cells: Vec<String> = row.iter().map(flat).filter(|cell| !cell.is_empty()).collect();
                    let line = row.first().map_or(first, |cell| cell.whole().line);
                    review(import, &cells.join(", "), line);
                }
            }
            _ => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}

fn review(import: &mut Importer<'_>, text: &str, line: u32) {
    if import.fates.get(line as usize) == Some(&super::Fate::Took) {
        return;
    }
    let mut review = Map::default();
    review.say("name", text, line);
    if let Some((.., seconds)) = backups::frequency(text) {
        review.say("every", cadence(seconds), line);
        let every = cadence(seconds);
        import.plan.within("metadata", line).say("reviewEvery", every, line);
    }
    if review.get("name").is_some() {
        import.plan.within("calendar", line).add("reviews", Draft::map(review, line));
    }
}
