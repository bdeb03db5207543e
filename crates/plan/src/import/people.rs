//! Roles, contacts and escalation.

use super::Importer;
use super::draft::{Draft, Map};
use super::outline::{Entry, Piece, What, flat};
use super::parts::grade;
use super::words::{interval, is_email, is_phone, is_placeholder};
use crate::document::{Table, Text};
use crate::facts::durations;
use crate::facts::statements::split;

/// Names of parts that people play in an incident.
const ROLES: [&str; 40] = [
    "commander",
    "lead",
    "coordinator",
    "administrator",
    "admin",
    "engineer",
    "on-call",
    "oncall",
    "on call",
    "dba",
    "manager",
    "cto",
    "ceo",
    "ciso",
    "cio",
    "expert",
    "communications",
    "support team",
    "customer support",
    "developer",
    "analyst",
    "officer",
    "sre",
    "devops",
    "owner",
    "security team",
    "specialist",
    "director",
    "head of",
    "responder",
    "liaison",
    "scribe",
    "leiter",
    "leitung",
    "bereitschaft",
    "负责人",
    "工程师",
    "經理",
    "经理",
    "主管",
];

pub(super) fn is_role(name: &str) -> bool {
    let small = name.to_lowercase();
    small.chars().count() < 50 && ROLES.iter().any(|word| small.contains(word))
}

/// A table of roles or contacts: what each column says.
fn column(head: &str) -> Option<&'static str> {
    const COLUMNS: [(&[&str], &str); 8] = [
        (&["responsib", "dut", "task", "aufgabe", "职责"], "duties"),
        (
            &[
                "deputy",
                "backup",
                "alternate",
                "secondary",
                "substitute",
                "stellvertret",
                "vertretung",
                "备份",
                "副",
            ],
            "deputy",
        ),
        (&["phone", "tel", "mobile", "cell", "电话", "電話", "handy", "móvil"], "phone"),
        (&["mail", "correo", "courriel", "邮箱", "郵件"], "email"),
        (&["account", "contract", "customer id", "org id", "kundennummer"], "account"),
        (&["url", "portal", "website", "link"], "url"),
        (&["name", "person", "primary", "who", "assignee", "nombre", "姓名"], "person"),
        (&["contact", "support", "reach", "kontakt", "slack", "pager", "联系"], "contact"),
    ];
    let small = head.to_lowercase();
    COLUMNS.iter().find(|(words, _)| words.iter().any(|word| small.contains(word))).map(|(_, key)| *key)
}

pub(super) fn roles<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    people(import, at, pieces, true)
}

pub(super) fn contacts<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    people(import, at, pieces, false)
}

fn people<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>, roles: bool) -> Vec<Piece<'a>> {
    let title = import.document.sections[at].title.plain().to_lowercase();
    let outside = ["vendor", "external", "provider", "third", "support", "extern", "供应商"]
        .iter()
        .any(|word| title.contains(word));
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Table(table) => self::table(import, table, roles && !outside),
            What::Entries(entries) => {
                for entry in entries {
                    person(import, entry, roles, outside);
                }
            }
            What::Prose(text) => {
                for line in text.lines() {
                    match split(&line) {
                        (Some(key), value) => {
                            said(import, &flat(&key), &value, line.whole().line, roles, outside)
                        }
                        (None, value) if !flat(&value).ends_with([':', '：']) => {
                            import.plan.within("people", first).tell(
                                "notes",
                                flat(&value),
                                line.whole().line,
                            );
                        }
                        _ => {}
                    }
                }
            }
            What::Shell(_) | What::Code(_) => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}

fn table(import: &mut Importer<'_>, table: &Table, roles: bool) {
    let head = table.header.first().map(|head| head.plain().to_lowercase()).unwrap_or_default();
    let vendors = ["vendor", "service", "provider", "company", "supplier", "anbieter", "供应商"];
    let of_roles = roles && !vendors.iter().any(|word| head.contains(word))
        || ["role", "rôle", "función", "function", "position", "rolle", "funktion", "角色", "职"]
            .iter()
            .any(|word| head.contains(word))
        || head.trim() == "rol";
    for row in &table.rows {
        let Some(name) = row.first().map(flat).filter(|name| !name.is_empty()) else { continue };
        let line = row[0].whole().line;
        let outside = ["support", "soporte", "provider", "vendor"]
            .iter()
            .any(|word| name.to_lowercase().starts_with(word));
        let is_role = !outside && of_roles || is_role(&name);
        let mut placeholders = Vec::new();
        let map = entry_of(import, &name, is_role, line);
        for (head, cell) in table.header.iter().zip(row).skip(1) {
            let value = flat(cell);
            let parts: Vec<&str> = value.split(", ").collect();
            if is_placeholder(&value) && (parts.len() == 1 || parts.iter().all(|part| is_placeholder(part))) {
                if !value.is_empty() {
                    placeholders.push((flat(head), value));
                }
                continue;
            }
            if parts.len() > 1
                && parts.iter().all(|part| is_email(part) || is_phone(part) || is_placeholder(part))
            {
                for part in parts {
                    if is_placeholder(part) {
                        placeholders.push((flat(head), part.to_owned()));
                    } else {
                        reached(map, part, line);
                    }
                }
                continue;
            }
            let key = match (column(head.plain()), is_role) {
                (Some("account" | "url"), true) => "contact",
                (Some("deputy"), false) => "contact",
                (Some("duties"), false) => "notes",
                (Some(key), _) => key,
                (None, true) => "duties",
                (None, false) => "notes",
            };
            match key {
                "duties" | "notes" => map.tell(key, value, line),
                "contact" => reached(map, &value, line),
                "deputy" if value.starts_with('#') || value.to_lowercase().contains("slack") => {
                    reached(map, &value, line)
                }
                key => {
                    let fresh = map.say(key, &value, line);
                    if !fresh {
                        reached(map, &value, line);
                    }
                }
            }
        }
        for (head, value) in placeholders {
            import.miss(line, format!("{name} has no {}: `{value}` is a placeholder", head.to_lowercase()));
        }
    }
}

