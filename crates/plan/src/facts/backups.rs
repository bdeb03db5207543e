//! Backups: how often, at what time of which zone, kept how long, where.

use super::durations::{self, DAY, HOUR};
use super::statements::{Form, Statement};
use crate::document::{Document, Place};

/// When something is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The section that says so.
    pub section: usize,
    /// Where it stands.
    pub place: Place,
    /// As it is written.
    pub words: String,
    /// The statement's key and headings in small letters: what is backed up.
    pub about: String,
    /// The longest time between two of them, in seconds; none for a time of day alone.
    pub every_s: Option<u64>,
    /// The time of day, as written.
    pub at: Option<String>,
    /// The time zone, as written.
    pub zone: Option<String>,
    /// Whether it is a log that is shipped on, not a copy of everything.
    pub is_log: bool,
}

/// How long something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The section that says so.
    pub section: usize,
    /// Where the time stands.
    pub place: Place,
    /// The shortest that is named, in seconds.
    pub low_s: u64,
    /// What is kept, in small letters.
    pub about: String,
}

const BACKUP: [&str; 18] = [
    "copia de seguridad",
    "copias de seguridad",
    "respaldo",
    "sauvegarde",
    "backup",
    "back up",
    "backed up",
    "snapshot",
    "dump",
    "archiv",
    "replicat",
    "sync",
    "sicherung",
    "备份",
    "備份",
    "快照",
    "归档",
    "歸檔",
];
/// Sections whose frequencies are about something else.
const OTHER: [&str; 22] = [
    "test",
    "drill",
    "verif",
    "monitor",
    "alert",
    "communicat",
    "review",
    "maintenance",
    "improvement",
    "escalat",
    "contact",
    "health",
    "training",
    "checklist",
    "status",
    "audit",
    "kpi",
    "metric",
    "übung",
    "演练",
    "演練",
    "测试",
];
/// Logs that carry changes on between backups.
const LOGS: [&str; 16] = [
    "wal",
    "point-in-time",
    "pitr",
    "continuous archiv",
    "continuous backup",
    "binlog",
    "oplog",
    "transaction log",
    "log shipping",
    "streaming replic",
    "change stream",
    "redo log",
    "archive log",
    "journal archiv",
    "预写日志",
    "時間點",
];

/// Whether a text speaks of logs that carry changes on.
#[must_use]
pub fn speaks_of_logs(text: &str) -> bool {
    let text = text.to_lowercase();
    LOGS.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            // `wal`, not `wall` and not `withdrawal`.
            let behind = text[at + word.len()..].chars().next();
            *word != "wal"
                || !(before.is_some_and(char::is_alphanumeric) || behind.is_some_and(char::is_alphanumeric))
        })
    })
}

/// Whether a section is about backups.
#[must_use]
pub fn is_about_backups(titles: &str) -> bool {
    BACKUP.iter().any(|word| titles.contains(word)) && !OTHER.iter().any(|word| titles.contains(word))
}

/// All schedules of backups.
#[must_use]
pub fn schedules(document: &Document, statements: &[Statement]) -> Vec<Schedule> {
    let mut schedules = Vec::new();
    for statement in statements {
        let titles = document.titles(statement.section);
        let group = statement.under.as_deref().unwrap_or_default().to_lowercase();
        let about = format!("{} / {group} / {titles}", statement.key_text());
        let whole = format!("{} {}", about, statement.value.plain().to_lowercase());
        let own = format!("{} {group} {}", statement.key_text(), statement.value.plain().to_lowercase());
        if OTHER.iter().any(|word| titles.contains(word))
            || !BACKUP.iter().any(|word| whole.contains(word))
            || is_retention(&statement.key_text())
            || is_retention(&group)
        {
            continue;
        }
        let text = statement.value.plain();
        let frequency = frequency(text);
        let time = time_of_day(text);
        let key = statement.key_text();
        let keyed = [
            "schedule",
            "cron",
            "frequency",
            "when",
            "interval",
            "zeitplan",
            "häufigkeit",
            "intervall",
            "频率",
            "頻率",
            "时间",
            "時間",
        ]
        .iter()
        .any(|word| key.contains(word));
        // The heading of a column in a table of backups.
        let headed =
            matches!(group.trim(), "when" | "schedule" | "wann" | "uhrzeit" | "cuándo" | "horario" | "quand")
                && is_about_backups(titles);
        let keyed = keyed || headed;
        // A sentence that merely says "daily" counts where it also says what is copied.
        let own_title = document.sections[statement.section].title.plain().to_lowercase();
        let listed = matches!(statement.form, Form::Item { .. })
            && is_about_backups(&own_title)
            && statement.value.plain().chars().count() < 60;
        let says_what = listed || BACKUP.iter().any(|word| own.contains(word)) || speaks_of_logs(&own);
        if (frequency.is_none() && time.is_none()) || !(keyed || says_what) {
            continue;
        }
        let (start, end) =
            frequency.map_or_else(|| time.as_ref().map_or((0, text.len()), |t| (t.0, t.1)), |f| (f.0, f.1));
        let (start, end) = time.as_ref().map_or((start, end), |t| (start.min(t.0), end.max(t.1)));
        schedules.push(Schedule {
            section: statement.section,
            place: statement.value.place(start, end),
            words: text[start..end].to_owned(),
            is_log: speaks_of_logs(&format!("{key} {group} {}", text)) || own.contains("aof"),
            every_s: frequency.map(|(_, _, every_s)| every_s),
            zone: zone(text).or_else(|| zone_beside(statement, statements)),
            at: time.map(|(start, end)| text[start..end].to_owned()),
            about,
        });
    }
    schedules
}

