//! Makes one object of a segment's pieces, and deletes them (W3, W4, W5).

use super::pieces::{Segment, Versions, reach};
use super::{WalArchive, WalError, answered};
use crate::{CopyFailure, Created, WriteError, seal};
use bytes::Bytes;
use lifeboat_base::{Lsn, LsnRange, Timeline};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// A segment as the one who wrote its pieces remembers it.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Its bytes, from its beginning on.
    pub bytes: Vec<u8>,
    /// The pieces that the vault took; elsewhere the bytes mean nothing.
    pub pieces: BTreeSet<LsnRange>,
}

impl Remembered {
    /// Whether it is all of the segment `range`, of which these pieces are there, and nothing else is.
    fn is_all(&self, range: LsnRange, there: impl Iterator<Item = LsnRange>) -> bool {
        let there: BTreeSet<LsnRange> = there.collect();
        let mut end = range.start;
        for piece in &self.pieces {
            if piece.start != end {
                return false;
            }
            end = piece.end;
        }
        end == range.end && self.bytes.len() as u64 == range.len() && there == self.pieces
    }
}

/// What each copy holds of a whole segment.
#[derive(Default)]
struct WholeIn {
    /// Copies where it opens.
    holders: Vec<usize>,
    /// Copies that say that they lack it.
    lacking: Vec<usize>,
    /// Its bytes, as they are stored and opened; the same in all holders.
    found: Option<(Bytes, Vec<u8>)>,
    /// Copies that are silent, or hold it damaged.
    failures: Vec<CopyFailure>,
}

impl WalArchive {
    /// Joins the pieces of a segment that is complete into one object and deletes them (W3).
    ///
    /// # Errors
    /// [`WalError::Hole`] if it is not complete, [`WalError::Write`] if too few copies took the whole,
    /// [`WalError::Contradiction`] if what is there differs; nothing is deleted then.
    pub async fn join(&self, timeline: Timeline, at: Lsn) -> Result<(), WalError> {
        self.join_remembered(timeline, at, None).await
    }

    /// The same, without reading back what is `remembered`, if each piece that is listed was taken by every copy
    /// from the one who remembers it.
    ///
    /// # Errors
    /// As [`WalArchive::join`].
    pub async fn join_remembered(
        &self,
        timeline: Timeline,
        at: Lsn,
        remembered: Option<&Remembered>,
    ) -> Result<(), WalError> {
        let segment = Segment::new(self, timeline, at);
        let range = segment.file.range();
        let copies = self.vault.copies();
        let pieces = segment.pieces(answered(copies.list(&segment.pieces).await)?)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = pieces.iter().map(|piece| piece.name.clone()).collect();
        let mut whole = self.look_for_whole(timeline, range, &segment.whole).await?;
        let sealed = match whole.found.take() {
            Some((sealed, mut raw)) => {
                // W5: whoever wrote it need not have seen these pieces.
                self.lay(timeline, &mut raw, range.end, pieces, Versions::Each).await?;
                Some(sealed)
            }
            None if whole.lacking.is_empty() => None,
            None => {
                // A write was acknowledged by as many copies as must have it; what the others have is not known.
                let all_took_it = copies.all().len() == copies.durable();
                let there = pieces.iter().map(|piece| piece.range);
                let known = remembered.filter(|known| all_took_it && known.is_all(range, there));
                let raw = match known {
                    // Not copied: a segment's bytes are much of what a stream holds.
                    Some(known) => Cow::from(&known.bytes),
                    None => {
                        let end = reach(timeline, range.start, &pieces)?;
                        if end < range.end {
                            return Err(WalError::Hole {
                                timeline,
                                hole: LsnRange { start: end, end: range.end },
                            });
                        }
                        let mut raw = vec![0; self.cluster.segment_bytes as usize];
                        self.lay(timeline, &mut raw, range.start, pieces, Versions::Each).await?;
                        Cow::from(raw)
                    }
                };
                let key = self.vault.key();
                Some(seal::seal_object(key, &segment.whole, self.vault.clock().as_ref(), &raw).into())
            }
        };
        if let Some(sealed) = sealed {
            self.write_whole(&segment.whole, &sealed, &mut whole).await;
        }
        let (wanted, got) = (copies.durable(), copies.counted(&whole.holders));
        if got < wanted {
            let name = segment.whole;
            let source = WriteError::NotDurable { name, wanted, got, failures: whole.failures };
            return Err(self.unwritten()(source));
        }
        for copy in whole.holders {
            // Pieces that are left are found by `vault check`.
            copies.delete_in(copy, &names).await;
        }
        Ok(())
    }

    /// Looks in each copy for the whole segment, and whether it opens there (W3: a listing does not tell).
    async fn look_for_whole(
        &self,
        timeline: Timeline,
        range: LsnRange,
        name: &str,
    ) -> Result<WholeIn, WalError> {
        let copies = self.vault.copies();
        let mut whole = WholeIn::default();
        for (index, copy) in copies.all().iter().enumerate() {
            let reason = match copies.read_from(index, name).await {
                Ok(sealed) => match seal::open_object(self.vault.key(), name, &sealed) {
                    Ok(raw) if raw.len() as u64 != range.len() => "it has another length".to_owned(),
                    Ok(raw) => {
                        match &whole.found {
                            Some((_, first)) if *first != raw => {
                                return Err(WalError::Contradiction { timeline, range });
                            }
                            Some(_) => {}
                            None => whole.found = Some((sealed, raw)),
                        }
                        whole.holders.push(index);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Err(object_store::Error::NotFound { .. }) => {
                    whole.lacking.push(index);
                    continue;
                }
                Err(error) => error.to_string(),
            };
            whole.failures.push(CopyFailure { copy: copy.name().to_owned(), reason });
        }
        Ok(whole)
    }

    /// Writes the whole segment to the copies that lack it, and to no other.
    async fn write_whole(&self, name: &str, sealed: &Bytes, whole: &mut WholeIn) {
        let copies = self.vault.copies();
        let writes = whole.lacking.iter().map(|copy| copies.create_in(*copy, name, sealed.clone()));
        let outcomes = futures::future::join_all(writes).await;
        for (index, outcome) in whole.lacking.drain(..).zip(outcomes) {
            let copy = copies.all()[index].name().to_owned();
            match outcome {
                Ok(Created::Mine) => whole.holders.push(index),
                // Another process was quicker: the next join finds its segment.
                Ok(Created::Taken(_)) => {
                    let reason = "another process writes it in this moment".to_owned();
                    whole.failures.push(CopyFailure { copy, reason });
                }
                Err(error) => whole.failures.push(CopyFailure { copy, reason: error.to_string() }),
            }
        }
    }
}
