//! The values that a plan is made of: text with a meaning, read once and typed from then on.
//!
//! Each has a *format*: the name that stands in the JSON Schema, through which [`problem`] finds
//! its parser. So the schema alone says what may stand where, and the parser says what is wrong.
//!
//! # Invariants
//! - **V1 one reader.** What serde accepts and what the check accepts is the same function.
//! - **V2 round trip.** What is written reads back as the same value.

mod address;
mod conninfo;
mod cron;

pub use address::{CopyUrl, ParseCopyUrlError};
pub use conninfo::{Conninfo, ParseConninfoError};
pub use cron::{Cron, ParseCronError};

use crate::finding::{Code, nearest};
use lifeboat_base::{ByteCount, ParseUnitError, ServiceName, parse_duration};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Serde and JSON Schema for a type that is text in the plan.
macro_rules! text_value {
    ($type:ty, $format:literal, $description:literal, $pattern:expr, [$($example:literal),+]) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        text_schema!($type, $format, $description, $pattern, [$($example),+]);
    };
}

macro_rules! text_schema {
    ($type:ty, $format:literal, $description:literal, $pattern:expr, [$($example:literal),+]) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!({
                    "type": "string",
                    "description": $description,
                    "format": $format,
                    "examples": [$($example),+],
                });
                let pattern: Option<&str> = $pattern;
                if let Some(pattern) = pattern {
                    schema.insert("pattern".to_owned(), pattern.into());
                }
                schema
            }
        }
    };
}

/// A length of time: `15m`, `1h30m`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(pub Duration);

impl FromStr for Interval {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration(text).map(Self)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= ms {
                write!(f, "{}{unit}", rest / ms)?;
                rest %= ms;
            }
        }
        Ok(())
    }
}

text_value!(
    Interval,
    "lifeboat-duration",
    "A length of time: whole numbers, each with a unit (ms, s, m, h, d, w), the largest first.",
    Some("^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"),
    ["90s", "15m", "1h30m", "7d"]
);

/// A number of bytes: `256MiB`, `5GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub ByteCount);

impl FromStr for Size {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A bare number is refused, as it is for durations: 15 of what?
        if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(ParseUnitError::Size(text.to_owned()));
        }
        text.parse().map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit that says it exactly.
        let bytes = self.0.0;
        let units = [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", bytes >> shift),
            None => write!(f, "{bytes}B"),
        }
    }
}

text_value!(
    Size,
    "lifeboat-size",
    "A number of bytes with its unit: KiB, MiB, GiB, TiB (powers of 1024), kB, MB, GB, TB (powers of 1000).",
    Some("^[0-9]+(\\.[0-9]+)? *([KMGTP]iB|[kKMGTP]?B)$"),
    ["256MiB", "5GiB"]
);

/// A day of the calendar: `2026-10-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub jiff::civil::Date);

/// The text is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date; write year, month and day, as in 2026-10-01")]
pub struct ParseDateError(String);

