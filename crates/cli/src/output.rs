//! The only place that prints.
//!
//! # Invariants
//! - **O1 two streams.** Data goes to standard output, talk to standard error: a pipe gets data alone.
//! - **O2 one document.** With `--json`, standard output carries one JSON document, or one a line for
//!   commands that go on; a failure is one too. Each says by its `kind` what it is.
//! - **O3 a closed pipe is no failure.** `lifeboat backup list | head -1` ends quietly.
//! - **O4 no escapes from outside.** What came from a server or the vault cannot write to the terminal but
//!   as text.
//!
//! Deliberately absent: what is said.

use anyhow::Context;
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use unicode_width::UnicodeWidthStr;

/// What came of a command that ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It holds.
    Good,
    /// An objective or a check failed.
    Findings,
    /// `wal fetch`: a code of its own.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Good => Self::from(0),
            Exit::Findings => Self::from(1),
            Exit::Code(code) => Self::from(code),
        }
    }
}

/// How something is to be marked for the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// A person should look.
    Doubtful,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
    /// Less important.
    Faint,
}

/// Where a command speaks.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
    data_colour: bool,
    talk_colour: bool,
    talk_terminal: bool,
}

/// A JSON document: its kind, then what it holds.
#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    kind: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    /// For this process' own streams.
    #[must_use]
    pub fn new(json: bool) -> Self {
        // The convention of no-color.org: set and not empty.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let talk_terminal = std::io::stderr().is_terminal();
        Self {
            json,
            data_colour: wanted && std::io::stdout().is_terminal(),
            talk_colour: wanted && talk_terminal,
            talk_terminal,
        }
    }

    /// The same, for a command that was asked for JSON in words of its own.
    #[must_use]
    pub fn into_json(self) -> Self {
        Self { json: true, ..self }
    }

    /// Whether machines listen.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person watches the talk: bars, not lines.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.talk_terminal && !self.json
    }

    /// Prints the result: `human` for people, or `body` as a document of this `kind`.
    ///
    /// # Errors
    /// If standard output takes no more, but for O3.
    pub fn result<T: Serialize>(
        &self,
        kind: &str,
        body: &T,
        human: impl FnOnce(&Style) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            let text = serde_json::to_string_pretty(&Document { kind, body }).context("write JSON")?;
            return self.data(&format!("{text}\n"));
        }
        self.data(&human(&Style { colour: self.data_colour }))
    }

    /// Prints one of many results of a command that goes on: a line each.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn event<T: Serialize>(
        &self,
        kind: &str,
        body: &T,
        human: impl FnOnce(&Style) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            let text = serde_json::to_string(&Document { kind, body }).context("write JSON")?;
            return self.data(&format!("{text}\n"));
        }
        self.data(&format!("{}\n", human(&Style { colour: self.data_colour })))
    }

    /// Prints text as it is: for what has a format of its own (a schema, a completion script).
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn data(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.context("standard output takes no more"),
        }
    }

    /// Says something to the person, or to the log.
    pub fn say(&self, text: impl AsRef<str>) {
        // There is nobody else to tell.
        let _ = writeln!(std::io::stderr().lock(), "{}", clean(text.as_ref()));
    }

    /// Says something that asks for attention.
    pub fn warn(&self, text: impl AsRef<str>) {
        let mark = self.talk_style().paint(Tone::Doubtful, "warning:");
        let _ = writeln!(std::io::stderr().lock(), "{mark} {}", clean(text.as_ref()));
    }

    /// Says text that is styled already.
    pub fn say_styled(&self, text: impl FnOnce(&Style) -> String) {
        let _ = writeln!(std::io::stderr().lock(), "{}", text(&self.talk_style()));
    }

    /// Asks a question on the terminal; an empty answer is `default`.
    ///
    /// # Errors
    /// If nobody can be asked.
    pub fn ask(&self, question: &str, default: &str) -> anyhow::Result<String> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        let _ = write!(std::io::stderr().lock(), "{question}{shown}: ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).context("read the answer")?;
        let answer = answer.trim();
        Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
    }

    /// Whether a person who is there types that it may be done: nothing else is a yes.
    ///
    /// # Errors
    /// If the answer cannot be read.
    pub fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        /// What a person types.
        const YES: &str = "yes";
        if !std::io::stdin().is_terminal() || !self.is_watched() {
            return Ok(false);
        }
        Ok(self.ask(&format!("{question} `{YES}` does"), "no")? == YES)
    }

    fn talk_style(&self) -> Style {
        Style { colour: self.talk_colour }
    }
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// `text`, marked.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let text = clean(text);
        if !self.colour {
            return text;
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Doubtful => "33",
            Tone::Bad => "31;1",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// O4: control characters but for line ends become visible.
#[must_use]
pub fn clean(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' => '\n',
        '\t' => ' ',
        c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// Rows of texts under headings, aligned.
#[derive(Debug, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| clean(&cell)).collect());
    }

    /// The table as lines.
    #[must_use]
    pub fn render(&self, style: &Style) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.chain([self.headings[column].width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let line = |cells: &[&str]| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                text.push_str(cell);
                text.push_str(&" ".repeat(width - cell.width() + 2));
            }
            text.trim_end().to_owned()
        };
        let mut out = style.paint(Tone::Strong, &line(&self.headings));
        out.push('\n');
        for row in &self.rows {
            out.push_str(&line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o4_a_name_from_outside_cannot_write_to_the_terminal() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{202e}"), "a\u{fffd}[31mb\u{fffd}\nc\u{fffd}");
    }

    #[test]
    fn columns_stand_below_their_headings_with_wide_characters_too() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(["データ".to_owned(), "1".to_owned()]);
        table.row(["x".to_owned(), "22".to_owned()]);
        assert_eq!(table.render(&Style { colour: false }), "NAME    SIZE\nデータ  1\nx       22\n");
    }
}
