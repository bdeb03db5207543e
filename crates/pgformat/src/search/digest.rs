//! What records say to a search, gathered without knowing what came before them.
//!
//! Parts of WAL are gathered side by side, and taken one after the other. Rows of one transaction in one
//! relation that follow on each other become one note; what needs to know the past is kept as its record.
//!
//! # Invariants
//! - **D1 as if fed.** Taking a digest leaves a search just as feeding it the records would have.
//! - **D2 bounded.** A digest takes about as much memory as its records at most: one note a record, and the bytes of
//!   those that are kept. Of bulk changes it takes next to none.

use super::open::{Tally, index_pages};
use crate::MajorVersion;
use crate::RelationLocator;
use crate::wal::{Content, DecodeError, Record, RecordHeader};
use lifeboat_base::Lsn;

/// What a part of WAL says to a search; see [`super::Search::take`].
#[derive(Debug, Default)]
pub struct Digest {
    notes: Vec<Note>,
    /// Of the records that are kept, one behind the other.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Note {
    Rows { xid: u32, lsn: Lsn, locator: RelationLocator, tally: Tally },
    Toast { lsn: Lsn, locator: RelationLocator },
    IndexPage { xid: u32, lsn: Lsn, locator: RelationLocator },
    Kept { lsn: Lsn, end_lsn: Lsn, version: MajorVersion, header: RecordHeader, from: usize },
}

/// One thing that was said.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The first record that says so.
    pub lsn: Lsn,
    pub(super) what: What<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What<'a> {
    /// So many rows of it changed.
    Rows { xid: u32, locator: RelationLocator, tally: Tally },
    /// It holds parts of large values.
    Toast(RelationLocator),
    /// Pages of an index were written to it.
    IndexPage { xid: u32, locator: RelationLocator },
    /// This record.
    Record(Record<'a>),
}

/// The rows that a record changed, where that is all there is to it.
pub(super) fn changed_rows(content: &Content<'_>) -> Option<(RelationLocator, Tally)> {
    let (locator, tally) = match *content {
        Content::Insert { locator, toast: false } => (locator, Tally { inserted: 1, ..Tally::default() }),
        Content::MultiInsert { locator, rows, toast: false } => {
            (locator, Tally { inserted: rows.into(), ..Tally::default() })
        }
        // A row that moved to another partition was updated, not lost.
        Content::Update { locator, .. } | Content::Delete { locator, moved: true, taken_back: false } => {
            (locator, Tally { updated: 1, ..Tally::default() })
        }
        Content::Delete { locator, moved: false, taken_back: false } => {
            (locator, Tally { deleted: 1, ..Tally::default() })
        }
        _ => return None,
    };
    Some((locator, tally))
}

impl Digest {
    /// Adds the next record.
    ///
    /// # Errors
    /// [`DecodeError`] if the record is damaged.
    pub fn add(&mut self, record: &Record<'_>) -> Result<(), DecodeError> {
        let (xid, lsn) = (record.header.xid, record.lsn);
        let content = record.content()?;
        if let Some((locator, tally)) = changed_rows(&content) {
            self.add_rows(xid, lsn, locator, tally);
            return Ok(());
        }
        match content {
            Content::Insert { locator, .. } | Content::MultiInsert { locator, .. } => {
                let is_again =
                    matches!(self.notes.last(), Some(Note::Toast { locator: last, .. }) if *last == locator);
                if !is_again {
                    self.notes.push(Note::Toast { lsn, locator });
                }
            }
            Content::PageImages => {
                for locator in index_pages(&record.layout()?) {
                    let is_again = |note: &Note| matches!(note, Note::IndexPage { xid: of, locator: last, .. } if (*of, *last) == (xid, locator));
                    if !self.notes.last().is_some_and(is_again) {
                        self.notes.push(Note::IndexPage { xid, lsn, locator });
                    }
                }
            }
            // What it takes back may have been said before this digest begins.
            Content::Delete { .. }
            | Content::Truncate(_)
            | Content::StorageCreate(_)
            | Content::DatabaseDrop(_)
            | Content::RunningTransactions(_)
            | Content::Abort(_)
            | Content::Commit(_) => self.keep(record),
            _ => {}
        }
        Ok(())
    }

    fn add_rows(&mut self, xid: u32, lsn: Lsn, locator: RelationLocator, tally: Tally) {
        match self.notes.last_mut() {
            Some(Note::Rows { xid: of, locator: last, tally: sum, .. }) if (*of, *last) == (xid, locator) => {
                sum.add(tally);
            }
            _ => self.notes.push(Note::Rows { xid, lsn, locator, tally }),
        }
    }

    fn keep(&mut self, record: &Record<'_>) {
        let Record { lsn, end_lsn, version, header, bytes } = *record;
        self.notes.push(Note::Kept { lsn, end_lsn, version, header, from: self.bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }

    /// What it holds.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        size_of_val(self.notes.as_slice()) + self.bytes.len()
    }

    /// What was said, in order.
    pub fn said(&self) -> impl Iterator<Item = Said<'_>> {
        self.notes.iter().map(|note| match *note {
            Note::Rows { xid, lsn, locator, tally } => Said { lsn, what: What::Rows { xid, locator, tally } },
            Note::Toast { lsn, locator } => Said { lsn, what: What::Toast(locator) },
            Note::IndexPage { xid, lsn, locator } => Said { lsn, what: What::IndexPage { xid, locator } },
            Note::Kept { lsn, end_lsn, version, header, from } => {
                let bytes = &self.bytes[from..from + header.total_bytes as usize];
                Said { lsn, what: What::Record(Record { lsn, end_lsn, version, header, bytes }) }
            }
        })
    }
}
