//! Values, variables and files that are not there.

use crate::document::Place;
use crate::facts::statements::Form;
use crate::lint::look::{any, each};
use crate::lint::{Context, Found, MAX_FINDINGS};
use std::collections::BTreeMap;

/// Sections that are filled in during the incident, not before.
fn is_template(titles: &str) -> bool {
    any(
        titles,
        &[
            "template",
            "post-mortem",
            "postmortem",
            "vorlage",
            "example",
            "模板",
            "communication",
            "notification",
            "announcement",
        ],
    )
}

pub(super) fn placeholder(context: &Context<'_>, found: &mut Vec<Found>) {
    let mut seen: Vec<(u32, String)> = Vec::new();
    for statement in &context.facts.statements {
        let in_communication = is_template(context.document.titles(statement.section))
            && !matches!(statement.form, Form::Cell { .. });
        let text = statement.value.plain();
        let Some((from, to, what)) = open_value(text) else { continue };
        if in_communication && !text.contains("TBD") {
            continue;
        }
        let place = statement.value.place(from, to);
        if seen.iter().any(|(line, _)| *line == place.line) {
            continue;
        }
        seen.push((place.line, what.clone()));
        let of = statement.key.as_ref().map_or(String::new(), |key| format!(" for {}", key.plain().trim()));
        found.push(
            Found::new(place, format!("`{what}` is no value{of}"))
                .help("fill it in, and look at it again at each review"),
        );
    }
    // In commands: once for each, with the number of lines that have it.
    let mut in_commands: BTreeMap<String, (Place, Vec<u32>)> = BTreeMap::new();
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        let words = command.words.iter().chain(command.redirects.iter().map(|redirect| &redirect.target));
        for word in words.filter(|word| word.line > 0) {
            for open in open_words(&word.text) {
                let place = snippet.place(word);
                let entry = in_commands.entry(open).or_insert_with(|| (place, Vec::new()));
                if !entry.1.contains(&place.line) {
                    entry.1.push(place.line);
                }
            }
        }
    }
    let mut in_commands: Vec<_> = in_commands.into_iter().collect();
    in_commands.sort_by_key(|(_, (place, _))| *place);
    for (open, (place, lines)) in in_commands {
        let others = match lines.len() {
            0 | 1 => String::new(),
            2 => format!(" (also in line {})", lines[1]),
            count => format!(" (also in {} more lines)", count - 1),
        };
        let help = if open.starts_with('<') {
            "put the value in if it is known today; else say which command shows it. Pasted as it is, a shell reads `<` and `>` as redirections"
        } else {
            "put the value in if it is known today; else say which command shows it"
        };
        found.push(
            Found::new(place, format!("`{open}` must be filled in before this can run{others}")).help(help),
        );
    }
}

/// A value in prose that is none yet: where it stands and what it is.
pub(in crate::lint) fn open_value(text: &str) -> Option<(usize, usize, String)> {
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    let whole = |what: &str| Some((start, start + trimmed.len(), what.to_owned()));
    let upper = trimmed.to_uppercase();
    if [
        "TBD",
        "TBA",
        "TBC",
        "TODO",
        "N.N.",
        "N. N.",
        "POR DEFINIR",
        "À DÉFINIR",
        "NOCH OFFEN",
        "TO BE DETERMINED",
        "TO BE DEFINED",
        "待定",
        "待补充",
        "待補充",
    ]
    .contains(&upper.as_str())
    {
        return whole(trimmed);
    }
    // `[phone]`, and not a link or a box.
    if let Some(inner) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && inner.chars().count() > 1
        && !inner.contains(['[', ']', '('])
        && inner.chars().all(|c| c.is_alphanumeric() || " /-_".contains(c))
    {
        return whole(trimmed);
    }
    // A number that nobody can dial: +886-XXX-XXXX, 1-800-xxx-xxxx, +1-555-DEVOPS-1.
    for word in text.split([' ', ',', ';']) {
        let at = word.as_ptr() as usize - text.as_ptr() as usize;
        let small = word.to_lowercase();
        let parts: Vec<&str> = small.split(['-', '.', ')']).collect();
        let crossed = parts.iter().any(|part| part.len() >= 3 && part.bytes().all(|byte| byte == b'x'))
            && word.starts_with(|c: char| c == '+' || c == '(' || c.is_ascii_digit() || c == 'X' || c == 'x');
        // 138xxxxxxxx
        let hidden = small.trim_end_matches('x');
        let hidden = small.len() - hidden.len() >= 4
            && hidden.len() >= 2
            && hidden.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+');
        let spelled = word.starts_with('+')
            && parts.contains(&"555")
            && parts
                .iter()
                .any(|part| part.len() >= 4 && part.bytes().all(|byte| byte.is_ascii_alphabetic()));
        let mail = word.contains('@')
            && [
                "@provider.com",
                "@company.com",
                "@example.com",
                "@yourcompany.com",
                "@yourdomain.com",
                "@example.org",
            ]
            .iter()
            .any(|end| small.trim_end_matches(['.', ')']).ends_with(end));
        if crossed || hidden || spelled || mail {
            return Some((at, at + word.len(), word.to_owned()));
        }
    }
    for mark in ["TBD", "TODO", "FIXME"].map(str::to_owned) {
        let is_word = |at: usize| {
            let before = text[..at].chars().next_back();
            let behind = text[at + mark.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !behind.is_some_and(char::is_alphanumeric)
        };
        if let Some((at, _)) = text.match_indices(&mark).find(|(at, _)| is_word(*at)) {
            return Some((at, at + mark.len(), mark));
        }
    }
    None
}

/// Values in a word of a command that must be filled in.
fn open_words(text: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        match crate::shell::placeholder(rest) {
            Some(length) => {
                open.push(rest[..length].to_owned());
                rest = &rest[length..];
            }
            None => rest = &rest[1..],
        }
    }
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':' || c == '_'));
    for part in parts {
        let crossed = part.len() >= 4
            && part.trim_start_matches('Z').len() >= 3
            && part.trim_start_matches('Z').bytes().all(|byte| byte == b'X')
            || matches!(part, "xxx" | "xxxx");
        let dated = part.contains("YYYY") || part.contains("yyyy-mm");
        let zone = part
            .strip_prefix('Z')
            .is_some_and(|digits| digits.len() >= 3 && "1234567890".starts_with(digits));
        let sample = part.starts_with("your-") || part.starts_with("YOUR_") || part == "changeme";
        if crossed || dated || zone || sample {
            open.push(part.to_owned());
        }
    }
    open.dedup();
    open
}

