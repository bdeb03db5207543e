//! Shell text as commands: words with their quotes taken off, pipes, redirections, here-documents, each with its
//! place.
//!
//! The grammar is that of a kept shell (brush); here it becomes the little that rules and import ask about. A
//! placeholder in angle brackets (`<pod-name>`) is a word: a person is meant to replace it.
//!
//! # Invariants
//! - **H1 bounded.** Text beyond [`MAX_SCRIPT_BYTES`], or nested deeper than [`MAX_NESTING`], is not parsed; it has no
//!   commands and no error.
//!
//! Deliberately absent: what any command does.

mod mask;
pub(crate) use mask::placeholder;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

/// The longest text that is parsed.
pub const MAX_SCRIPT_BYTES: usize = 64 << 10;
/// The deepest nesting of brackets and substitutions that is parsed.
pub const MAX_NESTING: usize = 12;

/// What a piece of shell text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// The commands in the order in which they stand, those inside substitutions behind the one they stand in.
    pub commands: Vec<Command>,
    /// Why a shell would refuse the text.
    pub refused: Option<Refused>,
}

/// Why a shell would refuse a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The line in the text, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong: `unterminated single quote`.
    pub what: String,
}

/// A simple command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// Its words; the first is its name. None for mere assignments.
    pub words: Vec<Word>,
    /// What is assigned in front of it.
    pub assignments: Vec<(String, Word)>,
    /// Its redirections.
    pub redirects: Vec<Redirect>,
    /// Which pipeline it stands in: a number that only its neighbours share.
    pub pipeline: usize,
    /// Its position in the pipeline, from 0.
    pub position: usize,
    /// How many commands the pipeline has.
    pub stages: usize,
    /// Whether its failure is looked at: by `||`, `if`, `while`, `!`.
    pub guarded: bool,
    /// The command in whose words it stands, as `$(…)`.
    pub inside: Option<usize>,
    /// The line in the text where it begins, from 1.
    pub line: usize,
    /// The tool and its subcommands, once somebody has asked for them.
    pub(crate) verb: OnceLock<String>,
}

/// A word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word {
    /// Without quotes; what the shell would expand stands as it is written.
    pub text: String,
    /// As it is written.
    pub raw: String,
    /// Its line in the text, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The variables that it names outside single quotes.
    pub variables: Vec<String>,
    /// Whether it holds a command substitution.
    pub substitutes: bool,
    /// Whether all of it stands in quotes.
    pub quoted: bool,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// What it does.
    pub direction: Direction,
    /// The file, or the text of a here-document.
    pub target: Word,
}

/// What a redirection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `<`
    Read,
    /// `>`, `>|`, `&>`
    Write,
    /// `>>`
    Append,
    /// `<<`, `<<<`
    Here,
    /// `2>&1` and the like.
    Other,
}

impl Command {
    /// Its name without the directory; empty for mere assignments.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.words.first().map_or("", |word| word.text.as_str());
        if name.starts_with("./") || name.starts_with("../") {
            name
        } else {
            name.rsplit('/').next().unwrap_or(name)
        }
    }

    /// Its words behind the name.
    #[must_use]
    pub fn arguments(&self) -> &[Word] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Whether one of its words is this.
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.arguments().iter().any(|word| word.text == text)
    }

    /// The value of an option, as `--name=value` or `--name value`.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&Word> {
        let at = self.arguments().iter().position(|word| {
            word.text == name || word.text.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
        })?;
        if self.arguments()[at].text == name {
            self.arguments().get(at + 1)
        } else {
            self.arguments().get(at)
        }
    }

    /// The value of an option as text, without the option's name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        let word = self.option(name)?;
        Some(word.text.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).unwrap_or(&word.text))
    }

    /// All its words, one blank between them.
    #[must_use]
    pub fn line_text(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        words.join(" ")
    }
}

impl Script {
    /// Parses shell text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        walk::parse(text)
    }
}
