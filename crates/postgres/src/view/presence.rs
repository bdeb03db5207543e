//! Which pages of a file are the overlay's own, and which still come from the restore point. Pure.
//!
//! ```text
//! pages        0 … base                     base … end of file
//!              own, or the restore point's  own: written, or zero
//! ```
//!
//! # Invariants
//! - **P1 one way.** A page that became the overlay's own never becomes the restore point's again, but for one
//!   whose writing failed; the end of what comes from the restore point only falls.
//! - **P2 durable last.** What [`Presence::unsaved`] gave counts as saved only once it is told to be.

use std::ops::Range;

const WORD: u32 = u64::BITS;

/// One file's pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// Pages before this one may be the restore point's.
    base: u32,
    /// A bit for each page before `base` of old: it is the overlay's own.
    own: Vec<u64>,
    /// Likewise: and that is on record.
    saved: Vec<u64>,
    /// The record says another `base`.
    is_cut_unsaved: bool,
}

/// A set of pages as runs.
pub(super) type Runs = Vec<Range<u32>>;

impl Presence {
    /// A file of which nothing is here yet.
    pub(super) fn absent(pages: u32) -> Self {
        let words = vec![0; pages.div_ceil(WORD) as usize];
        Self { base: pages, own: words.clone(), saved: words, is_cut_unsaved: false }
    }

    /// How many pages may still be the restore point's.
    pub(super) fn base(&self) -> u32 {
        self.base
    }

    pub(super) fn is_own(&self, page: u32) -> bool {
        page >= self.base || bit(&self.own, page)
    }

    /// How many of the pages before the base are the overlay's own.
    pub(super) fn own_count(&self) -> u32 {
        let (words, rest) = ((self.base / WORD) as usize, self.base % WORD);
        let whole: u32 = self.own.iter().take(words).map(|word| word.count_ones()).sum();
        let last = self.own.get(words).map_or(0, |word| (word & !(u64::MAX << rest)).count_ones());
        whole + last
    }

    /// Whether the restore point is not needed any more.
    pub(super) fn is_whole(&self) -> bool {
        self.missing(0..self.base).is_empty()
    }

    /// The pages of `range` that come from the restore point.
    pub(super) fn missing(&self, range: Range<u32>) -> Runs {
        runs(range.start..range.end.min(self.base), |page| !bit(&self.own, page))
    }

    /// These pages are the overlay's own from now on.
    pub(super) fn take(&mut self, range: Range<u32>) {
        set(&mut self.own, range.start..range.end.min(self.base), true);
    }

    /// These were never written after all: what they were before shows again.
    pub(super) fn give_back(&mut self, lost: &Runs) {
        for range in lost {
            set(&mut self.own, range.start..range.end.min(self.base), false);
        }
    }

    /// Nothing of the restore point shows from this page on, whatever the file grows to later.
    pub(super) fn cut(&mut self, pages: u32) {
        if pages < self.base {
            self.base = pages;
            self.is_cut_unsaved = true;
        }
    }

    /// What became the overlay's own and is not on record.
    pub(super) fn unsaved(&self) -> Runs {
        runs(0..self.base, |page| bit(&self.own, page) && !bit(&self.saved, page))
    }

    /// Whether the record lacks the last cut.
    pub(super) fn is_cut_unsaved(&self) -> bool {
        self.is_cut_unsaved
    }

    /// These are on record now.
    pub(super) fn saved(&mut self, saved: &Runs) {
        for range in saved {
            set(&mut self.saved, range.start..range.end.min(self.base), true);
        }
    }

    /// The cut to `base` is on record now.
    pub(super) fn cut_saved(&mut self, base: u32) {
        if self.base == base {
            self.is_cut_unsaved = false;
        }
    }

    /// The overlay's own pages before the base.
    pub(super) fn own(&self) -> Runs {
        runs(0..self.base, |page| bit(&self.own, page))
    }

    /// What the record says, as runs: to write it anew.
    pub(super) fn on_record(&self) -> Runs {
        runs(0..self.base, |page| bit(&self.saved, page))
    }
}

fn bit(bits: &[u64], page: u32) -> bool {
    bits.get((page / WORD) as usize).is_some_and(|word| word >> (page % WORD) & 1 == 1)
}

fn set(bits: &mut [u64], range: Range<u32>, value: bool) {
    let mut page = range.start;
    while page < range.end {
        let (word, first) = ((page / WORD) as usize, page % WORD);
        let count = (WORD - first).min(range.end - page);
        let mask = (u64::MAX >> (WORD - count)) << first;
        if let Some(word) = bits.get_mut(word) {
            if value { *word |= mask } else { *word &= !mask }
        }
        page += count;
    }
}

fn runs(range: Range<u32>, is_in: impl Fn(u32) -> bool) -> Runs {
    let mut runs: Runs = Vec::new();
    for page in range.filter(|page| is_in(*page)) {
        match runs.last_mut().filter(|run| run.end == page) {
            Some(run) => run.end += 1,
            None => runs.push(page..page + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn p2_what_is_saved_is_what_was_given_and_nothing_since() {
        let mut presence = Presence::absent(200);
        presence.take(3..5);
        presence.take(63..130);
        let given = presence.unsaved();
        assert_eq!(given, [3..5, 63..130]);
        presence.take(5..6);
        presence.saved(&given);
        let since = presence.unsaved();
        assert!(since.iter().cloned().flatten().eq(5..6));
        assert_eq!(presence.missing(0..10), [0..3, 6..10]);
        presence.give_back(&since);
        assert!(!presence.is_own(5) && presence.is_own(4));
    }

    #[test]
    fn p1_nothing_of_the_restore_point_shows_behind_a_cut() {
        let mut presence = Presence::absent(100);
        presence.cut(10);
        assert!(presence.is_own(10) && !presence.is_own(9) && presence.is_cut_unsaved());
        presence.cut(50);
        assert_eq!(presence.base(), 10);
        presence.cut_saved(10);
        presence.take(0..10);
        assert!(presence.is_whole() && !presence.is_cut_unsaved());
    }

    proptest! {
        #[test]
        fn the_bits_are_a_set(pages in 0u32..300, takes in proptest::collection::vec((0u32..320, 0u32..90), 0..20)) {
            let mut presence = Presence::absent(pages);
            let mut model = BTreeSet::new();
            for (start, count) in takes {
                presence.take(start..start + count);
                model.extend(start..start + count);
            }
            for page in 0..pages + 10 {
                prop_assert_eq!(presence.is_own(page), page >= pages || model.contains(&page));
            }
            let own = model.iter().filter(|page| **page < pages).count();
            prop_assert_eq!(presence.own_count() as usize, own);
            let missing: Vec<u32> = presence.missing(0..u32::MAX).into_iter().flatten().collect();
            let expected: Vec<u32> = (0..pages).filter(|page| !model.contains(page)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