/// A path as it is written, if it is one of this repository.
fn own_path(text: &str) -> Option<&str> {
    let path = text.split(['#', '?']).next().unwrap_or_default();
    let is_own = !path.is_empty()
        && !path.contains("://")
        && !path.starts_with(['/', '~', '#', '$', '-', '<'])
        && !path.starts_with("mailto:")
        && !path.starts_with("tel:")
        && !path.contains(['*', '$', '{', '<', '|', '@', ' ']);
    is_own.then_some(path)
}

pub(super) fn file_missing(context: &Context<'_>, found: &mut Vec<Found>) {
    let Some(exists) = context.files else { return };
    let mut seen: Vec<String> = Vec::new();
    let mut add = |found: &mut Vec<Found>, place, path: &str| {
        if found.len() < MAX_FINDINGS && !exists(path) && !seen.iter().any(|other| other == path) {
            seen.push(path.to_owned());
            found.push(
                Found::new(place, format!("`{path}` is not in this repository"))
                    .help("name it as it is, or bring it here"),
            );
        }
    };
    for link in &context.document.links {
        if let Some(path) = own_path(&link.target).filter(|path| path.contains(['.', '/'])) {
            add(found, link.place, path);
        }
    }
    for (snippet, command) in each(context).filter(|(snippet, _)| !snippet.inline) {
        // What a container or another machine has is not here; what a step makes was not here before.
        let elsewhere = command.inside.is_some()
            || snippet.script.commands.iter().any(|other| matches!(other.name(), "cd" | "git" | "ssh"));
        let first = command.words.first().map_or("", |word| word.text.as_str());
        if elsewhere {
            continue;
        }
        if let Some(path) =
            own_path(first).filter(|_| first.starts_with("./") || first.starts_with("scripts/"))
        {
            add(found, snippet.place(&command.words[0]), path);
        }
        for (at, word) in command.words.iter().enumerate().skip(1) {
            let before = command.words[at - 1].text.as_str();
            let reads = matches!(command.name(), "kubectl" | "helm" | "eksctl")
                && matches!(before, "-f" | "--filename" | "--values" | "-k" | "--config-file");
            let script = at == 1
                && matches!(command.name(), "bash" | "sh" | "source" | ".")
                && word.text.ends_with(".sh");
            let change = word.text.strip_prefix("file://").filter(|path| !path.starts_with('/'));
            let path = if reads || script { own_path(&word.text) } else { change.and_then(own_path) };
            if let Some(path) = path.filter(|path| *path != "." && word.variables.is_empty()) {
                add(found, snippet.place(word), path);
            }
        }
    }
}

/// So many uses of variables are looked up in the document.
const MAX_LOOKUPS: usize = 500;

pub(super) fn variable_never_set(context: &Context<'_>, found: &mut Vec<Found>) {
    const KNOWN: [&str; 14] = [
        "HOME", "USER", "PATH", "PWD", "OLDPWD", "HOSTNAME", "SHELL", "TMPDIR", "EDITOR", "RANDOM",
        "SECONDS", "LOGNAME", "LANG", "UID",
    ];
    let mut seen: Vec<&str> = Vec::new();
    let mut looked_up = 0;
    for (snippet, command) in
        each(context).filter(|(snippet, command)| !snippet.inline && command.inside.is_none())
    {
        let words = command.words.iter().chain(command.assignments.iter().map(|(_, word)| word));
        for word in words {
            for name in &word.variables {
                let is_setting = name.len() > 2
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
                let environment =
                    KNOWN.contains(&name.as_str()) || name.starts_with("AWS_") || name.starts_with("PG");
                looked_up += usize::from(is_setting);
                if looked_up > MAX_LOOKUPS
                    || !is_setting
                    || environment
                    || seen.contains(&name.as_str())
                    || is_set(context, name)
                {
                    continue;
                }
                seen.push(name);
                let message = format!("`${name}` is used, and nothing in the plan sets it");
                let help = format!(
                    "set it where it is first needed, or let the shell refuse without it: `${{{name}:?}}`"
                );
                found.push(Found::new(snippet.place(word), message).help(help));
            }
        }
    }
}

/// Whether the document says where a variable comes from: it is assigned, read, looped over or explained.
fn is_set(context: &Context<'_>, name: &str) -> bool {
    context.document.lines.iter().any(|line| {
        line.match_indices(name).any(|(at, _)| {
            let before = &line[..at];
            let behind = &line[at + name.len()..];
            let whole = !behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            whole && !before.ends_with('$') && !before.ends_with("${")
        })
    })
}
