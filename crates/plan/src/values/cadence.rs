//! How often something comes round, as people say it.

use super::Interval;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How often something comes round: `quarterly`, or a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// Every day.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
    /// Four times a year.
    Quarterly,
    /// Twice a year.
    Semiannually,
    /// Every year.
    Yearly,
    /// So long after the last time.
    Every(Interval),
}

/// The text does not say how often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` does not say how often; write 15m or 6h, or daily, weekly, monthly, quarterly, semiannually, yearly"
)]
pub struct ParseCadenceError(String);

impl Cadence {
    /// Those that have a name.
    const NAMED: [(Self, &'static str, u64); 6] = [
        (Self::Daily, "daily", 1),
        (Self::Weekly, "weekly", 7),
        (Self::Monthly, "monthly", 31),
        (Self::Quarterly, "quarterly", 92),
        (Self::Semiannually, "semiannually", 184),
        (Self::Yearly, "yearly", 366),
    ];

    /// The longest time from one to the next.
    #[must_use]
    pub fn longest(self) -> Duration {
        match self {
            Self::Every(interval) => interval.0,
            named => {
                let days = Self::NAMED.iter().find(|(of, ..)| *of == named).map_or(0, |(.., days)| *days);
                Duration::from_secs(days * 86_400)
            }
        }
    }
}

impl FromStr for Cadence {
    type Err = ParseCadenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::NAMED.iter().find(|(_, name, _)| *name == text) {
            Some((named, ..)) => Ok(*named),
            None => text.parse().map(Self::Every).map_err(|_| ParseCadenceError(text.to_owned())),
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => interval.fmt(f),
            named => {
                f.write_str(Self::NAMED.iter().find(|(of, ..)| of == named).map_or("", |(_, name, _)| name))
            }
        }
    }
}

text_value!(
    Cadence,
    "lifeboat-cadence",
    "How often: a length of time, or daily, weekly, monthly, quarterly, semiannually, yearly.",
    None,
    ["quarterly", "6h"]
);
