//! What is backed up: services with the backups that the document describes.

use super::Importer;
use super::draft::{Draft, Map};
use super::outline::{Entry, Piece, What, flat};
use super::runbooks;
use super::words::{self, cadence, interval};
use crate::document::Text;
use crate::facts::statements::split;
use crate::facts::{backups, durations};
use crate::values::Zone;

/// What a key or column says of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    When,
    Zone,
    Keep,
    Location,
    Encryption,
    Method,
    Continuous,
}

const FIELDS: &[(&[&str], Field)] = &[
    (&["time zone", "timezone", "zeitzone", "时区", "時區"], Field::Zone),
    (
        &[
            "schedule",
            "frequency",
            "cron",
            "when",
            "interval",
            "zeitplan",
            "häufigkeit",
            "intervall",
            "wann",
            "uhrzeit",
            "cuándo",
            "horario",
            "frecuencia",
            "fréquence",
            "频率",
            "頻率",
            "时间",
        ],
        Field::When,
    ),
    (
        &["retention", "retain", "kept", "keep", "aufbewahr", "vorhalte", "retención", "conserv", "保留"],
        Field::Keep,
    ),
    (
        &[
            "location",
            "storage",
            "stored",
            "destination",
            "where",
            "target",
            "bucket",
            "speicherort",
            "wohin",
            "ubicación",
            "emplacement",
            "ablage",
            "位置",
            "存储",
        ],
        Field::Location,
    ),
    (&["encrypt", "verschlüssel", "加密"], Field::Encryption),
    (&["wal archiv", "wal-archiv", "wal 归档", "continuous archiv", "log shipping"], Field::Continuous),
    (&["method", "type", "format", "tool", "how", "verfahren", "werkzeug", "方式"], Field::Method),
];

fn field(key: &str) -> Option<Field> {
    let small = key.to_lowercase();
    if small.chars().count() > 40 {
        return None;
    }
    // "Backup" alone says when; "Storage bucket backups" is a name.
    if matches!(small.trim(), "backup" | "sicherung" | "backups" | "snapshot" | "备份") {
        return Some(Field::When);
    }
    FIELDS.iter().find(|(words, _)| words.iter().any(|word| small.contains(word))).map(|(_, field)| *field)
}

/// A section about backups: of which service, what the backup is called, and its pieces. What is left is handed back.
pub(super) fn section<'a>(
    import: &mut Importer<'a>,
    section: usize,
    pieces: Vec<Piece<'a>>,
) -> Vec<Piece<'a>> {
    if pieces.is_empty() {
        return Vec::new();
    }
    let (service, of_service, line) = service(import, section);
    let title = import.document.sections[section].title.clone();
    let name = if section == of_service { None } else { Some(words::unnumbered(title.plain()).to_owned()) };
    let name = name.unwrap_or_else(|| words::unnumbered(title.plain()).to_owned());
    let mut group = Map::default();
    let mut backups: Vec<(Map, u32)> = Vec::new();
    let mut commands = Vec::new();
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match piece.what {
            What::Prose(text) => {
                import.took(first, last);
                let keyed = text
                    .lines()
                    .iter()
                    .any(|line| split(line).0.is_some_and(|key| field(key.plain()).is_some()));
                if !keyed {
                    if !flat(text).ends_with([':', '：']) {
                        remark(&mut group, text, first);
                    }
                    continue;
                }
                for line in text.lines() {
                    let (key, value) = split(&line);
                    let at = line.whole().line;
                    match key.filter(|key| field(key.plain()).is_some()) {
                        Some(key) => put(&mut group, &key, &value, at),
                        None => remark(&mut group, &line, at),
                    }
                }
            }
            What::Entries(entries) => {
                import.took(first, last);
                self::entries(&entries, &mut group, &mut backups);
            }
            What::Table(table) => {
                import.took(first, last);
                // A column of numbers in front names nothing.
                let counts = |cell: &Text| cell.is_empty() || cell.plain().trim().parse::<u32>().is_ok();
                let name = usize::from(
                    table.rows.iter().all(|row| row.first().is_some_and(counts)) && table.header.len() > 2,
                );
                for row in &table.rows {
                    let Some(first) = row.get(name) else { continue };
                    let at = first.whole().line;
                    let mut backup = Map::default();
                    backup.say("name", flat(first), at);
                    for (head, cell) in
                        table.header.iter().zip(row).skip(name + 1).filter(|(_, cell)| !cell.is_empty())
                    {
                        match field(head.plain()) {
                            Some(_) => put(&mut backup, head, cell, at),
                            None => backup.tell("notes", format!("{}: {}", flat(head), flat(cell)), at),
                        }
                    }
                    backups.push((backup, at));
                }
            }
            What::Shell(_) => commands.push(piece),
            What::Code(_) => left.push(piece),
        }
    }
    let runbook = if commands.is_empty() {
        None
    } else {
        let line = title.whole().line;
        let about = import.breadcrumbs(section);
        runbooks::loose(import, &name, line, &about, commands)
    };
    let says = !group.is_empty();
    let zone = group.text_of("timeZone").map(str::to_owned);
    let own_line = title.whole().line;
    if says || (backups.is_empty() && runbook.is_some()) {
        group.entries.insert(0, ("name".to_owned(), Draft::text(&name, own_line)));
        if let Some(runbook) = &runbook {
            group.say("runbook", runbook, own_line);
        }
        backups.insert(0, (group, own_line));
    } else if let (Some(runbook), Some((first, _))) = (&runbook, backups.first_mut()) {
        first.say("runbook", runbook, own_line);
    }
    let to = import.service(&service, line);
    for (mut backup, line) in backups {
        if let Some(zone) = &zone {
            backup.say("timeZone", zone, line);
        }
        scheduled(&mut backup);
        if backup.text_of("name").is_some_and(backups::speaks_of_logs) {
            backup.flag("continuous", line);
        }
        to.add("backups", Draft::map(backup, line));
    }
    left
}