impl FromStr for Date {
    type Err = ParseDateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let date = if shape { text.parse().ok() } else { None };
        date.map(Self).ok_or_else(|| ParseDateError(text.to_owned()))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_value!(
    Date,
    "date",
    "A day: year, month and day.",
    Some("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    ["2026-10-01"]
);

text_value!(
    Cron,
    "lifeboat-cron",
    "Five fields: minute, hour, day of month, month, day of week. Numbers, names, `*`, ranges, steps and lists.",
    None,
    ["0 3 * * *", "30 1 * * sun"]
);

/// A time zone by its IANA name: `Asia/Taipei`.
///
/// The machine's own zone database is asked first, as governments change their minds faster than
/// software is updated; the one inside the binary serves where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(jiff::tz::TimeZone);

/// The name is no time zone's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not an IANA time zone{}", .nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_else(|| "; one looks like Asia/Taipei, Europe/Berlin or UTC".to_owned()))]
pub struct ParseZoneError {
    name: String,
    nearest: Option<String>,
}

impl Zone {
    /// The zone's rules.
    #[must_use]
    pub fn time_zone(&self) -> &jiff::tz::TimeZone {
        &self.0
    }
}

impl FromStr for Zone {
    type Err = ParseZoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MAX_NAME_BYTES: usize = 64;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
        // The name becomes a path below the zone database: no dots, no leading slash.
        let shape =
            (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('/');
        let zone = if shape { jiff::tz::TimeZone::get(text).ok() } else { None };
        zone.filter(|zone| zone.iana_name().is_some() && !zone.is_unknown()).map(Self).ok_or_else(|| {
            let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            // Abbreviations (CST) are near to others that mean something else.
            let guess = if text.contains('/') { text } else { "" };
            let nearest = nearest(guess, names.iter().map(String::as_str)).map(str::to_owned);
            ParseZoneError { name: text.to_owned(), nearest }
        })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

text_value!(
    Zone,
    "lifeboat-time-zone",
    "A time zone by its name in the IANA database.",
    None,
    ["Asia/Taipei", "Europe/Berlin", "UTC"]
);

text_value!(
    Conninfo,
    "lifeboat-connection",
    "Where a PostgreSQL server is and who asks, in libpq's notation. Never a password.",
    None,
    ["host=db.internal user=lifeboat", "postgresql://lifeboat@db.internal:5432/postgres"]
);

text_value!(
    CopyUrl,
    "lifeboat-copy",
    "The address of a copy of the vault: file:///absolute/directory, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.",
    Some("^(file:///|s3://|gs://|az://)."),
    ["file:///var/lib/lifeboat/vault", "s3://backups-eu/lifeboat"]
);

/// The name of a replication slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotName(String);

/// Longest name of a slot: PostgreSQL's `NAMEDATALEN` less its end.
pub(crate) const MAX_SLOT_BYTES: usize = 63;

/// The text cannot name a slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name a replication slot: use 1 to {MAX_SLOT_BYTES} lower-case letters, digits and underscores"
)]
pub struct ParseSlotError(String);

impl SlotName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slot of a service for which the plan names none: `orders-db` has `lifeboat_orders_db`.
    ///
    /// # Errors
    /// When the service's name is so long that the slot's would be longer than PostgreSQL allows.
    pub fn of_service(service: &ServiceName) -> Result<Self, ParseSlotError> {
        format!("lifeboat_{}", service.as_str().replace('-', "_")).parse()
    }
}

impl FromStr for SlotName {
    type Err = ParseSlotError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let valid = (1..=MAX_SLOT_BYTES).contains(&text.len()) && text.bytes().all(plain);
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseSlotError(text.to_owned())) }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(
    SlotName,
    "lifeboat-slot",
    "The name of a replication slot: lower-case letters, digits and underscores.",
    Some("^[a-z0-9_]{1,63}$"),
    ["lifeboat_orders_db"]
);

/// An absolute path on a server or on the machine that runs Lifeboat.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbsolutePath(String);

/// The text is no absolute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an absolute path: it begins with `/` and has no `..` in it")]
pub struct ParsePathError(String);

impl AbsolutePath {
    /// The path.
    #[must_use]
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&self.0)
    }
}

impl FromStr for AbsolutePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MAX_BYTES: usize = 4096;
        let valid = text.starts_with('/')
            && text.len() <= MAX_BYTES
            && !text.chars().any(char::is_control)
            && text.split('/').all(|part| part != "..");
        if valid { Ok(Self(text.to_owned())) } else { Err(ParsePathError(text.to_owned())) }
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(AbsolutePath, "lifeboat-path", "An absolute path.", Some("^/"), ["/var/lib/postgresql/15/main"]);

/// The name of a plan, scenario, runbook or copy: a DNS label, as a service's is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

/// The text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be a name here: use 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
)]
pub struct ParseLabelError(String);

impl Label {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The rule is the same one; only the sentence differs.
        match text.parse::<ServiceName>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(ParseLabelError(text.to_owned())),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(
    Label,
    "lifeboat-label",
    "A name: lower-case letters, digits and hyphens.",
    Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    ["database-corruption"]
);

/// The schema of [`ServiceName`], which lives below this crate.
pub(crate) struct ServiceLabel;

text_schema!(
    ServiceLabel,
    "lifeboat-service",
    "The name of a service: lower-case letters, digits and hyphens.",
    Some("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    ["orders-db"]
);

/// The type of a step: `postgres.recover`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionName(String);

/// The text cannot name an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action; one looks like `postgres.recover`: a family, a dot, a name")]
pub struct ParseActionError(String);

impl ActionName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActionName {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let valid = text.len() <= 63 && text.split_once('.').is_some_and(|(a, b)| word(a) && word(b));
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseActionError(text.to_owned())) }
    }
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_value!(
    ActionName,
    "lifeboat-action",
    "The type of a step: a family, a dot, a name.",
    Some("^[a-z][a-z0-9_]*\\.[a-z][a-z0-9_]*$"),
    ["postgres.recover"]
);