fn entry_of<'m>(import: &'m mut Importer<'_>, name: &str, is_role: bool, line: u32) -> &'m mut Map {
    let people = import.plan.within("people", line);
    people.named(if is_role { "roles" } else { "contacts" }, name, line)
}

fn person(import: &mut Importer<'_>, entry: &Entry<'_>, roles: bool, outside: bool) {
    match &entry.key {
        Some(key) => {
            let name = flat(key);
            said(import, &name, &entry.value, entry.line, roles, outside);
            let is_role = !outside && (roles || is_role(&name));
            for below in &entry.below {
                let line = below.line;
                let text = below.text();
                let map = entry_of(import, &name, is_role, line);
                let small = below.key_text();
                match column(&small) {
                    Some(key @ ("phone" | "email" | "person")) => _ = map.say(key, flat(&below.value), line),
                    Some("deputy") if is_role => _ = map.say("deputy", flat(&below.value), line),
                    Some("contact" | "url") => reached(map, &flat(&below.value), line),
                    _ => map.tell(if is_role { "duties" } else { "notes" }, text, line),
                }
            }
        }
        None => {
            let text = entry.text();
            import.plan.within("people", entry.line).tell("notes", text, entry.line);
        }
    }
}

/// `Incident Commander: DevOps Lead`
pub(super) fn said(
    import: &mut Importer<'_>,
    name: &str,
    value: &Text,
    line: u32,
    roles: bool,
    outside: bool,
) {
    let words = flat(value);
    let is_role = !outside && (roles || is_role(name));
    if is_placeholder(&words) {
        entry_of(import, name, is_role, line);
        if !words.is_empty() {
            import.miss(line, format!("{name} cannot be reached: `{words}` is a placeholder"));
        }
        return;
    }
    let map = entry_of(import, name, is_role, line);
    // `(backup: Lee Wong)`
    let last = words.trim_end().strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
    let (words, aside) = match last {
        Some((before, aside)) => (before.trim().to_owned(), Some(aside.to_owned())),
        None => (words, None),
    };
    let deputy = aside.as_deref().and_then(|aside| {
        let (key, value) = aside.split_once(':')?;
        (is_role && column(key) == Some("deputy")).then(|| value.trim().to_owned())
    });
    let words = if deputy.is_none() && aside.is_some() { flat(value) } else { words };
    let parts: Vec<&str> = words.split(", ").map(str::trim).collect();
    let reaches = |part: &&str| is_email(part) || is_phone(part);
    let mut missing = Vec::new();
    if parts.iter().any(reaches) {
        for part in parts {
            if is_placeholder(part) {
                missing.push(part.to_owned());
            } else if reaches(&part) || !map.say("person", part, line) {
                reached(map, part, line);
            }
        }
    } else if is_role && !words.starts_with(['#', '+']) {
        map.say("person", words, line);
    } else {
        reached(map, &words, line);
    }
    if let Some(deputy) = deputy {
        map.say("deputy", deputy, line);
    }
    for part in missing {
        import.miss(line, format!("{name} cannot be reached so: `{part}` is a placeholder"));
    }
}

/// A way to reach somebody, under the key that it belongs to.
fn reached(map: &mut Map, value: &str, line: u32) {
    let key = if is_email(value) {
        "email"
    } else if is_phone(value) {
        "phone"
    } else {
        "contact"
    };
    if !map.say(key, value, line) {
        let old =
            map.text_of("contact").map(|old| format!("{old}; {value}")).unwrap_or_else(|| value.to_owned());
        map.entries.retain(|(key, _)| key != "contact");
        map.say("contact", old, line);
    }
}

