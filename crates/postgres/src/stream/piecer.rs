//! Decides when WAL that has arrived becomes a piece.
//!
//! Pure: bytes and the time come in, pieces come out. A piece is due
//! - at once when the one before it began [`AGE_LIMIT`] ago or more: a quiet database waits for nobody;
//! - under load, [`AGE_LIMIT`] after the one before it: pieces are few and still fresh. Each costs a request,
//!   and on a disk that is also production's, a flush that production's commits wait for;
//! - when commits wait for it, as soon as nothing else is under way to the vault;
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

/// Buffers kept for the next pieces.
const SPARE_LIMIT: usize = 4;

/// For whom pieces are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nobody waits.
    Gather,
    /// Commits wait; `idle` says that nothing is under way to the vault.
    Hurry {
        /// Nothing is.
        idle: bool,
    },
}

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
    /// When the newest piece was cut.
    last_cut: Option<Duration>,
    /// Buffers of pieces that are done with: allocators are slow to give back what is large.
    spare: Vec<Vec<u8>>,
}

impl Piecer {
    pub(super) fn new(start: Lsn, segment_bytes: u64) -> Self {
        let (buffer, spare) = (Vec::new(), Vec::new());
        Self { segment_bytes, start, buffer, oldest: None, last_cut: None, spare }
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
                full.extend(self.take(now));
            }
        }
        Ok(full)
    }

    /// Takes back the buffer of a piece that is done with.
    pub(super) fn reuse(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < SPARE_LIMIT {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// When what waits is due, if anything waits.
    pub(super) fn due_at(&self, pace: Pace) -> Option<Duration> {
        let arrived = self.oldest.as_ref()?.arrived;
        Some(match pace {
            Pace::Hurry { idle: true } => arrived,
            Pace::Hurry { idle: false } => arrived + AGE_LIMIT,
            Pace::Gather => self.last_cut.map_or(arrived, |cut| arrived.max(cut + AGE_LIMIT)),
        })
    }

    /// What waits, as a piece that is cut `now`.
    pub(super) fn take(&mut self, now: Duration) -> Option<Piece> {
        let waiting = self.oldest.take()?;
        self.last_cut = Some(now);
        let start = self.start;
        self.start = self.end();
        // Under load the next becomes as large: its buffer need not grow step by step.
        let room = if self.is_full() { PIECE_BYTES } else { 0 };
        let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(room));
        let bytes = std::mem::replace(&mut self.buffer, next);
        Some(Piece { start, bytes, sent_at: waiting.sent_at })
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
    fn a_quiet_database_waits_for_nobody_and_a_busy_one_gathers() {
        let (second, quarter) = (Duration::from_secs(1), AGE_LIMIT);
        let mut piecer = Piecer::new(Lsn(100), SEGMENT_BYTES);
        assert_eq!(piecer.due_at(Pace::Gather), None, "nothing waits");
        assert_eq!(piecer.push(Lsn(100), b"abc", second, sent()), Ok(vec![]));
        assert_eq!(piecer.due_at(Pace::Gather), Some(second));
        assert_eq!(piecer.take(second).unwrap().range(), LsnRange { start: Lsn(100), end: Lsn(103) });
        piecer.push(Lsn(103), b"d", second + quarter / 4, sent()).unwrap();
        assert_eq!(piecer.due_at(Pace::Gather), Some(second + quarter));
        // Later bytes do not make the oldest wait longer.
        piecer.push(Lsn(104), b"e", second + quarter / 2, sent()).unwrap();
        assert_eq!(piecer.due_at(Pace::Gather), Some(second + quarter));
        assert_eq!(
            piecer.take(second + quarter).unwrap().range(),
            LsnRange { start: Lsn(103), end: Lsn(105) }
        );
        piecer.push(Lsn(105), b"f", second * 3, sent()).unwrap();
        assert_eq!(piecer.due_at(Pace::Gather), Some(second * 3), "it was quiet meanwhile");
        piecer.take(second * 3);
        assert_eq!((piecer.take(second * 3), piecer.end()), (None, Lsn(106)));
    }

    #[test]
    fn commits_that_wait_hurry() {
        let mut piecer = Piecer::new(Lsn(100), SEGMENT_BYTES);
        piecer.push(Lsn(100), b"abc", Duration::ZERO, sent()).unwrap();
        piecer.take(Duration::ZERO);
        piecer.push(Lsn(103), b"d", Duration::ZERO, sent()).unwrap();
        assert_eq!(piecer.due_at(Pace::Hurry { idle: true }), Some(Duration::ZERO));
        assert_eq!(piecer.due_at(Pace::Hurry { idle: false }), Some(AGE_LIMIT));
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
            pieces.extend(piecer.take(Duration::ZERO));
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