/// Whose backups a section is about: the heading right below the one about backups, without the word.
fn service(import: &Importer<'_>, section: usize) -> (String, usize, u32) {
    let document = import.document;
    let path: Vec<usize> =
        document.path(section).filter(|at| import.topic(*at) == super::Topic::Backups).collect();
    // Outermost last.
    let container = path.last().copied().unwrap_or(section);
    let title = |at: usize| stripped(words::unnumbered(document.sections[at].title.plain()));
    let below = if path.len() >= 2 { path[path.len() - 2] } else { container };
    let is_bold = document.sections[below].level >= 8;
    let of = if title(container).is_some() || is_bold { container } else { below };
    let name = title(of).or_else(|| title(container)).unwrap_or_else(|| import.name().to_owned());
    (name, of, document.sections[of].title.whole().line)
}

/// A heading without the words about backups; none if nothing is left.
fn stripped(title: &str) -> Option<String> {
    const WORDS: [&str; 22] = [
        "backup",
        "backups",
        "strategy",
        "strategies",
        "procedures",
        "procedure",
        "and",
        "plan",
        "policy",
        "schedule",
        "schedules",
        "retention",
        "recovery",
        "data",
        "protection",
        "how",
        "is",
        "protected",
        "restore",
        "the",
        "of",
        "automated",
    ];
    let title =
        title.trim_end_matches([':', '：']).replace("备份", " ").replace("備份", " ").replace("&", " ");
    let is_word = |word: &&str| {
        let small = word.to_lowercase();
        !WORDS.contains(&small.as_str()) && !["sicherung", "datensicherung"].contains(&small.as_str())
    };
    let rest: Vec<&str> = title.split_whitespace().filter(is_word).collect();
    (!rest.is_empty()).then(|| rest.join(" "))
}

