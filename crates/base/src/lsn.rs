//! Positions in a PostgreSQL cluster's history: which cluster, which timeline, which byte of WAL.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A byte position in the write-ahead log. Written as PostgreSQL writes it: `16/B374D848`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Lsn(pub u64);

/// Capitals only: two texts that are not the same never read as the same.
fn is_sortable_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}

/// The text was not a log position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a log position; one looks like 16/B374D848")]
pub struct ParseLsnError(String);

impl Lsn {
    /// The position `bytes` further on; saturates at the end of the address space.
    #[must_use]
    pub fn advance(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }

    /// Bytes from `earlier` to here; zero if `earlier` is not earlier.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// First byte of the segment that holds this position.
    #[must_use]
    pub fn segment_start(self, segment_bytes: u64) -> Self {
        Self(self.0 - self.0 % segment_bytes)
    }

    /// As 16 hexadecimal digits, so that names sort as positions do.
    #[must_use]
    pub fn to_sortable(self) -> String {
        format!("{:016X}", self.0)
    }

    /// Reads what [`Lsn::to_sortable`] wrote.
    #[must_use]
    pub fn from_sortable(text: &str) -> Option<Self> {
        let canonical = text.len() == 16 && text.bytes().all(is_sortable_digit);
        canonical.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (high, low) = text.split_once('/')?;
            let part = |digits: &str| {
                let plain = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
                plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
            };
            Some(Self(part(high)? << 32 | part(low)?))
        };
        parse().ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

impl TryFrom<String> for Lsn {
    type Error = ParseLsnError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A half-open stretch of WAL: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LsnRange {
    /// First byte.
    pub start: Lsn,
    /// First byte after it.
    pub end: Lsn,
}

impl LsnRange {
    /// Bytes in the stretch.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end.bytes_since(self.start)
    }

    /// Whether it holds no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

impl fmt::Display for LsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

/// A timeline of a cluster: 1 at birth, a higher one after each promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(pub u32);

impl Timeline {
    /// As the 8 hexadecimal digits that begin WAL file names.
    #[must_use]
    pub fn to_sortable(self) -> String {
        format!("{:08X}", self.0)
    }

    /// Reads what [`Timeline::to_sortable`] wrote.
    #[must_use]
    pub fn from_sortable(text: &str) -> Option<Self> {
        let canonical = text.len() == 8 && text.bytes().all(is_sortable_digit);
        canonical.then(|| u32::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number that `initdb` gave a cluster; all its copies share it, no other cluster has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SystemId(pub u64);

/// The text was no system identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a system identifier; one is a number such as 7000000000000000001")]
pub struct ParseSystemIdError(String);

impl fmt::Display for SystemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<SystemId> for String {
    fn from(id: SystemId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for SystemId {
    type Error = ParseSystemIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // As it is written, or two names would be one cluster.
        match text.parse().map(Self) {
            Ok(id) if id.to_string() == text => Ok(id),
            _ => Err(ParseSystemIdError(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_reads_what_it_writes() {
        for raw in [0, 1, 0x1_0000_0000, 0x16_B374_D848, u64::MAX] {
            let lsn = Lsn(raw);
            assert_eq!(lsn.to_string().parse(), Ok(lsn));
            assert_eq!(Lsn::from_sortable(&lsn.to_sortable()), Some(lsn));
        }
    }

    #[test]
    fn names_are_read_only_as_they_are_written() {
        assert_eq!(Lsn::from_sortable("00000000B374D848"), Some(Lsn(0xB374_D848)));
        assert_eq!(Lsn::from_sortable("00000000b374d848"), None);
        assert_eq!(
            (Timeline::from_sortable("0000000A"), Timeline::from_sortable("0000000a")),
            (Some(Timeline(10)), None)
        );
        let id = |text: &str| SystemId::try_from(text.to_owned()).ok();
        assert_eq!((id("7"), id("+7"), id("07"), id("")), (Some(SystemId(7)), None, None, None));
    }

    #[test]
    fn lsn_refuses_what_is_none() {
        for text in ["", "/", "1/", "/1", "+1/0", "1/123456789", "g/0", "1/0/0", " 1/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
