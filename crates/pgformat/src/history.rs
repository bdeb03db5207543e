//! Timeline history: which timeline wrote which bytes of WAL.
//!
//! Each promotion starts a timeline at a position of another. The file `0000000N.history` lists the
//! ancestors of timeline N, oldest first, each with the position where it was left.
//!
//! # Invariants
//! - Ancestors rise strictly and stay below the timeline itself, as PostgreSQL demands.
//! - [`TimelineHistory::render`] writes what [`TimelineHistory::parse`] reads.
//!
//! Format: PostgreSQL manual, "Continuous Archiving", on timelines.

use lifeboat_base::{Lsn, LsnRange, Timeline};
use std::fmt::Write as _;

/// Largest history file that is read: thousands of promotions, with a reason each.
const HISTORY_LIMIT_BYTES: usize = 1 << 20;

/// One ancestor and where it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The ancestor.
    pub timeline: Timeline,
    /// The position where the next timeline branched off: the first byte that is not the ancestor's.
    pub switch: Lsn,
    /// Why, in PostgreSQL's words. For people only.
    pub reason: String,
}

/// A timeline and its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: Timeline,
    ancestors: Vec<HistoryEntry>,
}

/// The bytes are not a history of this timeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// Larger than any real one.
    #[error(
        "the history of timeline {timeline} has {bytes} bytes; none is larger than {HISTORY_LIMIT_BYTES}: the file is damaged, take it from another copy"
    )]
    TooLarge {
        /// Whose history it should have been.
        timeline: Timeline,
        /// The size found.
        bytes: usize,
    },
    /// A line that does not read.
    #[error(
        "line {line} of the history of timeline {timeline} does not read as a timeline and a log position: the file is damaged, take it from another copy"
    )]
    Line {
        /// Whose history it should have been.
        timeline: Timeline,
        /// The line, counted from 1.
        line: usize,
    },
    /// Ancestors that do not rise.
    #[error(
        "line {line} of the history of timeline {timeline} names timeline {found}, out of order: the file is damaged, or it is another timeline's"
    )]
    Order {
        /// Whose history it should have been.
        timeline: Timeline,
        /// The line, counted from 1.
        line: usize,
        /// The timeline named there.
        found: Timeline,
    },
}

impl TimelineHistory {
    /// The history of a timeline without ancestors, as timeline 1 is.
    #[must_use]
    pub fn root(timeline: Timeline) -> Self {
        Self { timeline, ancestors: Vec::new() }
    }

    /// Reads the history file of `timeline`.
    ///
    /// # Errors
    /// [`HistoryError`] if it is damaged or another timeline's.
    pub fn parse(timeline: Timeline, bytes: &[u8]) -> Result<Self, HistoryError> {
        if bytes.len() > HISTORY_LIMIT_BYTES {
            return Err(HistoryError::TooLarge { timeline, bytes: bytes.len() });
        }
        let mut history = Self::root(timeline);
        for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line_number = index + 1;
            let text = line.trim_ascii();
            if text.is_empty() || text[0] == b'#' {
                continue;
            }
            let entry = parse_line(text).ok_or(HistoryError::Line { timeline, line: line_number })?;
            let last = history.ancestors.last().map_or(Timeline(0), |e| e.timeline);
            if entry.timeline <= last || entry.timeline >= timeline {
                return Err(HistoryError::Order { timeline, line: line_number, found: entry.timeline });
            }
            history.ancestors.push(entry);
        }
        Ok(history)
    }

    /// The file's content, as PostgreSQL writes it.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (index, entry) in self.ancestors.iter().enumerate() {
            // PostgreSQL separates the entry that it adds from the copied ones by an empty line.
            let separator = if index == 0 { "" } else { "\n" };
            let reason = entry.reason.replace(['\n', '\r'], " ");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{separator}{}\t{}\t{reason}", entry.timeline, entry.switch);
        }
        text
    }

    /// The timeline whose history it is.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The ancestors, oldest first.
    #[must_use]
    pub fn ancestors(&self) -> &[HistoryEntry] {
        &self.ancestors
    }

    /// The timeline that wrote the byte at `lsn`, on the way to this timeline.
    #[must_use]
    pub fn owner_of(&self, lsn: Lsn) -> Timeline {
        self.ancestors.iter().find(|entry| lsn < entry.switch).map_or(self.timeline, |entry| entry.timeline)
    }

    /// The bytes that `timeline` wrote on the way to this one; `None` if it is not on the way.
    /// This timeline's own stretch ends at the highest position there is.
    #[must_use]
    pub fn range_of(&self, timeline: Timeline) -> Option<LsnRange> {
        let mut start = Lsn(0);
        for entry in &self.ancestors {
            if entry.timeline == timeline {
                return Some(LsnRange { start, end: entry.switch });
            }
            start = start.max(entry.switch);
        }
        (self.timeline == timeline).then_some(LsnRange { start, end: Lsn(u64::MAX) })
    }

    /// Where the timeline itself begins; `None` for one without ancestors.
    #[must_use]
    pub fn begins_at(&self) -> Option<Lsn> {
        self.ancestors.last().map(|entry| entry.switch)
    }

    /// Whether the position `lsn` of `timeline` lies on the way to this timeline: what was written there
    /// up to `lsn` is part of this history.
    #[must_use]
    pub fn passes(&self, timeline: Timeline, lsn: Lsn) -> bool {
        self.range_of(timeline).is_some_and(|range| lsn <= range.end)
    }

    /// Whether this history continues `older`: every byte of `older` before the fork is in it.
    #[must_use]
    pub fn descends_from(&self, older: &Self) -> bool {
        let theirs = older.steps();
        self.steps().starts_with(&theirs)
            && self.ancestors.len() > theirs.len()
            && self.ancestors[theirs.len()].timeline == older.timeline
    }

    /// The last position up to which both histories are the same bytes, and the timeline there.
    /// `None` if they have nothing in common: they are of different clusters.
    #[must_use]
    pub fn fork_from(&self, other: &Self) -> Option<(Timeline, Lsn)> {
        let (ours, theirs) = (self.path(), other.path());
        let mut fork = None;
        for ((our_timeline, our_end), (their_timeline, their_end)) in ours.zip(theirs) {
            if our_timeline != their_timeline {
                break;
            }
            fork = Some((our_timeline, our_end.min(their_end)));
            if our_end != their_end {
                break;
            }
        }
        fork
    }

    fn steps(&self) -> Vec<(Timeline, Lsn)> {
        self.ancestors.iter().map(|entry| (entry.timeline, entry.switch)).collect()
    }

    /// Each timeline on the way with the position where it is left.
    fn path(&self) -> impl Iterator<Item = (Timeline, Lsn)> {
        self.ancestors
            .iter()
            .map(|entry| (entry.timeline, entry.switch))
            .chain(std::iter::once((self.timeline, Lsn(u64::MAX))))
    }
}

