//! Placeholders of commands as variables that a run binds.

use super::draft::{Draft, Map};
use super::words;
use crate::shell::placeholder;

/// Names that a shell has of its own, or that another program sets.
const OWN: [&str; 26] = [
    "HOME",
    "PATH",
    "USER",
    "PWD",
    "SHELL",
    "HOSTNAME",
    "RANDOM",
    "SECONDS",
    "OLDPWD",
    "UID",
    "EUID",
    "LANG",
    "IFS",
    "PPID",
    "LINENO",
    "TERM",
    "EDITOR",
    "TMPDIR",
    "LOGNAME",
    "BASH_SOURCE",
    "PIPESTATUS",
    "OPTARG",
    "OPTIND",
    "REPLY",
    "FUNCNAME",
    "_",
];
/// Options whose value is a moment that a person chooses on the day.
const MOMENTS: [&str; 6] = [
    "--restore-time",
    "--point-in-time",
    "--target-time",
    "--restore-point-in-time",
    "--recovery-target-time",
    "--time",
];

/// The variables of one runbook.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub map: Map,
}

impl Variables {
    /// The text with its placeholders replaced by the names of variables.
    pub fn bind(&mut self, text: &str, line: u32) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut line = line;
        while let Some(first) = rest.chars().next() {
            let bound = self.angle(&out, rest, line).or_else(|| self.pattern(&out, rest, line));
            match bound {
                Some((name, length)) => {
                    out.push_str(&format!("{{{{ {name} }}}}"));
                    rest = &rest[length..];
                }
                None => {
                    line += u32::from(first == '\n');
                    out.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        self.declare(&out, line);
        out
    }

    /// The variables that a text names already: `{{ name }}`.
    pub fn declare(&mut self, text: &str, line: u32) {
        for name in crate::sense::variables_in(text) {
            self.add(name, &format!("{{{{ {name} }}}}"), None, line);
        }
    }

    /// `<backup-id>`
    fn angle(&mut self, before: &str, rest: &str, line: u32) -> Option<(String, usize)> {
        let length = if before.ends_with('<') { None } else { placeholder(rest) }?;
        let words = &rest[1..length - 1];
        Some((self.add(words, &rest[..length], None, line), length))
    }

    /// `YYYY-MM-DD`, `XXXX`, `YOUR_BUCKET`, and a moment that was an example.
    fn pattern(&mut self, before: &str, rest: &str, line: u32) -> Option<(String, usize)> {
        let follows = before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if rest.starts_with("YYYY") {
            let format = &rest[..dated(rest)];
            let timed = format.contains(['H', 'h']);
            let name = option(before).unwrap_or_else(|| if timed { "moment" } else { "day" }.to_owned());
            let name = if format.len() >= 8 { name } else { "year".to_owned() };
            let kind = if timed { "time" } else { "date" };
            return Some((self.formatted(&name, kind, format, line), format.len()));
        }
        if follows {
            return None;
        }
        if let Some(option) = MOMENTS.iter().find(|name| {
            let trimmed = before.trim_end_matches(['"', '\'', '=', ' ']);
            trimmed.ends_with(**name) && trimmed.len() < before.len()
        }) && let Some(length) = moment(rest)
        {
            let name = option.trim_start_matches('-');
            let added = self.formatted(name, "time", "YYYY-MM-DDThh:mm:ssZ", line);
            self.describe(&added, &format!("the document has {}, an example", &rest[..length]), line);
            return Some((added, length));
        }
        let word =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        let word = &rest[..word];
        let crossed = word.len() >= 5
            && word.trim_start_matches(|c: char| c != 'X').trim_end_matches('X').is_empty()
            && word.ends_with("XXXX");
        let yours = ["YOUR_", "YOUR-", "your-", "your_", "CHANGEME", "CHANGE_ME", "REPLACE_ME"]
            .iter()
            .any(|lead| word.starts_with(lead));
        if crossed || yours {
            let own =
                word.trim_start_matches("YOUR_").trim_start_matches("your-").trim_start_matches("your_");
            let name = if yours && own.len() < word.len() {
                own.to_owned()
            } else {
                option(before).unwrap_or_else(|| "value".to_owned())
            };
            return Some((self.add(&name, word, None, line), word.len()));
        }
        None
    }

    fn formatted(&mut self, name: &str, kind: &str, format: &str, line: u32) -> String {
        let name = words::label(name).unwrap_or_else(|| "moment".to_owned());
        let variable = self.map.within("variables", line).within(&name, line);
        variable.say("type", kind, line);
        variable.say("format", format, line);
        name
    }

    fn describe(&mut self, name: &str, words: &str, line: u32) {
        self.map.within("variables", line).within(name, line).say("description", words, line);
    }

    /// Adds a variable and returns its name.
    fn add(&mut self, words: &str, written: &str, environment: Option<&str>, line: u32) -> String {
        let name = words::label(words).unwrap_or_else(|| "value".to_owned());
        let variable = self.map.within("variables", line).within(&name, line);
        let small = words.to_lowercase();
        let has = |any: &[&str]| any.iter().any(|word| small.contains(word));
        let kind = if has(&[
            "password",
            "passwd",
            "secret",
            "token",
            "credential",
            "connection-string",
            "connection_string",
            "private",
            "api-key",
            "api_key",
        ]) {
            "secret"
        } else if has(&["timestamp", "datetime", "moment", "target_time", "restore-time", "target-time"]) {
            "time"
        } else if small.ends_with("date") || small.ends_with("day") {
            "date"
        } else if has(&["count", "number", "replicas", "port", "revision"]) {
            "number"
        } else {
            ""
        };
        if !kind.is_empty() {
            variable.put("type", Draft::text(kind, line));
        }
        match environment {
            Some(environment) => _ = variable.say("environment", environment, line),
            None if !written.starts_with("{{") => {
                _ = variable.say("description", format!("{written} in the document"), line)
            }
            None => {}
        }
        name
    }

    /// A variable of the environment that the commands expect.
    pub fn expect(&mut self, name: &str, line: u32) {
        if !OWN.contains(&name) && !name.starts_with("BASH") {
            self.add(name, "", Some(name), line);
        }
    }
}

/// How much of a text is a pattern of a date, and of a time.
fn dated(text: &str) -> usize {
    const GROUPS: [&str; 9] = ["YYYY", "YY", "MM", "DD", "HH", "hh", "mm", "SS", "ss"];
    let group =
        |at: usize| GROUPS.iter().find(|group| text[at..].starts_with(**group)).map(|group| group.len());
    let mut at = 0;
    loop {
        if let Some(length) = group(at) {
            at += length;
        } else if text[at..].starts_with(['-', '_', ':', 'T', '/', '.', ' ']) && group(at + 1).is_some() {
            at += 1;
        } else {
            return at + usize::from(text[at..].starts_with('Z'));
        }
    }
}

/// The option in front of a value: `--hosted-zone-id Z…`.
fn option(before: &str) -> Option<String> {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let word = line.trim_end_matches(['"', '\'', '=', ' ']).rsplit(|c: char| c.is_whitespace()).next()?;
    let word = word.split('=').next().unwrap_or(word);
    let glued = line.ends_with([' ', '=', '"', '\''])
        || line.rsplit(' ').next().is_some_and(|last| last.starts_with("--") || !last.contains(['/', '.']));
    let name = word.strip_prefix("--")?;
    (glued && name.len() > 2).then(|| name.to_owned())
}

/// The length of a moment such as `2025-11-20T00:00:00Z` or `2025-11-20 00:00:00+02`.
fn moment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let of_time = |at: usize| {
        let byte = bytes[at];
        let between = at == 10 && byte == b' ' && bytes.get(11).is_some_and(u8::is_ascii_digit);
        byte.is_ascii_digit() || b"-:TZ+.".contains(&byte) || between
    };
    let length = (0..bytes.len()).find(|at| !of_time(*at)).unwrap_or(bytes.len());
    let words = text[..length].trim_end_matches(['.', '-', ':']);
    let digits = words.bytes().filter(u8::is_ascii_digit).count();
    (digits >= 12 && words.starts_with("20") && bytes.get(4) == Some(&b'-')).then_some(words.len())
}
