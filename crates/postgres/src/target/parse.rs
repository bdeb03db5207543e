//! Targets as people write them.

use jiff::Timestamp;
use lifeboat_base::Lsn;
use std::fmt;
use std::str::FromStr;

/// Most bytes in the name of a restore point: PostgreSQL keeps 63.
const NAME_LIMIT_BYTES: usize = 63;

/// A moment to recover to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The end of what the vault proves to hold: `latest`.
    Latest,
    /// Before the first commit after this time: `2026-11-21T10:15:00+08:00`.
    Time(Timestamp),
    /// With all that was written before this position, and nothing from it on: `lsn:16/B374D848`.
    Lsn(Lsn),
    /// Before the commit of this transaction: `before:xid:4711`.
    BeforeXid(u32),
    /// With the commit of this transaction: `xid:4711`.
    Xid(u32),
    /// With the restore point of this name, made by `pg_create_restore_point`: `name:before-upgrade`.
    Name(String),
}

/// The text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// A time without a zone.
    #[error("`{0}` does not say in which time zone; write {0}Z for UTC, or an offset as in {0}+08:00")]
    NoZone(String),
    /// A number that is no transaction.
    #[error("`{0}` is not the number of a transaction; one looks like xid:4711")]
    Xid(String),
    /// A position that is none.
    #[error("`{0}` is not a log position; one looks like lsn:16/B374D848")]
    Lsn(String),
    /// A name that PostgreSQL would not take.
    #[error("a restore point's name has 1 to {NAME_LIMIT_BYTES} bytes; `{0}` has not")]
    Name(String),
    /// Anything else.
    #[error(
        "`{0}` is not a moment to recover to; write latest, a time with its zone (2026-11-21T10:15:00+08:00), lsn:16/B374D848, xid:4711, before:xid:4711 or name:LABEL"
    )]
    Unknown(String),
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let xid = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let number = plain.then(|| digits.parse().ok()).flatten().filter(|xid| *xid > 0);
            number.ok_or_else(|| ParseTargetError::Xid(text.to_owned()))
        };
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Some(lsn) = text.strip_prefix("lsn:") {
            return lsn.parse().map(Self::Lsn).map_err(|_| ParseTargetError::Lsn(text.to_owned()));
        }
        if let Some(digits) = text.strip_prefix("before:xid:") {
            return xid(digits).map(Self::BeforeXid);
        }
        if let Some(digits) = text.strip_prefix("xid:") {
            return xid(digits).map(Self::Xid);
        }
        if let Some(name) = text.strip_prefix("name:") {
            let fits = (1..=NAME_LIMIT_BYTES).contains(&name.len());
            return if fits {
                Ok(Self::Name(name.to_owned()))
            } else {
                Err(ParseTargetError::Name(name.to_owned()))
            };
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        // A time that lacks nothing but its zone.
        if text.parse::<jiff::civil::DateTime>().is_ok() {
            return Err(ParseTargetError::NoZone(text.to_owned()));
        }
        Err(ParseTargetError::Unknown(text.to_owned()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Time(time) => write!(f, "{time}"),
            Self::Lsn(lsn) => write!(f, "lsn:{lsn}"),
            Self::BeforeXid(xid) => write!(f, "before:xid:{xid}"),
            Self::Xid(xid) => write!(f, "xid:{xid}"),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_read_what_they_write() {
        for text in
            ["latest", "2026-11-21T10:15:00.5Z", "lsn:16/B374D848", "xid:4711", "before:xid:1", "name:a b:c"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        let zoned: Target = "2026-11-21 10:15:00+08:00".parse().unwrap();
        assert_eq!(zoned, Target::Time("2026-11-21T02:15:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert!(matches!(error("2026-11-21T10:15:00"), ParseTargetError::NoZone(_)));
        assert!(matches!(error("2026-11-21 10:15"), ParseTargetError::NoZone(_)));
        assert!(matches!(error("xid:0"), ParseTargetError::Xid(_)));
        assert!(matches!(error("before:xid:-5"), ParseTargetError::Xid(_)));
        assert!(matches!(error("xid:4294967296"), ParseTargetError::Xid(_)));
        assert!(matches!(error("lsn:5"), ParseTargetError::Lsn(_)));
        assert!(matches!(error("name:"), ParseTargetError::Name(_)));
        assert!(matches!(error("yesterday"), ParseTargetError::Unknown(_)));
    }
}
