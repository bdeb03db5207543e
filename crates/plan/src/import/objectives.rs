//! Objectives: of all, of tiers, environments and kinds of data, of a scenario.

use super::Importer;
use super::draft::{Draft, Map};
use super::outline::{self, Piece, What};
use super::topics::Topic;
use super::words::{self, interval};
use crate::document::Text;
use crate::facts::objectives::{self, Metric, Scope};
use crate::facts::statements::{Form, Statement};

fn key(metric: Metric) -> &'static str {
    match metric {
        Metric::Rto => "rto",
        Metric::Rpo => "rpo",
        Metric::Mtd => "mtd",
        Metric::Mttr => "mttr",
    }
}

/// All objectives that stand outside of scenarios.
pub(super) fn of_all(import: &mut Importer<'_>) {
    let facts = import.facts;
    for objective in &facts.objectives {
        let line = objective.place.line;
        let name = match &objective.scope {
            // What stands in a scenario is passed over below.
            Scope::Everything | Scope::Scenario(_) => None,
            Scope::Named(name) => Some(name.clone()),
        };
        if import.is_in_unit(line) {
            continue;
        }
        let all = outline::flat(&facts.statements[objective.statement].value);
        let mut sentences = all.split(". ");
        let whole = sentences.next().unwrap_or_default().to_owned();
        // `RTO: 4 hours. We can lose RPO: 15 minutes.`
        for sentence in sentences {
            let span = crate::facts::durations::first(sentence);
            if let (&[other], Some(span)) = (&objectives::metrics(sentence).0[..], span) {
                let put =
                    put(target(import, name.as_deref(), other, line), other, Some(span.high_s), None, line);
                tell(import, put, line);
            }
        }
        let more = says_more(&whole, &objective.words, objective.low_s != objective.high_s);
        let target = target(import, name.as_deref(), objective.metric, line);
        let put = put(target, objective.metric, Some(objective.high_s), more.then_some(whole.as_str()), line);
        tell(import, put, line);
        import.took(line, line);
    }
    for statement in &facts.statements {
        if import.topic(statement.section) == Topic::Objectives {
            pairs(import, statement);
        }
    }
    for worded in objectives::worded(facts.document, &facts.statements) {
        let line = worded.place.line;
        if import.is_in_unit(line) {
            continue;
        }
        let target = target(import, worded.name.as_deref(), worded.metric, line);
        let put = put(target, worded.metric, None, Some(&worded.words), line);
        tell(import, put, line);
        import.took(line, line);
        import.miss(line, format!("`{}` is no duration; it is kept in words", worded.words));
    }
}

/// `Tier 1: RTO 1 hour, RPO 15 minutes`
fn pairs(import: &mut Importer<'_>, statement: &Statement) {
    let Some(name) = statement.key.as_ref().map(outline::flat) else { return };
    if matches!(statement.form, Form::Cell { .. }) || !objectives::metrics(&name).0.is_empty() {
        return;
    }
    let line = statement.place().line;
    let value = outline::flat(&statement.value);
    for part in value.split([',', ';', '/', '·', '|']) {
        let span = crate::facts::durations::first(part);
        if let (&[metric], Some(span)) = (&objectives::metrics(part).0[..], span) {
            let put = put(target(import, Some(&name), metric, line), metric, Some(span.high_s), None, line);
            tell(import, put, line);
            import.took(line, line);
        }
    }
}

/// An objective that a scenario states; whether the key is one.
pub(super) fn of_scenario(
    import: &mut Importer<'_>,
    about: &mut Map,
    of: &Text,
    value: &Text,
    line: u32,
) -> bool {
    let Some(metric) = objectives::metrics(of.plain()).0.first().copied() else { return false };
    let statement = Statement {
        section: 0,
        block: 0,
        key: Some(of.clone()),
        value: value.clone(),
        under: None,
        form: Form::Fence,
    };
    let words = outline::flat(value);
    let objectives = about.within("objectives", line);
    match objectives::value(&statement) {
        Some(span) => {
            let stated = value.plain().get(span.start..span.end).unwrap_or_default();
            let more = says_more(&words, stated, span.low_s != span.high_s);
            let put = put(objectives, metric, Some(span.high_s), more.then_some(words.as_str()), line);
            tell(import, put, line);
        }
        None => {
            let put = put(objectives, metric, None, Some(&words), line);
            tell(import, put, line);
            import.miss(line, format!("`{words}` is no duration; it is kept in words"));
        }
    }
    true
}

/// What the document says of an objective elsewhere: the line and the value that was taken.
struct Otherwise {
    key: &'static str,
    line: u32,
    taken: String,
}

