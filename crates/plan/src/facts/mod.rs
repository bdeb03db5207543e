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
    /// The document in small letters.
    small: Small,
}

/// A document's lines in small letters, as one text, in which a word is found faster than line by line.
#[derive(Debug, Clone)]
struct Small {
    text: String,
    /// Where each line begins, and the end.
    starts: Vec<usize>,
}

impl Small {
    fn of(lines: &[String]) -> Self {
        let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
        let mut starts = vec![0];
        for line in lines {
            if line.is_ascii() {
                text.push_str(line);
                let from = starts.last().copied().unwrap_or_default();
                text[from..].make_ascii_lowercase();
            } else {
                text.push_str(&line.to_lowercase());
            }
            text.push('\n');
            starts.push(text.len());
        }
        Self { text, starts }
    }

    /// The lines `first..=last`, counted from 1, with their ends.
    fn between(&self, first: u32, last: u32) -> &str {
        let at =
            |line: u32| self.starts.get(line as usize).or(self.starts.last()).copied().unwrap_or_default();
        if last < first { "" } else { &self.text[at(first.saturating_sub(1))..at(last)] }
    }
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
            small: Small::of(&document.lines),
            statements,
            document,
        }
    }

    /// The lines of a section and its subsections, in small letters, with their numbers.
    pub fn lines(&self, section: usize) -> impl Iterator<Item = (u32, &str)> {
        let (first, last) = self.extent(section);
        self.lines_between(first, last)
    }

    /// The lines `first..=last`, in small letters.
    pub fn lines_between(&self, first: u32, last: u32) -> impl Iterator<Item = (u32, &str)> {
        (first..).zip(self.small.between(first, last).split_terminator('\n'))
    }

    /// The first and the last line of a section and its subsections.
    fn extent(&self, section: usize) -> (u32, u32) {
        let of = &self.document.sections[section];
        (if section == ROOT { 1 } else { of.title.whole().line }, of.last_line)
    }

    /// Whether a section says any of the words, which are in small letters.
    #[must_use]
    pub fn says(&self, section: usize, words: &[&str]) -> bool {
        let (first, last) = self.extent(section);
        let text = self.small.between(first, last).as_bytes();
        words.iter().any(|word| memchr::memmem::find(text, word.as_bytes()).is_some())
    }

    /// The snippets of a procedure, in order.
    pub fn snippets_of(&self, procedure: usize) -> impl Iterator<Item = &Snippet> {
        self.snippets.iter().filter(move |snippet| snippet.procedure == procedure)
    }
}
