//! A Markdown document as sections and blocks, each of which knows its place.
//!
//! What the words mean is not decided here: a table stays a table, a fence stays its lines. A paragraph that is
//! nothing but bold is a heading, as people write it where they leave `#` out.
//!
//! # Invariants
//! - **D1 bounded.** A document beyond [`MAX_DOCUMENT_BYTES`] is not read, and of more than [`MAX_BLOCKS`] blocks the
//!   rest is left out; [`Document::cut`] says where.
//! - **D2 in the source.** Every place is a line and column of the source that was read.
//!
//! Deliberately absent: facts, and rendering.

pub(crate) mod html;
mod read;
mod text;

#[cfg(test)]
mod tests;

pub use text::{Place, Text};

use std::sync::OnceLock;

/// The largest document that is read.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;
/// The most blocks that are read of one document.
pub const MAX_BLOCKS: usize = 50_000;

/// The section of what stands before the first heading.
pub const ROOT: usize = 0;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The sections in order; the first is the document itself.
    pub sections: Vec<Section>,
    /// The blocks in order.
    pub blocks: Vec<Block>,
    /// Everything that is linked to.
    pub links: Vec<Link>,
    /// Comments (`<!-- … -->`) and where they begin.
    pub comments: Vec<(String, Place)>,
    /// The first line that was left out, if the document is too long.
    pub cut: Option<u32>,
    /// The lines of the source.
    pub lines: Vec<String>,
}

/// A heading and what stands under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The heading's words.
    pub title: Text,
    /// 1 to 6 as Markdown counts, 7 and 8 for what is only bold; 0 for the document itself.
    pub level: u8,
    /// The section that this one stands in.
    pub parent: Option<usize>,
    /// The first section behind it that is not inside it.
    pub end: usize,
    /// The last line that belongs to it, what stands in its subsections included.
    pub last_line: u32,
    /// Its titles, once somebody has asked for them.
    titles: OnceLock<String>,
}

impl Section {
    /// A section that ends where it begins.
    pub(crate) fn new(title: Text, level: u8, parent: Option<usize>) -> Self {
        let last_line = if level == 0 { 0 } else { title.whole().line };
        Self { title, level, parent, end: 0, last_line, titles: OnceLock::new() }
    }
}

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The section that it stands in.
    pub section: usize,
    /// The list item, as an index of [`Document::blocks`], that it stands in.
    pub item: Option<usize>,
    /// Where it begins.
    pub place: Place,
    /// Its last line.
    pub last_line: u32,
    /// What it is.
    pub kind: Kind,
}

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Running text, also in quotes.
    Paragraph(Text),
    /// An item of a list, with the text of its first paragraph.
    Item(Item),
    /// A table.
    Table(Table),
    /// A fenced or indented piece of code.
    Code(Code),
    /// HTML as it is written.
    Html(String),
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its first paragraph.
    pub text: Text,
    /// Lists around the one that it is in.
    pub depth: u32,
    /// Which list it is in: the same for all items of one.
    pub list: usize,
    /// Its number in an ordered list.
    pub number: Option<u64>,
    /// Whether its box is ticked, if it has one.
    pub done: Option<bool>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The heading's cells.
    pub header: Vec<Text>,
    /// The rows, each with as many cells as the header.
    pub rows: Vec<Vec<Text>>,
}

/// A piece of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The language that the fence names, in small letters; empty if it names none.
    pub language: String,
    /// Its lines without what indents the block.
    pub lines: Vec<CodeLine>,
}

/// A line of code and where its first character stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeLine {
    /// Its line.
    pub line: u32,
    /// The column of its first character.
    pub column: u32,
    /// What it says.
    pub text: String,
}

impl Code {
    /// The lines as one text.
    #[must_use]
    pub fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.text.as_str()).collect();
        lines.join("\n")
    }

    /// The place of a character: its line and column within the code, both from 1.
    #[must_use]
    pub fn place(&self, line: usize, column: usize, length: usize) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        match self.lines.get(line.saturating_sub(1)) {
            Some(found) => {
                Place::new(found.line, found.column + number(column.saturating_sub(1)), number(length))
            }
            None => {
                let last = self.lines.last();
                Place::new(last.map_or(1, |last| last.line), last.map_or(1, |last| last.column), 1)
            }
        }
    }
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it leads, as it is written.
    pub target: String,
    /// Where it stands.
    pub place: Place,
    /// The section that it stands in.
    pub section: usize,
}

impl Document {
    /// Reads a document; of one that is too long (D1), what fits.
    #[must_use]
    pub fn read(source: &str) -> Self {
        read::read(source)
    }

    /// The section and those that it stands in, innermost first, without the document itself.
    pub fn path(&self, section: usize) -> impl Iterator<Item = usize> + '_ {
        let next = |at: &usize| self.sections[*at].parent;
        std::iter::successors(Some(section), next).filter(|at| *at != ROOT)
    }

    /// Whether `section` is `ancestor` or stands in it.
    #[must_use]
    pub fn is_in(&self, section: usize, ancestor: usize) -> bool {
        ancestor == ROOT || self.path(section).any(|at| at == ancestor)
    }

    /// The titles of a section and those around it, innermost first, in small letters; without the one that the whole
    /// document stands under.
    #[must_use]
    pub fn titles(&self, section: usize) -> &str {
        self.sections[section].titles.get_or_init(|| self.titles_of(section))
    }

    fn titles_of(&self, section: usize) -> String {
        let is_whole = |at: &usize| {
            *at == 1 && self.sections[1].level == 1 && self.sections[1].end == self.sections.len()
        };
        let titles: Vec<String> = self
            .path(section)
            .filter(|at| !is_whole(at))
            .map(|at| self.sections[at].title.plain().to_lowercase())
            .collect();
        titles.join(" / ")
    }

    /// The blocks of a section and its subsections, with their indices.
    pub fn blocks_in(&self, section: usize) -> impl Iterator<Item = (usize, &Block)> {
        let end = if section == ROOT { self.sections.len() } else { self.sections[section].end };
        let from = self.blocks.partition_point(|block| block.section < section);
        let to = self.blocks.partition_point(|block| block.section < end);
        self.blocks.iter().enumerate().take(to).skip(from)
    }
}