pub(super) fn escalation<'a>(import: &mut Importer<'a>, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Table(table) => levels_of(import, table),
            What::Entries(entries) => {
                for entry in entries {
                    let level = level(&entry.key.as_ref().map(flat), &flat(&entry.value), entry.line);
                    let level = entry.below.iter().fold(level, |mut level, below| {
                        level.tell("notes", below.text(), below.line);
                        level
                    });
                    import.plan.within("people", entry.line).add("escalation", Draft::map(level, entry.line));
                }
            }
            What::Prose(text) => {
                for line in text.lines() {
                    let at = line.whole().line;
                    match split(&line) {
                        (Some(key), value) if !value.is_empty() => {
                            let level = level(&Some(flat(&key)), &flat(&value), at);
                            import.plan.within("people", at).add("escalation", Draft::map(level, at));
                        }
                        _ if flat(&line).ends_with([':', '：']) => {}
                        _ => import.plan.within("people", at).tell("notes", flat(&line), at),
                    }
                }
            }
            What::Shell(_) | What::Code(_) => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}

/// `Level 1 (0-30 min): On-call engineer`
fn level(key: &Option<String>, value: &str, line: u32) -> Map {
    let mut level = Map::default();
    let whole = key.as_deref().unwrap_or(value);
    let (name, of_name) = bracketed(whole);
    let (who, of_value) = if key.is_some() { bracketed(value) } else { (String::new(), None) };
    level.say("name", if name.is_empty() { whole } else { &name }, line);
    if let Some(grade) = grade(&name) {
        level.say("severity", grade, line);
    }
    level.say("who", who, line);
    for times in [of_name, of_value].into_iter().flatten() {
        let span = durations::first(&times);
        if let Some(span) = span {
            if span.low_s != span.high_s || span.open {
                level.say("from", interval(span.low_s), line);
                if !span.open {
                    level.say("until", interval(span.high_s), line);
                }
            } else {
                level.say("from", interval(span.low_s), line);
            }
        }
        let rest =
            span.map_or(times.clone(), |span| format!("{}{}", &times[..span.start], &times[span.end..]));
        if rest.chars().any(char::is_alphanumeric) {
            level.tell("notes", times, line);
        }
    }
    if level.get("from").is_none()
        && let Some(span) = durations::first(value).filter(|_| key.is_some())
    {
        let key = if span.low_s == span.high_s { "from" } else { "until" };
        level.say(key, interval(span.high_s), line);
    }
    super::calendar::ordered(&mut level);
    level
}

/// A text without what stands in brackets, and that.
fn bracketed(text: &str) -> (String, Option<String>) {
    let open = text.find(['(', '（']);
    let close = text.rfind([')', '）']);
    match open.zip(close).filter(|(open, close)| open < close) {
        Some((open, close)) => {
            let mark = text[open..].chars().next().map_or(1, char::len_utf8);
            let behind = text[close..].chars().next().map_or(1, char::len_utf8);
            let outside = format!("{}{}", text[..open].trim_end(), &text[close + behind..]);
            (
                outside.trim().trim_end_matches([':', '：']).to_owned(),
                Some(text[open + mark..close].to_owned()),
            )
        }
        None => (text.trim().to_owned(), None),
    }
}

fn levels_of(import: &mut Importer<'_>, table: &Table) {
    for row in &table.rows {
        let Some(name) = row.first().map(flat).filter(|name| !name.is_empty()) else { continue };
        let line = row[0].whole().line;
        let mut of = level(&Some(name), "", line);
        for (head, cell) in table.header.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            let (small, value) = (head.plain().to_lowercase(), flat(cell));
            let has = |words: &[&str]| words.iter().any(|word| small.contains(word));
            if is_placeholder(&value) {
                import.miss(line, format!("{} has no {small}: `{value}` is a placeholder", flat(&row[0])));
                continue;
            }
            let span = durations::first(&value);
            if has(&["response", "answer", "reaktion"]) && span.is_some() {
                of.say("respondWithin", span.map_or(String::new(), |span| interval(span.high_s)), line);
            } else if has(&["time", "after", "when", "trigger", "zeit"]) && span.is_some() {
                let span = span.map_or((0, 0, true), |span| {
                    (span.low_s, span.high_s, span.open || span.low_s == span.high_s)
                });
                of.say("from", interval(span.0), line);
                if !span.2 {
                    of.say("until", interval(span.1), line);
                }
            } else if has(&["notif", "inform"]) {
                of.say("notify", value, line);
            } else if has(&["escalat", "next", "then"]) {
                of.say("then", value, line);
            } else if has(&["who", "contact", "role", "team", "person", "wer"]) {
                of.say("who", value, line);
            } else {
                of.tell("notes", format!("{}: {value}", flat(head)), line);
            }
        }
        super::calendar::ordered(&mut of);
        import.plan.within("people", line).add("escalation", Draft::map(of, line));
    }
}
