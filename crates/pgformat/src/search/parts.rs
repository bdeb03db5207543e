//! Reads WAL by parts, side by side, as if one reader had gone through all of it.
//!
//! A [`Part`] is read from the first record that begins in it. Where the part before it ends, its reader goes on
//! into this one, through the record that lies across the joint, until it meets the part's own first record: from
//! there on both readers are in the same state, and the part's result is the result. Where they never meet (a
//! record that fills the part, a joint that is damaged), that one reader reads all of the part, as if it had not
//! been read.
//!
//! # Invariants
//! - **P1 one reading.** What is told, and where and why it ends, is what one reader over all parts tells.
//!
//! Deliberately absent: threads, and where bytes come from.

use super::digest::Digest;
use crate::wal::{DecodeError, End, ReaderOptions, RecordReader, Start, Step};
use lifeboat_base::{Lsn, LsnRange};

/// How reading a part came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The part is read.
    NeedMore,
    /// The range is.
    Passed,
    /// WAL ends here.
    End(End),
    /// A record is damaged.
    Failed(DecodeError),
}

/// A part of WAL, read by itself.
#[derive(Debug)]
pub struct Part {
    /// Its first record that a search wants.
    first: Option<Lsn>,
    digest: Digest,
    outcome: Outcome,
    reader: RecordReader,
}

impl Part {
    /// Reads `bytes`, which begin at `start`, the beginning of a page. Of records outside of `range` nothing is
    /// told.
    #[must_use]
    pub fn read(options: ReaderOptions, start: Lsn, bytes: &[u8], range: LsnRange) -> Self {
        let mut reader = RecordReader::new(options, Start::Anywhere(start));
        let (mut first, mut digest) = (None, Digest::default());
        let is_met = |lsn| {
            first.get_or_insert(lsn);
            false
        };
        // It meets nobody.
        let outcome = read_on(&mut reader, bytes, range, &mut digest, is_met).unwrap_or(Outcome::NeedMore);
        Self { first, digest, outcome, reader }
    }
}

/// Parts, one behind the other.
#[derive(Debug, Default)]
pub struct Chain {
    /// At the end of the part before.
    reader: Option<RecordReader>,
}

impl Chain {
    /// Takes the next part, and its bytes. What is told comes in two digests, one after the other.
    pub fn follow(&mut self, part: Part, range: LsnRange, bytes: &[u8]) -> ([Digest; 2], Outcome) {
        let Some(mut reader) = self.reader.take() else {
            self.reader = Some(part.reader);
            return ([part.digest, Digest::default()], part.outcome);
        };
        let mut joint = Digest::default();
        match read_on(&mut reader, bytes, range, &mut joint, |lsn| part.first == Some(lsn)) {
            None => {
                self.reader = Some(part.reader);
                ([joint, part.digest], part.outcome)
            }
            Some(outcome) => {
                self.reader = Some(reader);
                ([joint, Digest::default()], outcome)
            }
        }
    }
}

/// Reads to the end of `bytes`, or until the record `is_met` (`None`), which is not taken.
fn read_on(
    reader: &mut RecordReader,
    bytes: &[u8],
    range: LsnRange,
    digest: &mut Digest,
    mut is_met: impl FnMut(Lsn) -> bool,
) -> Option<Outcome> {
    let mut feed = reader.feed(bytes);
    loop {
        match feed.next() {
            Step::Record(record) if is_met(record.lsn) => return None,
            Step::Record(record) if record.lsn >= range.end => return Some(Outcome::Passed),
            Step::Record(record) if record.lsn < range.start => {}
            Step::Record(record) => {
                if let Err(error) = digest.add(&record) {
                    return Some(Outcome::Failed(error));
                }
            }
            Step::NeedMore => return Some(Outcome::NeedMore),
            Step::End(end) => return Some(Outcome::End(end)),
        }
    }
}

#[cfg(test)]
mod tests;
