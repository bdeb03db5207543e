//! Words of a document that know where each of them stands.

/// A place in the source: line and column from 1, columns and length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// How many characters are meant, at least 1.
    pub length: u32,
}

impl Place {
    /// A place.
    #[must_use]
    pub fn new(line: u32, column: u32, length: u32) -> Self {
        Self { line: line.max(1), column: column.max(1), length: length.max(1) }
    }
}

/// Text without its markup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    plain: String,
    pieces: Vec<Piece>,
}

/// A stretch that stands in the source as it stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    start: usize,
    line: u32,
    column: u32,
    strong: bool,
    code: bool,
}

impl Text {
    /// Adds what stands at `line` and `column`.
    pub(super) fn push(&mut self, text: &str, line: u32, column: u32, strong: bool, code: bool) {
        self.pieces.push(Piece { start: self.plain.len(), line, column, strong, code });
        self.plain.push_str(text);
    }

    /// Adds words without markup that stand at `line` and `column`.
    pub(crate) fn push_plain(&mut self, text: &str, line: u32, column: u32) {
        self.push(text, line, column, false, false);
    }

    /// The words.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// Whether there are no words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.trim().is_empty()
    }

    /// The place of the bytes `from..to` of [`Text::plain`].
    #[must_use]
    pub fn place(&self, from: usize, to: usize) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let chars =
            |a: usize, b: usize| number(self.plain.get(a..b).map_or(0, |piece| piece.chars().count()));
        let at = self.pieces.partition_point(|piece| piece.start <= from);
        let Some(piece) = self.pieces.get(at.saturating_sub(1)) else { return Place::new(1, 1, 1) };
        let line_end =
            self.plain.get(from..).and_then(|rest| rest.find('\n')).map_or(self.plain.len(), |n| from + n);
        Place::new(piece.line, piece.column + chars(piece.start, from), chars(from, to.min(line_end)))
    }

    /// The place of all of it, of its first line if there are several.
    #[must_use]
    pub fn whole(&self) -> Place {
        self.place(0, self.plain.trim_end().len())
    }

    /// A part of it, without blanks around it.
    #[must_use]
    pub fn part(&self, from: usize, to: usize) -> Self {
        let Some(piece) = self.plain.get(from..to) else { return Self::default() };
        let from = from + (piece.len() - piece.trim_start().len());
        let plain = piece.trim().to_owned();
        let to = from + plain.len();
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in &self.pieces {
            if piece.start <= from {
                let place = self.place(from, from + 1);
                pieces = vec![Piece { start: 0, line: place.line, column: place.column, ..piece.clone() }];
            } else if piece.start < to {
                pieces.push(Piece { start: piece.start - from, ..piece.clone() });
            }
        }
        Self { plain, pieces }
    }

    /// Its lines.
    #[must_use]
    pub fn lines(&self) -> Vec<Self> {
        let mut from = 0;
        let mut lines = Vec::new();
        for line in self.plain.split('\n') {
            lines.push(self.part(from, from + line.len()));
            from += line.len() + 1;
        }
        lines
    }

    /// The stretches that are bold, as bytes of [`Text::plain`].
    pub fn strong(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.stretches().filter(|(piece, ..)| piece.strong).map(|(_, from, to)| (from, to))
    }

    /// The stretches that are code, as bytes of [`Text::plain`].
    pub fn code(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.stretches().filter(|(piece, ..)| piece.code).map(|(_, from, to)| (from, to))
    }

    fn stretches(&self) -> impl Iterator<Item = (&Piece, usize, usize)> + '_ {
        let ends = self.pieces.iter().skip(1).map(|piece| piece.start).chain([self.plain.len()]);
        self.pieces.iter().zip(ends).map(|(piece, end)| (piece, piece.start, end))
    }
}
