//! Objectives: how fast something must be back, how much may be lost, how long it may be away.

use super::durations::{self, Span};
use super::statements::{Form, Statement};
use crate::document::{Document, Place, ROOT};

/// What an objective bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Recovery time objective.
    Rto,
    /// Recovery point objective.
    Rpo,
    /// Maximum tolerable downtime.
    Mtd,
    /// Mean time to recovery.
    Mttr,
}

impl Metric {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rto => "RTO",
            Self::Rpo => "RPO",
            Self::Mtd => "MTD",
            Self::Mttr => "MTTR",
        }
    }
}

/// What an objective is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All that the document is about.
    Everything,
    /// A service, tier, environment or kind of data.
    Named(String),
    /// The scenario of this section.
    Scenario(usize),
}

/// An objective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objective {
    /// What it bounds.
    pub metric: Metric,
    /// What it is for.
    pub scope: Scope,
    /// The shortest time that is named, in seconds.
    pub low_s: u64,
    /// The longest, in seconds.
    pub high_s: u64,
    /// Where the time stands.
    pub place: Place,
    /// As it is written.
    pub words: String,
    /// Which of the statements it was found in.
    pub statement: usize,
}

/// Spellings, the longer ones first.
const NAMES: &[(&str, Metric)] = &[
    ("recovery time objective", Metric::Rto),
    ("recovery time target", Metric::Rto),
    ("recovery time", Metric::Rto),
    ("wiederherstellungszeit", Metric::Rto),
    ("wiederanlaufzeit", Metric::Rto),
    ("恢复时间目标", Metric::Rto),
    ("復原時間目標", Metric::Rto),
    ("恢復時間目標", Metric::Rto),
    ("rto", Metric::Rto),
    ("recovery point objective", Metric::Rpo),
    ("recovery point target", Metric::Rpo),
    ("maximum data loss", Metric::Rpo),
    ("maximaler datenverlust", Metric::Rpo),
    ("datenverlust", Metric::Rpo),
    ("恢复点目标", Metric::Rpo),
    ("復原點目標", Metric::Rpo),
    ("恢復點目標", Metric::Rpo),
    ("rpo", Metric::Rpo),
    ("maximum tolerable downtime", Metric::Mtd),
    ("maximum tolerable period of disruption", Metric::Mtd),
    ("maximum allowable outage", Metric::Mtd),
    ("maximal tolerierbare ausfallzeit", Metric::Mtd),
    ("最大可容忍停机时间", Metric::Mtd),
    ("最大可容忍停機時間", Metric::Mtd),
    ("mtpd", Metric::Mtd),
    ("mtd", Metric::Mtd),
    ("mean time to recovery", Metric::Mttr),
    ("mean time to recover", Metric::Mttr),
    ("mean time to restore", Metric::Mttr),
    ("mttr", Metric::Mttr),
];
/// What a column is called whose rows name the metric.
const VALUE_COLUMNS: [&str; 12] = [
    "target",
    "value",
    "objective",
    "goal",
    "time",
    "duration",
    "ziel",
    "wert",
    "zielwert",
    "目标",
    "目標",
    "数值",
];

/// The metrics that a text names, and what it says besides, without signs.
pub(crate) fn metrics(text: &str) -> (Vec<Metric>, String) {
    let mut rest = text.to_lowercase();
    let mut found = Vec::new();
    for (name, metric) in NAMES {
        while let Some(at) = word(&rest, name) {
            if !found.contains(metric) {
                found.push(*metric);
            }
            rest.replace_range(at..at + name.len(), " ");
        }
    }
    let words = rest.split(|c: char| !c.is_alphanumeric() && c != '-');
    let filler = [
        "objective",
        "objectives",
        "target",
        "targets",
        "and",
        "und",
        "the",
        "max",
        "maximum",
        "we",
        "our",
        "promise",
        "can",
        "lose",
        "is",
        "are",
        "-",
        "",
    ];
    let left: Vec<&str> = words.filter(|word| !filler.contains(word)).collect();
    (found, left.join(" "))
}

/// Where `name` stands as a word of its own.
fn word(text: &str, name: &str) -> Option<usize> {
    let is_part = |c: Option<char>| name.is_ascii() && c.is_some_and(|c| c.is_alphanumeric() && c.is_ascii());
    text.match_indices(name).map(|(at, _)| at).find(|at| {
        !is_part(text[..*at].chars().next_back()) && !is_part(text[at + name.len()..].chars().next())
    })
}

