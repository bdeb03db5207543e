//! What was streamed last, kept until it is joined: it need not be read back from the vault.
//!
//! # Invariants
//! - **E1** Only what the vault took from this process, as this process gave it, is kept.
//! - **E2 bounded.** At most [`SEGMENTS_KEPT`] segments, the one given away among them, of at most
//!   [`SEGMENT_LIMIT_BYTES`] each. What does not fit is not kept, and is read back.
//!
//! Deliberately absent: whether it is all that the vault has of the segment (`vault::wal`).

use lifeboat_base::{Lsn, LsnRange, Timeline};
use lifeboat_pgformat::SegmentSize;
use lifeboat_vault::wal::Remembered;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// One that is being filled, and one that is being joined.
const SEGMENTS_KEPT: usize = 2;
/// Larger segments are read back: memory does not grow with them.
const SEGMENT_LIMIT_BYTES: u64 = 16 << 20;

/// The newest segments.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By where they begin.
    segments: BTreeMap<(Timeline, Lsn), Remembered>,
    /// Given away, and not come back.
    away: usize,
    /// Room for the next: allocators are slow to give back what is large.
    spare: Option<Vec<u8>>,
}

impl Recent {
    /// Keeps a piece that is durable now (E1).
    pub(super) fn keep(&self, timeline: Timeline, start: Lsn, bytes: &[u8], size: SegmentSize) {
        let segment = start.segment_start(size.bytes());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { segments, away, spare } = &mut *kept;
        // Of a timeline that has ended no more becomes whole.
        segments.retain(|(of, _), _| *of == timeline);
        let is_full = segments.len() + *away >= SEGMENTS_KEPT || size.bytes() > SEGMENT_LIMIT_BYTES;
        if is_full && !segments.contains_key(&(timeline, segment)) {
            return;
        }
        let remembered = segments.entry((timeline, segment)).or_insert_with(|| Remembered {
            // Room that is not touched yet takes no memory.
            bytes: spare.take().unwrap_or_else(|| Vec::with_capacity(size.bytes() as usize)),
            pieces: BTreeSet::new(),
        });
        let (offset, held) = (start.bytes_since(segment) as usize, &mut remembered.bytes);
        if held.len() < offset {
            held.resize(offset, 0);
        }
        let known = bytes.len().min(held.len() - offset);
        held[offset..offset + known].copy_from_slice(&bytes[..known]);
        held.extend_from_slice(&bytes[known..]);
        remembered.pieces.insert(LsnRange { start, end: start.advance(bytes.len() as u64) });
    }

    /// Gives away what is kept of the segment that begins at `start`; what is older is forgotten with it.
    pub(super) fn take(&self, timeline: Timeline, start: Lsn) -> Option<Remembered> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = kept.segments.remove(&(timeline, start));
        kept.away += usize::from(taken.is_some());
        kept.segments.retain(|(of, segment), _| *of != timeline || *segment > start);
        taken
    }

    /// What was taken is joined; its room serves the next.
    pub(super) fn give_back(&self, remembered: Remembered) {
        let mut bytes = remembered.bytes;
        bytes.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.away -= 1;
        kept.spare = Some(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{SEGMENT_BYTES, noise};
    use super::*;

    const T1: Timeline = Timeline(1);

    fn at(segment: u64) -> Lsn {
        Lsn(segment * SEGMENT_BYTES)
    }

    #[test]
    fn pieces_come_in_any_order_and_are_given_away_once() {
        let (recent, size) = (Recent::default(), SegmentSize::new(SEGMENT_BYTES).unwrap());
        let bytes = noise(SEGMENT_BYTES as usize, 3);
        let half = bytes.len() / 2;
        recent.keep(T1, at(5).advance(half as u64), &bytes[half..], size);
        recent.keep(T1, at(5), &bytes[..half], size);
        recent.keep(T1, at(6), &bytes[..10], size);
        let whole = recent.take(T1, at(5)).unwrap();
        assert_eq!((&whole.bytes, whole.pieces.len()), (&bytes, 2));
        recent.give_back(whole);
        assert!(recent.take(T1, at(5)).is_none());
        // The end of a timeline: what is left of it becomes no segment.
        recent.keep(Timeline(2), at(6).advance(10), &[7], size);
        assert!(recent.take(T1, at(6)).is_none());
        let rest = recent.take(Timeline(2), at(6)).unwrap();
        // Nothing of another segment shows in the room that it left.
        assert_eq!((rest.bytes, rest.pieces.len()), ([&[0; 10][..], &[7]].concat(), 1));
    }

    #[test]
    fn e2_few_segments_are_kept_and_none_that_is_large() {
        let recent = Recent::default();
        let size = SegmentSize::new(SEGMENT_BYTES).unwrap();
        (0..5).for_each(|segment| recent.keep(T1, at(segment), &[1; 100], size));
        assert_eq!(recent.0.lock().unwrap().segments.len(), SEGMENTS_KEPT);
        // What is being joined still takes room.
        let taken = recent.take(T1, at(0)).unwrap();
        recent.keep(T1, at(2), &[1; 100], size);
        assert!(recent.take(T1, at(2)).is_none());
        recent.give_back(taken);
        recent.keep(T1, at(2), &[1; 100], size);
        assert_eq!(recent.0.lock().unwrap().segments.len(), 1);
        // What was joined makes room, also if it was not kept.
        assert!(recent.take(T1, at(3)).is_none());
        assert!(recent.0.lock().unwrap().segments.is_empty());
        recent.keep(T1, at(9), &[1; 100], SegmentSize::new(SEGMENT_LIMIT_BYTES * 2).unwrap());
        assert!(recent.0.lock().unwrap().segments.is_empty());
    }
}
