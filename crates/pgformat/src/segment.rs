//! Names of the files in `pg_wal` and in a WAL archive.
//!
//! WAL is cut into segments of one size per cluster. A segment's name is its timeline and its number; how
//! the number is written depends on the size, so that a [`WalFileName`] carries it.
//!
//! Deliberately absent: the content of segments (`wal`) and of history files (`history`).

use lifeboat_base::{Lsn, LsnRange, Timeline};
use std::fmt;

/// The size of a cluster's WAL segments: a power of two from 1 MiB to 1 GiB, chosen at `initdb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

/// The number cannot be the size of a WAL segment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes cannot be the size of a WAL segment: it is a power of two from 1 MiB to 1 GiB")]
pub struct SegmentSizeError(u64);

impl SegmentSize {
    /// 16 MiB, what `initdb` chooses unless told otherwise.
    pub const DEFAULT: Self = Self(16 << 20);

    /// A size of so many bytes.
    ///
    /// # Errors
    /// [`SegmentSizeError`] unless it is a power of two from 1 MiB to 1 GiB.
    pub fn new(bytes: u64) -> Result<Self, SegmentSizeError> {
        let valid = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        match u32::try_from(bytes) {
            Ok(bytes) if valid => Ok(Self(bytes)),
            _ => Err(SegmentSizeError(bytes)),
        }
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 as u64
    }

    /// The number of the segment that holds the byte at `lsn`.
    #[must_use]
    pub const fn number_of(self, lsn: Lsn) -> u64 {
        lsn.0 / self.bytes()
    }

    /// Segments in 4 GiB: how many names share their middle 8 digits.
    const fn per_log_id(self) -> u64 {
        (1 << 32) / self.bytes()
    }
}

/// A WAL segment of some timeline. Written as its file is named: `000000010000000000000002`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalFileName {
    /// The timeline on which it was written.
    pub timeline: Timeline,
    /// Its place in WAL: it begins at byte `number * size`.
    pub number: u64,
    /// The cluster's segment size.
    pub size: SegmentSize,
}

impl WalFileName {
    /// The segment of `timeline` that holds the byte at `lsn`.
    #[must_use]
    pub const fn holding(timeline: Timeline, lsn: Lsn, size: SegmentSize) -> Self {
        Self { timeline, number: size.number_of(lsn), size }
    }

    /// Reads a name of 24 hexadecimal digits; `None` if it is none that PostgreSQL would write.
    #[must_use]
    pub fn parse(name: &str, size: SegmentSize) -> Option<Self> {
        if name.len() != 24 {
            return None;
        }
        let timeline = upper_hex(name.get(..8)?)?;
        let log_id = u64::from(upper_hex(name.get(8..16)?)?);
        let within = u64::from(upper_hex(name.get(16..)?)?);
        let valid = timeline != 0 && within < size.per_log_id();
        valid.then(|| Self {
            timeline: Timeline(timeline),
            number: log_id * size.per_log_id() + within,
            size,
        })
    }

    /// The bytes of WAL in it.
    #[must_use]
    pub fn range(&self) -> LsnRange {
        let start = Lsn(self.number.saturating_mul(self.size.bytes()));
        LsnRange { start, end: start.advance(self.size.bytes()) }
    }

    /// The segment after it on the same timeline.
    #[must_use]
    pub const fn next(&self) -> Self {
        Self { number: self.number.saturating_add(1), ..*self }
    }
}

impl fmt::Display for WalFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_log_id = self.size.per_log_id();
        let (log_id, within) = (self.number / per_log_id, self.number % per_log_id);
        write!(f, "{:08X}{log_id:08X}{within:08X}", self.timeline.0)
    }
}

/// What a file in `pg_wal` or in an archive is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WalName {
    /// A whole segment.
    Segment(WalFileName),
    /// A segment that was not filled: still being received, or the last of a timeline that was left.
    Partial(WalFileName),
    /// The history of a timeline: where it came from.
    History(Timeline),
    /// The label of a finished backup that began in `segment`, `offset_bytes` into it.
    Backup {
        /// The segment of the backup's start.
        segment: WalFileName,
        /// The start within it.
        offset_bytes: u32,
    },
    /// Something else; not WAL.
    Other,
}