/// The entries of a list or fence: fields of one backup, or backups of their own.
fn entries(entries: &[Entry<'_>], group: &mut Map, backups: &mut Vec<(Map, u32)>) {
    // A comment in a fence begins another backup.
    let commented = entries.iter().any(|entry| entry.comment.is_some());
    let known = entries.iter().any(|entry| entry.below.is_empty() && field(&entry.key_text()).is_some());
    for entry in entries {
        let line = entry.line;
        let of_comment = entry.comment.as_ref().filter(|_| commented);
        if let Some((comment, at)) = of_comment {
            let name = words::unnumbered(comment);
            let is_new = backups.last().is_none_or(|(backup, _)| backup.text_of("name") != Some(name));
            if is_new {
                let mut backup = Map::default();
                backup.say("name", name, *at);
                backups.push((backup, *at));
            }
            if let Some((backup, _)) = backups.last_mut() {
                one(backup, entry);
            }
            continue;
        }
        let is_own = (entry.key.is_some() || backups::frequency(entry.value.plain()).is_some()) && !known
            || entry.below.iter().any(|below| field(&below.key_text()).is_some() || frequent(below));
        let each = !entry.below.is_empty()
            && entry.below.iter().all(|below| below.key.is_some() && field(&below.key_text()).is_none())
            && entry.below.iter().any(frequent);
        if each {
            let above = entry.key.as_ref().map(flat).unwrap_or_else(|| flat(&entry.value));
            for below in &entry.below {
                let mut backup = Map::default();
                backup.say(
                    "name",
                    format!("{above}: {}", below.key.as_ref().map(flat).unwrap_or_default()),
                    below.line,
                );
                free(&mut backup, &below.value, below.line);
                backups.push((backup, below.line));
            }
            continue;
        }
        if is_own && (entry.key.is_some() || !entry.below.is_empty()) {
            let mut backup = Map::default();
            let name = entry.key.as_ref().map(flat).unwrap_or_else(|| flat(&entry.value));
            backup.say("name", name, line);
            if entry.key.is_some() {
                free(&mut backup, &entry.value, line);
            }
            for below in &entry.below {
                one(&mut backup, below);
            }
            backups.push((backup, line));
        } else {
            one(group, entry);
        }
    }
}

fn frequent(entry: &Entry<'_>) -> bool {
    backups::frequency(entry.value.plain()).is_some() || durations::first(entry.value.plain()).is_some()
}

/// One entry as a field of a backup.
fn one(backup: &mut Map, entry: &Entry<'_>) {
    let line = entry.line;
    match &entry.key {
        Some(key) if field(key.plain()).is_some() => {
            put(backup, key, &entry.value, line);
            for below in &entry.below {
                match field(key.plain()) {
                    Some(Field::Location) => backup.tell("location", below.whole(), below.line),
                    _ => backup.tell("notes", below.text(), below.line),
                }
            }
        }
        Some(_) => backup.tell("notes", entry.text(), line),
        None => {
            remark(backup, &entry.value, line);
            for below in &entry.below {
                backup.tell("notes", below.text(), below.line);
            }
        }
    }
}

/// A text without a key: how often, how long, or a remark.
fn remark(backup: &mut Map, text: &Text, line: u32) {
    let words = flat(text);
    let small = words.to_lowercase();
    let span = durations::first(&words);
    if span.is_some()
        && ["retention", "retain", "kept for", "aufbewahr", "保留"].iter().any(|word| small.contains(word))
    {
        if backup.get("keep").is_none() {
            return keep(backup, &words, line);
        }
    } else if backups::frequency(&words).is_some() && backup.get("when").is_none() {
        return when(backup, &words, line);
    } else if backups::speaks_of_logs(&words) {
        backup.flag("continuous", line);
    }
    backup.tell("notes", words, line);
}

/// Words that say how long something stays.
const KEPT: [&str; 9] =
    ["retention", "retención", "retain", "kept", "keep", "aufbewahr", "conserv", "保留", "gehalten"];

/// What stands behind a name: `Daily, 7-day retention`.
fn free(backup: &mut Map, value: &Text, line: u32) {
    let words = flat(value);
    if words.is_empty() {
        return;
    }
    let small = words.to_lowercase();
    let keeps = |text: &str| {
        let small = text.to_lowercase();
        KEPT.iter().any(|word| small.contains(word)) && durations::first(text).is_some()
    };
    let kept = KEPT.iter().any(|word| small.contains(word));
    let often = backups::frequency(&words).is_some();
    if often {
        when(
            backup,
            words.split(", ").find(|part| backups::frequency(part).is_some()).unwrap_or(&words),
            line,
        );
    }
    if let Some(part) = words.split([',', ';']).map(str::trim).find(|part| kept && keeps(part)) {
        keep(backup, part, line);
    }
    for part in words.split([' ', ',', ';', '(', ')']) {
        if ["s3://", "gs://", "az://", "https://"].iter().any(|lead| part.starts_with(lead)) {
            backup.tell("location", part, line);
        } else if ["AES", "SSE", "KMS", "GPG"].iter().any(|lead| part.starts_with(lead)) {
            backup.say("encryption", part, line);
        }
    }
    if backups::speaks_of_logs(&words) && !often {
        backup.flag("continuous", line);
    }
    if !often || words.split(' ').count() > if kept { 8 } else { 3 } {
        backup.say("method", words, line);
    }
}

fn put(backup: &mut Map, key: &Text, value: &Text, line: u32) {
    let words = flat(value);
    if words.is_empty() {
        return;
    }
    match field(key.plain()) {
        Some(Field::When) => when(backup, &words, line),
        Some(Field::Zone) => {
            if let Some(zone) = iana(&words) {
                backup.say("timeZone", zone, line);
            }
        }
        Some(Field::Keep) => keep(backup, &words, line),
        Some(Field::Location) => backup.tell("location", words, line),
        Some(Field::Encryption) => _ = backup.say("encryption", words, line),
        Some(Field::Method) => _ = backup.say("method", words, line),
        Some(Field::Continuous) => {
            backup.flag("continuous", line);
            when(backup, &words, line);
        }
        None => backup.tell("notes", format!("{}: {words}", flat(key)), line),
    }
}

fn when(backup: &mut Map, words: &str, line: u32) {
    if !backup.say("when", words, line) {
        return backup.tell("notes", words, line);
    }
    if backups::speaks_of_logs(words) {
        backup.flag("continuous", line);
    }
    if let Some((_, _, every_s)) = backups::frequency(words) {
        backup.say("every", cadence(every_s), line);
    }
}

fn keep(backup: &mut Map, words: &str, line: u32) {
    let spans = durations::find(words);
    match spans.iter().map(|span| span.low_s).min() {
        Some(least) if backup.say("keep", interval(least), line) => {
            let plain = spans.len() == 1 && words.chars().count() < spans[0].end - spans[0].start + 10;
            if !plain {
                backup.say("kept", words, line);
            }
        }
        None if backup.say("kept", words, line) => {}
        _ => backup.tell("notes", words, line),
    }
}

/// A cron expression and its zone, where the words say both; then they are not kept beside.
fn scheduled(backup: &mut Map) {
    let Some(Draft { line, .. }) = backup.get("when") else { return };
    let line = *line;
    let words = backup.text_of("when").unwrap_or_default().to_owned();
    let daily = backup.text_of("every") == Some("daily");
    let zone = backups::zone(&words)
        .and_then(|zone| iana(&zone))
        .or_else(|| backup.text_of("timeZone").map(str::to_owned));
    let cron = words.trim_matches(['`', '"', '\'', ' ']);
    let schedule = if cron.parse::<crate::values::Cron>().is_ok() {
        Some(cron.to_owned())
    } else {
        backups::time_of_day(&words).filter(|_| daily).and_then(|(from, to)| clock(&words[from..to]))
    };
    match (schedule, zone) {
        (Some(schedule), Some(zone)) => {
            backup.entries.retain(|(key, _)| !matches!(key.as_str(), "when" | "every" | "timeZone"));
            backup.say("schedule", schedule, line);
            backup.say("timeZone", zone, line);
        }
        _ => {
            let again = backup.text_of("method") == Some(words.as_str());
            backup.entries.retain(|(key, _)| key != "timeZone" && !(again && key == "when"));
            let often = backups::frequency(&words)
                .is_some_and(|(from, to, _)| words[from..to].len() + 2 > words.len());
            if often {
                backup.entries.retain(|(key, _)| key != "when");
            }
        }
    }
}

/// `2:00 AM` as the fields of a cron expression.
fn clock(words: &str) -> Option<String> {
    let small = words.to_ascii_lowercase();
    let digits: Vec<u32> =
        small.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    let (hour, minute) = (*digits.first()?, digits.get(1).copied().unwrap_or(0));
    let hour = match (small.contains("pm"), small.contains("am"), hour) {
        (true, _, 1..=11) => hour + 12,
        (_, true, 12) => 0,
        _ => hour,
    };
    (hour < 24 && minute < 60).then(|| format!("{minute} {hour} * * *"))
}

/// The zone that people mean.
fn iana(words: &str) -> Option<String> {
    let small = words.to_lowercase();
    let named = [
        ("taiwan", "Asia/Taipei"),
        ("台北", "Asia/Taipei"),
        ("台灣", "Asia/Taipei"),
        ("beijing", "Asia/Shanghai"),
        ("北京", "Asia/Shanghai"),
        ("mez", "CET"),
        ("utc", "UTC"),
        ("gmt", "UTC"),
    ];
    let named = named.iter().find(|(word, _)| small.contains(word)).map(|(_, zone)| (*zone).to_owned());
    let plain = words.trim();
    named
        .or_else(|| (plain.contains('/') || plain == "CET").then(|| plain.to_owned()))
        .filter(|zone| zone.parse::<Zone>().is_ok())
}