/// All objectives that are durations.
#[must_use]
pub fn find(document: &Document, statements: &[Statement]) -> Vec<Objective> {
    let mut objectives = Vec::new();
    for (at, statement) in statements.iter().enumerate() {
        let Some(value) = value(statement) else { continue };
        let Some((metric, name)) = meaning(document, statement) else { continue };
        let titles = document.titles(statement.section);
        let mut title_words = titles.split([' ', '/', '(', ')', ':', '-']);
        let about_objectives = title_words.any(|word| {
            ["objective", "objectives", "rto", "rpo", "targets", "ziele", "slo", "sla", "目标", "目標"]
                .contains(&word)
        }) || titles.contains("目标")
            || titles.contains("目標");
        let is_deep = document.sections[statement.section].parent.is_some_and(|parent| parent != ROOT)
            || document.sections[statement.section].level >= 2;
        let scope = match name {
            Some(name) => Scope::Named(name),
            None if about_objectives || statement.section == ROOT || !is_deep => Scope::Everything,
            None => match scenario(document, statement.section) {
                Some(section) => Scope::Scenario(section),
                None => Scope::Everything,
            },
        };
        let place = statement.value.place(value.start, value.end);
        let words = statement.value.plain()[value.start..value.end].to_owned();
        objectives.push(Objective {
            metric,
            scope,
            low_s: value.low_s,
            high_s: value.high_s,
            place,
            words,
            statement: at,
        });
    }
    objectives
}

/// An objective that is no duration: `checkpoint-defined`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worded {
    /// What it bounds.
    pub metric: Metric,
    /// What it is for; none for all that the document is about.
    pub name: Option<String>,
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub words: String,
}

/// All objectives that are stated and are no durations.
#[must_use]
pub fn worded(document: &Document, statements: &[Statement]) -> Vec<Worded> {
    let mut all = Vec::new();
    for statement in statements {
        let words = statement.value.plain().trim();
        let says = words.chars().any(char::is_alphanumeric) && words.chars().count() < 80;
        if !says || value(statement).is_some() || statement.key.is_none() {
            continue;
        }
        let Some((metric, name)) = meaning(document, statement) else { continue };
        // A remark beside a figure is none itself.
        let beside = matches!(statement.form, Form::Cell { .. })
            && ["descr", "note", "reason", "rationale", "comment", "owner", "component", "bemerkung", "备注"]
                .iter()
                .any(|word| statement.under.as_deref().unwrap_or_default().to_lowercase().contains(word));
        if !beside {
            all.push(Worded { metric, name, place: statement.value.whole(), words: words.to_owned() });
        }
    }
    all
}

/// The duration that a statement is about.
pub(crate) fn value(statement: &Statement) -> Option<Span> {
    let text = statement.value.plain();
    let lead = text.trim_start_matches(['<', '≤', '~', ' ']);
    let zero = ["0 ", "0(", "0（"].iter().any(|zero| lead.starts_with(zero))
        || lead == "0"
        || lead.to_lowercase().starts_with("zero");
    match durations::first(text) {
        // A duration far behind in a sentence is about something else.
        Some(span) if span.start < 60 => Some(span),
        _ if zero => Some(Span { start: 0, end: 1.min(text.len()), low_s: 0, high_s: 0, open: false }),
        _ => None,
    }
}

/// The metric that a statement bounds, and the name of what it is for.
fn meaning(document: &Document, statement: &Statement) -> Option<(Metric, Option<String>)> {
    let named = |name: &str| (!name.trim().is_empty()).then(|| name.trim().to_owned());
    let (of_key, key_rest) = metrics(&statement.key_text());
    let (of_column, column_rest) = metrics(statement.under.as_deref().unwrap_or_default());
    if let Form::Cell { column, .. } = statement.form {
        return match (&of_key[..], &of_column[..]) {
            // Tiers as rows, metrics as columns.
            ([], [metric]) => {
                let name = statement.key.as_ref().map(|key| key.plain().trim().to_owned());
                Some((*metric, name.or_else(|| named(&column_rest))))
            }
            // Metrics as rows, environments as columns.
            ([metric], []) => {
                let is_value =
                    VALUE_COLUMNS.iter().any(|name| column_rest.split(' ').any(|word| word == *name));
                let says_more = column > 1 && !is_value && column_rest.contains("descr");
                let name = if is_value { None } else { named(&column_rest) };
                (!says_more).then_some((*metric, name))
            }
            _ => None,
        };
    }
    match &of_key[..] {
        [metric] => return Some((*metric, named(&key_rest))),
        [_, _, ..] => return None,
        [] => {}
    }
    // `RPO 1 h` without a colon.
    let text = statement.value.plain();
    if statement.key.is_none() {
        let start = durations::first(text)?.start;
        let (found, rest) = metrics(text.get(..start)?);
        return match found[..] {
            [metric] if rest.split(' ').count() <= 3 => Some((metric, named(&rest))),
            _ => None,
        };
    }
    // The key is a name, and the heading or the column says what is bounded.
    if statement.under.is_some() && of_column.len() == 1 {
        return Some((of_column[0], named(&statement.key_text())));
    }
    let title = document.sections[statement.section].title.plain();
    match metrics(title).0[..] {
        [metric] => Some((metric, named(&statement.key_text()))),
        _ => None,
    }
}

/// The section of the scenario around a section.
fn scenario(document: &Document, section: usize) -> Option<usize> {
    super::procedures::owner(document, section)
}
