//! The pieces of one segment: which there are, how far they reach, and what they are once laid together.

use super::{WalArchive, WalError};
use crate::{CopyFailure, Listing, ReadError, names, seal};
use futures::{StreamExt, TryStreamExt};
use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::WalFileName;

/// Pieces that are read side by side when a segment is put together; each may be 2 MiB, once in each copy.
const PIECES_AT_ONCE: usize = 4;

/// A segment and its names.
pub(super) struct Segment {
    pub(super) file: WalFileName,
    /// The object that holds it whole.
    pub(super) whole: String,
    /// Where its pieces lie.
    pub(super) pieces: String,
}

/// A piece, and the copies that list it.
pub(super) struct Piece {
    pub(super) range: LsnRange,
    pub(super) name: String,
    pub(super) copies: Vec<usize>,
}

/// Which copies' bytes of a piece are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versions {
    /// Those of the first that opens: to read.
    Any,
    /// Those of each that lists it: before it is deleted there (W5).
    Each,
}

impl Segment {
    pub(super) fn new(archive: &WalArchive, timeline: Timeline, at: Lsn) -> Self {
        let file = archive.file_name(timeline, at);
        let text = file.to_string();
        let (service, system) = (&archive.service, archive.system());
        let whole = names::wal_segment(service, system, timeline, &text);
        Self { file, whole, pieces: names::wal_pieces(service, system, timeline, &text) }
    }

    /// The pieces in `listing`, by position.
    ///
    /// # Errors
    /// [`WalError::Malformed`] for one that lies outside of the segment.
    pub(super) fn pieces(&self, listing: Listing) -> Result<Vec<Piece>, WalError> {
        let LsnRange { start, end } = self.file.range();
        let mut pieces = Vec::new();
        for (name, listed) in listing.objects {
            let Some(range) = names::piece_range(&name) else { continue };
            if range.start < start || range.end > end {
                return Err(WalError::Malformed(format!("{name} lies outside its segment")));
            }
            pieces.push(Piece { range, name, copies: listed.copies });
        }
        pieces.sort_by_key(|piece| piece.range);
        Ok(pieces)
    }
}

/// Where the pieces end that follow on `start` without a hole.
///
/// # Errors
/// [`WalError::Hole`] if others come behind one.
pub(super) fn reach(timeline: Timeline, start: Lsn, pieces: &[Piece]) -> Result<Lsn, WalError> {
    let mut end = start;
    for Piece { range, .. } in pieces {
        if range.start > end {
            return Err(WalError::Hole { timeline, hole: LsnRange { start: end, end: range.start } });
        }
        end = end.max(range.end);
    }
    Ok(end)
}

impl WalArchive {
    /// Lays pieces that leave no hole over a segment's `bytes`, of which those before `known` are there already
    /// and must be the same (W5).
    ///
    /// # Errors
    /// [`WalError::Contradiction`]; [`WalError::Read`] for a piece that is needed and cannot be read, or may not be
    /// what is known.
    pub(super) async fn lay(
        &self,
        timeline: Timeline,
        bytes: &mut [u8],
        mut known: Lsn,
        pieces: Vec<Piece>,
        versions: Versions,
    ) -> Result<(), WalError> {
        let before = known;
        let reads = pieces.into_iter().map(|piece| async move {
            let is_needed = piece.range.end > before;
            let there = match versions {
                Versions::Any => vec![self.vault.read(&piece.name).await.map_err(self.unread())?],
                Versions::Each => self.versions(&piece, is_needed).await?,
            };
            if there.iter().any(|bytes| bytes.len() as u64 != piece.range.len()) {
                return Err(WalError::Malformed(format!("{} has another length", piece.name)));
            }
            Ok((piece.range, there))
        });
        let mut reads = futures::stream::iter(reads).buffered(PIECES_AT_ONCE);
        while let Some((range, there)) = reads.try_next().await? {
            // Segments are powers of two.
            let offset = (range.start.0 % bytes.len() as u64) as usize;
            for piece in there {
                let again = (known.bytes_since(range.start) as usize).min(piece.len());
                if bytes[offset..offset + again] != piece[..again] {
                    return Err(WalError::Contradiction { timeline, range });
                }
                bytes[offset + again..offset + piece.len()].copy_from_slice(&piece[again..]);
                known = known.max(range.end);
            }
        }
        Ok(())
    }

    /// What each copy that lists the piece holds of it. Where it does not open there is nothing to lose.
    async fn versions(&self, piece: &Piece, is_needed: bool) -> Result<Vec<Vec<u8>>, WalError> {
        let Piece { name, copies, .. } = piece;
        let mut there = Vec::new();
        for copy in copies {
            match self.vault.copies().read_from(*copy, name).await {
                Ok(sealed) => there.extend(seal::open_object(self.vault.key(), name, &sealed)),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    let copy = self.vault.copies().all()[*copy].name().to_owned();
                    let failures = vec![CopyFailure { copy, reason: error.to_string() }];
                    return Err(self.unread()(ReadError::Unavailable { name: name.clone(), failures }));
                }
            }
        }
        if there.is_empty() && is_needed {
            there.push(self.vault.read(name).await.map_err(self.unread())?);
        }
        Ok(there)
    }
}
