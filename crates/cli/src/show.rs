//! How times, sizes and positions are shown to people; machines get the values.

use jiff::Timestamp;
use std::time::Duration;

/// A moment, to the second, in the zone that says itself.
#[must_use]
pub fn time(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// How long ago, as people say it.
#[must_use]
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    match Duration::try_from(now.duration_since(then)) {
        Ok(past) => format!("{} ago", lifeboat_base::format_duration(past)),
        Err(_) => "in the future".to_owned(),
    }
}

/// A moment as exactly as PostgreSQL tells commits apart.
#[must_use]
pub fn precise(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%d %H:%M:%S%.6fZ").to_string()
}