fn parse_line(text: &[u8]) -> Option<HistoryEntry> {
    // The reason is free text in whatever encoding; only the two fields before it must read.
    let text = String::from_utf8_lossy(text);
    let (timeline, rest) = text.split_once(|c: char| c.is_ascii_whitespace())?;
    let rest = rest.trim_start();
    let (switch, reason) = rest.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((rest, ""));
    let digits = timeline.bytes().all(|b| b.is_ascii_digit());
    let timeline = digits.then(|| timeline.parse().ok()).flatten()?;
    Some(HistoryEntry {
        timeline: Timeline(timeline),
        switch: switch.parse().ok()?,
        reason: reason.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str =
        "1\t0/50000D8\tno recovery target specified\n\n3\t1/A000000\tbefore 2026-11-01 10:00:00+00\n";

    fn history(timeline: u32, text: &str) -> TimelineHistory {
        TimelineHistory::parse(Timeline(timeline), text.as_bytes()).unwrap()
    }

    #[test]
    fn reads_and_writes_the_file() {
        let history = history(4, REAL);
        assert_eq!(history.render(), REAL);
        assert_eq!(history.begins_at(), Some("1/A000000".parse().unwrap()));
        assert_eq!(history.ancestors()[0].reason, "no recovery target specified");
    }

    #[test]
    fn owner_changes_at_the_switch() {
        let history = history(4, REAL);
        for (lsn, owner) in
            [("0/0", 1), ("0/50000D7", 1), ("0/50000D8", 3), ("1/9FFFFFF", 3), ("1/A000000", 4)]
        {
            assert_eq!(history.owner_of(lsn.parse().unwrap()), Timeline(owner), "{lsn}");
        }
        let range = history.range_of(Timeline(3)).unwrap();
        assert_eq!(range.to_string(), "0/50000D8 to 1/A000000");
        assert_eq!(history.range_of(Timeline(2)), None);
        assert!(history.passes(Timeline(1), "0/50000D8".parse().unwrap()));
        assert!(!history.passes(Timeline(1), "0/50000D9".parse().unwrap()));
    }

    #[test]
    fn forks_are_found() {
        let root = TimelineHistory::root(Timeline(1));
        let second = history(2, "1\t0/5000000\tx\n");
        let third = history(3, "1\t0/4000000\ty\n");
        let fourth = history(4, "1\t0/5000000\tx\n2\t0/6000000\tz\n");
        assert!(second.descends_from(&root) && fourth.descends_from(&second) && fourth.descends_from(&root));
        assert!(!third.descends_from(&second) && !second.descends_from(&second));
        assert_eq!(fourth.fork_from(&third), Some((Timeline(1), Lsn(0x400_0000))));
        assert_eq!(fourth.fork_from(&second), Some((Timeline(2), Lsn(0x600_0000))));
        assert_eq!(second.fork_from(&second), Some((Timeline(2), Lsn(u64::MAX))));
        assert_eq!(TimelineHistory::root(Timeline(9)).fork_from(&root), None);
    }

    #[test]
    fn damage_is_named_by_line() {
        for (text, line) in [("x", 1), ("# ok\n1 0/1\n2", 3), ("1\t0/G", 1), ("-1\t0/1", 1), ("+1\t0/1", 1)] {
            let error = TimelineHistory::parse(Timeline(9), text.as_bytes()).unwrap_err();
            assert_eq!(error, HistoryError::Line { timeline: Timeline(9), line }, "{text}");
        }
        for text in ["2\t0/1\n1\t0/2", "9\t0/1", "1\t0/1\n1\t0/2", "0\t0/1"] {
            let error = TimelineHistory::parse(Timeline(9), text.as_bytes()).unwrap_err();
            assert!(matches!(error, HistoryError::Order { .. }), "{text}");
        }
        let large = vec![b'#'; HISTORY_LIMIT_BYTES + 1];
        assert!(TimelineHistory::parse(Timeline(9), &large).is_err());
    }
}
