//! Decides when WAL that has arrived becomes a piece.
//!
//! Pure: bytes and the time come in, pieces come out. A piece is due
//! - at once when nothing else is under way to the vault: a quiet database waits for nobody;
//! - when its oldest byte has waited [`AGE_LIMIT`]: under load, pieces are few and still fresh;
//! - when it holds [`PIECE_BYTES`], or its segment ends.
//!
//! # Invariants
//! - **P1 contiguous.** A piece begins where the one before it ended; WAL from elsewhere is refused.
//! - **P2 within a segment.** No piece crosses the end of its segment.
//! - **P3 bounded.** At most [`PIECE_BYTES`] wait for more.
//!
//! Deliberately absent: the vault (`uploads`), and what the bytes say.

use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};
use std::time::Duration;

/// A piece of this size goes without waiting for more.
pub(super) const PIECE_BYTES: usize = 2 << 20;
/// How long a byte waits for others to go with it.
pub(super) const AGE_LIMIT: Duration = Duration::from_millis(250);

/// WAL on its way to the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where it belongs.
    pub(super) start: Lsn,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
    /// When the server sent its first byte, by the server's clock.
    pub(super) sent_at: Timestamp,
}

impl Piece {
    pub(super) fn range(&self) -> LsnRange {
        LsnRange { start: self.start, end: self.start.advance(self.bytes.len() as u64) }
    }
}

/// WAL that does not follow on what came before (P1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WAL from {found} came where {expected} was due")]
pub(super) struct OutOfOrder {
    expected: Lsn,
    found: Lsn,
}

#[derive(Debug)]
struct Waiting {
    /// On the monotonic clock.
    arrived: Duration,
    sent_at: Timestamp,
}

/// Cuts a stream of WAL into pieces.
#[derive(Debug)]
pub(super) struct Piecer {
    segment_bytes: u64,
    /// Where the buffer begins.
    start: Lsn,
    buffer: Vec<u8>,
    /// About the first byte of the buffer, if it has one.
    oldest: Option<Waiting>,
}

impl Piecer {
    pub(super) fn new(start: Lsn, segment_bytes: u64) -> Self {
        Self { segment_bytes, start, buffer: Vec::new(), oldest: None }
    }

    /// Where the next WAL must begin.
    pub(super) fn end(&self) -> Lsn {
        self.start.advance(self.buffer.len() as u64)
    }

    /// When the oldest byte that waits was sent.
    pub(super) fn oldest_sent_at(&self) -> Option<Timestamp> {
        self.oldest.as_ref().map(|waiting| waiting.sent_at)
    }

    /// Whether more would exceed what may wait (P3).
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= PIECE_BYTES
    }

    /// Takes WAL that has arrived at `now` and returns the pieces that it fills.
    pub(super) fn push(
        &mut self,
        at: Lsn,
        mut data: &[u8],
        now: Duration,
        sent_at: Timestamp,
    ) -> Result<Vec<Piece>, OutOfOrder> {
        if at != self.end() {
            return Err(OutOfOrder { expected: self.end(), found: at });
        }
        let mut full = Vec::new();
        while !data.is_empty() {
            let to_segment_end = self.segment_bytes - self.end().0 % self.segment_bytes;
            let room = (PIECE_BYTES - self.buffer.len()).min(to_segment_end as usize);
            let (head, rest) = data.split_at(data.len().min(room));
            self.oldest.get_or_insert(Waiting { arrived: now, sent_at });
            self.buffer.extend_from_slice(head);
            data = rest;
            if self.is_full() || self.end().0.is_multiple_of(self.segment_bytes) {
                full.extend(self.take());
            }
        }
        Ok(full)
    }

    /// Whether what waits should go: `idle` says that nothing is under way.
    pub(super) fn is_due(&self, now: Duration, idle: bool) -> bool {
        self.deadline().is_some_and(|deadline| idle || now >= deadline)
    }

    /// When what waits is due, whatever is under way.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.oldest.as_ref().map(|waiting| waiting.arrived + AGE_LIMIT)
    }

    /// What waits, as a piece.
    pub(super) fn take(&mut self) -> Option<Piece> {
        let waiting = self.oldest.take()?;
        let start = self.start;
        self.start = self.end();
        Some(Piece { start, bytes: std::mem::take(&mut self.buffer), sent_at: waiting.sent_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT_BYTES: u64 = 1 << 20;

    fn sent() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    #[test]
    fn idle_goes_at_once_and_load_waits_no_longer_than_its_limit() {
        let mut piecer = Piecer::new(Lsn(100), SEGMENT_BYTES);
        assert!(!piecer.is_due(Duration::ZERO, true), "nothing waits");
        assert_eq!(piecer.push(Lsn(100), b"abc", Duration::ZERO, sent()), Ok(vec![]));
        assert!(piecer.is_due(Duration::ZERO, true));
        assert!(!piecer.is_due(AGE_LIMIT - Duration::from_millis(1), false));
        // Later bytes do not make the oldest wait longer.
        piecer.push(Lsn(103), b"d", AGE_LIMIT / 2, sent()).unwrap();
        assert!(piecer.is_due(AGE_LIMIT, false));
        let piece = piecer.take().unwrap();
        assert_eq!(piece.range(), LsnRange { start: Lsn(100), end: Lsn(104) });
        assert_eq!(piecer.take(), None);
        assert_eq!(piecer.end(), Lsn(104));
    }

    #[test]
    fn p1_wal_from_elsewhere_is_refused() {
        let mut piecer = Piecer::new(Lsn(100), SEGMENT_BYTES);
        for at in [99, 101] {
            assert!(piecer.push(Lsn(at), b"abc", Duration::ZERO, sent()).is_err());
        }
        assert_eq!(piecer.end(), Lsn(100));
    }

    proptest! {
        #[test]
        fn p2_p3_pieces_are_contiguous_bounded_and_inside_their_segment(
            offset in 0..SEGMENT_BYTES,
            chunks in proptest::collection::vec(1..400_000_usize, 1..20),
            segment_shift in 20_u32..25,
        ) {
            let segment_bytes = 1_u64 << segment_shift;
            let begin = Lsn(7 * segment_bytes + offset);
            let mut piecer = Piecer::new(begin, segment_bytes);
            let (mut all, mut pieces) = (Vec::new(), Vec::new());
            for (number, length) in chunks.into_iter().enumerate() {
                let data = vec![number as u8; length];
                let at = piecer.end();
                pieces.extend(piecer.push(at, &data, Duration::ZERO, sent()).unwrap());
                all.extend_from_slice(&data);
                prop_assert!(!piecer.is_full());
            }
            pieces.extend(piecer.take());
            let mut end = begin;
            for piece in &pieces {
                let range = piece.range();
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty() && piece.bytes.len() <= PIECE_BYTES);
                prop_assert!(range.end <= range.start.segment_start(segment_bytes).advance(segment_bytes));
                end = range.end;
            }
            prop_assert_eq!(pieces.into_iter().flat_map(|p| p.bytes).collect::<Vec<_>>(), all);
        }
    }
}
