//! Identifiers: what people name, and what must never collide.

use crate::Clock;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// 128 random bits as 32 hexadecimal digits: tells one's own object from another's of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RandomId(u128);

impl RandomId {
    /// A new one.
    #[must_use]
    pub fn new(clock: &dyn Clock) -> Self {
        let mut bytes = [0; 16];
        clock.random(&mut bytes);
        Self(u128::from_be_bytes(bytes))
    }

    /// Its first 8 digits: enough for a person to tell a few apart.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for RandomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<RandomId> for String {
    fn from(id: RandomId) -> Self {
        id.to_string()
    }
}

/// The text does not name anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseNameError {
    /// Not 32 hexadecimal digits.
    #[error("`{0}` is not an ID of 32 hexadecimal digits")]
    Id(String),
    /// Not usable as the name of a service.
    #[error(
        "`{0}` cannot name a service: use 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
    )]
    Service(String),
}

impl TryFrom<String> for RandomId {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let canonical = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(&text, 16) {
            Ok(id) if canonical => Ok(Self(id)),
            _ => Err(ParseNameError::Id(text)),
        }
    }
}

/// The name of a service: a DNS label, so that it is safe in paths, object names and slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = text.as_bytes();
        let valid = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|&b| plain(b) || b == b'-')
            && plain(bytes[0])
            && plain(bytes[bytes.len() - 1]);
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseNameError::Service(text.to_owned())) }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = ParseNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
