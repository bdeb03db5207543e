//! How long a recovery would take now, told from recoveries that happened.
//!
//! A recovery at once takes a time that does not depend on how much WAL there is (the view, the server's start), and a
//! time for each byte of it. Both are medians of what was measured, so that one bad day decides nothing.
//!
//! # Invariants
//! - **F1 measured, or nothing.** Without a recovery that happened there is no forecast; without one that replayed
//!   much, none for much WAL.

use std::time::Duration;

/// The newest recoveries are asked, so many of them.
pub const ASKED: usize = 20;
/// From so much WAL on, the time of a recovery is its replay's; below, it is the rest's.
pub const MUCH_BYTES: u64 = 16 << 20;

/// A recovery that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// WAL that was replayed.
    pub replayed_bytes: u64,
    /// From the beginning until the server was at its target.
    pub took: Duration,
}

/// How long a recovery would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forecast {
    /// From the command until the server is at its target.
    pub takes: Duration,
    /// What does not depend on the WAL.
    pub fixed: Duration,
    /// Replay, in a second; none if no recovery replayed enough to tell.
    pub bytes_per_second: Option<u64>,
    /// Recoveries that it is told from.
    pub measured: usize,
}

/// What a recovery with so much WAL to replay would take, by `measured`, newest first (F1).
#[must_use]
pub fn forecast(measured: &[Measured], replay_bytes: u64) -> Option<Forecast> {
    let measured = &measured[..measured.len().min(ASKED)];
    let is_much = |one: &&Measured| one.replayed_bytes >= MUCH_BYTES;
    let little = measured.iter().filter(|one| !is_much(one)).map(|one| one.took);
    // Where all replayed much, the quickest of them holds at least what does not depend on it.
    let fixed = median(little.collect()).or_else(|| measured.iter().map(|one| one.took / 2).min())?;
    let rates = measured.iter().filter(is_much).map(|one| {
        let replaying = one.took.saturating_sub(fixed).as_secs_f64().max(0.001);
        (one.replayed_bytes as f64 / replaying) as u64
    });
    let bytes_per_second = median(rates.collect()).map(|rate| rate.max(1));
    let replay = match bytes_per_second {
        Some(rate) => Duration::from_secs_f64(replay_bytes as f64 / rate as f64),
        None if replay_bytes < MUCH_BYTES => Duration::ZERO,
        None => return None,
    };
    Some(Forecast { takes: fixed.saturating_add(replay), fixed, bytes_per_second, measured: measured.len() })
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn measured(mib: u64, seconds: u64) -> Measured {
        Measured { replayed_bytes: mib * MIB, took: Duration::from_secs(seconds) }
    }

    #[test]
    fn f1_nothing_is_told_of_what_was_not_measured() {
        assert_eq!(forecast(&[], 0), None);
        assert_eq!(forecast(&[measured(1, 3)], 100 * MIB), None, "nobody replayed so much");
        let small = forecast(&[measured(1, 3)], MIB).unwrap();
        assert_eq!((small.takes, small.bytes_per_second), (Duration::from_secs(3), None));
    }

    #[test]
    fn the_wal_that_there_is_counts_and_one_bad_day_does_not() {
        // Two seconds for all that is not replay, 10 MiB in each further one.
        let past = [measured(0, 2), measured(100, 12), measured(1, 2), measured(200, 22), measured(0, 90)];
        let now = forecast(&past, 300 * MIB).unwrap();
        assert_eq!((now.fixed, now.bytes_per_second), (Duration::from_secs(2), Some(10 * MIB)));
        assert_eq!((now.takes, now.measured), (Duration::from_secs(32), 5));
        assert_eq!(forecast(&past, 0).unwrap().takes, Duration::from_secs(2));
    }

    #[test]
    fn the_newest_are_asked() {
        let mut past = vec![measured(0, 1); ASKED];
        past.extend([measured(0, 1000); 100]);
        let now = forecast(&past, 0).unwrap();
        assert_eq!((now.takes, now.measured), (Duration::from_secs(1), ASKED));
    }
}