mod cadence;
mod key;
mod steps;

pub use cadence::{Cadence, ParseCadenceError};
pub use key::{ParseSshKeyError, SshKey};
pub(crate) use steps::StepKey;
pub use steps::{EnvironmentName, FieldOrigin, ParseEnvironmentError, ParseOriginError};

/// What is wrong with a text, as the parser of its format says it.
pub(crate) struct Problem {
    pub code: Code,
    pub message: String,
    pub help: Option<&'static str>,
}

/// Checks `text` by the format that the schema names.
///
/// None for a format without a parser here, such as those of numbers; a test holds that every text
/// format of the schema has one.
pub(crate) fn problem(format: &str, text: &str) -> Option<Problem> {
    fn read<T: FromStr<Err: fmt::Display>>(text: &str) -> Option<Problem> {
        let error = text.parse::<T>().err()?;
        Some(Problem { code: Code::BadValue, message: error.to_string(), help: None })
    }
    match format {
        "lifeboat-duration" => read::<Interval>(text),
        "lifeboat-size" => read::<Size>(text),
        "date" => read::<Date>(text),
        "lifeboat-time-zone" => read::<Zone>(text),
        "lifeboat-slot" => read::<SlotName>(text),
        "lifeboat-path" => read::<AbsolutePath>(text),
        "lifeboat-label" => read::<Label>(text),
        "lifeboat-service" => read::<ServiceName>(text),
        "lifeboat-cadence" => read::<Cadence>(text),
        "lifeboat-ssh-key" => read::<SshKey>(text),
        "lifeboat-environment" => read::<EnvironmentName>(text),
        "lifeboat-step-key" => read::<StepKey>(text),
        "lifeboat-origin" => read::<FieldOrigin>(text),
        "lifeboat-cron" => text.parse::<Cron>().err().map(|error| Problem {
            code: match error {
                ParseCronError::Never(_) => Code::NeverFires,
                _ => Code::BadValue,
            },
            message: error.to_string(),
            help: None,
        }),
        "lifeboat-connection" => text.parse::<Conninfo>().err().map(|error| {
            let secret = matches!(error, ParseConninfoError::Secret(_));
            Problem {
                code: if secret { Code::Secret } else { Code::Connection },
                message: error.to_string(),
                help: secret.then_some(
                    "give it in the environment (PGPASSWORD), in a file that `passwordFile` names, or in ~/.pgpass; and change it, as it has been written down",
                ),
            }
        }),
        "lifeboat-copy" => text.parse::<CopyUrl>().err().map(|error| Problem {
            code: if matches!(error, ParseCopyUrlError::Secret) { Code::Secret } else { Code::Address },
            message: error.to_string(),
            help: None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn v2_intervals_read_back(ms in 0u64..10_000_000_000_000) {
            let interval = Interval(Duration::from_millis(ms));
            prop_assert_eq!(interval.to_string().parse(), Ok(interval));
        }

        #[test]
        fn v2_sizes_read_back(bytes: u64, shift in 0u32..60) {
            let size = Size(ByteCount((bytes >> shift) << (shift / 2)));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }

    #[test]
    fn zones() {
        for good in ["UTC", "Asia/Taipei", "Etc/GMT+8"] {
            let zone: Zone = good.parse().unwrap();
            assert_eq!(zone.to_string(), good);
        }
        for bad in ["", "Asia/Tapei", "../etc/passwd", "/etc/localtime", "Etc/Unknown", "+08:00", "EST5EDT4"]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
        let error = "Asia/Tapei".parse::<Zone>().unwrap_err();
        assert_eq!(error.to_string(), "`Asia/Tapei` is not an IANA time zone; did you mean `Asia/Taipei`?");
    }

    #[test]
    fn slots_of_services() {
        let slot = |name: &str| SlotName::of_service(&name.parse().unwrap()).map(|slot| slot.to_string());
        assert_eq!(slot("orders-db"), Ok("lifeboat_orders_db".to_owned()));
        assert!(slot(&"a".repeat(55)).is_err());
    }
}
