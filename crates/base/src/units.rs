//! Byte counts and durations as people write them in a plan: `5GiB`, `15m`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes. Reads `512`, `64KiB`, `1.5GiB`, `2GB`; writes the binary units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

/// The text was not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// Not a size.
    #[error("`{0}` is not a size; write a number and a unit, as in 256MiB or 5GiB")]
    Size(String),
    /// Not a duration.
    #[error("`{0}` is not a duration; write numbers and units, as in 90s, 15m, 1h30m or 7d")]
    Duration(String),
}

const SIZE_UNITS: [(&str, u64); 13] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("PB", 1_000_000_000_000_000),
    ("B", 1),
    ("", 1),
];

impl FromStr for ByteCount {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError::Size(text.to_owned());
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(error)?;
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*factor).map(Self).ok_or_else(error);
        }
        let number: f64 = number.parse().map_err(|_| error())?;
        let bytes = number * *factor as f64;
        if bytes > u64::MAX as f64 { Err(error()) } else { Ok(Self(bytes as u64)) }
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
            .into_iter()
            .find(|(_, shift)| self.0 >> shift > 0);
        match scaled {
            None => write!(f, "{} B", self.0),
            Some((unit, shift)) => {
                let value = self.0 as f64 / (1u64 << shift) as f64;
                write!(f, "{value:.*} {unit}", usize::from(value < 100.0))
            }
        }
    }
}

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// Reads a duration: whole numbers, each with a unit (`ms`, `s`, `m`, `h`, `d`, `w`), largest first.
///
/// # Errors
/// [`ParseUnitError::Duration`] for anything else, a bare number among them: 15 of what?
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let error = || ParseUnitError::Duration(text.to_owned());
    let mut rest = text;
    let mut total_ms = 0u64;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, unit_ms) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        if *unit_ms >= last_unit {
            return Err(error());
        }
        last_unit = *unit_ms;
        let number: u64 = number.parse().map_err(|_| error())?;
        let part = number.checked_mul(*unit_ms).ok_or_else(error)?;
        total_ms = total_ms.checked_add(part).ok_or_else(error)?;
        rest = tail;
    }
    if text.is_empty() { Err(error()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Writes a duration with at most two units, for reading: `1h 30m`, `4.2s`, `12ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |high: u64, high_unit: &str, low: u64, low_unit: &str| match low {
        0 => format!("{high}{high_unit}"),
        low => format!("{high}{high_unit} {low}{low_unit}"),
    };
    match seconds {
        0 if duration.is_zero() => "0s".to_owned(),
        0 => format!("{}ms", duration.as_millis().max(1)),
        1..60 => format!("{:.1}s", duration.as_secs_f64()),
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("256MiB".parse(), Ok(ByteCount(256 << 20)));
        assert_eq!("1.5 GiB".parse(), Ok(ByteCount(3 << 29)));
        assert_eq!("2GB".parse(), Ok(ByteCount(2_000_000_000)));
        assert_eq!("17".parse(), Ok(ByteCount(17)));
        for bad in ["", "GiB", "5GiBs", "-1", "99999999999PiB", "1.2.3MiB"] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
        assert_eq!(ByteCount(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(ByteCount(700).to_string(), "700 B");
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        for bad in ["", "15", "m", "15x", "1m1h", "1m1m", "999999999999999999w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(format_duration(Duration::from_secs(5_400)), "1h 30m");
        assert_eq!(format_duration(Duration::from_millis(4_230)), "4.2s");
    }
}