fn is_retention(text: &str) -> bool {
    ["retention", "retain", "kept for", "keep ", "aufbewahr", "vorhalte", "保留"]
        .iter()
        .any(|word| text.contains(word))
}

/// All times for which backups are kept.
#[must_use]
pub fn retentions(document: &Document, statements: &[Statement]) -> Vec<Retention> {
    let mut retentions = Vec::new();
    for statement in statements {
        let titles = document.titles(statement.section);
        let group = statement.under.as_deref().unwrap_or_default().to_lowercase();
        let own = format!("{} {group} {}", statement.key_text(), statement.value.plain().to_lowercase());
        if !is_retention(&own) || OTHER.iter().any(|word| titles.contains(word)) {
            continue;
        }
        let text = statement.value.plain();
        let Some(span) = durations::find(text).into_iter().min_by_key(|span| span.low_s) else { continue };
        retentions.push(Retention {
            section: statement.section,
            place: statement.value.place(span.start, span.end),
            low_s: span.low_s,
            about: format!("{} / {group} / {titles}", statement.key_text()),
        });
    }
    retentions
}

/// How often: where it stands, and the longest time between two in seconds.
#[must_use]
pub fn frequency(text: &str) -> Option<(usize, usize, u64)> {
    const WORDS: [(&str, u64); 47] = [
        ("halbjährlich", 183 * DAY),
        ("semestral", 183 * DAY),
        ("trimestral", 92 * DAY),
        ("trimestriel", 92 * DAY),
        ("hourly", HOUR),
        ("daily", DAY),
        ("nightly", DAY),
        ("every night", DAY),
        ("every day", DAY),
        ("every hour", HOUR),
        ("semi-annually", 183 * DAY),
        ("semiannually", 183 * DAY),
        ("biweekly", 14 * DAY),
        ("weekly", 7 * DAY),
        ("every week", 7 * DAY),
        ("monthly", 31 * DAY),
        ("every month", 31 * DAY),
        ("quarterly", 92 * DAY),
        ("annually", 366 * DAY),
        ("yearly", 366 * DAY),
        ("semi-annual", 183 * DAY),
        ("twice a year", 183 * DAY),
        ("once a year", 366 * DAY),
        ("annual", 366 * DAY),
        ("vierteljährlich", 92 * DAY),
        ("quartalsweise", 92 * DAY),
        ("jährlich", 366 * DAY),
        ("chaque nuit", DAY),
        ("chaque jour", DAY),
        ("quotidien", DAY),
        ("hebdomadaire", 7 * DAY),
        ("mensuel", 31 * DAY),
        ("diari", DAY),
        ("semanal", 7 * DAY),
        ("mensual", 31 * DAY),
        ("每季度", 92 * DAY),
        ("每年", 366 * DAY),
        ("stündlich", HOUR),
        ("täglich", DAY),
        ("wöchentlich", 7 * DAY),
        ("monatlich", 31 * DAY),
        ("每天", DAY),
        ("每日", DAY),
        ("每周", 7 * DAY),
        ("每週", 7 * DAY),
        ("每月", 31 * DAY),
        ("每小时", HOUR),
    ];
    // ASCII alone changes its case: positions stay those of the text.
    let small = text.to_ascii_lowercase();
    for lead in ["every ", "alle ", "each ", "每隔", "每"] {
        if let Some(at) = small.find(lead)
            && let Some(span) = durations::find(text).into_iter().find(|span| span.start == at + lead.len())
        {
            return Some((at, span.end, span.high_s));
        }
    }
    if let Some(span) = durations::first(text)
        && ["interval", "-intervall", "间隔", "間隔"]
            .iter()
            .any(|word| small[span.end..].trim_start().starts_with(word))
    {
        return Some((span.start, span.end, span.high_s));
    }
    if let Some(found) = cron(text) {
        return Some(found);
    }
    let found =
        WORDS.iter().filter_map(|(word, every_s)| small.find(word).map(|at| (at, at + word.len(), *every_s)));
    let found = found.filter(|(at, ..)| !small[..*at].ends_with(|c: char| c.is_alphanumeric()));
    found.min_by_key(|(at, ..)| *at)
}

