//! What is wrong in a plan, and how it is shown.
//!
//! # Invariants
//! - **F1 no secrets.** What is shown of the plan has passwords masked.
//! - **F2 no control characters.** A plan cannot write to the reader's terminal but as text.
//!
//! Deliberately absent: colours. The caller knows its terminal.

use serde::Serialize;
use std::fmt;
use std::fmt::Write as _;
use unicode_width::UnicodeWidthStr;

/// The widest piece of a source line that is shown, in characters.
const MAX_SHOWN_CHARS: usize = 120;
/// How much of it stands before the column that is meant.
const SHOWN_BEFORE_CHARS: usize = 60;

/// The kind of a finding; each has a page in the manual under its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// LB0100: too large, empty, or more than one document.
    Document,
    /// LB0101: not YAML.
    Syntax,
    /// LB0102: a key stands twice in one mapping.
    DuplicateKey,
    /// LB0103: a key that a plan does not have.
    UnknownKey,
    /// LB0104: a key that must be there is not.
    MissingKey,
    /// LB0105: text where a list belongs, and the like.
    WrongType,
    /// LB0106: the right type, but not a value that can be used.
    BadValue,
    /// LB0107: nested too deep or too many values.
    Limit,
    /// LB0110: two things of one name.
    DuplicateName,
    /// LB0111: a name that nothing in the plan has.
    UnknownName,
    /// LB0112: services that need each other.
    Cycle,
    /// LB0113: more durable copies asked for than there can be.
    Durability,
    /// LB0114: a secret in the plan.
    Secret,
    /// LB0115: retention that keeps nothing.
    KeepsNothing,
    /// LB0116: a schedule that never comes round.
    NeverFires,
    /// LB0117: objectives that cannot both hold.
    Objectives,
    /// LB0118: a connection string that PostgreSQL would refuse.
    Connection,
    /// LB0119: an address that no vault can have.
    Address,
    /// LB0120: settings that contradict each other or do nothing.
    Contradiction,
    /// LB0121: a failure domain that is not stated, so cannot be reckoned with.
    UnknownDomain,
    /// LB0122: what a plan may say and Lifeboat does not do yet.
    NotYet,
}

impl Code {
    /// As it is written: `LB0103`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Document => "LB0100",
            Self::Syntax => "LB0101",
            Self::DuplicateKey => "LB0102",
            Self::UnknownKey => "LB0103",
            Self::MissingKey => "LB0104",
            Self::WrongType => "LB0105",
            Self::BadValue => "LB0106",
            Self::Limit => "LB0107",
            Self::DuplicateName => "LB0110",
            Self::UnknownName => "LB0111",
            Self::Cycle => "LB0112",
            Self::Durability => "LB0113",
            Self::Secret => "LB0114",
            Self::KeepsNothing => "LB0115",
            Self::NeverFires => "LB0116",
            Self::Objectives => "LB0117",
            Self::Connection => "LB0118",
            Self::Address => "LB0119",
            Self::Contradiction => "LB0120",
            Self::UnknownDomain => "LB0121",
            Self::NotYet => "LB0122",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Whether the plan can be used in spite of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The plan is not used.
    Error,
    /// The plan is used; a person should look.
    Warning,
}

/// A place in the source: line and column from 1, columns and length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub line: u32,
    pub column: u32,
    pub length: u32,
}

impl Mark {
    pub const START: Self = Self { line: 1, column: 1, length: 1 };
}

/// One thing that is wrong in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub code: Code,
    /// Whether the plan can be used all the same.
    pub severity: Severity,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters that are meant, at least 1.
    pub length: u32,
    /// The way to it from the root: `services[0].postgres.keep`. Empty for the whole document.
    pub path: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Finding {
    pub(crate) fn error(code: Code, mark: Mark, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            line: mark.line,
            column: mark.column,
            length: mark.length,
            path: String::new(),
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn warning(code: Code, mark: Mark, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, mark, message) }
    }

    pub(crate) fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    pub(crate) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Shows a finding as a compiler would: what, where, the line, a caret under it, what to do.
///
/// `source` is the text that was loaded; `file_name` is only printed.
#[must_use]
pub fn render(finding: &Finding, file_name: &str, source: &str) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let Finding { code, line, column, .. } = finding;
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    let mut out = format!("{severity}[{code}]: {}\n", clean(&finding.message));
    let _ = writeln!(out, "{gutter}--> {}:{line}:{column}", clean(file_name));
    if let Some(shown) = Shown::new(source, *line, *column, finding.length) {
        let _ = writeln!(out, "{gutter} |");
        let _ = writeln!(out, "{number} | {}", shown.text);
        let _ = writeln!(out, "{gutter} | {}{}", " ".repeat(shown.pad), "^".repeat(shown.carets));
    }
    if !finding.path.is_empty() {
        let _ = writeln!(out, "{gutter} = in {}", clean(&finding.path));
    }
    if let Some(help) = &finding.help {
        let _ = writeln!(out, "{gutter} = help: {}", clean(help));
    }
    out
}

