//! How far the WAL is durable without a gap, while pieces become durable in any order.
//!
//! # Invariants
//! - **D1** The position told is the end of the contiguous durable prefix, never beyond a piece that is
//!   still under way: what is reported to PostgreSQL as flushed may be forgotten there.
//! - **D2** It never goes back.

use jiff::Timestamp;
use lifeboat_base::{Lsn, LsnRange};
use std::collections::VecDeque;

#[derive(Debug)]
struct UnderWay {
    range: LsnRange,
    sent_at: Timestamp,
    is_durable: bool,
}

/// The pieces under way, in the order of the WAL.
#[derive(Debug)]
pub(super) struct DurablePrefix {
    end: Lsn,
    under_way: VecDeque<UnderWay>,
}

impl DurablePrefix {
    /// All before `end` is durable.
    pub(super) fn new(end: Lsn) -> Self {
        Self { end, under_way: VecDeque::new() }
    }

    /// The end of what is durable (D1).
    pub(super) fn end(&self) -> Lsn {
        self.end
    }

    /// When the oldest byte that is not durable was sent.
    pub(super) fn oldest_sent_at(&self) -> Option<Timestamp> {
        self.under_way.front().map(|piece| piece.sent_at)
    }

    /// A piece has been handed over; it follows on the one before.
    pub(super) fn begin(&mut self, range: LsnRange, sent_at: Timestamp) {
        let expected = self.under_way.back().map_or(self.end, |last| last.range.end);
        assert_eq!(range.start, expected, "pieces are begun in the order of the WAL");
        self.under_way.push_back(UnderWay { range, sent_at, is_durable: false });
    }

    /// A piece has become durable; whether the prefix has grown.
    pub(super) fn finish(&mut self, range: LsnRange) -> bool {
        let before = self.end;
        if let Some(piece) = self.under_way.iter_mut().find(|piece| piece.range == range) {
            piece.is_durable = true;
        }
        while let Some(piece) = self.under_way.front().filter(|piece| piece.is_durable) {
            self.end = piece.range.end;
            self.under_way.pop_front();
        }
        self.end > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn d1_d2_only_the_contiguous_prefix_counts_in_whatever_order_pieces_end(
            lengths in proptest::collection::vec(1_u64..1000, 1..30),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 30),
        ) {
            let mut prefix = DurablePrefix::new(Lsn(10));
            let mut open = Vec::new();
            let mut at = Lsn(10);
            for length in lengths {
                let range = LsnRange { start: at, end: at.advance(length) };
                prefix.begin(range, Timestamp::UNIX_EPOCH);
                open.push(range);
                at = range.end;
            }
            for pick in order {
                if open.is_empty() {
                    break;
                }
                let before = prefix.end();
                let done = open.remove(pick.index(open.len()));
                let grew = prefix.finish(done);
                // `open` keeps its order, so its first is the first byte that is not durable.
                prop_assert_eq!(prefix.end(), open.first().map_or(at, |first| first.start));
                prop_assert_eq!(grew, prefix.end() > before);
                prop_assert_eq!(prefix.oldest_sent_at().is_none(), open.is_empty());
            }
        }
    }
}
