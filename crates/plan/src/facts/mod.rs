//! What a document says, as facts with their places: objectives, backups, commands, dates, people.
//!
//! Lint judges them and import keeps them; neither opinion has a place here. What is not understood is left out, and
//! what people write in many ways is recognised in many ways (tables, lists, fences; English, German, Chinese).
//!
//! Deliberately absent: opinions.

pub mod backups;
pub mod commands;
pub mod dates;
pub mod durations;
pub mod objectives;
pub mod pace;
pub mod procedures;
pub mod statements;

#[cfg(test)]
mod tests;

use crate::document::{Document, ROOT};
use backups::{Retention, Schedule};
use commands::Snippet;
use dates::ReviewDate;
use objectives::Objective;
use statements::Statement;

/// What a document says.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The document.
    pub document: &'a Document,
    /// All that is stated, line by line.
    pub statements: Vec<Statement>,
    /// Objectives that are durations.
    pub objectives: Vec<Objective>,
    /// When backups are taken.
    pub schedules: Vec<Schedule>,
    /// How long they are kept.
    pub retentions: Vec<Retention>,
    /// Commands.
    pub snippets: Vec<Snippet>,
    /// When the document was reviewed and will be.
    pub reviews: Vec<ReviewDate>,
    /// The lines in small letters.
    small: Vec<String>,
}

impl<'a> Facts<'a> {
    /// Reads a document's facts.
    #[must_use]
    pub fn of(document: &'a Document) -> Self {
        let statements = statements::find(document);
        Self {
            objectives: objectives::find(document, &statements),
            schedules: backups::schedules(document, &statements),
            retentions: backups::retentions(document, &statements),
            snippets: commands::find(document),
            reviews: dates::reviews(&statements),
            small: document.lines.iter().map(|line| line.to_lowercase()).collect(),
            statements,
            document,
        }
    }

    /// The lines of a section and its subsections, in small letters, with their numbers.
    pub fn lines(&self, section: usize) -> impl Iterator<Item = (u32, &str)> {
        let of = &self.document.sections[section];
        let first = if section == ROOT { 1 } else { of.title.whole().line };
        self.lines_between(first, of.last_line)
    }

    /// The lines `first..=last`, in small letters.
    pub fn lines_between(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, &str)> {
        let count = (last.saturating_sub(first) + 1) as usize;
        let lines = self.small.iter().skip(first.saturating_sub(1) as usize).take(count);
        (first..).zip(lines.map(String::as_str))
    }

    /// Whether a section says any of the words, which are in small letters.
    #[must_use]
    pub fn says(&self, section: usize, words: &[&str]) -> bool {
        self.lines(section).any(|(_, line)| words.iter().any(|word| line.contains(word)))
    }

    /// The snippets of a procedure, in order.
    pub fn snippets_of(&self, procedure: usize) -> impl Iterator<Item = &Snippet> {
        self.snippets.iter().filter(move |snippet| snippet.procedure == procedure)
    }

    /// The procedures that have commands, in order.
    #[must_use]
    pub fn procedures(&self) -> Vec<usize> {
        let mut procedures: Vec<usize> =
            self.snippets.iter().filter(|snippet| !snippet.inline).map(|snippet| snippet.procedure).collect();
        procedures.dedup();
        procedures.sort_unstable();
        procedures.dedup();
        procedures
    }
}