/// Takes an objective, unless another value was taken before.
fn put(
    objectives: &mut Map,
    metric: Metric,
    seconds: Option<u64>,
    words: Option<&str>,
    line: u32,
) -> Result<(), Otherwise> {
    let key = key(metric);
    let value = seconds.map(interval);
    if let Some(value) = &value
        && !objectives.say(key, value.clone(), line)
    {
        return match objectives.get(key) {
            Some(taken) if objectives.text_of(key) != Some(value) => Err(Otherwise {
                key,
                line: taken.line,
                taken: objectives.text_of(key).unwrap_or_default().to_owned(),
            }),
            _ => Ok(()),
        };
    }
    if let Some(words) = words {
        objectives.within("words", line).say(key, words, line);
    }
    Ok(())
}

/// A value that had to stand back is told, never lost.
fn tell(import: &mut Importer<'_>, put: Result<(), Otherwise>, line: u32) {
    if let Err(Otherwise { key, line: other, taken }) = put {
        import.miss(line, format!("another {key} than the {taken} of line {other}, which was taken"));
    }
}

/// The mapping that holds the objectives of a name: the plan's, a tier's or a service's.
fn target<'m>(import: &'m mut Importer<'_>, name: Option<&str>, metric: Metric, line: u32) -> &'m mut Map {
    let Some(name) = name else { return import.plan.within("objectives", line) };
    let mut title = import.as_written(name, line);
    if !title.chars().any(char::is_alphabetic) {
        // `1` below `Tier`.
        let header = import.first_column(line).filter(|header| header.chars().any(char::is_alphabetic));
        title = format!("{} {title}", words::capital(header.as_deref().unwrap_or("tier")));
    }
    if import.first_column(line).is_some_and(|header| {
        ["service", "system", "component", "application", "dienst", "服务", "系统"]
            .iter()
            .any(|word| header.contains(word))
    }) {
        let service = import.service(&title, line);
        return service.within("objectives", line);
    }
    let header = import.first_column(line).unwrap_or_default();
    let small = title.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| small.contains(word) || header.contains(word));
    let kind = if has(&[
        "production",
        "staging",
        "development",
        "environment",
        "produktion",
        "prod",
        "umgebung",
        "test",
    ]) {
        "environment"
    } else if metric == Metric::Rpo && !has(&["tier", "service", "system", "critical"])
        || header.contains("data")
    {
        "data"
    } else {
        "tier"
    };
    let tier = import.titled("tiers", "tier", &title, line);
    tier.put("kind", Draft::text(kind, line));
    tier.within("objectives", line)
}

/// Whether a value says more than its duration: a range, a condition.
fn says_more(whole: &str, stated: &str, is_range: bool) -> bool {
    const FILLER: [&str; 40] = [
        "maximum",
        "max",
        "of",
        "data",
        "loss",
        "acceptable",
        "downtime",
        "within",
        "less",
        "than",
        "up",
        "to",
        "at",
        "most",
        "the",
        "no",
        "zero",
        "a",
        "and",
        "under",
        "about",
        "around",
        "approximately",
        "tolerable",
        "target",
        "allowed",
        "wiederherstellung",
        "höchstens",
        "maximal",
        "ca",
        "circa",
        "etwa",
        "≤",
        "for",
        "time",
        "recovery",
        "or",
        "s",
        "per",
        "lost",
    ];
    let rest = whole.replacen(stated, " ", 1).to_lowercase();
    let mut words = rest.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    is_range || words.any(|word| !FILLER.contains(&word))
}

/// What stands under the headings of objectives; what is none is handed back.
pub(super) fn section<'a>(import: &mut Importer<'a>, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    for piece in pieces {
        let open = |line: u32| import.fates.get(line as usize) == Some(&super::Fate::Open);
        let none = (piece.line..=piece.last_line).all(open);
        let leads_in = matches!(piece.what, What::Prose(text) if outline::flat(text).ends_with([':', '：']));
        let lines = piece.line..=piece.last_line;
        let mut odd: Vec<(u32, String)> = Vec::new();
        match &piece.what {
            _ if none && !leads_in => {
                left.push(piece);
                continue;
            }
            What::Entries(entries) => odd.extend(
                entries.iter().filter(|entry| open(entry.line)).map(|entry| (entry.line, entry.whole())),
            ),
            What::Table(table) => {
                let rows = table.rows.iter().filter_map(|row| Some((row.first()?.whole().line, row)));
                let rows = rows.filter(|(line, _)| open(*line));
                odd.extend(rows.map(|(line, row)| {
                    (line, row.iter().map(outline::flat).collect::<Vec<_>>().join(" | "))
                }));
            }
            _ => {}
        }
        for (line, text) in odd {
            import.miss(line, format!("no objective is recognised in `{text}`"));
        }
        import.took(*lines.start(), *lines.end());
    }
    left
}
