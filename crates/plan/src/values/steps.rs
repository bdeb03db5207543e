//! What runbooks and their origin are made of: keys of steps, names of environment variables, lines of documents.

use super::ActionName;
use crate::finding::nearest;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The name of an environment variable: `DB_HOST`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentName(String);

/// The text cannot name an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name an environment variable: use letters, digits and underscores, no digit first")]
pub struct ParseEnvironmentError(String);

impl EnvironmentName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentName {
    type Err = ParseEnvironmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MAX_BYTES: usize = 128;
        let valid = (1..=MAX_BYTES).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseEnvironmentError(text.to_owned())) }
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(
    EnvironmentName,
    "lifeboat-environment",
    "The name of an environment variable.",
    Some("^[A-Za-z_][A-Za-z0-9_]*$"),
    ["DB_HOST"]
);

/// A key of a step: one that every step may have, or an action.
pub(crate) struct StepKey;

/// Keys that every step may have.
const STEP_KEYS: [&str; 21] = [
    "id",
    "name",
    "description",
    "onlyIf",
    "duration",
    "verify",
    "class",
    "needs",
    "timeout",
    "tries",
    "approvals",
    "onFailure",
    "probe",
    "undo",
    "shell",
    "check",
    "sql",
    "manual",
    "choose",
    "approval",
    "wait",
];

impl FromStr for StepKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if STEP_KEYS.contains(&text) || text.parse::<ActionName>().is_ok() {
            return Ok(Self);
        }
        Err(match nearest(text, STEP_KEYS) {
            Some(near) => format!("a step has no `{text}`; did you mean `{near}`?"),
            None => format!(
                "a step has no `{text}`: it is one of {}, or an action such as `postgres.recover`: a family, a dot, a name",
                STEP_KEYS.join(", ")
            ),
        })
    }
}

text_schema!(
    StepKey,
    "lifeboat-step-key",
    "A key of a step, or the type of an action.",
    Some(
        "^(id|name|description|onlyIf|duration|verify|class|needs|timeout|tries|approvals|onFailure|probe|undo|shell|check|sql|manual|choose|approval|wait|[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*)$"
    ),
    ["shell", "postgres.recover"]
);

/// Where a field came from: the line of the document, and the beginning of the SHA-256 of what was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOrigin {
    /// The line.
    pub line: u32,
    /// Sixteen hexadecimal digits.
    pub hash: String,
}

/// The text does not say where a field came from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no origin; `lifeboat plan import` writes them: a line, a blank, 16 hexadecimal digits")]
pub struct ParseOriginError(String);

impl FromStr for FieldOrigin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |hash: &str| {
            hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let parsed = text.split_once(' ').filter(|(line, hash)| {
            plain(hash) && line.bytes().all(|b| b.is_ascii_digit()) && !line.starts_with('0')
        });
        let parsed = parsed.and_then(|(line, hash)| line.parse().ok().map(|line| (line, hash.to_owned())));
        parsed.map(|(line, hash)| Self { line, hash }).ok_or_else(|| ParseOriginError(text.to_owned()))
    }
}

impl fmt::Display for FieldOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.line, self.hash)
    }
}

text_value!(
    FieldOrigin,
    "lifeboat-origin",
    "The line of the document, and the beginning of the SHA-256 of what was imported.",
    Some("^[1-9][0-9]* [0-9a-f]{16}$"),
    ["9 0123456789abcdef"]
);
