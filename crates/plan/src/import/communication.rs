//! Channels, updates, templates, the status page.

use super::Importer;
use super::draft::{Draft, Map};
use super::outline::{Entry, Piece, What, flat};
use super::people;
use super::words::{self, interval, is_placeholder};
use crate::document::Text;
use crate::facts::durations;
use crate::facts::statements::split;

/// Who is meant, if a heading says so.
fn audience(title: &str) -> Option<String> {
    const WORDS: [&str; 14] = [
        "internal",
        "external",
        "customer",
        "user",
        "stakeholder",
        "executive",
        "management",
        "regulator",
        "public",
        "press",
        "team",
        "intern",
        "extern",
        "kunden",
    ];
    let small = title.to_lowercase();
    let found: Vec<&str> = small
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| WORDS.iter().any(|known| *word == *known || word.strip_suffix('s') == Some(known)))
        .collect();
    found.first().map(|word| match *word {
        "customer" => "customers".to_owned(),
        "user" => "users".to_owned(),
        "stakeholder" => "stakeholders".to_owned(),
        word => word.to_owned(),
    })
}

pub(super) fn section<'a>(import: &mut Importer<'a>, at: usize, pieces: Vec<Piece<'a>>) -> Vec<Piece<'a>> {
    let document = import.document;
    let title = document.sections[at].title.plain().to_owned();
    let audience = document.path(at).find_map(|section| audience(document.sections[section].title.plain()));
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        match &piece.what {
            What::Entries(entries) => {
                entries.iter().for_each(|entry| one(import, entry, audience.as_deref(), None))
            }
            What::Prose(text) => {
                for line in text.lines() {
                    prose(import, &line, audience.as_deref());
                }
            }
            What::Table(table) => {
                for row in &table.rows {
                    let line = row.first().map_or(first, |cell| cell.whole().line);
                    let mut channel = Map::default();
                    channel.say("name", row.first().map(flat).unwrap_or_default(), line);
                    for (head, cell) in
                        table.header.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty())
                    {
                        let (small, value) = (head.plain().to_lowercase(), flat(cell));
                        let has = |words: &[&str]| words.iter().any(|word| small.contains(word));
                        let key = if has(&["audience", "who", "recipient", "stakeholder"]) {
                            "audience"
                        } else if has(&["channel", "address", "method", "how", "where", "link"]) {
                            "address"
                        } else {
                            "when"
                        };
                        if is_placeholder(&value) {
                            import.miss(line, format!("`{value}` is a placeholder"));
                        } else if !channel.say(key, &value, line) {
                            let old = channel.text_of(key).unwrap_or_default().to_owned();
                            channel.entries.retain(|(of, _)| of != key);
                            channel.say(key, format!("{old}; {value}"), line);
                        }
                    }
                    if channel.get("name").is_some() {
                        import.plan.within("communication", line).add("channels", Draft::map(channel, line));
                    }
                }
            }
            What::Code(code) => template(import, &title, &code.text(), audience.as_deref(), first),
            What::Shell(_) => {
                left.push(piece);
                continue;
            }
        }
        import.took(first, last);
    }
    left
}

/// Words for a message; a first line `Subject:` is its subject.
fn template(import: &mut Importer<'_>, name: &str, text: &str, audience: Option<&str>, line: u32) {
    let mut template = Map::default();
    template.say("name", words::unnumbered(name), line);
    if let Some(audience) = audience {
        template.say("audience", audience, line);
    }
    let (subject, body) = match text
        .trim_start()
        .strip_prefix("Subject:")
        .map(|rest| rest.split_once('\n').unwrap_or((rest, "")))
    {
        Some((subject, body)) => (subject.trim(), body),
        None => ("", text),
    };
    template.say("subject", subject, line);
    let body = body.trim_matches('\n').trim_end();
    template.put("text", Draft::text(format!("{body}\n"), line));
    import.plan.within("communication", line).add("templates", Draft::map(template, line));
}

fn prose(import: &mut Importer<'_>, line: &Text, audience: Option<&str>) {
    let at = line.whole().line;
    let (key, value) = split(line);
    match key {
        Some(key) if value.is_empty() && !flat(&key).is_empty() => {}
        Some(key) if people::is_role(key.plain()) => {
            people::said(import, &flat(&key), &value, at, true, false)
        }
        key => {
            let entry = Entry { line: at, last_line: at, key, value, ..Entry::default() };
            one(import, &entry, audience, None);
        }
    }
}

