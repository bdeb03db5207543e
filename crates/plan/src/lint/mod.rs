//! Finds what would go wrong with a recovery document on the day that it is needed.
//!
//! Rules look at facts; each is a value with its code, and has a page in `docs/lint`. A finding says what is wrong, why
//! it matters on the day, and how to mend it.
//!
//! # Invariants
//! - **L1 everything has a page.** Each rule's code and name are those of its page, whose examples the tests run.
//! - **L2 bounded.** At most [`MAX_FINDINGS`] findings, whatever the document.
//! - **L3 nothing is silenced in silence.** A suppression that gives no reason, or suppresses nothing, is a finding.
//!
//! Deliberately absent: reading files (the caller says which exist), and import.

mod commands;
mod dangers;
mod deciding;
mod fix;
mod from_plan;
mod gaps;
mod keeping;
mod look;
mod objectives;
mod plans;
mod restores;
mod staleness;
mod suppress;
mod switching;
mod tell;

#[cfg(test)]
mod tests;

pub use fix::apply;
pub use tell::render;

use crate::document::{Document, Place};
use crate::facts::Facts;
use jiff::civil::Date;
use serde::Serialize;
use std::fmt;

/// The most findings that are reported of one document.
pub const MAX_FINDINGS: usize = 500;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// It will cost time, or may fail.
    Warning,
    /// It cannot work, or destroys something.
    Error,
}

impl Level {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its code: `LB0302`.
    pub code: &'static str,
    /// Its name: `unknown-option`.
    pub name: &'static str,
    /// How grave it is.
    pub level: Level,
    /// Why it matters on the day, in one sentence.
    pub why: &'static str,
    /// Its page.
    pub page: &'static str,
    check: fn(&Context<'_>, &mut Vec<Found>),
}

/// A rule with its page.
macro_rules! rule_of {
    ($code:literal, $name:literal, $level:ident, $check:ident, $why:literal) => {
        $crate::lint::Rule {
            code: $code,
            name: $name,
            level: $crate::lint::Level::$level,
            why: $why,
            page: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lint/", $code, ".md")),
            check: $check,
        }
    };
}
use rule_of;

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.name)
    }
}

/// What a rule looks at.
pub(crate) struct Context<'a> {
    pub facts: &'a Facts<'a>,
    pub document: &'a Document,
    pub today: Date,
    pub files: Option<&'a dyn Fn(&str) -> bool>,
    /// The commands of each procedure, as they would be typed.
    pub procedures: Vec<(usize, Vec<look::At<'a>>)>,
}

impl<'a> Context<'a> {
    fn of(facts: &'a Facts<'a>, options: &Options<'a>) -> Self {
        let procedures = look::by_procedure(facts);
        Self { facts, document: facts.document, today: options.today, files: options.files, procedures }
    }
}

/// What a rule found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    place: Place,
    message: String,
    help: Option<String>,
    fix: Option<Fix>,
}

impl Found {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None, fix: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn fix(self, place: Place, replacement: impl Into<String>) -> Self {
        Self { fix: Some(Fix { place, replacement: replacement.into() }), ..self }
    }
}

/// A change that mends a finding and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What is replaced.
    #[serde(skip)]
    pub place: Place,
    /// By what.
    pub replacement: String,
}

/// One thing that would go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's code.
    pub code: &'static str,
    /// The rule's name.
    pub rule: &'static str,
    /// How grave it is.
    pub level: Level,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters that are meant, at least 1.
    pub length: u32,
    /// What is wrong.
    pub message: String,
    /// Why it matters on the day.
    pub why: &'static str,
    /// How to mend it.
    pub help: Option<String>,
    /// A change that mends it.
    pub fix: Option<Fix>,
}

/// What a lint is told besides the document.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The day on which the document is judged.
    pub today: Date,
    /// Whether a file exists, by its path as the document writes it; none where that is not known.
    pub files: Option<&'a dyn Fn(&str) -> bool>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("today", &self.today).finish_non_exhaustive()
    }
}

/// All rules, family by family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    [
        objectives::RULES,
        commands::RULES,
        dangers::RULES,
        restores::RULES,
        switching::RULES,
        keeping::RULES,
        gaps::RULES,
        deciding::RULES,
        staleness::RULES,
        plans::RULES,
        suppress::RULES,
    ]
    .into_iter()
    .flatten()
}

/// The rule of a code or name, whatever its case.
#[must_use]
pub fn rule(code: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.code.eq_ignore_ascii_case(code) || rule.name.eq_ignore_ascii_case(code))
}

/// Looks at a Markdown document; its findings in the order of their lines.
#[must_use]
pub fn markdown(source: &str, options: &Options<'_>) -> Vec<Finding> {
    let document = Document::read(source);
    let facts = Facts::of(&document);
    let context = Context::of(&facts, options);
    let mut findings = Vec::new();
    for rule in rules() {
        let mut found = Vec::new();
        (rule.check)(&context, &mut found);
        found.truncate(MAX_FINDINGS);
        findings.extend(found.into_iter().map(|found| rule.finding(found)));
    }
    finish(findings, source)
}

/// Looks at a plan; what `plan check` says of it is not said again.
#[must_use]
pub fn plan(source: &str, options: &Options<'_>) -> Vec<Finding> {
    plans::look(source, options)
}

impl Rule {
    fn finding(&self, found: Found) -> Finding {
        Finding {
            code: self.code,
            rule: self.name,
            level: self.level,
            line: found.place.line,
            column: found.place.column,
            length: found.place.length,
            message: found.message,
            why: self.why,
            help: found.help,
            fix: found.fix,
        }
    }
}

/// Takes out what is suppressed, and what is too many (L2): the lightest go first.
fn finish(findings: Vec<Finding>, source: &str) -> Vec<Finding> {
    let mut findings = suppress::apply(findings, source);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    findings.truncate(MAX_FINDINGS);
    findings.sort_by_key(|finding| (finding.line, finding.column, finding.code));
    findings
        .dedup_by(|a, b| (a.code, a.line, a.column, &a.message) == (b.code, b.line, b.column, &b.message));
    findings
}