impl WalName {
    /// Tells what the file called `name` is in a cluster with segments of `size`.
    #[must_use]
    pub fn classify(name: &str, size: SegmentSize) -> Self {
        Self::known(name, size).unwrap_or(Self::Other)
    }

    fn known(name: &str, size: SegmentSize) -> Option<Self> {
        let Some((stem, suffix)) = name.split_once('.') else {
            return WalFileName::parse(name, size).map(Self::Segment);
        };
        if suffix == "history" {
            let timeline = if stem.len() == 8 { upper_hex(stem)? } else { return None };
            return (timeline != 0).then_some(Self::History(Timeline(timeline)));
        }
        let segment = WalFileName::parse(stem, size)?;
        if suffix == "partial" {
            return Some(Self::Partial(segment));
        }
        let digits = suffix.strip_suffix(".backup").filter(|digits| digits.len() == 8)?;
        Some(Self::Backup { segment, offset_bytes: upper_hex(digits)? })
    }
}

/// Up to 8 hexadecimal digits in capitals: PostgreSQL writes and takes no others.
fn upper_hex(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(mib: u64) -> SegmentSize {
        SegmentSize::new(mib << 20).unwrap()
    }

    #[test]
    fn names_follow_the_segment_size() {
        for (mib, lsn, name) in [
            (16, "0/2000028", "000000030000000000000002"),
            (16, "1/FF000000", "0000000300000001000000FF"),
            (1, "1/FFF00000", "000000030000000100000FFF"),
            (1024, "1/FFF00000", "000000030000000100000003"),
            (64, "A/0", "000000030000000A00000000"),
        ] {
            let lsn: Lsn = lsn.parse().unwrap();
            let segment = WalFileName::holding(Timeline(3), lsn, size(mib));
            assert_eq!(segment.to_string(), name);
            assert_eq!(WalFileName::parse(name, size(mib)), Some(segment));
            let range = segment.range();
            assert!(range.start <= lsn && lsn < range.end);
            assert_eq!(segment.next().range().start, range.end);
        }
    }

    #[test]
    fn names_that_postgresql_would_not_write_are_not_wal() {
        for name in [
            "",
            "00000001000000000000000a",
            "000000010000000000000100",
            "000000000000000000000001",
            "00000001000000000000000",
            "000000010000000000000001.gz",
            "000000010000000000000001.partial.gz",
            "00000001.History",
            "1.history",
            "000000010000000000000001.28.backup",
            "archive_status",
            "0000000100000000000000é",
        ] {
            assert_eq!(WalName::classify(name, SegmentSize::DEFAULT), WalName::Other, "{name}");
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let name = "0000000100000000000000AB";
        let segment = WalFileName::parse(name, SegmentSize::DEFAULT).unwrap();
        let kind = |suffix: &str| WalName::classify(&format!("{name}{suffix}"), SegmentSize::DEFAULT);
        assert_eq!(kind(""), WalName::Segment(segment));
        assert_eq!(kind(".partial"), WalName::Partial(segment));
        assert_eq!(kind(".00000028.backup"), WalName::Backup { segment, offset_bytes: 0x28 });
        let history = WalName::classify("0000000B.history", SegmentSize::DEFAULT);
        assert_eq!(history, WalName::History(Timeline(11)));
    }

    #[test]
    fn sizes_are_powers_of_two_within_bounds() {
        for bad in [0, 1, (16 << 20) + 1, 1 << 19, 1 << 31, u64::MAX] {
            assert_eq!(SegmentSize::new(bad), Err(SegmentSizeError(bad)));
        }
        assert_eq!(SegmentSize::new(1 << 30).map(SegmentSize::bytes), Ok(1 << 30));
    }
}
