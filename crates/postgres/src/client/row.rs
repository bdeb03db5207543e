//! Rows as the simple protocol brings them: texts under column names.

use bytes::Bytes;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, RowDescriptionBody};
use std::str::FromStr;
use std::sync::Arc;

/// Columns of one result, by position.
pub type Columns = Arc<[String]>;

/// A row does not hold what was expected of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// No such column.
    #[error("there is no column `{column}`, only {}", have.join(", "))]
    NoColumn {
        /// Asked for.
        column: String,
        /// What there is.
        have: Vec<String>,
    },
    /// The value is NULL.
    #[error("column `{column}` is NULL")]
    Null {
        /// Which.
        column: String,
    },
    /// The value is not UTF-8.
    #[error("column `{column}` is not UTF-8")]
    NotText {
        /// Which.
        column: String,
    },
    /// The value is not what it should be.
    #[error("column `{column}` holds `{value}`, which is not {wanted}")]
    Unreadable {
        /// Which.
        column: String,
        /// Its text, shortened.
        value: String,
        /// The type it should have.
        wanted: &'static str,
    },
    /// There is no row.
    #[error("the result has no row")]
    NoRow,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    columns: Columns,
    cells: Vec<Option<Bytes>>,
}

/// Characters of a wrong value that a message shows.
const SHOWN_VALUE_CHARS: usize = 80;

impl Row {
    /// Takes a row apart; `None` if it is malformed or does not fit its columns.
    pub(super) fn read(columns: &Columns, body: &DataRowBody) -> Option<Self> {
        let mut ranges = body.ranges();
        let mut cells = Vec::with_capacity(columns.len());
        while let Some(range) = ranges.next().ok()? {
            if cells.len() == columns.len() {
                return None;
            }
            cells.push(range.map(|range| body.buffer_bytes().slice(range)));
        }
        (cells.len() == columns.len()).then(|| Self { columns: Arc::clone(columns), cells })
    }

    /// Names of the columns, by position.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Position of the first column of that name.
    #[must_use]
    pub fn index(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|name| name == column)
    }

    /// A value's bytes as they came; `None` for NULL.
    ///
    /// # Errors
    /// [`RowError::NoColumn`].
    pub fn bytes(&self, column: &str) -> Result<Option<&Bytes>, RowError> {
        let missing = || RowError::NoColumn { column: column.to_owned(), have: self.columns.to_vec() };
        let cell = self.index(column).and_then(|index| self.cells.get(index)).ok_or_else(missing)?;
        Ok(cell.as_ref())
    }

    /// A value as text; `None` for NULL.
    ///
    /// # Errors
    /// [`RowError`] if there is no such column or it is not UTF-8.
    pub fn optional(&self, column: &str) -> Result<Option<&str>, RowError> {
        let not_text = |_| RowError::NotText { column: column.to_owned() };
        self.bytes(column)?.map(|bytes| std::str::from_utf8(bytes).map_err(not_text)).transpose()
    }

    /// A value as text, which must be there.
    ///
    /// # Errors
    /// [`RowError`], also for NULL.
    pub fn text(&self, column: &str) -> Result<&str, RowError> {
        self.optional(column)?.ok_or_else(|| RowError::Null { column: column.to_owned() })
    }

    /// A value read as `T`, which must be there.
    ///
    /// # Errors
    /// [`RowError`], also for NULL and for a text that is no `T`.
    pub fn parse<T: FromStr>(&self, column: &str) -> Result<T, RowError> {
        let text = self.text(column)?;
        text.parse().map_err(|_| RowError::Unreadable {
            column: column.to_owned(),
            value: text.chars().take(SHOWN_VALUE_CHARS).collect(),
            wanted: std::any::type_name::<T>(),
        })
    }

    /// The text at a position; `None` for NULL, for what is not UTF-8 and past the end.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<&str> {
        self.cells.get(index)?.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Bytes that the row keeps in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        let cells = self.cells.iter().flatten().map(Bytes::len).sum::<usize>();
        cells + self.cells.len() * size_of::<Option<Bytes>>() + size_of::<Self>()
    }
}

/// Column names of a result; `None` if the message is malformed.
pub(super) fn read_columns(body: &RowDescriptionBody) -> Option<Columns> {
    let mut fields = body.fields();
    let mut names = Vec::new();
    while let Some(field) = fields.next().ok()? {
        names.push(field.name().to_owned());
    }
    Some(names.into())
}