/// `0 */6 * * *` in backquotes or quotes, or as the whole value.
fn cron(text: &str) -> Option<(usize, usize, u64)> {
    let is_field = |field: &str| {
        !field.is_empty()
            && field.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'*' | b'/' | b',' | b'-'))
    };
    let trimmed = text.trim_matches(['`', '"', '\'', ' ']);
    let fields: Vec<&str> = trimmed.split_whitespace().take(5).collect();
    let [minute, hour, day, month, weekday] = fields[..] else { return None };
    if !fields.iter().all(|field| is_field(field)) {
        return None;
    }
    let step = |field: &str, unit_s: u64| {
        field.strip_prefix("*/").and_then(|n| n.parse::<u64>().ok()).map(|n| n * unit_s)
    };
    let every_s = match (minute, hour, day, month, weekday) {
        ("*", ..) => 60,
        (minute, "*", ..) => step(minute, 60).unwrap_or(HOUR),
        (_, hour, "*", _, "*") => {
            step(hour, HOUR).unwrap_or_else(|| 24 / (1 + hour.matches(',').count() as u64) * HOUR)
        }
        (_, _, "*", _, _) => 7 * DAY,
        _ => 31 * DAY,
    };
    let start = text.find(minute)?;
    let end = text.find(trimmed).map_or(text.len(), |at| at + trimmed.len());
    Some((start, end.min(text.len()), every_s))
}

/// A time of day: `2:00 AM`, `02:00`, `3 Uhr`, `凌晨2点`.
pub(crate) fn time_of_day(text: &str) -> Option<(usize, usize)> {
    for (at, _) in text.match_indices(':') {
        let hours = text[..at].bytes().rev().take_while(u8::is_ascii_digit).count();
        let minutes = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let hour: Option<u32> = text[at - hours..at].parse().ok();
        if (1..=2).contains(&hours) && minutes == 2 && hour.is_some_and(|hour| hour < 24) {
            let mut end = at + 3;
            let rest = text[end..].trim_start();
            if rest.len() >= 2
                && rest.is_char_boundary(2)
                && ["am", "pm"].contains(&rest[..2].to_ascii_lowercase().as_str())
            {
                end = text.len() - rest.len() + 2;
            }
            return Some((at - hours, end));
        }
    }
    let small = text.to_ascii_lowercase();
    for mark in ["am", "pm", "uhr", "点", "點"] {
        let mut from = 0;
        while let Some(found) = small[from..].find(mark) {
            let at = from + found;
            let before = small[..at].trim_end();
            let digits = before.bytes().rev().take_while(u8::is_ascii_digit).count();
            let behind = small[at + mark.len()..].chars().next();
            let ends = !mark.is_ascii() || !behind.is_some_and(char::is_alphanumeric);
            if (1..=2).contains(&digits) && ends {
                return Some((before.len() - digits, at + mark.len()));
            }
            from = at + mark.len();
        }
    }
    None
}

/// The zone that a text names.
pub(crate) fn zone(text: &str) -> Option<String> {
    const ZONES: [&str; 38] = [
        "UTC", "GMT", "Z", "CET", "CEST", "EST", "EDT", "ET", "PST", "PDT", "PT", "CST", "CDT", "CT", "MST",
        "MDT", "MT", "BST", "IST", "JST", "KST", "HKT", "SGT", "AEST", "AEDT", "NZST", "MEZ", "MESZ", "WIB",
        "PHT", "MSK", "TRT", "EET", "EEST", "WET", "BRT", "SAST", "ICT",
    ];
    let words = text.split(|c: char| !(c.is_alphanumeric() || "/_+-:".contains(c)));
    let named = words.clone().find(|word| {
        let base = word.split(['+', '-']).next().unwrap_or_default();
        ZONES.contains(&base)
            || word.contains('/') && word.starts_with(|c: char| c.is_ascii_uppercase())
            || word.ends_with('Z') && word.contains(':')
    });
    let spoken = [
        "local time",
        "taiwan time",
        "server time",
        "ortszeit",
        "time zone",
        "timezone",
        "zeitzone",
        "北京时间",
        "台北時間",
        "台灣時間",
        "时区",
        "時區",
        " time)",
    ];
    let small = text.to_lowercase();
    let spoken = spoken.iter().find(|words| small.contains(*words)).map(|words| (*words).to_owned());
    let capital_time = || {
        let words: Vec<&str> = text.split_whitespace().collect();
        let pair = words.windows(2).find(|pair| {
            pair[1].trim_end_matches([',', '.', ')']).eq_ignore_ascii_case("time")
                && pair[0].starts_with(|c: char| c.is_ascii_uppercase())
        });
        pair.map(|pair| pair.join(" "))
    };
    named.map(str::to_owned).or(spoken).or_else(capital_time)
}

/// A zone that a statement beside this one names: `Time zone: UTC`.
fn zone_beside(statement: &Statement, statements: &[Statement]) -> Option<String> {
    // Statements are in the order of their sections.
    let from = statements.partition_point(|other| other.section < statement.section);
    let beside = statements[from..].iter().take_while(|other| other.section == statement.section).take(100);
    let mut zones = beside.filter(|other| {
        let key = other.key_text();
        key.contains("zone") || key.contains("时区") || key.contains("時區")
    });
    zones.next().map(|other| other.value.plain().to_owned())
}