/// The piece of the line that is shown, and where the caret goes below it, in terminal columns.
struct Shown {
    text: String,
    pad: usize,
    carets: usize,
}

impl Shown {
    fn new(source: &str, line: u32, column: u32, length: u32) -> Option<Self> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let line = source.lines().nth(line.checked_sub(1)? as usize)?;
        let chars: Vec<char> = clean(&mask(line)).chars().collect();
        let start = (column as usize).saturating_sub(1).min(chars.len());
        let from = if chars.len() > MAX_SHOWN_CHARS { start.saturating_sub(SHOWN_BEFORE_CHARS) } else { 0 };
        let to = chars.len().min(from + MAX_SHOWN_CHARS);
        let end = (start + length as usize).clamp(start, to);
        let piece = |a: usize, b: usize| chars[a..b].iter().collect::<String>();
        let before = if from > 0 { "… " } else { "" };
        let after = if to < chars.len() { " …" } else { "" };
        Some(Self {
            pad: before.width() + piece(from, start).width(),
            carets: piece(start, end).width().max(1),
            text: format!("{before}{}{after}", piece(from, to)),
        })
    }
}

/// A line of the source as it is shown, how far the carets stand in, and how many there are.
pub(crate) fn shown_line(
    source: &str,
    line: u32,
    column: u32,
    length: u32,
) -> Option<(String, usize, usize)> {
    Shown::new(source, line, column, length).map(|shown| (shown.text, shown.pad, shown.carets))
}

/// F2. One character for one, so that columns stay true.
pub(crate) fn clean(text: &str) -> String {
    let plain = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// F1: dots for what looks like a password, one for each character.
fn mask(line: &str) -> String {
    let mut chars: Vec<char> = line.chars().collect();
    let lower: Vec<char> = chars.iter().map(char::to_ascii_lowercase).collect();
    let begins = |at: usize, word: &str| lower[at..].iter().copied().take(word.len()).eq(word.chars());
    let mut at = 0;
    while at < lower.len() {
        let mut skip = 1;
        let secret = if begins(at, "://") {
            // user:secret@host, where the authority is all up to the next slash
            let from = at + 3;
            let length = lower[from..].iter().take_while(|c| !matches!(c, '/' | ' ' | '"' | '\'')).count();
            let authority = &lower[from..from + length];
            let user = authority.iter().position(|&c| c == ':');
            let host = authority.iter().rposition(|&c| c == '@');
            user.zip(host).filter(|(u, h)| u < h).map(|(u, h)| from + u + 1..from + h)
        } else if begins(at, "password") || begins(at, "secret") {
            let word = lower[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
            // A word is looked at once, however often it says "password".
            skip = word;
            let spaces = |from: usize| lower[from..].iter().take_while(|c| **c == ' ').count();
            let sign = at + word + spaces(at + word);
            (lower.get(sign) == Some(&'=')).then(|| {
                let from = sign + 1 + spaces(sign + 1);
                let quoted = lower.get(from) == Some(&'\'');
                let ends = |c: &char| if quoted { *c == '\'' } else { matches!(c, ' ' | '&' | '"' | '\'') };
                let from = from + usize::from(quoted);
                let length = lower[from.min(lower.len())..].iter().take_while(|c| !ends(c)).count();
                from..from + length
            })
        } else {
            None
        };
        match secret {
            Some(range) if !range.is_empty() => {
                at = range.end;
                chars[range].fill('•');
            }
            _ => at += skip,
        }
    }
    chars.into_iter().collect()
}

/// The nearest of `candidates` to what was written, if near enough to be what was meant.
#[must_use]
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long text is no slip of the finger, and edit distance grows with the square.
    const MAX_CHARS: usize = 64;
    if written.chars().count() > MAX_CHARS {
        return None;
    }
    let squash = |text: &str| text.to_lowercase().replace(['_', '-'], "");
    let wanted = squash(written);
    let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &squash(name));
    let (distance, name) = candidates.into_iter().map(|name| (distance(name), name)).min()?;
    let near = distance <= 1 + wanted.chars().count() / 4;
    (near && distance < wanted.chars().count().max(1)).then_some(name)
}