fn one(import: &mut Importer<'_>, entry: &Entry<'_>, audience: Option<&str>, when: Option<&str>) {
    let line = entry.line;
    let key = entry.key.as_ref().map(flat);
    let value = flat(&entry.value);
    if !entry.below.is_empty() {
        let name = key.clone().unwrap_or_else(|| value.clone());
        let own = self::audience(&name);
        if !value.is_empty() && key.is_some() {
            import.plan.within("communication", line).tell("notes", entry.whole(), line);
        }
        let of = if own.is_none() { Some(name.as_str()) } else { when };
        for below in &entry.below {
            one(import, below, own.as_deref().or(audience), of);
        }
        return;
    }
    let whole = entry.whole();
    if whole.is_empty() {
        return;
    }
    let small = whole.to_lowercase();
    let span = durations::first(&whole);
    let often = span.filter(|_| ["every ", "each ", "alle ", "每"].iter().any(|lead| small.contains(lead)));
    let soon = span.filter(|_| ["within ", "innerhalb ", "内", "內"].iter().any(|lead| small.contains(lead)));
    if often.is_some() || soon.is_some() {
        let mut update = Map::default();
        update.say("name", &whole, line);
        if let Some(span) = often {
            update.say("every", interval(span.high_s), line);
        }
        if let Some(span) = soon.filter(|_| often.is_none()) {
            update.say("within", interval(span.high_s), line);
        }
        if let Some(audience) = audience {
            update.say("audience", audience, line);
        }
        import.plan.within("communication", line).add("updates", Draft::map(update, line));
        return;
    }
    const MEANS: [&str; 25] = [
        "slack",
        "mail",
        "phone",
        "sms",
        "teams",
        "status page",
        "pagerduty",
        "opsgenie",
        "call",
        "channel",
        "zoom",
        "google meet",
        "chat",
        "ticket",
        "bridge",
        "discord",
        "telegram",
        "whatsapp",
        "line ",
        "hotline",
        "twitter",
        "banner",
        "telefon",
        "notification",
        "webhook",
    ];
    let is_means = MEANS.iter().any(|word| small.contains(word));
    if !is_means {
        return import.plan.within("communication", line).tell("notes", whole, line);
    }
    let mut channel = Map::default();
    match &key {
        Some(key) if MEANS.iter().any(|word| key.to_lowercase().contains(word)) => {
            channel.say("name", key, line);
            if is_placeholder(&value) {
                import.miss(line, format!("{key} has no address: `{value}` is a placeholder"));
            } else {
                let room = value.strip_suffix(" channel").filter(|room| room.starts_with('#'));
                channel.say("address", room.unwrap_or(&value), line);
            }
        }
        Some(key) => {
            channel.say("name", &value, line);
            channel.say("when", key, line);
        }
        None => {
            channel.say("name", &value, line);
            let address = value
                .split([' ', ',', '(', ')'])
                .find(|word| word.starts_with('#') && word.len() > 1 || words::is_email(word));
            channel.say("address", address.unwrap_or_default(), line);
        }
    }
    if let Some(audience) = audience {
        channel.say("audience", audience, line);
    }
    if let Some(when) = when {
        channel.say("when", when, line);
    }
    if channel.get("name").is_some() {
        import.plan.within("communication", line).add("channels", Draft::map(channel, line));
    }
}

pub(super) fn status_page<'a>(
    import: &mut Importer<'a>,
    at: usize,
    pieces: Vec<Piece<'a>>,
) -> Vec<Piece<'a>> {
    let line_of = import.document.sections[at].title.whole().line;
    let links = &import.document.links;
    let url = links
        .iter()
        .find(|link| link.section == at && link.target.starts_with("http"))
        .map(|link| link.target.clone());
    let mut left = Vec::new();
    for piece in pieces {
        let (first, last) = (piece.line, piece.last_line);
        let said: Vec<(String, u32, bool)> = match &piece.what {
            What::Entries(entries) => entries
                .iter()
                .map(|entry| (entry.text(), entry.line, entry.number.is_some() && entry.key.is_some()))
                .collect(),
            What::Prose(text) => {
                text.lines().iter().map(|line| (flat(line), line.whole().line, false)).collect()
            }
            What::Table(table) => {
                let row = |row: &Vec<Text>| {
                    let cells: Vec<String> = row.iter().map(flat).collect();
                    (cells.join(": "), row.first().map_or(first, |cell| cell.whole().line), true)
                };
                table.rows.iter().map(row).collect()
            }
            What::Shell(_) | What::Code(_) => {
                left.push(piece);
                continue;
            }
        };
        import.took(first, last);
        let page = import.plan.within("communication", line_of).within("statusPage", line_of);
        if let Some(url) = &url {
            page.say("url", url, line_of);
        }
        for (text, line, is_state) in said {
            let small = text.to_lowercase();
            let span = durations::first(&text);
            if is_state {
                page.tell("states", text, line);
                continue;
            }
            if let Some(span) = span {
                if small.contains("within ") {
                    page.say("within", interval(span.high_s), line);
                } else if small.contains("every ") {
                    page.say("every", interval(span.high_s), line);
                }
            }
            page.tell("notes", text, line);
        }
    }
    left
}
